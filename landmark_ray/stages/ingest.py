"""ingest: read each tar once, prove every image, and write the usable ones by landmark.

Two steps, since a tar's images belong to any landmark. *Scatter* streams a tar and writes what it
holds of each bucket as fragments; a note (`_ledger/archives/…json`) finishes the tar. *Gather*
reads a bucket's fragments shard by shard, writes the shards of `images`, and deletes them.
"""

from collections import Counter, defaultdict
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import ray

from landmark_ray.config import Config
from landmark_ray.config.curation import IngestConfig
from landmark_ray.data import schemas
from landmark_ray.data.file_kinds import printable, text_id
from landmark_ray.data.listing import LeftOut
from landmark_ray.data.photo_ids import PhotoIds
from landmark_ray.data.root import Root
from landmark_ray.data.sources import Archive, Member, Source
from landmark_ray.errors import UserError
from landmark_ray.kernels.image import ImageError, normalise
from landmark_ray.runtime.counts import StageCounts
from landmark_ray.runtime.crash_log import CrashLog
from landmark_ray.runtime.gathering import FRAGMENT_ROWS, STAGING, gather_all
from landmark_ray.runtime.progress import ProgressBar
from landmark_ray.runtime.ray_start import start_ray
from landmark_ray.runtime.resources import task_resources
from landmark_ray.runtime.stage import Stage
from landmark_ray.runtime.tasks import Row, run_tasks, shard_task

NOTES = "_ledger/archives"
UNLISTED = "photos that the source's list doesn't name"


def inputs(config: Config, source: Source) -> dict[str, str]:
    """What the stage reads besides other stages' tables."""
    return {"source archives": source.fingerprint()}


@dataclass(frozen=True)
class CatalogIndex:
    """Where each image of the source belongs; [N] arrays in the order of `ids.keys`.

    A shard of -1 has what the source lists and the catalog hasn't: it is no stray file.
    """

    ids: PhotoIds
    landmark: np.ndarray
    bucket: np.ndarray
    shard: np.ndarray

    @classmethod
    def read(cls, tables: Root, listed: pa.ChunkedArray) -> "CatalogIndex":
        """The whole catalog, among all ids that the source lists."""
        ids = PhotoIds(pc.unique(listed.drop_null()))
        rows = tables.dataset("catalog").to_table()
        places = ids.indices(rows["image_id"])
        columns = []
        for name in ("landmark_id", "bucket", "shard"):
            values = rows[name].to_numpy()
            columns.append(np.full(len(ids), -1, values.dtype))
            columns[-1][places] = values
        return cls(ids, *columns)


def run(config: Config, tables: Root, source: Source) -> StageCounts:
    """Write `images` and the rejects.

    Raises:
        UserError: the source's list and its archives have no photo in common.
    """
    archives = source.archives()
    notes = {a.name: _note(tables, a.name) for a in archives}
    todo = [a for a in archives if notes[a.name] is None]
    scatter_all(config, tables, source, todo, len(archives))
    notes = {a.name: _note(tables, a.name) for a in archives}
    left_out = LeftOut()
    for note in notes.values():
        left_out.update(LeftOut(Counter(note["left_out"]), note["examples"]))
    if not any(note["listed"] for note in notes.values()) and left_out.counts[UNLISTED]:
        raise _nothing_in_common(source, notes)
    funnel = gather_all(config, tables, notes)
    funnel.notes = [line for note in notes.values() for line in note["notes"]]
    funnel.facts += left_out.counters()
    tables.delete(STAGING)
    return funnel


def _nothing_in_common(source: Source, notes: dict[str, Any]) -> UserError:
    listed = source.index()[0]["image_id"].drop_null()
    archive, stray = next(
        (name, note["examples"][UNLISTED])
        for name, note in notes.items()
        if UNLISTED in note["examples"]
    )
    shown = printable(archive)
    return UserError(
        f"none of the {len(listed):,} ids of {source.csv} is in the archives: it has "
        f"{listed[0].as_py()!r}, and {shown} has {printable(stray)!r}; mend {source.csv}"
    )


