"""Small sources for trial runs, made of the photos of a large one."""

import hashlib
import itertools
import tarfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from landmark_ray.cost.volumes import Counts
from landmark_ray.data.photo_ids import PhotoIds
from landmark_ray.data.sources import Source
from landmark_ray.errors import UserError
from landmark_ray.kernels.sampling import rank_key
from landmark_ray.runtime.progress import ProgressBar

MAX_BYTES = 64e6
"""Larger photos are not copied."""

TAR_PHOTOS = 48
"""Photos of a tar: few, so that all cores of most machines have a tar to read."""


@dataclass(frozen=True)
class Sample:
    """A small source in GLDv2's layout."""

    folder: Path
    photos: int
    whole: bool  # whether its landmarks are those of the large source, with all their photos
    read_s: float  # seconds that reading the large source took for each byte; 0 if it is local


def draw_samples(
    source: Source, catalog: pa.Table, folder: Path, sizes: Sequence[int], whole: bool, seed: int
) -> list[Sample]:
    """Copy some photos of a source and make small sources of them.

    Args:
        source: the dataset.
        catalog: the photos that a run would read.
        folder: for the samples.
        sizes: photos of each sample, at most, unless all landmarks have more.
        whole: look for all photos of some landmarks, in all archives. Otherwise the first photos
            are taken and dealt to landmarks of the same sizes, whatever they show.
        seed: decides which landmarks are chosen.

    Raises:
        UserError: none of the photos is there.
    """
    landmarks = catalog["landmark_id"].to_pandas().value_counts(sort=False)
    landmarks = landmarks.iloc[np.argsort(rank_key(landmarks.index.astype(str), seed))]
    chosen = fitting(landmarks, max(sizes))
    if whole:
        catalog = catalog.filter(pc.is_in(catalog["landmark_id"], pa.array(chosen.index)))
    begun, wanted = time.monotonic(), int(chosen.sum())
    ids, size = copy_photos(source, catalog["image_id"], folder, wanted)
    read_s = 0.0 if source.folder.local else (time.monotonic() - begun) / max(size, 1)
    if whole:
        rows = catalog.select(["image_id", "landmark_id"]).to_pandas().set_index("image_id")
        labels = rows["landmark_id"][ids].to_numpy()
    else:
        labels = np.repeat(chosen.index.to_numpy(), chosen)[: len(ids)]
    samples: list[Sample] = []
    for photos in sizes:
        taken = np.flatnonzero(np.isin(labels, fitting(chosen, photos).index))
        target = folder / f"source-{len(samples)}"
        write_source(target, [folder / str(i) for i in taken], labels[taken])
        samples.append(Sample(target, len(taken), whole, read_s))
    return samples


def fitting(landmarks: "pd.Series[int]", photos: int) -> "pd.Series[int]":
    """Those landmarks that, in order, fit into a number of photos; at least the smallest one.

    Args:
        landmarks: photos of each landmark, by its id.
        photos: in all.
    """
    chosen, room = [], photos
    for size in landmarks:
        chosen.append(size <= room)
        room -= size * (size <= room)
    return landmarks[chosen] if any(chosen) else landmarks.nsmallest(1)


def copy_photos(
    source: Source, ids: pa.ChunkedArray, folder: Path, most: int
) -> tuple[list[str], int]:
    """Copy the first photos whose ids are wanted to files 0, 1, ...; their ids, bytes in all."""
    wanted = PhotoIds(ids.cast(pa.string()), loose=bool(source.csv))
    members = (m for archive in source.archives() for m in wanted.renamed(archive, MAX_BYTES))
    found: list[str] = []
    size = 0
    with ProgressBar("copy", most, unit="photos") as progress_bar:
        for member in itertools.islice((m for m in members if m.data or not m.size), most):
            (folder / str(len(found))).write_bytes(member.data)
            found.append(member.image_id)
            size += member.size
            progress_bar.add(1)
    if not found:
        raise UserError(f"{source.folder.uri} has no photo of those that its list names")
    return found, size


def write_source(folder: Path, photos: Sequence[Path], landmarks: Counts) -> None:
    """Write photos in GLDv2's layout: train.csv, tars and their md5."""
    for name in ("train", "md5sum/train"):
        (folder / name).mkdir(parents=True)
    ids = [f"{number:016x}" for number in range(len(photos))]
    for start in range(0, len(photos), TAR_PHOTOS):
        name = f"images_{start // TAR_PHOTOS:03d}"
        path, chunk = folder / f"train/{name}.tar", slice(start, start + TAR_PHOTOS)
        with tarfile.open(path, "w") as tar:
            for image_id, photo in zip(ids[chunk], photos[chunk], strict=True):
                tar.add(photo, f"{'/'.join(image_id[:3])}/{image_id}.jpg")
        digest = hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
        (folder / f"md5sum/train/md5.{name}.txt").write_text(f"{digest}  {path.name}\n")
    listed = pd.DataFrame({"id": ids, "url": "", "landmark_id": landmarks})
    listed.to_csv(folder / "train.csv", index=False)
