"""ingest: read each tar once, decode every image, and write the usable ones by landmark.

There are two steps, because the images of a tar belong to any landmark. *Scatter* reads a tar as a
stream and writes its images as fragments, by bucket; a note (`_ledger/archives/….json`) finishes
the tar. *Gather* (`runtime/gathering.py`) reads the fragments of a bucket shard by shard, writes
the shards of `images`, and deletes the fragments.
"""

import hashlib
import pickle
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
from landmark_ray.data.archives import Archive
from landmark_ray.data.file_kinds import printable, text_id
from landmark_ray.data.listing import LeftOut
from landmark_ray.data.photo_ids import PhotoIds
from landmark_ray.data.root import Root
from landmark_ray.data.sources import Source
from landmark_ray.data.tars import Member
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
"""The folder of the notes about finished archives."""

LONGEST_STEM = 200
"""Bytes of an archive's name in the names of files, which have up to 255 with what is added."""

UNLISTED = "photos that the source's list doesn't name"
"""The kind of photos that are left out because no list names them."""


def inputs(config: Config, source: Source) -> dict[str, str]:
    """Return the fingerprint of the source's archives."""
    return {"source archives": source.fingerprint()}


@dataclass(frozen=True)
class CatalogIndex:
    """Landmark and shard of each image of the source: [N] arrays in the order of `ids.keys`.

    The shard is -1 for an image that the source lists and the catalog does not contain.
    """

    ids: PhotoIds
    landmark: np.ndarray
    bucket: np.ndarray
    shard: np.ndarray

    @classmethod
    def read(cls, root: Root, listed: pa.ChunkedArray) -> "CatalogIndex":
        """Read the whole catalog; `listed` are all ids that the source lists.

        Raises:
            UserError: The source no longer lists a photo of the catalog.
        """
        ids = PhotoIds(pc.unique(listed.drop_null()))
        rows = root.dataset("catalog").to_table()
        indices = ids.indices(rows["image_id"])
        if gone := int((indices < 0).sum()):
            first = printable(rows["image_id"][int(np.argmin(indices))].as_py())
            raise UserError(
                f"the list of the source has changed since stage sample: it lacks {gone:,} photos "
                f"that were chosen, such as {first}; put it back, or add --redo sample"
            )
        columns = []
        for name in ("landmark_id", "bucket", "shard"):
            values = rows[name].to_numpy()
            columns.append(np.full(len(ids), -1, values.dtype))
            columns[-1][indices] = values
        return cls(ids, *columns)


def run(config: Config, root: Root, source: Source) -> StageCounts:
    """Write `images` and the rejects.

    Raises:
        UserError: The source's list and its archives have no photo in common.
    """
    archives = source.archives()
    notes = {a.name: _note(root, a.name) for a in archives}
    todo = [a for a in archives if notes[a.name] is None]
    scattered = scatter_all(config, root, source, todo, len(archives))
    notes = {a.name: _note(root, a.name) for a in archives}
    left_out = LeftOut()
    for note in notes.values():
        left_out.update(LeftOut(Counter(note["left_out"]), note["examples"]))
    if not any(note["listed"] for note in notes.values()) and left_out.counts[UNLISTED]:
        raise _nothing_in_common(source, notes)
    counts = gather_all(config, root, notes)
    counts.notes = [line for note in notes.values() for line in note["notes"]]
    counts.counters += left_out.counters()
    counts.task_seconds += scattered.task_seconds
    root.delete(STAGING)
    return counts


def _nothing_in_common(source: Source, notes: dict[str, Any]) -> UserError:
    listed = source.index()[0]["image_id"].drop_null()
    archive, stray = next(
        (name, note["examples"][UNLISTED])
        for name, note in notes.items()
        if UNLISTED in note["examples"]
    )
    shown = printable(archive)
    return UserError(
        f"none of the {len(listed):,} ids of {source.csv} is in the archives: it lists "
        f"{listed[0].as_py()!r}, and {shown} holds {printable(stray)!r}; correct {source.csv}"
    )


def file_stem(archive: str) -> str:
    """Convert the name of an archive to the name of a file, which no other archive has.

    It is readable. A long one, and that of an archive in a subfolder, which may also be that of a
    file with an underscore, ends with a checksum.
    """
    name = text_id(archive)
    stem = name.replace("/", "_").encode()
    if name.count("/") < 2 and len(stem) <= LONGEST_STEM:
        return stem.decode()
    digest = hashlib.blake2b(name.encode(), digest_size=8).hexdigest()
    return f"{stem[: LONGEST_STEM - 17].decode(errors='ignore')}-{digest}"