def _plain(archive: str) -> str:
    """An archive's name as that of a file."""
    return text_id(archive).replace("/", "_")


def _note_name(archive: str) -> str:
    return f"{NOTES}/{_plain(archive)}.json"


def _note(tables: Root, archive: str) -> Any:
    """What is known of an archive that was read to its end, or None."""
    note = tables.read_json(_note_name(archive))
    return note if note and "left_out" in note else None  # an older version's lacks something


def scatter_all(
    config: Config, tables: Root, source: Source, todo: list[Archive], count: int
) -> None:
    """Scatter the archives that no earlier run has finished."""
    with ProgressBar("read", count, done=count - len(todo), unit="archives") as meter:
        if not todo:
            return
        start_ray(config)
        index = ray.put(CatalogIndex.read(tables, source.index()[0]["image_id"]))
        todo = sorted(todo, key=lambda a: (-a.size, a.name))

        @shard_task
        def scatter_row(row: Row) -> Row:
            scatter(todo[row["archive"]], ray.get(index), tables, config.ingest)
            return {"rows": 1, "report": StageCounts().to_json()}

        units = [{"archive": number} for number in range(len(todo))]
        run_tasks(
            units, lambda ds: ds.map(scatter_row, **task_resources(config, "ingest")), config, meter
        )


def scatter(archive: Archive, index: CatalogIndex, tables: Root, config: IngestConfig) -> None:
    """Stream an archive; write its images of the catalog as fragments, then its note."""
    archive = replace(archive, notes=[], left_out=LeftOut())  # of a task that is tried again
    buffer: dict[int, list[Row]] = defaultdict(list)
    fragments: list[str] = []
    buffered, spills, listed = 0, 0, 0

    def spill() -> None:
        for bucket, rows in sorted(buffer.items()):
            rows.sort(key=lambda row: (row["shard"], row["landmark_id"], row["image_id"]))
            stem = _plain(archive.name)
            name = f"{STAGING}/fragments/bucket={bucket}/{stem}-{spills:03d}.parquet"
            table = pa.Table.from_pylist(rows, schemas.FRAGMENT)
            tables.write_table(name, table, rows=FRAGMENT_ROWS)
            fragments.append(name)
        buffer.clear()

    def chosen(name: str) -> bool:
        nonlocal listed
        place, _ = index.ids.find(name)
        if place < 0:
            archive.left_out.add(UNLISTED, name)
            return False
        listed += 1
        return bool(index.shard[place] >= 0)

    attempts = CrashLog(tables, "ingest", _plain(archive.name))
    for member in archive.members(config.max_megabytes * 1e6, chosen):
        row, exact = index.ids.find(member.name)
        image_id = index.ids[row]
        image = prove(replace(member, image_id=image_id), config, attempts)
        buffer[int(index.bucket[row])].append(
            {
                "image_id": image_id,
                "landmark_id": int(index.landmark[row]),
                "shard": int(index.shard[row]),
                "exact": exact,
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
        "listed": listed,
        "left_out": archive.left_out.counts,
        "examples": archive.left_out.examples,
    }
    tables.write_json(_note_name(archive.name), note)


def prove(member: Member, config: IngestConfig, attempts: CrashLog) -> Row:
    """The stored form of an image, or the reason why it can't be used."""
    if member.problem:
        return {"reason": member.problem}
    if member.size and not member.data:
        most = f"--ingest.max_megabytes {config.max_megabytes:g}"
        return {"reason": f"too large: a file of {member.size} bytes, more than {most}"}
    try:
        attempts.at(member.image_id)
        photo = normalise(member.data, config.limits)
    except ImageError as error:
        return {"reason": str(error)}
    return {"jpeg": photo.jpeg, "width": photo.width, "height": photo.height}


STAGE = Stage(
    "ingest",
    reads=("catalog",),
    writes=("images", "rejects/stage=ingest"),
    run=run,
    scratch=(STAGING, NOTES),
    inputs=inputs,
)
