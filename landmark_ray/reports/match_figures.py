"""Thumbnails of images and pictures of their matches, for pages."""

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


class MatchFigures:
    """Thumbnails and match pictures of images of a root."""

    def __init__(self, root: Root, config: Config) -> None:
        """Remember the root and the options that it was matched with."""
        self._root, self._config = root, config

    def photos(self, image_ids: Iterable[str]) -> dict[str, str]:
        """Return the thumbnails of images: image id -> data URL."""
        rows = rows_of(self._root, image_ids, {"images": ["jpeg"]})["images"]
        return {image: thumbnail(row["jpeg"]) for image, row in rows.items()}

    def draw(self, pairs: Sequence[tuple[str, str]]) -> Iterator[tuple[str, str]]:
        """Match pairs again, as the run does, and draw their matches.

        Pairs without stored features are left out.

        Yields:
            The id of a pair's first image, which is drawn on the left, and the picture as data URL.
        """
        ids = {image for pair in pairs for image in pair}
        tables = rows_of(self._root, ids, {"images": ["jpeg"], "features": FEATURES})
        for a, b in pairs:
            if all(image in rows for rows in tables.values() for image in (a, b)):
                yield a, self._draw_pair(a, b, tables["images"], tables["features"])

    def _draw_pair(
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
        if first != a:  # a is drawn on the left
            left, right = right, left
        photo_a, photo_b = (decode(images[image]["jpeg"]) for image in (a, b))
        picture = draw(photo_a, photo_b, left, right, result.inlier_mask, "", side=SIDE)
        return data_url(picture)


def data_url(picture: Image.Image) -> str:
    """Return a picture as a data URL of a JPEG."""
    out = io.BytesIO()
    picture.save(out, "JPEG", quality=QUALITY)
    return f"data:image/jpeg;base64,{base64.b64encode(out.getvalue()).decode()}"