def _note_name(archive: str) -> str:
    return f"{NOTES}/{file_stem(archive)}.json"


def _note(root: Root, archive: str) -> Any:
    """Read the note about an archive, or None if it was not yet read to its end."""
    note = root.read_json(_note_name(archive))
    return note if note and "left_out" in note else None  # a note of an older version lacks it


def scatter_all(
    config: Config, root: Root, source: Source, todo: list[Archive], count: int
) -> StageCounts:
    """Scatter the archives that no earlier run has finished; `count` is the number of all."""
    with ProgressBar("read", count, done=count - len(todo), unit="archives") as progress_bar:
        if not todo:
            return StageCounts()
        start_ray(config)
        index = ray.put(CatalogIndex.read(root, source.index()[0]["image_id"]))
        todo = sorted(todo, key=lambda a: (-a.size, a.name))

        @shard_task
        def scatter_row(row: Row) -> Row:
            scatter(pickle.loads(row["archive"]), ray.get(index), root, config.ingest)
            return {"rows": 1, "report": StageCounts().to_json()}

        # each task gets its own archive, as an archive of unpacked photos has all their names
        units = [{"archive": pickle.dumps(archive)} for archive in todo]
        return run_tasks(
            units,
            lambda ds: ds.map(scatter_row, **task_resources(config, "ingest")),
            config,
            progress_bar,
        )


def scatter(archive: Archive, index: CatalogIndex, root: Root, config: IngestConfig) -> None:
    """Read an archive as a stream, write its images of the catalog as fragments, then its note."""
    archive = replace(archive, notes=[], left_out=LeftOut())  # a repeated task starts afresh
    buffer: dict[int, list[Row]] = defaultdict(list)
    fragments: list[str] = []
    buffered, spills, listed = 0, 0, 0

    def spill() -> None:
        for bucket, rows in sorted(buffer.items()):
            rows.sort(key=lambda row: (row["shard"], row["landmark_id"], row["image_id"]))
            stem = file_stem(archive.name)
            name = f"{STAGING}/fragments/bucket={bucket}/{stem}-{spills:03d}.parquet"
            table = pa.Table.from_pylist(rows, schemas.FRAGMENT)
            root.write_table(name, table, rows=FRAGMENT_ROWS)
            fragments.append(name)
        buffer.clear()

    def chosen(name: str) -> bool:
        nonlocal listed
        row, _ = index.ids.find(name)
        if row < 0:
            archive.left_out.add(UNLISTED, name)
            return False
        listed += 1
        return bool(index.shard[row] >= 0)

    crash_log = CrashLog(root, "ingest", file_stem(archive.name))
    try:
        for member in archive.members(config.max_megabytes * 1e6, chosen):
            row, exact = index.ids.find(member.name)
            image_id = index.ids[row]
            image = validate_image(replace(member, image_id=image_id), config, crash_log)
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
                crash_log.finish_images()
                spill()
                buffered, spills = 0, spills + 1
        crash_log.finish_images()
        spill()
    except Exception:  # of the source, or of a full disk: no photo is to blame
        crash_log.finish_images()
        raise
    note = {
        "problem": archive.problem,
        "notes": archive.notes,
        "fragments": fragments,
        "listed": listed,
        "left_out": archive.left_out.counts,
        "examples": archive.left_out.examples,
    }
    root.write_json(_note_name(archive.name), note)


def validate_image(member: Member, config: IngestConfig, crash_log: CrashLog) -> Row:
    """Decode an image, and return its stored form or the reason for which it is rejected.

    Args:
        member: The file; `image_id` is the id of the catalog.
        config: The options of `ingest`.
        crash_log: Rejects the images that kill their worker.

    Returns:
        `jpeg`, `width` and `height`, or `reason`.
    """
    if member.problem:
        return {"reason": member.problem}
    if member.size and not member.data:
        limit = f"--ingest.max_megabytes {config.max_megabytes:g}"
        return {"reason": f"too large: a file of {member.size} bytes, more than {limit}"}
    try:
        crash_log.start_image(member.image_id)
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
