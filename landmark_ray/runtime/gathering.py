"""The second step of `ingest`: read the fragments of a bucket shard by shard, write `images`."""

from collections import defaultdict
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as pads

from landmark_ray.config import Config
from landmark_ray.config.curation import IngestConfig
from landmark_ray.data import schemas
from landmark_ray.data.root import Root
from landmark_ray.runtime.counts import StageCounts
from landmark_ray.runtime.progress import ProgressBar
from landmark_ray.runtime.resources import task_resources
from landmark_ray.runtime.tasks import Row, run_tasks, shard_task

STAGING = "_staging/ingest"
FRAGMENT_ROWS = 8
"""Images per row group of a fragment: the least that is read of a fragment for one shard."""

COPIES = "further files of a photo, not used"
"""The counter of files that have the id of a photo that another file provided."""


def gather_all(config: Config, root: Root, notes: dict[str, Any]) -> StageCounts:
    """Write the shards of `images` in every bucket.

    Args:
        config: All options.
        root: The root.
        notes: Name of an archive -> the note that `scatter` wrote about it.

    Returns:
        The counts of all shards, including those of earlier runs.
    """
    shards = root.shards()
    wanted: dict[int, dict[int, int]] = defaultdict(dict)
    for s in shards:
        wanted[s.bucket][s.shard] = s.images
    done = root.committed("images")
    counts = StageCounts.total(done.values())
    fragments: dict[int, list[str]] = defaultdict(list)
    problems: dict[str, str] = {}
    for note in notes.values():
        for name in note["fragments"]:
            bucket = int(name.rpartition("/")[0].rpartition("=")[2])
            fragments[bucket].append(name)
            if note["problem"]:
                problems[name] = note["problem"]
    damaged = [line for note in notes.values() for line in note["notes"] if " is damaged" in line]
    units: list[Row] = [
        {
            "bucket": bucket,
            "shards": [s for s in images if (bucket, s) not in done],
            "rows": sum(n for s, n in images.items() if (bucket, s) not in done),
            "fragments": sorted(fragments[bucket]),
        }
        for bucket, images in wanted.items()
    ]
    units = sorted((u for u in units if u["shards"]), key=lambda u: (-u["rows"], u["bucket"]))
    total, left = sum(s.images for s in shards), sum(u["rows"] for u in units)

    @shard_task
    def gather_row(row: Row) -> Row:
        files = [(name, problems.get(name, "")) for name in row["fragments"]]
        written = gather(row["bucket"], row["shards"], files, damaged, root, config.ingest)
        return {"rows": row["rows"], "report": written.to_json()}

    with ProgressBar("sort", total, done=total - left) as progress_bar:
        new = run_tasks(
            units,
            lambda ds: ds.map(gather_row, **task_resources(config, "ingest")),
            config,
            progress_bar,
        )
    counts.add(new)
    return counts


def gather(
    bucket: int,
    shards: list[int],
    fragments: list[tuple[str, str]],
    damaged: list[str],
    root: Root,
    config: IngestConfig,
) -> StageCounts:
    """Write some shards of a bucket from its fragments, then delete the fragments.

    There are many fragments, and each holds very little of a shard. Therefore, each fragment is
    read once for as many shards as fit in memory.

    Args:
        bucket: The bucket.
        shards: The shards that were not written when this run began.
        fragments: (file, why its archive cannot be trusted, or ""), in the order of the archives.
        damaged: Notes about damaged archives, which are added to the reason for missing images.
        root: The root.
        config: The options of `ingest`; `buffer_mb` limits what is held in memory.

    Returns:
        The counts of these shards.
    """
    counts = StageCounts()
    todo = []
    for shard in sorted(shards):  # a lost worker, whose task Ray repeats, may have written some
        report = root.stats("images", bucket, shard)
        if report:
            counts.add(StageCounts.from_json(report))
        else:
            todo.append(shard)
    if not todo:
        return counts
    catalog = root.read_table(f"catalog/bucket={bucket}/catalog.parquet")
    files = [(root.dataset(name), problem) for name, problem in fragments]
    size = sum(root.files(f"{STAGING}/fragments/bucket={bucket}").values())
    shard_bytes = size / len(pc.unique(catalog["shard"]))
    at_once = max(int(config.buffer_mb * 1e6 / max(2 * shard_bytes, 1)), 1)  # 2: concat copies
    for i, shard in enumerate(todo):
        if i % at_once == 0:
            held = fragment_rows(files, todo[i : i + at_once])
        of_shard = pc.field("shard") == shard
        expected = catalog.filter(of_shard)
        images, rejects = deduplicate(expected, held.filter(of_shard), damaged)
        part = StageCounts.between(expected, images, rejects)
        ids = held.filter(of_shard)["image_id"]
        part.counters[COPIES] += len(ids) - len(pc.unique(ids))
        root.commit(
            "images", bucket, shard, images, part.to_json(), rejects=rejects, stage="ingest"
        )
        counts.add(part)
    root.delete(f"{STAGING}/fragments/bucket={bucket}")
    return counts


