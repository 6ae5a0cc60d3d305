"""Names and thumbnails of some landmarks, for pages."""

import base64
import io
from collections.abc import Iterable
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from PIL import Image

from landmark_ray.data.root import Root
from landmark_ray.kernels.landmark_names import link, readable

SIDE = 168  # longest side of a thumbnail in pixels, sharp on high-density screens
QUALITY = 72
LETTERS = 80  # length of a name


class Thumbnails:
    """Names, links and thumbnails of landmarks; only the row groups that hold them are read.

    Attributes:
        names: Landmark -> name.
        links: Landmark -> address, for names that are addresses.
        photos: Image id -> thumbnail as data URL.
    """

    def __init__(self, root: Root) -> None:
        """Start without names and photos."""
        self.root = root
        self.names: dict[int, str] = {}
        self.links: dict[int, str] = {}
        self.photos: dict[str, str] = {}

    def add_names(self, landmarks: Iterable[int]) -> None:
        """Read the names of landmarks, and the addresses of those whose name is an address."""
        wanted = _among("landmark_id", landmarks, pa.int64())
        rows = self.root.dataset("landmarks").to_table(["landmark_id", "name"], filter=wanted)
        for landmark, name in zip(*(rows[n].to_pylist() for n in rows.column_names), strict=True):
            self.names[landmark] = short_name(name)
            if address := link(name):
                self.links[landmark] = address

    def name(self, landmark: int) -> str:
        """Return the name of a landmark, or its number if it has no name."""
        return self.names.get(landmark) or f"landmark {landmark}"

    def add_photos(self, table: str, image_ids: Iterable[str], landmarks: Iterable[int]) -> None:
        """Read photos of some landmarks.

        Args:
            table: A table with the columns landmark_id, image_id and jpeg.
            image_ids: The ids of the photos.
            landmarks: All landmarks that the photos are filed under.
        """
        of_landmarks = _among("landmark_id", landmarks, pa.int64())
        wanted = of_landmarks & _among("image_id", image_ids, pa.string())
        rows = self.root.dataset(table).to_table(["image_id", "jpeg"], filter=wanted)
        pairs = zip(rows["image_id"].to_pylist(), rows["jpeg"].to_pylist(), strict=True)
        self.photos |= {image_id: thumbnail(jpeg) for image_id, jpeg in pairs}

    def add_example_of(self, landmarks: Iterable[int]) -> dict[int, str]:
        """Read a photo of each landmark, preferably a training photo.

        Returns:
            Landmark -> image id.
        """
        of_landmarks = _among("landmark_id", landmarks, pa.int64())
        names = ["split", "landmark_id", "image_id"]
        rows = self.root.dataset("examples").to_table(names, filter=of_landmarks).to_pylist()
        rows.sort(key=lambda row: (row["split"] == "train", row["image_id"]))
        chosen = {row["landmark_id"]: row["image_id"] for row in rows}
        self.add_photos("examples", chosen.values(), chosen)
        return chosen


def _among(column: str, values: Iterable[Any], kind: pa.DataType) -> pc.Expression:
    return pc.field(column).isin(pa.array(list(values), kind))


def thumbnail(jpeg: bytes) -> str:
    """Return the thumbnail of a photo as a data URL."""
    with Image.open(io.BytesIO(jpeg)) as photo:
        photo.thumbnail((SIDE, SIDE))
        out = io.BytesIO()
        photo.convert("RGB").save(out, "JPEG", quality=QUALITY)
    return f"data:image/jpeg;base64,{base64.b64encode(out.getvalue()).decode()}"


def short_name(name: str) -> str:
    """Return a readable form of a landmark's name, of at most LETTERS letters."""
    name = readable(name)
    return name if len(name) <= LETTERS else f"{name[: LETTERS - 1]}…"
