"""ingest: read each tar once, prove every image, and write the usable ones by landmark.

Two steps, since a tar's images belong to any landmark. *Scatter* streams a tar and writes what it
holds of each bucket as fragments; a note (`_ledger/archives/…json`) finishes the tar. *Gather*
reads a bucket's fragments shard by shard, writes the shards of `images`, and deletes them.
"""

from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as pads
import ray

from landmark_ray import schemas
from landmark_ray.config import Config, IngestConfig
from landmark_ray.funnel import Funnel, reason_kind
from landmark_ray.kernels.image import ImageError, normalise
from landmark_ray.progress import Meter
from landmark_ray.sources import Archive, Member, Source
from landmark_ray.stages.attempts import Attempts
from landmark_ray.stages.cores import needs
from landmark_ray.stages.shards import Row, drive, start_ray, unit_of_work
from landmark_ray.storage import Tables

READS = ("sample",)
WRITES = ("images", "rejects/stage=ingest")
STAGING = "_staging/ingest"
NOTES = "_ledger/archives"
SCRATCH = (STAGING, NOTES)
FRAGMENT_ROWS = 8
"""Images a row group: what is read at least of a fragment, for one shard."""


def inputs(config: Config, source: Source) -> dict[str, str]:
    """What the stage reads besides other stages' tables."""
    return {"source archives": source.fingerprint()}


@dataclass(frozen=True)
class CatalogIndex:
    """Where each image of the catalog belongs; [N] arrays sorted by id."""

    ids: np.ndarray
    landmark: np.ndarray
    bucket: np.ndarray
    shard: np.ndarray

    @classmethod
    def read(cls, tables: Tables) -> "CatalogIndex":
        """The whole catalog."""
        rows = tables.dataset("catalog").to_table()
        names = rows["image_id"].cast(pa.binary()).chunks  # one by one: few are Python objects
        parts = [np.array(chunk.to_pylist(), bytes) for chunk in names]
        ids = np.concatenate([np.array([], bytes), *parts])
        order = np.argsort(ids)
        columns = (rows[name].to_numpy()[order] for name in ("landmark_id", "bucket", "shard"))
        return cls(ids[order], *columns)

    def find(self, image_id: str) -> int:
        """Row of an image, or -1."""
        key = image_id.encode()
        row = int(np.searchsorted(self.ids, key))
        return row if row < len(self.ids) and self.ids[row] == key else -1


def run(config: Config, tables: Tables, source: Source) -> Funnel:
    """Write `images` and the rejects."""
    archives = source.archives()
    notes = {a.name: tables.read_json(_note(a.name)) for a in archives}
    scatter_all(config, tables, [a for a in archives if notes[a.name] is None], len(archives))
    notes = {a.name: tables.read_json(_note(a.name)) for a in archives}
    funnel = gather_all(config, tables, notes)
    funnel.notes = [line for note in notes.values() for line in note["notes"]]
    tables.delete(STAGING)
    return funnel


def _note(archive: str) -> str:
    return f"{NOTES}/{archive.replace('/', '_')}.json"


def scatter_all(config: Config, tables: Tables, todo: list[Archive], count: int) -> None:
    """Scatter the archives that no earlier run has finished."""
    with Meter("read", count, done=count - len(todo), unit="archives") as meter:
        if not todo:
            return
        start_ray(config)
        index = ray.put(CatalogIndex.read(tables))
        todo = sorted(todo, key=lambda a: (-a.size, a.name))
        by_name = {a.name: a for a in todo}

        @unit_of_work
        def scatter_row(row: Row) -> Row:
            scatter(by_name[row["archive"]], ray.get(index), tables, config.ingest)
            return {"rows": 1, "report": Funnel().to_json()}

        units = [{"archive": a.name} for a in todo]
        drive(units, lambda ds: ds.map(scatter_row, **needs(config, "ingest")), config, meter)


def scatter(archive: Archive, index: CatalogIndex, tables: Tables, config: IngestConfig) -> None:
    """Stream an archive; write its images of the catalog as fragments, then its note."""
    buffer: dict[int, list[Row]] = defaultdict(list)
    fragments: list[str] = []
    buffered, spills, read = 0, 0, 0

    def spill() -> None:
        for bucket, rows in sorted(buffer.items()):
            rows.sort(key=lambda row: (row["shard"], row["landmark_id"], row["image_id"]))
            stem = archive.name.replace("/", "_")
            name = f"{STAGING}/fragments/bucket={bucket}/{stem}-{spills:03d}.parquet"
            table = pa.Table.from_pylist(rows, schemas.FRAGMENT)
            tables.write_table(name, table, rows=FRAGMENT_ROWS)
            fragments.append(name)
        buffer.clear()

    attempts = Attempts(tables, "ingest", archive.name.replace("/", "_"))
    for member in archive.members(config.max_megabytes * 1e6):
        row = index.find(member.image_id)
        if row < 0:
            continue
        read += 1
        image = prove(member, config, attempts)
        buffer[int(index.bucket[row])].append(
            {
                "image_id": member.image_id,
                "landmark_id": int(index.landmark[row]),
                "shard": int(index.shard[row]),
                **image,
            }
        )
        buffered += len(image.get("jpeg", b""))
        if buffered > config.buffer_mb * 1e6:
            spill()
            buffered, spills = 0, spills + 1
    attempts.done()
    spill()
    note = {
        "problem": archive.problem,
        "notes": archive.notes,
        "fragments": fragments,
        "read": read,
    }
    tables.write_json(_note(archive.name), note)


