"""The index of photos in a folder, which is a bundle or a root's `models`.

index/mean.npy, projection.npy   the whitening of the trunk's vectors
index/vectors.npy                whitened vectors of the photos, and of photos of no landmark
index/lists.npy, centres.npy     how a large index is divided
index/photos.parquet             image, landmark and duplicates of each vector
index/index.json                 which trunk computed the vectors; written last
"""

import dataclasses
import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from landmark_ray.bundle.network_files import TRUNK, read_object
from landmark_ray.data import schemas
from landmark_ray.data.store import Store
from landmark_ray.errors import UserError
from landmark_ray.kernels.fusion import STRANGERS, Candidates, Fusion
from landmark_ray.kernels.landmark_similarity import (
    sums_by_landmark,
    to_nearest_photos,
    without_photos,
)
from landmark_ray.kernels.metrics import NO_LANDMARK
from landmark_ray.kernels.photo_index import IndexArrays, PhotoIndex, nearest_lists
from landmark_ray.kernels.topk import TopK
from landmark_ray.kernels.whitening import Whitening, unit_length

INDEX, FUSION = "index", "index/fusion.json"
STRANGER = "landmark"
"""Begins the name of the cluster of a landmark that no model learns; its id follows."""

NEIGHBOURS = 64
"""Number of nearest photos whose landmarks are considered."""

BEST_MEANS = 10
"""Number of landmarks that are considered because their mean is nearest."""

_ARRAYS = ("mean", "projection", "vectors", "lists", "centres")
FILES = (*(f"{name}.npy" for name in _ARRAYS), "photos.parquet", "index.json")
"""All files of an index; the last one is written last."""


@dataclass(frozen=True)
class IndexInfo:
    """What an index holds.

    Attributes:
        trunk: Name of the trunk that computed its vectors.
        trunk_sha256: Checksum of this trunk's weights.
        features: Length of this trunk's vectors.
        photos: Number of photos of landmarks.
        strangers: Number of photos of no landmark.
    """

    trunk: str
    trunk_sha256: str
    features: int
    photos: int
    strangers: int


def trunk_checksum(folder: Store, trunk: str = TRUNK) -> str:
    """Return the checksum of a trunk's weights."""
    return hashlib.sha256(folder.read(f"{trunk}/network.weights.h5")).hexdigest()


def write_index(
    folder: Store, whitening: Whitening, arrays: IndexArrays, photos: pa.Table, info: IndexInfo
) -> None:
    """Write an index; once its JSON file is there, it is finished."""
    named: dict[str, NDArray[Any]] = {
        "mean": whitening.mean,
        "projection": whitening.projection,
        "vectors": arrays.vectors,
        "lists": arrays.lists,
        "centres": arrays.centres,
    }
    for name in _ARRAYS:
        data = io.BytesIO()
        np.save(data, named[name], allow_pickle=False)
        folder.write(f"{INDEX}/{name}.npy", data.getbuffer())
    folder.write_table(f"{INDEX}/photos.parquet", photos.cast(schemas.INDEXED))
    folder.write_json(f"{INDEX}/index.json", dataclasses.asdict(info))


def index_info(folder: Store) -> IndexInfo | None:
    """Read what an index is; return None where there is none.

    Raises:
        UserError: The file is damaged.
    """
    return read_object(folder, f"{INDEX}/index.json", IndexInfo)


def write_fusion(folder: Store, fusion: Fusion) -> None:
    """Write the coefficients of a fusion into a bundle."""
    folder.write_json(FUSION, dataclasses.asdict(fusion))


def read_fusion(folder: Store) -> Fusion | None:
    """Read the fusion of a bundle; return None where there is none.

    Raises:
        UserError: The file is damaged.
    """
    return read_object(folder, FUSION, Fusion)