def fragment_rows(files: list[tuple[pads.Dataset, str]], shards: list[int]) -> pa.Table:
    """Read the rows of some shards from fragments, in the order of the fragments."""
    of_shards = pc.field("shard").isin(shards)
    parts = [
        _with_problem(file.to_table(schemas.FRAGMENT.names, filter=of_shards), problem)
        for file, problem in files
    ]
    return pa.concat_tables([schemas.FRAGMENT.empty_table(), *parts]).combine_chunks()


def _with_problem(rows: pa.Table, problem: str) -> pa.Table:
    """Set the reason of all rows to the problem of their archive, if it has one."""
    if not problem:
        return rows
    column = schemas.FRAGMENT.get_field_index("reason")
    return rows.set_column(
        column, schemas.FRAGMENT.field(column), pa.array([problem] * rows.num_rows, pa.string())
    )


def deduplicate(
    expected: pa.Table, rows: pa.Table, damaged: list[str]
) -> tuple[pa.Table, pa.Table]:
    """Choose one copy of each expected image: the first usable one among `rows`.

    A file whose name is exactly that of the image takes precedence over a file with another ending
    or folder. An image without a usable copy is rejected.

    Args:
        expected: Rows of `catalog`.
        rows: Rows of fragments, of the same shard.
        damaged: Notes about damaged archives; three of them are added to the reason for missing
            images.

    Returns:
        Rows of `images` and rows of `rejects`, both sorted by landmark and image.
    """
    order = [("landmark_id", "ascending"), ("image_id", "ascending")]
    columns = (rows[name].to_pylist() for name in ("image_id", "exact", "reason"))
    best: dict[str, tuple[bool, bool, int]] = {}
    for i, (image_id, exact, reason) in enumerate(zip(*columns, strict=True)):
        rank = (not exact, reason is not None, i)
        best[image_id] = min(best.get(image_id, rank), rank)
    ids = rows.select(schemas.REJECTS.names).append_column("row", pa.array(range(len(rows))))
    first = ids.take(pa.array([i for *_, i in best.values()], pa.int64())).sort_by(order)
    good = first.filter(pc.is_null(first["reason"]))["row"].to_pylist()
    # slices copy no photo; `take` and `sort_by` join all of them, which fails above 2 GiB
    images = pa.concat_tables([rows.slice(0, 0), *(rows.slice(row, 1) for row in good)])
    bad = first.filter(pc.is_valid(first["reason"])).select(schemas.REJECTS.names)
    missing = expected.filter(pc.invert(pc.is_in(expected["image_id"], first["image_id"])))
    reason = "missing: in no archive" + "".join(f"; {line}" for line in damaged[:3])
    missing = missing.select(["image_id", "landmark_id"]).append_column(
        "reason", pa.array([reason] * missing.num_rows, pa.string())
    )
    rejects = pa.concat_tables([bad.cast(schemas.REJECTS), missing.cast(schemas.REJECTS)])
    return images.select(schemas.IMAGES.names).cast(schemas.IMAGES), rejects.sort_by(order)