def prove(member: Member, config: IngestConfig, attempts: Attempts) -> Row:
    """The stored form of an image, or the reason why it can't be used."""
    if member.size and not member.data:
        most = f"--ingest.max_megabytes {config.max_megabytes:g}"
        return {"reason": f"too large: a file of {member.size} bytes, more than {most}"}
    try:
        attempts.at(member.image_id)
        photo = normalise(member.data, config.limits)
    except ImageError as error:
        return {"reason": str(error)}
    return {"jpeg": photo.jpeg, "width": photo.width, "height": photo.height}


def gather_all(config: Config, tables: Tables, notes: dict[str, Any]) -> Funnel:
    """Make the shards of every bucket, and add up their reports."""
    shards = tables.shards()
    wanted: dict[int, dict[int, int]] = defaultdict(dict)
    for s in shards:
        wanted[s.bucket][s.shard] = s.images
    done = tables.committed("images")
    funnel = Funnel.total(done.values())
    fragments: dict[int, list[str]] = defaultdict(list)
    problems: dict[str, str] = {}
    for note in notes.values():
        for name in note["fragments"]:
            bucket = int(name.rpartition("/")[0].rpartition("=")[2])
            fragments[bucket].append(name)
            if note["problem"]:
                problems[name] = note["problem"]
    damaged = [line for note in notes.values() for line in note["notes"] if " is damaged" in line]
    units = [
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

    @unit_of_work
    def gather_row(row: Row) -> Row:
        files = [(name, problems.get(name, "")) for name in row["fragments"]]
        found = gather(row["bucket"], row["shards"], files, damaged, tables, config.ingest)
        return {"rows": row["rows"], "report": found.to_json()}

    with Meter("sort", total, done=total - left) as meter:
        new = drive(units, lambda ds: ds.map(gather_row, **needs(config, "ingest")), config, meter)
    funnel.add(new)
    return funnel


def gather(
    bucket: int,
    shards: list[int],
    fragments: list[tuple[str, str]],
    damaged: list[str],
    tables: Tables,
    config: IngestConfig,
) -> Funnel:
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
    funnel = Funnel()
    todo = []
    for shard in sorted(shards):  # Ray repeats the task of a lost worker: its shards stay
        report = tables.report("images", bucket, shard)
        if report:
            funnel.add(Funnel.from_json(report))
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
        images, rejects = settle(expected, held.filter(here), damaged)
        part = Funnel(
            expected.num_rows,
            images.num_rows,
            len(pc.unique(expected["landmark_id"])),
            len(pc.unique(images["landmark_id"])),
        )
        part.why.update(reason_kind(r) for r in rejects["reason"].to_pylist())
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


def settle(expected: pa.Table, rows: pa.Table, damaged: list[str]) -> tuple[pa.Table, pa.Table]:
    """Each expected image once: the first usable copy among `rows`, else a reason.

    Returns:
        rows of `images` and rows of `rejects`, sorted.
    """
    order = [("landmark_id", "ascending"), ("image_id", "ascending")]
    ids, reasons = rows["image_id"].to_pylist(), rows["reason"].to_pylist()
    first: dict[str, int] = {}
    for i, image_id in enumerate(ids):
        best = first.setdefault(image_id, i)
        if reasons[best] is not None and reasons[i] is None:
            first[image_id] = i
    rows = rows.take(pa.array(sorted(first.values()), pa.int64()))
    images = rows.filter(pc.is_null(rows["reason"])).select(schemas.IMAGES.names)
    bad = rows.filter(pc.is_valid(rows["reason"])).select(schemas.REJECTS.names)
    lost = expected.filter(pc.invert(pc.is_in(expected["image_id"], rows["image_id"])))
    why = "missing: in no archive" + "".join(f"; {line}" for line in damaged[:3])
    lost = lost.select(["image_id", "landmark_id"]).append_column(
        "reason", pa.array([why] * lost.num_rows, pa.string())
    )
    rejects = pa.concat_tables([bad.cast(schemas.REJECTS), lost.cast(schemas.REJECTS)])
    return images.cast(schemas.IMAGES).sort_by(order), rejects.sort_by(order)
