"""Examples and background images, as the stages that train and evaluate models read them."""

import io
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from PIL import Image

from landmark_ray.data.root import Root
from landmark_ray.errors import UserError
from landmark_ray.kernels.sampling import rank_key

BACKGROUND_VALIDATION = 0.3
"""Share of the background images that are used for validation."""

STRANGERS_VALIDATION = 0.5
"""Share of the landmarks that no model learns whose photos are used for validation."""

IDS = ("image_id", "landmark_id")
COLUMNS = (*IDS, "jpeg")


def read_examples(
    root: Root, shard: tuple[int, int], seed: int, columns: Sequence[str] = COLUMNS
) -> pa.Table:
    """Read the examples of a shard (bucket, number), and its background images as group 0."""
    examples = root.read_shard("examples", *shard, [*columns, "group", "split"])
    background = root.read_shard("background", *shard, [*columns])
    ids, labels = (background[name].to_numpy() for name in ("image_id", "landmark_id"))
    split = background_split(ids, labels, examples["landmark_id"].to_numpy(), seed)
    added = {
        "group": pa.array(np.zeros(len(split), np.int32)),
        "split": pa.array(split, pa.string()),
    }
    for name, values in added.items():
        background = background.append_column(name, values)
    return pa.concat_tables([examples, background.cast(examples.schema)])


def background_split(
    image_ids: NDArray[np.object_],
    labels: NDArray[np.int64],
    landmarks: NDArray[np.int64],
    seed: int,
) -> NDArray[np.str_]:
    """Return for background images [N] whether they are for "train" or "validation".

    All photos of a landmark that no model learns are on the same side, as they show one place.

    Args:
        image_ids: [N].
        labels: [N] landmark that each is filed under.
        landmarks: Landmarks that models learn: all, or those of the shards of the images.
        seed: Any integer.
    """
    by_image = rank_key(image_ids, seed) < BACKGROUND_VALIDATION * 2**64
    by_landmark = rank_key(labels.astype(str), seed) < STRANGERS_VALIDATION * 2**64
    is_stranger = (labels >= 0) & ~np.isin(labels, landmarks)
    return np.where(np.where(is_stranger, by_landmark, by_image), "validation", "train")


def pixels(jpeg: bytes, size: int) -> NDArray[np.uint8]:
    """Decode an example to [size, size, 3] uint8 RGB.

    Raises:
        UserError: The example has another size.
    """
    image = Image.open(io.BytesIO(jpeg))
    if image.size != (size, size):
        raise UserError(
            f"an example has {image.width} x {image.height} pixels, and --resize.size is {size}: "
            "run jobs/resize.py --redo resize"
        )
    return np.asarray(image.convert("RGB"))


def groups_of(root: Root) -> dict[int, int]:
    """Read the group of each landmark: landmark -> group."""
    rows = root.dataset("examples").to_table(["landmark_id", "group"])
    pairs = rows.group_by(["landmark_id", "group"]).aggregate([])
    return dict(zip(pairs["landmark_id"].to_pylist(), pairs["group"].to_pylist(), strict=True))
