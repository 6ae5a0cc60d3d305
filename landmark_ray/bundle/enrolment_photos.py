"""The photos of a landmark that is added to a bundle, with what geometry and the network need."""

import hashlib
import sys
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from landmark_ray.bundle.exemplars import Exemplars
from landmark_ray.bundle.manifest import Bundle
from landmark_ray.config.verification import ExtractConfig
from landmark_ray.data.photos import Photos, photos_of
from landmark_ray.errors import UserError
from landmark_ray.kernels.contentless import is_contentless
from landmark_ray.kernels.features import ImageFeatures
from landmark_ray.kernels.image import ImageError, decode, model_input, normalise
from landmark_ray.kernels.image import Photo as WholePhoto
from landmark_ray.kernels.local_features import LocalFeatures

LEAST = 3
"""Number of photos that a landmark needs at least."""

MOST = 100
"""Number of photos of a landmark at most, as `--prune.max_images` by default."""


@dataclass(frozen=True)
class Photo:
    """A photo to enrol.

    Attributes:
        name: Its file.
        image_id: A hash of its bytes.
        square: [size, size, 3] RGB, as the network sees it.
        whole: The whole photo, upright.
        features: Its local features.
    """

    name: str
    image_id: str
    square: NDArray[np.uint8]
    whole: WholePhoto
    features: ImageFeatures


def read_photos(folder: str, bundle: Bundle, exemplars: Exemplars | None) -> list[Photo]:
    """Read the photos of a folder; name those that cannot be used on stderr.

    Their local features are those of the exemplars, or RootSIFT where there are none.

    Raises:
        UserError: Fewer than `LEAST` photos can be used.
    """
    limits, size = bundle.manifest.limits, bundle.manifest.size
    sift = ExtractConfig()
    extract = (
        exemplars.features
        if exemplars
        else LocalFeatures(None, max_features=sift.max_feature_num, side=sift.max_side)
    )
    photos: dict[str, Photo] = {}
    for part in Photos(folder, "--photos").parts:
        for member in photos_of(part, bundle.manifest.max_megabytes * 1e6):
            image_id = hashlib.sha256(member.data).hexdigest()[:16]
            try:
                if member.problem:
                    raise ImageError(member.problem)
                square = model_input(member.data, size, limits)
                if is_contentless(square):
                    raise ImageError("it is of one colour, a gradient, or noise")
                whole = normalise(member.data, limits)
                features = extract(decode(whole.jpeg))
            except ImageError as error:
                print(f"left out: {member.name}: {error}", file=sys.stderr)
                continue
            if image_id in photos:
                print(
                    f"left out: {member.name}: a copy of {photos[image_id].name}", file=sys.stderr
                )
                continue
            if len(photos) == MOST:
                print(f"left out: {member.name}: {MOST} photos are enough", file=sys.stderr)
                continue
            photos[image_id] = Photo(member.name, image_id, square, whole, features)
    if len(photos) < LEAST:
        raise UserError(
            f"--photos {folder}: photos that can be used: {len(photos)}; a landmark needs {LEAST}"
        )
    return list(photos.values())
