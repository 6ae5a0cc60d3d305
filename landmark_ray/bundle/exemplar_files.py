"""The exemplars in a folder, which is a bundle or a root's `models`.

exemplars/bucket-00000.arrow     rows of `bundle_schemas.EXEMPLARS` of the landmarks of a bucket
exemplars/features.onnx          the extractor of their features, unless that is SIFT
exemplars/exemplars.json         extractor and matching rule; written last

Arrow files are mapped into memory, so that only the exemplars are read that are asked.
"""

import dataclasses
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from landmark_ray.bundle.network_files import read_object
from landmark_ray.data import bundle_schemas
from landmark_ray.data.store import Store
from landmark_ray.errors import UserError, shortened
from landmark_ray.kernels.exemplars import compact
from landmark_ray.kernels.features import Features
from landmark_ray.kernels.image import thumbnail
from landmark_ray.kernels.matching import MatchingRule

FOLDER = "exemplars"
THUMBNAIL = 256
"""Longest side of the thumbnail of an exemplar, in pixels."""

Size = tuple[int, int]
INFO, MODEL = f"{FOLDER}/exemplars.json", f"{FOLDER}/features.onnx"


@dataclass(frozen=True)
class ExemplarInfo:
    """How the features of exemplars were computed, and how they are matched.

    Attributes:
        sift: Whether SIFT computed them; otherwise, the ONNX file did.
        max_features: Largest number of features of a photo.
        side: Longest side to which a photo is resized before features are computed, in pixels.
        rule: The matching rule.
        files: Names of the Arrow files.
        photos: Number of exemplars.
    """

    sift: bool
    max_features: int
    side: int
    rule: MatchingRule
    files: tuple[str, ...]
    photos: int


def exemplar_info(folder: Store) -> ExemplarInfo | None:
    """Read what the exemplars are; return None where there are none.

    Raises:
        UserError: The file is damaged.
    """
    return read_object(folder, INFO, ExemplarInfo)


def files_of(folder: Store) -> list[str]:
    """Return the names of all files of the exemplars of a folder, the last one last."""
    info = exemplar_info(folder)
    if info is None:
        return []
    return [*info.files, *([] if info.sift else [MODEL]), INFO]


def exemplar_row(
    image_id: str,
    landmark: int,
    cluster: str,
    jpeg: bytes,
    features: Features,
    size: Size,
    author: str | None = None,
    licence: str | None = None,
) -> dict[str, Any]:
    """Make a row of `EXEMPLARS`.

    Args:
        image_id: Id of the photo.
        landmark: Landmark that it shows.
        cluster: Name that all copies of the photo share.
        jpeg: The photo.
        features: Its features; the first of them, within `MAX_BYTES`, are kept.
        size: Width and height of the photo to which the features refer, in pixels.
        author: Who made the photo, if that is known.
        licence: Licence of the photo, if that is known.
    """
    kept = compact(features)
    return {
        "image_id": image_id,
        "landmark_id": landmark,
        "cluster": cluster,
        "width": size[0],
        "height": size[1],
        "count": len(kept.keypoints),
        "keypoints": kept.keypoints.astype("<f2").tobytes(),
        "descriptors": kept.descriptors.tobytes(),
        "thumbnail": thumbnail(jpeg, THUMBNAIL),
        "author": author,
        "licence": licence,
    }


def without(folder: Store, landmark: int) -> Iterator[tuple[str, pa.Table]]:
    """Yield the files that hold exemplars of a landmark, each with the rows of other landmarks.

    Raises:
        UserError: A file is missing or damaged.
    """
    info = exemplar_info(folder)
    for name in info.files if info else ():
        rows = read_file(folder, name)
        others = rows.filter(pc.not_equal(rows["landmark_id"], landmark))
        if others.num_rows < rows.num_rows:
            yield name, others


def write_file(folder: Store, name: str, parts: Iterable[pa.Table]) -> None:
    """Write a file of exemplars: the rows of `EXEMPLARS` of all parts, one after the other."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, bundle_schemas.EXEMPLARS) as file:
        for part in parts:
            file.write_table(part.cast(bundle_schemas.EXEMPLARS))
    folder.write(name, sink.getvalue())


def file_name(bucket: int) -> str:
    """Return the name of the file with the exemplars of a bucket."""
    return f"{FOLDER}/bucket-{bucket:05}.arrow"


def write_info(folder: Store, info: ExemplarInfo, model: bytes | None) -> None:
    """Write the extractor and, last, what the exemplars are."""
    if model is not None:
        folder.write(MODEL, model)
    folder.write_json(INFO, dataclasses.asdict(info))


def next_file(info: ExemplarInfo) -> str:
    """Return the name of a further file of exemplars."""
    last = max(info.files, default="-1.arrow")
    return file_name(int(last.rpartition("-")[2].removesuffix(".arrow")) + 1)


def read_file(folder: Store, name: str) -> pa.Table:
    """Map an Arrow file into memory, or read it where the folder is not on this machine.

    Raises:
        UserError: It is missing or damaged.
    """
    try:
        if folder.local:
            source = pa.memory_map(folder.path_of(name))
        else:
            source = pa.BufferReader(folder.read(name))
        return pa.ipc.open_file(source).read_all().cast(bundle_schemas.EXEMPLARS)
    except FileNotFoundError:
        raise UserError(f"{folder.uri}/{name} is missing: run jobs/index.py again") from None
    except (pa.ArrowException, ValueError, OSError) as error:
        raise UserError(f"{folder.uri}/{name} is damaged: {shortened(error)}") from None
