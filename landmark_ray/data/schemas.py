"""The schema of every table. A table is Parquet in `<root>/<table>/bucket=B/shard-NNNNN.parquet`.

A shard holds whole classes, and has the same file name in every table from `images` on. Its rows
are sorted by landmark_id, then by image_id (in `pairs`, by both image ids). The metadata of each
column says what it means, so this travels with the files.
"""

from collections.abc import Iterable

import pyarrow as pa


def field(name: str, kind: pa.DataType, doc: str, nullable: bool = False) -> pa.Field:
    """Return a column with its meaning in its metadata."""
    return pa.field(name, kind, nullable=nullable, metadata={"doc": doc})


IMAGE_ID = field("image_id", pa.string(), "GLDv2: 16 hex digits; class folders: class/file")
LANDMARK_ID = field("landmark_id", pa.int64(), "class of the image")
WIDTH = field("width", pa.int32(), "pixels of the stored, upright image")
HEIGHT = field("height", pa.int32(), "pixels of the stored, upright image")
_JPEG = field("jpeg", pa.binary(), "JPEG file, upright, RGB")

CATALOG = pa.schema(
    [IMAGE_ID, LANDMARK_ID, field("shard", pa.int32(), "number of the file that holds the image")]
)

LANDMARKS = pa.schema(
    [
        LANDMARK_ID,
        field("name", pa.string(), "category link or folder name; empty when unknown"),
        field("images", pa.int64(), "images in the source"),
        field("chosen", pa.int64(), "images in the catalog; 0: the class is too small"),
    ]
)

IMAGES = pa.schema([IMAGE_ID, LANDMARK_ID, WIDTH, HEIGHT, _JPEG])

FRAGMENT = pa.schema(
    [
        *(field.with_nullable(True) for field in IMAGES),
        field("shard", pa.int32(), "as in the catalog"),
        field("reason", pa.string(), "why the image was rejected, else null", nullable=True),
        field("exact", pa.bool_(), "whether the file name equals the image_id"),
    ]
)
"""Intermediate files of `ingest`: the rows of one tar for one bucket."""

REJECTS = pa.schema(
    [IMAGE_ID, LANDMARK_ID, field("reason", pa.string(), "kind of problem, a colon, and details")]
)
"""Rejected images, partitioned by stage, then by bucket."""

HASHES = pa.schema(
    [
        IMAGE_ID,
        LANDMARK_ID,
        field("digest", pa.binary(16), "BLAKE2b of the stored file: equal for equal bytes"),
        field("phash", pa.uint64(), "64-bit perceptual hash (imagehash.phash)"),
        field("thumbnail", pa.binary(), "uint8 [32, 32]: the whole image in grey"),
    ]
)

DUPLICATES = pa.schema(
    [
        IMAGE_ID,
        LANDMARK_ID,
        field("cluster", pa.string(), "smallest image_id of all images that show the same photo"),
        field("partner", pa.string(), "image_id of the most similar copy"),
        field("exact", pa.bool_(), "whether the partner has the same bytes"),
        field("difference", pa.float32(), "mean difference to the partner's thumbnail, in levels"),
        field(
            "landmarks",
            pa.list_(pa.int64()),
            "landmark ids of the cluster; several ids are a label conflict",
        ),
    ]
)
"""Images that have copies; other images have no row."""

DESCRIPTORS = pa.schema(
    [
        IMAGE_ID,
        LANDMARK_ID,
        field("vector", pa.binary(), "float16 [D], little-endian: the features of the network"),
    ]
)

FEATURES = pa.schema(
    [
        IMAGE_ID,
        LANDMARK_ID,
        WIDTH,
        HEIGHT,
        field("count", pa.int32(), "number of features N"),
        field(
            "keypoints",
            pa.binary(),
            "float32, little-endian: [N, 4] (x, y, diameter, angle) of RootSIFT, [N, 2] (x, y) of "
            "DELF; stored pixels, degrees",
        ),
        field(
            "descriptors",
            pa.binary(),
            "int8 [N, D], of length 127, in the order of the keypoints; D is 128 (RootSIFT) or 40 "
            "(DELF)",
        ),
    ]
)

PAIRS = pa.schema(
    [
        LANDMARK_ID,
        field("image_a", pa.string(), "the smaller image_id of the pair"),
        field("image_b", pa.string(), "the larger image_id of the pair"),
        field("putative", pa.int32(), "descriptor matches before verification"),
        field("inliers", pa.int32(), "inliers of the affine map; those in one cell count as one"),
        field(
            "affine",
            pa.list_(pa.float64(), 6),
            "row-major [2, 3], from (x, y) of a to (x, y) of b, in stored pixels; null if none",
            nullable=True,
        ),
    ]
)

