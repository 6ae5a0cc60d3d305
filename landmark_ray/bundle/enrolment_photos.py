"""The photos of a landmark that is added to a bundle, with what geometry and the network need."""

import hashlib
import sys
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from landmark_ray.bundle.exemplars import Exemplars
from landmark_ray.bundle.manifest import Bundle
from landmark_ray.config.verification import ExtractConfig
from landmark_ray.data.archives import Archive
from landmark_ray.data.photo_batches import bytes_of
from landmark_ray.data.photo_tables import DamagedError
from landmark_ray.data.photos import Photos, photos_of
from landmark_ray.data.tars import Member
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
    source, surplus = Photos(folder, "--photos"), 0
    for member in _members(source, bundle.manifest.max_megabytes * 1e6):
        image_id = hashlib.sha256(member.data).hexdigest()[:16]
        try:
            data = bytes_of(member)
            if image_id in photos:
                raise ImageError(f"a copy of {photos[image_id].name}")
            if len(photos) == MOST:
                surplus += 1
                continue
            square = model_input(data, size, limits)
            if is_contentless(square):
                raise ImageError("it is of one colour, a gradient, or noise")
            whole = normalise(data, limits)
            features = extract(decode(whole.jpeg))
        except ImageError as error:
            _print_left_out(f"{member.name}: {error}")
            continue
        photos[image_id] = Photo(member.name, image_id, square, whole, features)
    if surplus:
        _print_left_out(f"{surplus:,} more photos: {MOST} are enough")
    for line in source.left_out.lines():
        print(line, file=sys.stderr)
    if len(photos) < LEAST:
        raise UserError(
            f"--photos {folder}: photos that can be used: {len(photos)}; a landmark needs {LEAST}"
        )
    return list(photos.values())


def _members(source: Photos, max_bytes: float) -> Iterator[Member]:
    """Yield all photos; count in `source.left_out` what is none, and warn of what is damaged."""
    for part in source.parts:
        try:
            yield from photos_of(part, max_bytes)
        except DamagedError as error:
            print(f"warning: {error}; the photos before that place are used", file=sys.stderr)
        if isinstance(part, Archive) and part.problem:
            print(f"warning: {part.problem}; its photos are used nevertheless", file=sys.stderr)
        source.left_out.update(part.left_out)


def _print_left_out(what: str) -> None:
    print(f"left out: {what}", file=sys.stderr)
