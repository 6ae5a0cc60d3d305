"""Every table's schema. A table is Parquet under `<root>/<table>/bucket=B/shard-NNNNN.parquet`.

A shard holds whole classes, under the same file name in every table from `images` on. Its rows are
sorted by landmark_id, then by image_id (by both image ids in `pairs`). Fields carry their meaning
as metadata, so that it travels with the files.
"""

from collections.abc import Iterable

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray


def _field(name: str, kind: pa.DataType, doc: str, nullable: bool = False) -> pa.Field:
    return pa.field(name, kind, nullable=nullable, metadata={"doc": doc})


_IMAGE = _field("image_id", pa.string(), "GLDv2: 16 hex digits; class folders: class/file")
_LANDMARK = _field("landmark_id", pa.int64(), "class of the image")
_WIDTH = _field("width", pa.int32(), "pixels of the stored, upright image")
_HEIGHT = _field("height", pa.int32(), "pixels of the stored, upright image")
_JPEG = _field("jpeg", pa.binary(), "JPEG file, upright, RGB")

CATALOG = pa.schema(
    [_IMAGE, _LANDMARK, _field("shard", pa.int32(), "file of the image in its bucket's folders")]
)

LANDMARKS = pa.schema(
    [
        _LANDMARK,
        _field("name", pa.string(), "category link or folder name; empty when unknown"),
        _field("images", pa.int64(), "images in the source"),
        _field("chosen", pa.int64(), "images in the catalog; 0: the class is too small"),
    ]
)

IMAGES = pa.schema([_IMAGE, _LANDMARK, _WIDTH, _HEIGHT, _JPEG])

FRAGMENT = pa.schema(
    [
        *(field.with_nullable(True) for field in IMAGES),
        _field("shard", pa.int32(), "as in the catalog"),
        _field("reason", pa.string(), "why the image was rejected, else null", nullable=True),
        _field("exact", pa.bool_(), "whether the file is called just like the image"),
    ]
)
"""Ingest's own: the rows that one tar holds of one bucket."""

REJECTS = pa.schema([_IMAGE, _LANDMARK, _field("reason", pa.string(), "kind: what was found")])
"""Partitioned by stage, then by bucket."""

HASHES = pa.schema(
    [
        _IMAGE,
        _LANDMARK,
        _field("digest", pa.binary(16), "BLAKE2b of the stored file: equal for equal bytes"),
        _field("phash", pa.uint64(), "64-bit perceptual hash (imagehash.phash)"),
        _field("thumbnail", pa.binary(), "uint8 [32, 32]: the whole image, grey"),
    ]
)

DUPLICATES = pa.schema(
    [
        _IMAGE,
        _LANDMARK,
        _field("cluster", pa.string(), "smallest image_id of all images that show the same photo"),
        _field("partner", pa.string(), "image_id of the likest one"),
        _field("exact", pa.bool_(), "whether that one has the same bytes"),
        _field("difference", pa.float32(), "of the thumbnails of both, in grey levels, on average"),
        _field("landmarks", pa.list_(pa.int64()), "all of the cluster; several: a label conflict"),
    ]
)
"""Images of which there is another one; the others have no row."""

FEATURES = pa.schema(
    [
        _IMAGE,
        _LANDMARK,
        _WIDTH,
        _HEIGHT,
        _field("count", pa.int32(), "number of features N"),
        _field(
            "keypoints",
            pa.binary(),
            "float32, little-endian: [N, 4] (x, y, diameter, angle) of RootSIFT, [N, 2] (x, y) of "
            "DELF; stored pixels, degrees",
        ),
        _field(
            "descriptors",
            pa.binary(),
            "int8 [N, D], of length 127, in keypoints' order; D: 128 (RootSIFT) or 40 (DELF)",
        ),
    ]
)

PAIRS = pa.schema(
    [
        _LANDMARK,
        _field("image_a", pa.string(), "the smaller image_id of the pair"),
        _field("image_b", pa.string(), "the larger image_id of the pair"),
        _field("putative", pa.int32(), "descriptor matches before verification"),
        _field("inliers", pa.int32(), "matches that agree with the affine map, at distinct places"),
        _field(
            "affine",
            pa.list_(pa.float64(), 6),
            "row-major [2, 3]: (x, y) of a to (x, y) of b, stored pixels; null when there is none",
            nullable=True,
        ),
    ]
)

KEPT = pa.schema(
    [
        _IMAGE,
        _LANDMARK,
        _field("keep", pa.bool_(), "whether the image stays"),
        _field("reason", pa.string(), "empty, or unverified, over_cap, small_class"),
        _field("partner", pa.string(), "image_id of the best partner among the pairs, or empty"),
        _field("inliers", pa.int32(), "inliers with that partner"),
    ]
)

DETECTIONS = pa.schema(
    [
        _IMAGE,
        _LANDMARK,
        _field("entities", pa.list_(pa.string()), "names of Open Images, the surest first"),
        _field("scores", pa.list_(pa.float32()), "theirs, from 0 to 1"),
        _field(
            "boxes",
            pa.list_(pa.float32()),
            "theirs, 4 each: top, left, bottom, right, as shares of the height and width",
        ),
    ]
)

