"""Authors and licences of photos, where a dataset names them (`train_attribution.csv` of GLDv2)."""

import pyarrow as pa
import pyarrow.compute as pc

from landmark_ray.data.csv_file import CsvFile
from landmark_ray.data.sources import Source

FILES = ("train_attribution.csv", "metadata/train_attribution.csv")
"""Csv files with the columns `id`, `author` and `license`; the first one that exists is used."""


def attribution_of(source: Source, image_ids: pa.Array) -> tuple[pa.Array, pa.Array]:
    """Return author and licence of each photo; null where the dataset names none.

    Raises:
        UserError: The file is malformed.
    """
    nothing = pa.nulls(len(image_ids), pa.string())
    name = next((name for name in FILES if source.folder.exists(name)), None)
    if not source.csv or name is None:
        return nothing, nothing
    file = CsvFile(source.folder.read(name), f"{source.folder.shown}/{name}")
    rows = file.columns("id", "author", "license")
    place = pc.index_in(image_ids, rows["id"])
    author, licence = (
        rows[column].combine_chunks().take(place) for column in ("author", "license")
    )
    return author, licence
