"""Files that would run code, were anything in them unpickled: they leave a marker."""

import pickle
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq


class Bomb:
    """Pickled, it touches a file when it is read."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self):
        return Path.touch, (self.marker,)


def column(marker: Path, name: str, kind: str = "ray.data.arrow_pickled_object") -> pa.Table:
    """A table whose column's cells are pickled objects to Ray Data, or its type's description."""
    bomb = pickle.dumps(Bomb(marker))
    cells = "object" in kind
    storage = pa.large_binary() if cells else pa.list_(pa.int64())
    about = {"ARROW:extension:name": kind, "ARROW:extension:metadata": b"" if cells else bomb}
    schema = pa.schema([pa.field(name, storage, metadata=about)])
    return pa.table({name: pa.array([bomb if cells else [1]], storage)}, schema=schema)


def parquet(path: Path, marker: Path, name: str, kind: str = "ray.data.arrow_pickled_object"):
    """Such a table as a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(column(marker, name, kind), path)


def lambda_model(marker: Path, path: Path) -> None:
    """A Keras model whose layer is a Python function; the file's ending says how it is stored."""
    import keras

    inputs = keras.Input((2,))
    outputs = keras.layers.Lambda(lambda x, touch=marker.touch: (touch(), x)[1])(inputs)
    path.parent.mkdir(parents=True, exist_ok=True)
    keras.Model(inputs, outputs).save(path)
    marker.unlink(missing_ok=True)
