"""Read where the photos of all trainings are stored, and their proportions."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from landmark_ray.data.examples import background_split
from landmark_ray.data.root import Root
from landmark_ray.errors import UserError
from landmark_ray.kernels.proportions import nearest


def read_index(root: Root, seed: int, *, proportions: bool = False) -> pd.DataFrame:
    """Read where all examples and background images are stored.

    Args:
        root: The root.
        seed: Divides background images into those to train on and to validate with.
        proportions: Whether to read the proportions of the photos, too.

    Returns:
        A row for each image with image_id, landmark_id, group (0 for background), split, file and
        row, and the place in `PROPORTIONS` if asked for.

    Raises:
        UserError: The table `images`, which has the proportions, is missing.
    """
    parts: list[pd.DataFrame] = []
    for table, names in (("examples", ["group", "split"]), ("background", [])):
        columns = ["image_id", "landmark_id", *names, "__filename"]
        frame = root.dataset(table).to_table(columns).to_pandas()
        frame["file"] = frame.pop("__filename").str[len(root.path_of("")) + 1 :].astype("category")
        frame["row"] = frame.groupby("file", observed=True).cumcount()
        if table == "background":
            frame["group"] = 0
            frame["split"] = background_split(
                frame.image_id.to_numpy(object),
                frame.landmark_id.to_numpy(),
                parts[0].landmark_id.unique(),
                seed,
            )
        parts.append(frame)
    index = pd.concat([part.astype({"file": str}) for part in parts], ignore_index=True)
    if proportions:
        index["proportion"] = _proportions(root, index.image_id)
    return index.astype({"file": "category"})


def _proportions(root: Root, ids: "pd.Series[str]") -> NDArray[np.int8]:
    """Read the places in `PROPORTIONS` [N] of images; drawn images, which no table has, are square.

    Raises:
        UserError: The table `images` is missing.
    """
    try:
        images = root.dataset("images").to_table(["image_id", "width", "height"])
    except FileNotFoundError:
        raise UserError(
            f"{root.shown}/images is missing, which has the proportions of the photos: leave "
            "--train.metric_proportions out, or run the stages from ingest on in another --root"
        ) from None
    place = pc.index_in(pa.array(ids, pa.string()), images["image_id"])
    sides = (pc.fill_null(images[side].take(place), 1) for side in ("width", "height"))
    return nearest(*(side.to_numpy() for side in sides))
