"""The second step of `ingest`: a bucket's fragments, read shard by shard, become `images`."""

from collections import defaultdict
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as pads

from landmark_ray.config import Config
from landmark_ray.config.curation import IngestConfig
from landmark_ray.data import schemas
from landmark_ray.data.root import Root
from landmark_ray.runtime.counts import StageCounts, reason_kind
from landmark_ray.runtime.progress import ProgressBar
from landmark_ray.runtime.resources import task_resources
from landmark_ray.runtime.tasks import Row, run_tasks, shard_task

STAGING = "_staging/ingest"
FRAGMENT_ROWS = 8
"""Images a row group: what is read at least of a fragment, for one shard."""

COPIES = "further files of a photo, not used"


def gather_all(config: Config, tables: Root, notes: dict[str, Any]) -> StageCounts:
    """Make the shards of every bucket, and add up their reports."""
    shards = tables.shards()
    wanted: dict[int, dict[int, int]] = defaultdict(dict)
    for s in shards:
        wanted[s.bucket][s.shard] = s.images
    done = tables.committed("images")
    funnel = StageCounts.total(done.values())
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
        found = gather(row["bucket"], row["shards"], files, damaged, tables, config.ingest)
        return {"rows": row["rows"], "report": found.to_json()}

    with ProgressBar("sort", total, done=total - left) as meter:
        new = run_tasks(
            units, lambda ds: ds.map(gather_row, **task_resources(config, "ingest")), config, meter
        )
    funnel.add(new)
    return funnel


def gather(
    bucket: int,
    shards: list[int],
    fragments: list[tuple[str, str]],
    damaged: list[str],
    tables: Root,
    config: IngestConfig,
) -> StageCounts:
    """Write some shards of a bucket from its fragments, then delete those.

    A fragment holds next to nothing of a shard, and there are many, so each is read once for as
    many shards as fit in memory.

    Args:
        bucket: which.
        shards: the ones that aren't there yet.
        fragments: (file, why nothing in it can be trusted or empty), in the archives' order.
        damaged: what is known of damaged archives, for images that weren't found.
        tables: the root.
        config: how much is held in memory.
    """
    funnel = StageCounts()
    todo = []
    for shard in sorted(shards):  # Ray repeats the task of a lost worker: its shards stay
        report = tables.stats("images", bucket, shard)
        if report:
            funnel.add(StageCounts.from_json(report))
        else:
            todo.append(shard)
    if not todo:
        return funnel
    catalog = tables.read_table(f"catalog/bucket={bucket}/catalog.parquet")
    files = [(tables.dataset(name), problem) for name, problem in fragments]
    size = sum(tables.files(f"{STAGING}/fragments/bucket={bucket}").values())
    each = size / len(pc.unique(catalog["shard"]))
    most = max(int(config.buffer_mb * 1e6 / max(2 * each, 1)), 1)  # twice while it is put together
    for i, shard in enumerate(todo):
        if i % most == 0:
            held = fragment_rows(files, todo[i : i + most])
        here = pc.field("shard") == shard
        expected = catalog.filter(here)
        images, rejects = deduplicate(expected, held.filter(here), damaged)
        part = StageCounts(
            expected.num_rows,
            images.num_rows,
            len(pc.unique(expected["landmark_id"])),
            len(pc.unique(images["landmark_id"])),
        )
        part.why.update(reason_kind(r) for r in rejects["reason"].to_pylist())
        found = held.filter(here)["image_id"]
        part.facts[COPIES] += len(found) - len(pc.unique(found))
        tables.commit(
            "images", bucket, shard, images, part.to_json(), rejects=rejects, stage="ingest"
        )
        funnel.add(part)
    tables.delete(f"{STAGING}/fragments/bucket={bucket}")
    return funnel


def fragment_rows(files: list[tuple[pads.Dataset, str]], shards: list[int]) -> pa.Table:
    """What fragments hold of some shards, in order."""
    here = pc.field("shard").isin(shards)
    parts = [
        _with_problem(file.to_table(schemas.FRAGMENT.names, filter=here), problem)
        for file, problem in files
    ]
    return pa.concat_tables([schemas.FRAGMENT.empty_table(), *parts]).combine_chunks()


def _with_problem(rows: pa.Table, problem: str) -> pa.Table:
    """Reject all rows where nothing of their archive can be trusted."""
    if not problem:
        return rows
    column = schemas.FRAGMENT.get_field_index("reason")
    return rows.set_column(
        column, schemas.FRAGMENT.field(column), pa.array([problem] * rows.num_rows, pa.string())
    )


def deduplicate(
    expected: pa.Table, rows: pa.Table, damaged: list[str]
) -> tuple[pa.Table, pa.Table]:
    """Each expected image once: the first usable copy among `rows`, else a reason.

    A file that is called just like the image comes before one with another ending or folder.

    Returns:
        rows of `images` and rows of `rejects`, sorted.
    """
    order = [("landmark_id", "ascending"), ("image_id", "ascending")]
    columns = (rows[name].to_pylist() for name in ("image_id", "exact", "reason"))
    best: dict[str, tuple[bool, bool, int]] = {}
    for i, (image_id, exact, reason) in enumerate(zip(*columns, strict=True)):
        this = (not exact, reason is not None, i)
        best[image_id] = min(best.get(image_id, this), this)
    first = sorted(i for *_, i in best.values())
    rows = rows.take(pa.array(first, pa.int64()))
    images = rows.filter(pc.is_null(rows["reason"])).select(schemas.IMAGES.names)
    bad = rows.filter(pc.is_valid(rows["reason"])).select(schemas.REJECTS.names)
    lost = expected.filter(pc.invert(pc.is_in(expected["image_id"], rows["image_id"])))
    why = "missing: in no archive" + "".join(f"; {line}" for line in damaged[:3])
    lost = lost.select(["image_id", "landmark_id"]).append_column(
        "reason", pa.array([why] * lost.num_rows, pa.string())
    )
    rejects = pa.concat_tables([bad.cast(schemas.REJECTS), lost.cast(schemas.REJECTS)])
    return images.cast(schemas.IMAGES).sort_by(order), rejects.sort_by(order)