class LandmarkIndex:
    """Says how similar a photo is to the landmarks of an index, from its trunk's vector."""

    def __init__(self, folder: Store, shard: int = 0, shards: int = 1) -> None:
        """Read the index of a folder, and build its search.

        Args:
            folder: The folder.
            shard: Number of the shard, from 0.
            shards: Number of shards; each has the photos of every `shards`-th landmark, and all
                photos of no landmark.

        Raises:
            UserError: There is no index, it is damaged, or another trunk computed its vectors.
        """
        info = index_info(folder)
        if info is None:
            raise UserError(f"{folder.uri}/{INDEX}/index.json is missing: run jobs/index.py first")
        if trunk_checksum(folder, info.trunk) != info.trunk_sha256:
            raise UserError(
                f"{folder.uri}/{INDEX} is the index of another trunk than {folder.uri}/"
                f"{info.trunk}: run jobs/index.py --redo index, and export again"
            )
        self.info = info
        arrays = {name: _read_array(folder, name) for name in _ARRAYS}
        self.photos = folder.read_table(f"{INDEX}/photos.parquet")
        count = self.photos.num_rows
        if not count == len(arrays["vectors"]) == len(arrays["lists"]):
            raise UserError(
                f"{folder.uri}/{INDEX} is damaged: {count:,} photos, but "
                f"{len(arrays['vectors']):,} vectors: run jobs/index.py --redo index"
            )
        if shards > 1:
            landmark = self.photos["landmark_id"].to_numpy()
            rows = np.flatnonzero((landmark % shards == shard) | (landmark == STRANGERS))
            self.photos = self.photos.take(rows)
            arrays |= {name: arrays[name][rows] for name in ("vectors", "lists")}
        self.whiten = Whitening(arrays["mean"], arrays["projection"])
        self._vectors = arrays["vectors"]
        self._search = PhotoIndex(IndexArrays(self._vectors, arrays["lists"], arrays["centres"]))
        self._landmark = self.photos["landmark_id"].to_numpy()
        shown = self._landmark != STRANGERS
        enrolled = self.photos["enrolled"].to_numpy()
        self._enrolled = np.unique(self._landmark[enrolled])
        self.landmarks, self._sums = sums_by_landmark(self._vectors[shown], self._landmark[shown])
        self.means = unit_length(self._sums)

    def candidates(
        self, vectors: NDArray[np.float32], heads: TopK, without: Sequence[str] | None = None
    ) -> Candidates:
        """Join the landmarks that the heads name with those of the nearest photos and means.

        Args:
            vectors: [N, D] of the trunk.
            heads: Landmark ids and confidences [N, k].
            without: [N] cluster of duplicates of each photo, which does not count. It is for
                photos that are in the index themselves.

        Raises:
            ValueError: The vectors have another length, or a value is not finite.
        """
        whitened = self.whiten(vectors)
        own = [] if without is None else self._rows_of(without)
        more = max(map(len, own), default=0)
        cosines, rows = self._search.search(whitened, NEIGHBOURS + more)
        if own:
            cosines, rows = leave_out(cosines, rows, own)
        near = np.where(rows < 0, NO_LANDMARK, self._landmark[rows.clip(0)])
        to_means = whitened @ self.means.T
        for query, taken in enumerate(own):
            self._correct(to_means[query], whitened[query], taken)
        best = np.argsort(-to_means, axis=1, kind="stable")[:, :BEST_MEANS]
        own_heads = np.where(np.isin(heads[0], self.landmarks), heads[0], NO_LANDMARK)
        ids, confidences = join((own_heads, heads[1]), near, self.landmarks[best])
        confidences[np.isin(ids, self._enrolled)] = np.nan
        column = np.searchsorted(self.landmarks, ids).clip(0, len(self.landmarks) - 1)
        strangers = to_nearest_photos(np.full((len(ids), 1), STRANGERS), cosines, near)[:, 0]
        return Candidates(
            ids,
            confidences,
            to_nearest_photos(ids, cosines, near),
            np.where(ids < 0, -1, np.take_along_axis(to_means, column, 1)).astype(np.float32),
            strangers,
        )

    def _rows_of(self, clusters: Sequence[str]) -> list[NDArray[np.int64]]:
        """Return the rows of the photos of each cluster."""
        found = pc.index_in(self.photos["cluster"], pa.array(clusters)).to_numpy()
        order = np.argsort(found, kind="stable")
        return [
            order[slice(*np.searchsorted(found[order], [first, first + 1]))]
            for first in pc.index_in(pa.array(clusters), pa.array(clusters)).to_pylist()
        ]

    def _correct(
        self, to_means: NDArray[np.float32], query: NDArray[np.float32], taken: NDArray[np.int64]
    ) -> None:
        """Replace the similarity to the mean of landmarks by that without some of their photos."""
        for landmark in np.unique(self._landmark[taken]):
            if landmark != STRANGERS:
                photos = self._vectors[taken[self._landmark[taken] == landmark]]
                column = np.searchsorted(self.landmarks, landmark)
                mean = without_photos(self._sums[column], photos)
                to_means[column] = -1 if mean is None else query @ mean


