"""A few photos of a source as a source of its own, to calibrate on."""

import hashlib
import io
import tarfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from landmark_ray.data.photo_ids import PhotoIds
from landmark_ray.data.sources import Source
from landmark_ray.data.tars import Member
from landmark_ray.errors import UserError
from landmark_ray.kernels.sampling import rank_key
from landmark_ray.plan.workload import Counts
from landmark_ray.runtime.progress import ProgressBar

TAR_PHOTOS = 48
"""Photos of a tar of the sample: all cores of most machines have some to read."""


@dataclass(frozen=True)
class Sample:
    """What was copied.

    Attributes:
        photos: of them.
        whole: whether its landmarks are those of the source, with all their photos.
        read_s: seconds a byte that reading took; 0 where the source is local.
    """

    photos: int
    whole: bool
    read_s: float


def copy(
    source: Source, catalog: pa.Table, folders: dict[Path, int], most_bytes: float, seed: int
) -> dict[Path, Sample]:
    """Copy some photos of a source into folders, each a source.

    Args:
        source: the dataset.
        catalog: of what a run reads of it.
        folders: each one's number of photos, about.
        most_bytes: of all tars, that are read to have whole landmarks. Of more the beginning is
            read, and its photos are filed under landmarks of the sizes that the catalog's have.
        seed: of the choice.

    Raises:
        UserError: none of the photos is there.
    """
    classes = catalog.group_by("landmark_id").aggregate([([], "count_all")])
    order = np.argsort(rank_key(classes["landmark_id"].cast(pa.string()).to_numpy(), seed))
    ids, sizes = (classes[name].to_numpy()[order] for name in ("landmark_id", "count_all"))
    whole = not source.csv or sum(a.size for a in source.archives()) <= most_bytes
    most = max(folders.values())
    chosen = ids[choose(sizes, most)]
    rows = catalog.filter(pa.compute.is_in(catalog["landmark_id"], pa.array(chosen)))
    wanted = dict(
        zip(
            *((rows if whole else catalog)[n].to_pylist() for n in ("image_id", "landmark_id")),
            strict=True,
        )
    )
    writers = {}
    for folder, photos in folders.items():
        places = choose(sizes, photos)
        limit = set(ids[places].tolist()) if whole else np.repeat(ids[places], sizes[places])
        writers[folder] = Writer(folder, bool(source.csv), limit)
    count = len(wanted) if whole else int(sizes[choose(sizes, most)].sum())
    begun, read = time.monotonic(), 0
    with ProgressBar("copy", count, unit="photos") as meter:
        for member in members(source, wanted):
            read += member.size
            taken = [w.take(member, wanted[member.image_id]) for w in writers.values()]
            meter.add(any(taken))
            if meter.done >= count:
                break
    seconds = time.monotonic() - begun
    if not meter.done:
        raise UserError(f"{source.folder.uri} has no photo of those that its list names")
    for writer in writers.values():
        writer.close()
    rate = 0.0 if source.folder.local else seconds / max(read, 1)
    return {f: Sample(w.photos, whole, rate) for f, w in writers.items()}


def choose(sizes: Counts, photos: int) -> Counts:
    """Classes in order, those that find room among so many photos; the smallest, if none does."""
    chosen, room = [], photos
    for place, size in enumerate(sizes.tolist()):
        if size <= room:
            chosen.append(place)
            room -= size
    return np.array(chosen or [int(sizes.argmin())])


def members(source: Source, wanted: dict[str, int]) -> Iterator[Member]:
    """The wanted photos, in the order in which they lie; of class folders no others are read."""
    ids = PhotoIds(pa.array(list(wanted), pa.string()), loose=bool(source.csv))
    for archive in source.archives():
        for member in ids.renamed(archive, 64e6):
            if member.data or not member.size:
                yield member


class Writer:
    """A source that is being written."""

    def __init__(self, folder: Path, tars: bool, limit: "set[int] | Counts") -> None:
        """In GLDv2's layout, or class folders.

        Args:
            folder: for it; must not exist.
            tars: GLDv2's layout.
            limit: the landmarks that are wanted; or one for each photo, whichever come.
        """
        self.folder, self.tars, self.limit = folder, tars, limit
        self.photos = 0
        self.lines = ["id,url,landmark_id"]
        self.members: list[tuple[str, bytes]] = []
        for name in ("train", "md5sum/train") if tars else ("",):
            (folder / name).mkdir(parents=True)

    def take(self, member: Member, landmark: int) -> bool:
        """Write a photo, if it is wanted."""
        if isinstance(self.limit, set):
            if landmark not in self.limit:
                return False
        elif self.photos == len(self.limit):
            return False
        else:
            landmark = int(self.limit[self.photos])
        self.photos += 1
        if not self.tars:
            path = self.folder / member.image_id
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(member.data)
            return True
        self.lines.append(f"{member.image_id},,{landmark}")
        self.members.append((member.image_id, member.data))
        if len(self.members) == TAR_PHOTOS:
            self._tar()
        return True

    def _tar(self) -> None:
        number = len(list((self.folder / "train").iterdir()))
        path = self.folder / f"train/images_{number:03d}.tar"
        with tarfile.open(path, "w") as tar:
            for image_id, data in self.members:
                info = tarfile.TarInfo(f"{'/'.join(image_id[:3])}/{image_id}.jpg")
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
        md5 = hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
        (self.folder / f"md5sum/train/md5.{path.stem}.txt").write_text(f"{md5}  {path.name}\n")
        self.members.clear()

    def close(self) -> None:
        """Write what is left."""
        if self.tars:
            if self.members:
                self._tar()
            (self.folder / "train.csv").write_text("\n".join(self.lines) + "\n")
