"""The schema of every table. A table is Parquet in `<root>/<table>/bucket=B/shard-NNNNN.parquet`.

A shard holds whole classes, and has the same file name in every table from `images` on. Its rows
are sorted by landmark_id, then by image_id (in `pairs`, by both image ids). The metadata of each
column says what it means, so this travels with the files.
"""

from collections.abc import Iterable

import pyarrow as pa


def _field(name: str, kind: pa.DataType, doc: str, nullable: bool = False) -> pa.Field:
    return pa.field(name, kind, nullable=nullable, metadata={"doc": doc})


_IMAGE = _field("image_id", pa.string(), "GLDv2: 16 hex digits; class folders: class/file")
_LANDMARK = _field("landmark_id", pa.int64(), "class of the image")
_WIDTH = _field("width", pa.int32(), "pixels of the stored, upright image")
_HEIGHT = _field("height", pa.int32(), "pixels of the stored, upright image")
_JPEG = _field("jpeg", pa.binary(), "JPEG file, upright, RGB")

CATALOG = pa.schema(
    [_IMAGE, _LANDMARK, _field("shard", pa.int32(), "number of the file that holds the image")]
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
        _field("exact", pa.bool_(), "whether the file name equals the image_id"),
    ]
)
"""Intermediate files of `ingest`: the rows of one tar for one bucket."""

REJECTS = pa.schema(
    [_IMAGE, _LANDMARK, _field("reason", pa.string(), "kind of problem, a colon, and details")]
)
"""Rejected images, partitioned by stage, then by bucket."""

HASHES = pa.schema(
    [
        _IMAGE,
        _LANDMARK,
        _field("digest", pa.binary(16), "BLAKE2b of the stored file: equal for equal bytes"),
        _field("phash", pa.uint64(), "64-bit perceptual hash (imagehash.phash)"),
        _field("thumbnail", pa.binary(), "uint8 [32, 32]: the whole image in grey"),
    ]
)

DUPLICATES = pa.schema(
    [
        _IMAGE,
        _LANDMARK,
        _field("cluster", pa.string(), "smallest image_id of all images that show the same photo"),
        _field("partner", pa.string(), "image_id of the most similar copy"),
        _field("exact", pa.bool_(), "whether the partner has the same bytes"),
        _field("difference", pa.float32(), "mean difference to the partner's thumbnail, in levels"),
        _field(
            "landmarks",
            pa.list_(pa.int64()),
            "landmark ids of the cluster; several ids are a label conflict",
        ),
    ]
)
"""Images that have copies; other images have no row."""

DESCRIPTORS = pa.schema(
    [
        _IMAGE,
        _LANDMARK,
        _field("vector", pa.binary(), "float16 [D], little-endian: the features of the network"),
    ]
)

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
            "int8 [N, D], of length 127, in the order of the keypoints; D is 128 (RootSIFT) or 40 "
            "(DELF)",
        ),
    ]
)

PAIRS = pa.schema(
    [
        _LANDMARK,
        _field("image_a", pa.string(), "the smaller image_id of the pair"),
        _field("image_b", pa.string(), "the larger image_id of the pair"),
        _field("putative", pa.int32(), "descriptor matches before verification"),
        _field("inliers", pa.int32(), "inliers of the affine map; those in one cell count as one"),
        _field(
            "affine",
            pa.list_(pa.float64(), 6),
            "row-major [2, 3], from (x, y) of a to (x, y) of b, in stored pixels; null if none",
            nullable=True,
        ),
    ]
)

KEPT = pa.schema(
    [
        _IMAGE,
        _LANDMARK,
        _field("keep", pa.bool_(), "whether the image stays"),
        _field(
            "reason",
            pa.string(),
            "why it stays: verified by a partner, or similar to photos of its landmark; or why it "
            "does not: unverified, over_cap or small_class",
        ),
        _field("partner", pa.string(), "image_id of the best partner among the pairs, or empty"),
        _field("inliers", pa.int32(), "inliers with the best partner"),
        _field("agreement", pa.float32(), "share of neighbours of its landmark", nullable=True),
        _field(
            "neighbours",
            pa.list_(pa.string()),
            "image_ids of the photos that resemble it most, the nearest first, without its copies",
        ),
    ]
)

DETECTIONS = pa.schema(
    [
        _IMAGE,
        _LANDMARK,
        _field("entities", pa.list_(pa.string()), "Open Images classes, the highest score first"),
        _field("scores", pa.list_(pa.float32()), "score of each object, from 0 to 1"),
        _field(
            "boxes",
            pa.list_(pa.float32()),
            "4 numbers of each object: top, left, bottom, right, as shares of the height and width",
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
            "as in kept, or verdict for an image that a verdict brought back, or no_building, "
            "people_class, duplicate, conflict or dropped",
        ),
        _field("verdict", pa.string(), "keep or drop, if a list of verdicts names it; else empty"),
        _field("note", pa.string(), "reason in the list of verdicts, or what the rule saw"),
    ]
)

