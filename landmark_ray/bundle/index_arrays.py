"""Reading the arrays and the photos of an index, and checking that they belong together."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from landmark_ray.data import bundle_schemas
from landmark_ray.data.store import Store
from landmark_ray.errors import UserError, shortened

INDEX = "index"
ARRAYS = ("mean", "projection", "vectors", "lists", "centres")

_BLOCK_BYTES = 1 << 24
"""Number of bytes that are read at a time, of a file of which only some rows are kept."""


def read_photos(folder: Store) -> pa.Table:
    """Read the rows of `bundle_schemas.INDEXED`.

    Raises:
        UserError: The file is missing or damaged.
    """
    name = f"{INDEX}/photos.parquet"
    try:
        return folder.read_table(name).cast(bundle_schemas.INDEXED)
    except (pa.ArrowException, ValueError) as error:
        raise folder.damaged(name, error) from None


def read_arrays(
    folder: Store, features: int, photos: int, rows: NDArray[np.bool_] | None
) -> dict[str, NDArray[Any]]:
    """Read all arrays of an index.

    Args:
        folder: The folder that has the index.
        features: Length of the trunk's vectors.
        photos: Number of photos.
        rows: [photos] whose vectors are kept; the others are never in memory together. All of them
            where it is None.

    Raises:
        UserError: A file is missing or damaged, or the files do not belong together.
    """
    arrays = {
        name: read_array(folder, name, rows if name in ("vectors", "lists") else None)
        for name in ARRAYS
    }
    kept = photos if rows is None else int(rows.sum())
    length, lists = arrays["projection"].shape[-1], len(arrays["centres"])
    shapes = {
        "mean": (features,),
        "projection": (features, length),
        "vectors": (kept, length),
        "lists": (kept,),
        "centres": (lists, length),
    }
    for name, shape in shapes.items():
        if arrays[name].shape != shape:
            raise _damaged(folder, name, f"its shape is {arrays[name].shape}, not {shape}")
    own = arrays["lists"]
    if kept and not 0 <= own.min() <= own.max() < max(lists, 1):
        raise _damaged(folder, "lists", "it names lists that do not exist")
    return arrays


def read_array(folder: Store, name: str, rows: NDArray[np.bool_] | None = None) -> NDArray[Any]:
    """Read an array of an index, or some rows of it.

    Raises:
        UserError: The file is missing or damaged.
    """
    file = f"{INDEX}/{name}.npy"
    try:
        with folder.open(file) as data:
            if rows is None:
                array = np.asarray(np.lib.format.read_array(data, allow_pickle=False))
            else:
                array = np.concatenate(list(_blocks(data, rows)))
    except FileNotFoundError:
        raise UserError(f"{folder.uri}/{file} is missing: run jobs/index.py again") from None
    except (ValueError, EOFError, TypeError, MemoryError) as error:
        raise _damaged(folder, name, shortened(error)) from None
    if not array.ndim or not np.isfinite(array.sum(dtype=np.float64)):
        raise _damaged(folder, name, "a value is not finite")
    return array


def _blocks(data: Any, rows: NDArray[np.bool_]) -> Iterator[NDArray[Any]]:
    """Read an .npy file block by block; yield the rows [n, …] of each that are kept."""
    np.lib.format.read_magic(data)
    shape, _, dtype = np.lib.format.read_array_header_1_0(data)
    if dtype.hasobject or shape[:1] != rows.shape:
        raise ValueError(f"its shape is {shape}, but there are {len(rows):,} photos")
    row = dtype.itemsize * int(np.prod(shape[1:]))
    step = max(_BLOCK_BYTES // max(row, 1), 1)
    yield np.zeros((0, *shape[1:]), dtype)
    for start in range(0, len(rows), step):
        kept = rows[start : start + step]
        block = data.read(row * len(kept))
        yield np.frombuffer(block, dtype).reshape(len(kept), *shape[1:])[kept]


def _damaged(folder: Store, name: str, why: str) -> UserError:
    return UserError(
        f"{folder.uri}/{INDEX}/{name}.npy is damaged: {why}: run jobs/index.py --redo index"
    )
