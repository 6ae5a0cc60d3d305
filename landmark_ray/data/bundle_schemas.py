"""The schemas of the tables of a bundle; the metadata of each column says what it means."""

import pyarrow as pa

from landmark_ray.data.schemas import HEIGHT, IMAGE_ID, LANDMARK_ID, WIDTH, field

BUNDLED = pa.schema(
    [
        LANDMARK_ID,
        field("name", pa.string(), "category link or folder name; empty when unknown"),
        field("group", pa.int32(), "group whose model knows it, from 1"),
        field("images", pa.int64(), "examples that it was learned from, validation included"),
    ]
)
"""Landmarks of a bundle. The version of a bundle depends on this schema with its texts."""

INDEXED = pa.schema(
    [
        IMAGE_ID,
        field("landmark_id", pa.int64(), "landmark that the photo shows; -2 if it shows none"),
        field("cluster", pa.string(), "as in duplicates: photos of a cluster show the same"),
        field("enrolled", pa.bool_(), "whether only the index knows its landmark, not the heads"),
    ]
)
"""Photos of an index, in the order of its vectors."""

EXEMPLARS = pa.schema(
    [
        IMAGE_ID,
        LANDMARK_ID,
        field("cluster", pa.string(), "as in duplicates: photos of a cluster show the same"),
        WIDTH,
        HEIGHT,
        field("count", pa.int32(), "number of features N"),
        field("keypoints", pa.binary(), "float16, little-endian: [N, 2 or 4], as in features"),
        field("descriptors", pa.binary(), "int8 [N, D], of length 127, as in features"),
        field("thumbnail", pa.binary(), "JPEG of the photo, at most 256 pixels; may be empty"),
        field(
            "author", pa.string(), "who made the photo; null where the source names nobody", True
        ),
        field(
            "licence", pa.string(), "licence of the photo; null where the source names none", True
        ),
    ]
)
"""Photos of a bundle with which other photos are verified, by landmark, the best first."""

REFERENCE = pa.schema(
    [
        field("pixels", pa.binary(), "uint8 [size, size, 3] RGB: a photo as the models see it"),
        field(
            "answers",
            pa.list_(pa.struct({"group": pa.int32(), "logits": pa.list_(pa.float32())})),
            "logits of the trained network of each group",
        ),
    ]
)
"""Reference answers of a bundle."""
