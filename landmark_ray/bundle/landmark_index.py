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

from landmark_ray.bundle import index_arrays
from landmark_ray.bundle.index_arrays import ARRAYS, read_array
from landmark_ray.bundle.network_files import TRUNK, read_object
from landmark_ray.data import bundle_schemas
from landmark_ray.data.store import Store
from landmark_ray.errors import UserError
from landmark_ray.kernels.findings import BEST_MEANS, Findings, join, leave_out, merge
from landmark_ray.kernels.fusion import STRANGERS, Candidates, Fusion
from landmark_ray.kernels.landmark_similarity import (
    means,
    sums_by_landmark,
    usual_similarity,
    without_photos,
)
from landmark_ray.kernels.metrics import NO_LANDMARK
from landmark_ray.kernels.photo_index import IndexArrays, PhotoIndex, nearest_lists
from landmark_ray.kernels.topk import TopK
from landmark_ray.kernels.whitening import Whitening

INDEX, FUSION = index_arrays.INDEX, "index/fusion.json"
STRANGER = "landmark"
"""Begins the name of the cluster of a landmark that no model learns; its id follows."""

NEIGHBOURS = 64
"""Number of nearest photos whose landmarks are considered."""

FILES = (*(f"{name}.npy" for name in ARRAYS), "photos.parquet", "index.json")
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
    """Return the checksum of a trunk's weights; it is empty where there are none."""
    try:
        return hashlib.sha256(folder.read(f"{trunk}/network.weights.h5")).hexdigest()
    except FileNotFoundError:
        return ""


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
    for name in ARRAYS:
        data = io.BytesIO()
        np.save(data, named[name], allow_pickle=False)
        folder.write(f"{INDEX}/{name}.npy", data.getbuffer())
    folder.write_table(f"{INDEX}/photos.parquet", photos.cast(bundle_schemas.INDEXED))
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
            shards: Number of shards; each has the photos of every `shards`-th landmark, and every
                `shards`-th photo of no landmark.

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
        self.photos = index_arrays.read_photos(folder)
        rows = None
        if shards > 1:
            landmark = self.photos["landmark_id"].to_numpy()
            spread = np.where(landmark == STRANGERS, np.arange(len(landmark)), landmark)
            rows = spread % shards == shard
        arrays = index_arrays.read_arrays(folder, info.features, len(self.photos), rows)
        if rows is not None:
            self.photos = self.photos.filter(pa.array(rows))
        self.whiten = Whitening(arrays["mean"], arrays["projection"])
        self._vectors = arrays["vectors"]
        self._search = PhotoIndex(IndexArrays(self._vectors, arrays["lists"], arrays["centres"]))
        landmark = self.photos["landmark_id"].to_numpy()
        shown = landmark != STRANGERS
        self._landmark = np.append(landmark, NO_LANDMARK)  # at row -1, where there is no neighbour
        self._enrolled = np.unique(landmark[self.photos["enrolled"].to_numpy()])
        of_landmarks = sums_by_landmark(self._vectors[shown], landmark[shown])
        self.landmarks, self._sums, self._counts = of_landmarks
        self.means = means(self._sums, self._counts)
        self._usual = np.append(usual_similarity(self._sums, self._counts), np.float32(1))
        self._named = np.append(self.landmarks, NO_LANDMARK)

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
        return merge([self.find(vectors, heads, without)], heads)

    def find(
        self, vectors: NDArray[np.float32], heads: TopK, without: Sequence[str] | None = None
    ) -> Findings:
        """Return what this shard finds; see `candidates`, which is for an index of one shard."""
        whitened = self.whiten(vectors)
        own = [] if without is None else self._rows_of(without)
        more = max(map(len, own), default=0)
        cosines, rows = self._search.search(whitened, NEIGHBOURS + more)
        if own:
            cosines, rows = leave_out(cosines, rows, own, NEIGHBOURS)
        near = self._landmark[rows]
        # the last column is that of no landmark
        to_means = np.pad(whitened @ self.means.T, ((0, 0), (0, 1)), constant_values=-1)
        for query, taken in enumerate(own):
            self._correct(to_means[query], whitened[query], taken)
        first = max(to_means.shape[1] - BEST_MEANS, 0)
        best = np.argpartition(to_means, first, axis=1)[:, first:]
        own_heads = np.where(is_among(heads[0], self.landmarks), heads[0], NO_LANDMARK)
        ids, confidences = join((own_heads, heads[1]), near, self._named[best])
        confidences[is_among(ids, self._enrolled)] = np.nan
        columns = np.searchsorted(self.landmarks, ids)
        columns[ids == NO_LANDMARK] = len(self.landmarks)
        mean, photos = np.take_along_axis(to_means, columns, 1), np.append(self._counts, 0)[columns]
        return Findings(cosines, near, ids, confidences, mean, self._usual[columns], photos)

    def similarities(self, vector: NDArray[np.float32], landmark: int) -> dict[str, float]:
        """Return the cosine, -1 to 1, of a vector [D] of the trunk to each photo of a landmark.

        Raises:
            ValueError: The vector has another length, or a value is not finite.
        """
        rows = np.flatnonzero(self._landmark[:-1] == landmark)
        cosines = self._vectors[rows].astype(np.float32) @ self.whiten(vector[None])[0]
        ids = self.photos["image_id"].take(pa.array(rows)).to_pylist()
        return dict(zip(ids, cosines.clip(-1, 1).tolist(), strict=True))

    def _rows_of(self, clusters: Sequence[str]) -> list[NDArray[np.int64]]:
        """Return the rows of the photos of each cluster."""
        names = pa.array(clusters, pa.string())
        place = pc.index_in(self.photos["cluster"], names)
        rows, found = np.flatnonzero(place.is_valid().to_numpy()), place.drop_null().to_numpy()
        order = np.argsort(found, kind="stable")
        rows, found = rows[order], found[order]
        first = pc.index_in(names, names).to_numpy()
        ends = (np.searchsorted(found, first, side).tolist() for side in ("left", "right"))
        return [rows[start:end] for start, end in zip(*ends, strict=True)]

    def _correct(
        self, to_means: NDArray[np.float32], query: NDArray[np.float32], taken: NDArray[np.int64]
    ) -> None:
        """Replace the similarity to the mean of landmarks by that without some of their photos."""
        for landmark in np.unique(self._landmark[taken]):
            if landmark != STRANGERS:
                photos = self._vectors[taken[self._landmark[taken] == landmark]]
                column = np.searchsorted(self.landmarks, landmark)
                mean = without_photos(self._sums[column], self._counts[column], photos)
                to_means[column] = -1 if mean is None else query @ mean


def rewrite_index(
    target: Store, source: Store, stay: NDArray[np.bool_], more: NDArray[np.float32], rows: pa.Table
) -> None:
    """Write an index with other photos; the whitening, and the division of a large one, stay.

    Args:
        target: The folder of the new index.
        source: The folder of the old one.
        stay: [N] which of its photos stay.
        more: [M, d] whitened vectors of further photos.
        rows: Their rows of `bundle_schemas.INDEXED`.
    """
    arrays = {name: read_array(source, name) for name in ARRAYS}
    old, info = source.read_table(f"{INDEX}/photos.parquet"), index_info(source)
    assert info is not None, "the source has an index"
    photos = pa.concat_tables([old.filter(pa.array(stay)), rows.cast(bundle_schemas.INDEXED)])
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


def is_among(values: NDArray[np.int64], ids: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Tell which values are among ids [L], which rise; `np.isin` would sort these each time."""
    if not len(ids):
        return np.zeros(values.shape, bool)
    return np.asarray(ids[np.searchsorted(ids, values).clip(max=len(ids) - 1)] == values)
