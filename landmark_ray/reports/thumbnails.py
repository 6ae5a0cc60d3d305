"""Names and small photos of a few landmarks, for pages."""

import base64
import io
from collections.abc import Iterable
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from PIL import Image

from landmark_ray.data.root import Root
from landmark_ray.kernels.landmark_names import link, readable

SIDE = 168  # pixels of a photo's longest side: sharp on dense screens
QUALITY = 72
LETTERS = 80  # of a name


class Thumbnails:
    """What a page shows of landmarks; only the row groups that hold them are read."""

    def __init__(self, root: Root) -> None:
        """Nothing is read yet."""
        self.root = root
        self.names: dict[int, str] = {}
        self.links: dict[int, str] = {}
        self.photos: dict[str, str] = {}

    def add_names(self, landmarks: Iterable[int]) -> None:
        """Read landmarks' names, and the addresses that some names are."""
        wanted = _among("landmark_id", landmarks, pa.int64())
        rows = self.root.dataset("landmarks").to_table(["landmark_id", "name"], filter=wanted)
        for landmark, name in zip(*(rows[n].to_pylist() for n in rows.column_names), strict=True):
            self.names[landmark] = short_name(name)
            if address := link(name):
                self.links[landmark] = address

    def name(self, landmark: int) -> str:
        """A landmark's name, or its number where it has none."""
        return self.names.get(landmark) or f"landmark {landmark}"

    def add_photos(self, table: str, image_ids: Iterable[str], landmarks: Iterable[int]) -> None:
        """Read photos of some landmarks.

        Args:
            table: with the columns landmark_id, image_id and jpeg.
            image_ids: of the photos.
            landmarks: all that the photos are filed under.
        """
        here = _among("landmark_id", landmarks, pa.int64())
        wanted = here & _among("image_id", image_ids, pa.string())
        rows = self.root.dataset(table).to_table(["image_id", "jpeg"], filter=wanted)
        pairs = zip(rows["image_id"].to_pylist(), rows["jpeg"].to_pylist(), strict=True)
        self.photos |= {image_id: thumbnail(jpeg) for image_id, jpeg in pairs}

    def add_example_of(self, landmarks: Iterable[int]) -> dict[int, str]:
        """Read a photo of each landmark, one to train on if there is any; their image ids."""
        here = _among("landmark_id", landmarks, pa.int64())
        names = ["split", "landmark_id", "image_id"]
        rows = self.root.dataset("examples").to_table(names, filter=here).to_pylist()
        rows.sort(key=lambda row: (row["split"] == "train", row["image_id"]))
        chosen = {row["landmark_id"]: row["image_id"] for row in rows}
        self.add_photos("examples", chosen.values(), chosen)
        return chosen


def _among(column: str, values: Iterable[Any], kind: pa.DataType) -> pc.Expression:
    return pc.field(column).isin(pa.array(list(values), kind))


def thumbnail(jpeg: bytes) -> str:
    """A small photo as an address that holds it."""
    with Image.open(io.BytesIO(jpeg)) as photo:
        photo.thumbnail((SIDE, SIDE))
        out = io.BytesIO()
        photo.convert("RGB").save(out, "JPEG", quality=QUALITY)
    return f"data:image/jpeg;base64,{base64.b64encode(out.getvalue()).decode()}"


def short_name(name: str) -> str:
    """What a person calls a landmark, in a few words."""
    name = readable(name)
    return name if len(name) <= LETTERS else f"{name[: LETTERS - 1]}…"