_SQUARE = _field("jpeg", pa.binary(), "JPEG of the centre square, RGB, size x size pixels")
_GROUP = _field("group", pa.int32(), "group of the class by its images in `cleaned`, from 1")
_SPLIT = _field("split", pa.string(), "train or validation")

GROUPS = pa.schema([_IMAGE, _LANDMARK, _GROUP, _SPLIT])
"""Images of classes that are large enough for a group, less those of classes that are left out."""

EXAMPLES = pa.schema([_IMAGE, _LANDMARK, _SQUARE, _GROUP, _SPLIT])
"""The images of `groups` as squares, without those that `resize` rejects."""

BACKGROUND = pa.schema([_IMAGE, _LANDMARK, _SQUARE])
"""Some of the discarded images, and synthetic images."""

EMBEDDINGS = pa.schema(
    [
        _IMAGE,
        _LANDMARK,
        _field("group", pa.int32(), "group of the example, from 1; 0 for a background image"),
        _SPLIT,
        _field("view", pa.int32(), "0: the photo as it is; from 1: augmented, for training only"),
        _field("vector", pa.binary(), "float16 [D], little-endian: the trunk's features"),
    ]
)

PREDICTIONS = pa.schema(
    [
        _IMAGE,
        _field("truth", pa.list_(pa.int64()), "landmark ids that the image shows: none or several"),
        _field("label", pa.int64(), "landmark id of the image in the source; -1 in a test set"),
        _field("group", pa.int32(), "group of its landmark, from 1; 0 if none or unknown"),
        _field("landmarks", pa.list_(pa.int64()), "predicted landmark ids, best first"),
        _field("confidences", pa.list_(pa.float32()), "confidence of each, from 0 to 1"),
        _field("candidates", pa.list_(pa.int64()), "landmark ids that heads or index name"),
        _field("heads", pa.list_(pa.float64()), "confidence of the heads for each candidate"),
        _field("nearest", pa.list_(pa.float32()), "similarity to each candidate's nearest photos"),
        _field("mean", pa.list_(pa.float32()), "similarity to the mean of each candidate's photos"),
        _field("strangers", pa.float32(), "similarity to photos of no landmark"),
        _field("closed_landmark", pa.int64(), "landmark id that the closed-set baseline predicts"),
        _field("closed_confidence", pa.float32(), "confidence of the closed-set baseline"),
    ]
)
"""Predictions of the models for validation or test images."""

ANSWERS = pa.schema(
    [
        _field("image_id", pa.string(), "id in the csv: as much of the name as makes it unique"),
        _field("file", pa.string(), "tar or table that holds the photo; empty if it is a file"),
        _field("name", pa.string(), "path of the photo in the source or tar, or its id in a table"),
        _field("landmarks", pa.list_(pa.int64()), "predicted landmark ids, best first"),
        _field("confidences", pa.list_(pa.float32()), "confidence of each, from 0 to 1"),
        _field("is_landmark", pa.bool_(), "whether the first confidence reaches the threshold"),
        _field("error", pa.string(), "why the photo cannot be read; empty if it can"),
    ]
)
"""Answers of jobs/predict.py; this is no table of a root."""

BUNDLED = pa.schema(
    [
        _LANDMARK,
        _field("name", pa.string(), "category link or folder name; empty when unknown"),
        _field("group", pa.int32(), "group whose model knows it, from 1"),
        _field("images", pa.int64(), "examples that it was learned from, validation included"),
    ]
)
"""Landmarks of a bundle. The version of a bundle depends on this schema with its texts."""

INDEXED = pa.schema(
    [
        _IMAGE,
        _field("landmark_id", pa.int64(), "landmark that the photo shows; -2 if it shows none"),
        _field("cluster", pa.string(), "as in duplicates: photos of a cluster show the same"),
        _field("enrolled", pa.bool_(), "whether only the index knows its landmark, not the heads"),
    ]
)
"""Photos of an index, in the order of its vectors."""

REFERENCE = pa.schema(
    [
        _field("pixels", pa.binary(), "uint8 [size, size, 3] RGB: a photo as the models see it"),
        _field(
            "answers",
            pa.list_(pa.struct({"group": pa.int32(), "logits": pa.list_(pa.float32())})),
            "logits of the trained network of each group",
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
    "descriptors": DESCRIPTORS,
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


def check_plain(fields: Iterable[pa.Field]) -> None:
    """Refuse columns of extension types, because Ray Data unpickles the cells of one of them.

    Raises:
        ValueError: There is such a column; the text names the column and the type.
    """
    for field in fields:
        kind = field.type
        if isinstance(kind, pa.BaseExtensionType):
            raise ValueError(f"column {field.name} is not plain data but {kind}")
        check_plain(kind.field(i) for i in range(kind.num_fields))