def leave_out(
    cosines: NDArray[np.float32], rows: NDArray[np.int64], own: Sequence[NDArray[np.int64]]
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Remove each query's own rows from its neighbours, of which `NEIGHBOURS` stay."""
    out = np.stack([np.isin(row, taken) for row, taken in zip(rows, own, strict=True)])
    out |= rows < 0
    order = np.argsort(out, axis=1, kind="stable")[:, :NEIGHBOURS]
    left = ~np.take_along_axis(out, order, 1)
    return (
        np.where(left, np.take_along_axis(cosines, order, 1), -1).astype(np.float32),
        np.where(left, np.take_along_axis(rows, order, 1), -1),
    )


def join(heads: TopK, *others: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return all landmarks [N, C] that a row of any array has once, and the heads' confidences."""
    ids = np.concatenate([heads[0], *others], axis=1)
    ids = np.where(ids == STRANGERS, NO_LANDMARK, ids)
    confidences = np.pad(heads[1], ((0, 0), (0, ids.shape[1] - heads[1].shape[1])))
    order = np.argsort(ids, axis=1, kind="stable")  # of equal ids, that of the heads is first
    ids, confidences = (np.take_along_axis(a, order, 1) for a in (ids, confidences))
    ids[:, 1:][ids[:, 1:] == ids[:, :-1]] = NO_LANDMARK
    order = np.argsort(ids == NO_LANDMARK, axis=1, kind="stable")
    used = max(int((ids != NO_LANDMARK).sum(axis=1).max(initial=1)), 1)
    ids, confidences = (np.take_along_axis(a, order, 1)[:, :used] for a in (ids, confidences))
    return ids, np.where(ids == NO_LANDMARK, 0, confidences)


def rewrite_index(
    target: Store, source: Store, stay: NDArray[np.bool_], more: NDArray[np.float32], rows: pa.Table
) -> None:
    """Write an index with other photos; the whitening, and the division of a large one, stay.

    Args:
        target: The folder of the new index.
        source: The folder of the old one.
        stay: [N] which of its photos stay.
        more: [M, d] whitened vectors of further photos.
        rows: Their rows of `schemas.INDEXED`.
    """
    arrays = {name: _read_array(source, name) for name in _ARRAYS}
    old, info = source.read_table(f"{INDEX}/photos.parquet"), index_info(source)
    assert info is not None, "the source has an index"
    photos = pa.concat_tables([old.filter(pa.array(stay)), rows.cast(schemas.INDEXED)])
    vectors = np.concatenate([arrays["vectors"][stay], more.astype(np.float16)])
    own = nearest_lists(more, arrays["centres"])
    strangers = int(pc.sum(pc.equal(photos["landmark_id"], STRANGERS)).as_py() or 0)
    write_index(
        target,
        Whitening(arrays["mean"], arrays["projection"]),
        IndexArrays(vectors, np.append(arrays["lists"][stay], own), arrays["centres"]),
        photos,
        dataclasses.replace(info, photos=photos.num_rows - strangers, strangers=strangers),
    )
    if fusion := read_fusion(source):
        write_fusion(target, fusion)


def _read_array(folder: Store, name: str) -> NDArray[Any]:
    """Read an array of an index.

    Raises:
        UserError: The file is missing or damaged.
    """
    file = f"{INDEX}/{name}.npy"
    try:
        return np.asarray(np.load(io.BytesIO(folder.read(file)), allow_pickle=False))
    except FileNotFoundError:
        raise UserError(f"{folder.uri}/{file} is missing: run jobs/index.py again") from None
    except (ValueError, EOFError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{folder.uri}/{file} is damaged: {reason}") from None
