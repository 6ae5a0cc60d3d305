"""Examples and background images as the models' stages read them."""

import io

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from PIL import Image

from landmark_ray.data.root import Root
from landmark_ray.errors import UserError
from landmark_ray.kernels.sampling import rank_key

BACKGROUND_VALIDATION = 0.3
"""Share of the background images that validate."""

COLUMNS = ["image_id", "landmark_id", "jpeg"]


def read_examples(root: Root, place: tuple[int, int], seed: int) -> pa.Table:
    """The examples of a shard, and its background images as group 0."""
    examples = root.read_shard("examples", *place, [*COLUMNS, "group", "split"])
    background = root.read_shard("background", *place, COLUMNS)
    split = background_split(background["image_id"].to_numpy(), seed)
    columns = {
        "group": pa.array(np.zeros(len(split), np.int32)),
        "split": pa.array(split, pa.string()),
    }
    for name, values in columns.items():
        background = background.append_column(name, values)
    return pa.concat_tables([examples, background.cast(examples.schema)])


def background_split(image_ids: NDArray[np.object_], seed: int) -> NDArray[np.str_]:
    """The side of the split that background images are on."""
    rank = rank_key(image_ids, seed)
    return np.where(rank < BACKGROUND_VALIDATION * 2**64, "validation", "train")


def pixels(jpeg: bytes, size: int) -> NDArray[np.uint8]:
    """An example as [size, size, 3] RGB.

    Raises:
        UserError: it has another size.
    """
    image = Image.open(io.BytesIO(jpeg))
    if image.size != (size, size):
        raise UserError(
            f"an example has {image.width} x {image.height} pixels, and --resize.size is {size}: "
            "run jobs/resize.py --redo resize"
        )
    return np.asarray(image.convert("RGB"))