CLEANED = pa.schema(
    [
        _IMAGE,
        _LANDMARK,
        _field("keep", pa.bool_(), "whether the image stays"),
        _field(
            "reason",
            pa.string(),
            "empty, or why not: as in kept, or no_building, people_class, duplicate, conflict, "
            "dropped",
        ),
        _field("verdict", pa.string(), "keep or drop, where a list names it; else empty"),
        _field("note", pa.string(), "the list's reason; else what the rule saw, or empty"),
    ]
)

_SQUARE = _field("jpeg", pa.binary(), "JPEG of the centre square, RGB, size x size pixels")
_GROUP = _field("group", pa.int32(), "group of the class by its images in `cleaned`, from 1")
_SPLIT = _field("split", pa.string(), "train or validation")

GROUPS = pa.schema([_IMAGE, _LANDMARK, _GROUP, _SPLIT])
"""Images of classes that are large enough to learn."""

EXAMPLES = pa.schema([_IMAGE, _LANDMARK, _SQUARE, _GROUP, _SPLIT])
"""What is left of `groups` when `resize` has rejected what it can't use."""

BACKGROUND = pa.schema([_IMAGE, _LANDMARK, _SQUARE])
"""Some of the discarded images."""

EMBEDDINGS = pa.schema(
    [
        _IMAGE,
        _LANDMARK,
        _field("group", pa.int32(), "group of the example, from 1; 0: a background image"),
        _SPLIT,
        _field("view", pa.int32(), "0: the photo as it is; from 1: varied, for training only"),
        _field("vector", pa.binary(), "float16 [D], little-endian: the trunk's features"),
    ]
)

PREDICTIONS = pa.schema(
    [
        _IMAGE,
        _field("truth", pa.list_(pa.int64()), "landmark ids it shows, none or several"),
        _field("label", pa.int64(), "landmark id that the web gave it; -1 in a test set"),
        _field("group", pa.int32(), "group of its landmark, from 1; 0: none, or not known"),
        _field("landmarks", pa.list_(pa.int64()), "landmark ids of the answer, the surest first"),
        _field("confidences", pa.list_(pa.float32()), "theirs, from 0 to 1"),
        _field("closed_landmark", pa.int64(), "answer of the reference's rule"),
        _field("closed_confidence", pa.float32(), "its confidence"),
    ]
)
"""Of a validation or test image, what the models say."""

ANSWERS = pa.schema(
    [
        _field("image_id", pa.string(), "the csv's id: the name, as long as tells photos apart"),
        _field("file", pa.string(), "tar or table that holds the photo; empty: it is a file"),
        _field("name", pa.string(), "its path there, or its id in a table"),
        _field("landmarks", pa.list_(pa.int64()), "landmark ids, the surest first"),
        _field("confidences", pa.list_(pa.float32()), "theirs, from 0 to 1"),
        _field("is_landmark", pa.bool_(), "whether the first confidence reaches the threshold"),
        _field("error", pa.string(), "why the image can't be read; empty when it can"),
    ]
)
"""Of jobs/predict.py: no table of a root."""

BUNDLED = pa.schema(
    [
        _LANDMARK,
        _field("name", pa.string(), "category link or folder name; empty when unknown"),
        _field("group", pa.int32(), "group whose model knows it, from 1"),
        _field("images", pa.int64(), "examples that it was learned from, validation included"),
    ]
)
"""Landmarks of a bundle."""

REFERENCE = pa.schema(
    [
        _field("pixels", pa.binary(), "uint8 [size, size, 3]: a photo as the models see it, RGB"),
        _field(
            "answers",
            pa.list_(pa.struct({"group": pa.int32(), "logits": pa.list_(pa.float32())})),
            "what each group's trained network says of it",
        ),
    ]
)
"""Reference answers of a bundle."""

TABLES = {
    "catalog": CATALOG,
    "landmarks": LANDMARKS,
    "images": IMAGES,
    "rejects": REJECTS,
    "hashes": HASHES,
    "duplicates": DUPLICATES,
    "features": FEATURES,
    "pairs": PAIRS,
    "kept": KEPT,
    "detections": DETECTIONS,
    "cleaned": CLEANED,
    "groups": GROUPS,
    "examples": EXAMPLES,
    "background": BACKGROUND,
    "embeddings": EMBEDDINGS,
    "predictions": PREDICTIONS,
    "test_predictions": PREDICTIONS,
}


def feature_arrays(
    count: int, keypoints: bytes, descriptors: bytes
) -> tuple[NDArray[np.float32], NDArray[np.int8]]:
    """Keypoints float32 [N, 2] or [N, 4], descriptors int8 [N, D] of a row of `features`.

    Raises:
        ValueError: they don't hold `count` features.
    """
    points = np.frombuffer(keypoints, np.float32)
    flat = np.frombuffer(descriptors, np.int8)
    if not count:
        return points.reshape(0, 2), flat.reshape(0, 0)
    return points.reshape(count, -1), flat.reshape(count, -1)


def check_plain(fields: Iterable[pa.Field]) -> None:
    """Refuse columns of types that Python code belongs to: Ray Data unpickles cells of one of them.

    Raises:
        ValueError: names the column and the type.
    """
    for field in fields:
        kind = field.type
        if isinstance(kind, pa.BaseExtensionType):
            raise ValueError(f"column {field.name} is no plain data but {kind}")
        check_plain(kind.field(i) for i in range(kind.num_fields))
