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
from pydantic import TypeAdapter, ValidationError

from landmark_ray.bundle.network_files import TRUNK
from landmark_ray.data import schemas
from landmark_ray.data.store import Store
from landmark_ray.errors import UserError
from landmark_ray.kernels.landmark_similarity import Similarities, landmark_similarities
from landmark_ray.kernels.photo_index import IndexArrays, PhotoIndex
from landmark_ray.kernels.whitening import Whitening

INDEX = "index"
NEIGHBOURS = 64
"""Number of nearest photos whose landmarks are considered."""

_ARRAYS = ("mean", "projection", "vectors", "lists", "centres")
FILES = (*(f"{name}.npy" for name in _ARRAYS), "photos.parquet", "index.json")
"""All files of an index; the last one is written last."""


@dataclass(frozen=True)
class IndexInfo:
    """What an index holds.

    Attributes:
        trunk: Name of the trunk that computed its vectors.
        trunk_sha256: Checksum of this trunk's weights.
        photos: Number of photos of landmarks.
        strangers: Number of photos of no landmark.
    """

    trunk: str
    trunk_sha256: str
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
    value = folder.read_json(f"{INDEX}/index.json")
    try:
        return None if value is None else TypeAdapter(IndexInfo).validate_python(value)
    except ValidationError as error:
        problem = error.errors()[0]
        field = ".".join(map(str, problem["loc"]))
        raise UserError(
            f"{folder.uri}/{INDEX}/index.json is damaged: {field}: {problem['msg']}"
        ) from None


class LandmarkIndex:
    """Says how similar a photo is to the landmarks of an index, from its trunk's vector."""

    def __init__(self, folder: Store) -> None:
        """Read the index of a folder, and build its search.

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
        self._whitening = Whitening(arrays["mean"], arrays["projection"])
        self._search = PhotoIndex(
            IndexArrays(arrays["vectors"], arrays["lists"], arrays["centres"])
        )
        self._landmarks = self.photos["landmark_id"].to_numpy()

    def similarities(
        self, vectors: NDArray[np.float32], without: Sequence[str] | None = None
    ) -> Similarities:
        """Find the landmarks of the nearest photos.

        Args:
            vectors: [N, D] of the trunk.
            without: [N] cluster of duplicates of each query, whose photos do not count. It is for
                photos that are in the index themselves.

        Raises:
            ValueError: The vectors have another length, or a value is not finite.
        """
        cosines, rows = self._search.search(
            self._whitening(vectors), NEIGHBOURS if without is None else 2 * NEIGHBOURS
        )
        if without is not None:
            cosines, rows = self._leave_out(cosines, rows, without)
        return landmark_similarities(cosines, rows, self._landmarks)

    def _leave_out(
        self, cosines: NDArray[np.float32], rows: NDArray[np.int64], without: Sequence[str]
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Remove the photos of each query's own cluster from its neighbours."""
        clusters = self.photos["cluster"].combine_chunks()
        near = clusters.take(pa.array(rows.clip(0).ravel()))
        own = pc.equal(near, pa.array(np.repeat(without, rows.shape[1]))).to_numpy(False)
        out = own.astype(bool).reshape(rows.shape) | (rows < 0)
        order = np.argsort(out, axis=1, kind="stable")[:, :NEIGHBOURS]
        left = ~np.take_along_axis(out, order, 1)
        return (
            np.where(left, np.take_along_axis(cosines, order, 1), -1).astype(np.float32),
            np.where(left, np.take_along_axis(rows, order, 1), -1),
        )


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
