"""Photos and drawn matches of some images, for pages."""

import base64
import io
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from PIL import Image

from landmark_ray.config import Config
from landmark_ray.data.lookup import image_features, rows_of
from landmark_ray.data.root import Root
from landmark_ray.kernels.image import decode
from landmark_ray.kernels.matching import match_pair, pair_seed
from landmark_ray.reports.thumbnails import thumbnail

SIDE = 300  # pixels of a drawn photo's longest side
QUALITY = 70
FEATURES = ["width", "height", "count", "keypoints", "descriptors"]


class Pairs:
    """Of a root."""

    def __init__(self, tables: Root, config: Config) -> None:
        """Nothing is read yet."""
        self._tables, self._config = tables, config

    def photos(self, image_ids: Iterable[str]) -> dict[str, str]:
        """Image id -> a small photo, as an address that holds it."""
        found = rows_of(self._tables, image_ids, {"images": ["jpeg"]})["images"]
        return {image: thumbnail(row["jpeg"]) for image, row in found.items()}

    def draw(self, pairs: Sequence[tuple[str, str]]) -> Iterator[tuple[str, str]]:
        """A pair's first image id, and its match as the run sees it, as an address that holds it.

        A pair is left out of which the run has no features any more.
        """
        ids = {image for pair in pairs for image in pair}
        found = rows_of(self._tables, ids, {"images": ["jpeg"], "features": FEATURES})
        for a, b in pairs:
            if all(image in rows for rows in found.values() for image in (a, b)):
                yield a, self._drawn(a, b, found["images"], found["features"])

    def _drawn(
        self, a: str, b: str, images: dict[str, dict[str, Any]], features: dict[str, dict[str, Any]]
    ) -> str:
        from landmark_ray.reports.match_drawing import draw  # matplotlib: half a second

        first, second = sorted((a, b))
        options = self._config.match
        local_a, local_b = (image_features(features[image]) for image in (first, second))
        result = match_pair(
            local_a,
            local_b,
            options.rule(self._config.extract.extractor),
            stop_below=options.min_inliers,
            seed=pair_seed(first, second, self._config.seed),
        )
        left = local_a.keypoints[result.matches[:, 0], :2]
        right = local_b.keypoints[result.matches[:, 1], :2]
        if first != a:  # the image itself stands on the left
            left, right = right, left
        photo_a, photo_b = (decode(images[image]["jpeg"]) for image in (a, b))
        picture = draw(photo_a, photo_b, left, right, result.inlier_mask, "", side=SIDE)
        return as_address(picture)


def as_address(picture: Image.Image) -> str:
    """A picture as an address that holds it."""
    out = io.BytesIO()
    picture.save(out, "JPEG", quality=QUALITY)
    return f"data:image/jpeg;base64,{base64.b64encode(out.getvalue()).decode()}"