KEPT = pa.schema(
    [
        IMAGE_ID,
        LANDMARK_ID,
        field("keep", pa.bool_(), "whether the image stays"),
        field(
            "reason",
            pa.string(),
            "why it stays: verified by a partner, or similar to photos of its landmark; or why it "
            "does not: unverified, over_cap or small_class",
        ),
        field("partner", pa.string(), "image_id of the best partner among the pairs, or empty"),
        field("inliers", pa.int32(), "inliers with the best partner"),
        field("agreement", pa.float32(), "share of neighbours of its landmark", nullable=True),
        field(
            "neighbours",
            pa.list_(pa.string()),
            "image_ids of the photos that resemble it most, the nearest first, without its copies",
        ),
    ]
)

DETECTIONS = pa.schema(
    [
        IMAGE_ID,
        LANDMARK_ID,
        field("entities", pa.list_(pa.string()), "Open Images classes, the highest score first"),
        field("scores", pa.list_(pa.float32()), "score of each object, from 0 to 1"),
        field(
            "boxes",
            pa.list_(pa.float32()),
            "4 numbers of each object: top, left, bottom, right, as shares of the height and width",
        ),
    ]
)

CLEANED = pa.schema(
    [
        IMAGE_ID,
        LANDMARK_ID,
        field("keep", pa.bool_(), "whether the image stays"),
        field(
            "reason",
            pa.string(),
            "as in kept, or verdict for an image that a verdict brought back, or no_building, "
            "people_class, duplicate, conflict or dropped",
        ),
        field("verdict", pa.string(), "keep or drop, if a list of verdicts names it; else empty"),
        field("note", pa.string(), "reason in the list of verdicts, or what the rule saw"),
    ]
)

_SQUARE = field("jpeg", pa.binary(), "JPEG of the centre square, RGB, size x size pixels")
_GROUP = field("group", pa.int32(), "group of the class by its images in `cleaned`, from 1")
_SPLIT = field("split", pa.string(), "train or validation")

GROUPS = pa.schema([IMAGE_ID, LANDMARK_ID, _GROUP, _SPLIT])
"""Images of classes that are large enough for a group, less those of classes that are left out."""

EXAMPLES = pa.schema([IMAGE_ID, LANDMARK_ID, _SQUARE, _GROUP, _SPLIT])
"""The images of `groups` as squares, without those that `resize` rejects."""

BACKGROUND = pa.schema([IMAGE_ID, LANDMARK_ID, _SQUARE])
"""Some of the discarded images, and synthetic images."""

EMBEDDINGS = pa.schema(
    [
        IMAGE_ID,
        LANDMARK_ID,
        field("group", pa.int32(), "group of the example, from 1; 0 for a background image"),
        _SPLIT,
        field("view", pa.int32(), "0: the photo as it is; from 1: augmented, for training only"),
        field("vector", pa.binary(), "float16 [D], little-endian: the trunk's features"),
    ]
)

PREDICTIONS = pa.schema(
    [
        IMAGE_ID,
        field("truth", pa.list_(pa.int64()), "landmark ids that the image shows: none or several"),
        field("label", pa.int64(), "landmark id of the image in the source; -1 in a test set"),
        field("group", pa.int32(), "group of its landmark, from 1; 0 if none or unknown"),
        field("landmarks", pa.list_(pa.int64()), "predicted landmark ids, best first"),
        field("confidences", pa.list_(pa.float32()), "confidence of each, from 0 to 1"),
        field("candidates", pa.list_(pa.int64()), "landmark ids that heads or index name"),
        field("heads", pa.list_(pa.float64()), "confidence of the heads for each candidate"),
        field("nearest", pa.list_(pa.float32()), "similarity to each candidate's nearest photos"),
        field("mean", pa.list_(pa.float32()), "similarity to the mean of each candidate's photos"),
        field(
            "usual",
            pa.list_(pa.float32()),
            "similarity to this mean that is usual for each candidate's own photos",
        ),
        field("strangers", pa.float32(), "similarity to photos of no landmark"),
        field(
            "inliers",
            pa.list_(pa.float32()),
            "most inliers with an exemplar of each candidate; NaN where none was asked",
        ),
        field("closed_landmark", pa.int64(), "landmark id that the closed-set baseline predicts"),
        field("closed_confidence", pa.float32(), "confidence of the closed-set baseline"),
    ]
)
"""Predictions of the models for validation or test images."""

ANSWERS = pa.schema(
    [
        field("image_id", pa.string(), "id in the csv: as much of the name as makes it unique"),
        field("file", pa.string(), "tar or table that holds the photo; empty if it is a file"),
        field("name", pa.string(), "path of the photo in the source or tar, or its id in a table"),
        field("landmarks", pa.list_(pa.int64()), "predicted landmark ids, best first"),
        field("confidences", pa.list_(pa.float32()), "confidence of each, from 0 to 1"),
        field("is_landmark", pa.bool_(), "whether the first confidence reaches the threshold"),
        field("error", pa.string(), "why the photo cannot be read; empty if it can"),
    ]
)
"""Answers of jobs/predict.py; this is no table of a root."""

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
