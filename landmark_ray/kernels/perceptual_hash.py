"""Hashes and thumbnails by which copies of a photo are found."""

import hashlib
from typing import NamedTuple

import imagehash
import numpy as np
from PIL import Image

from landmark_ray.kernels.image import open_image

THUMBNAIL = 32
"""Width and height of the thumbnails by which images are compared, in pixels."""


class PerceptualHash(NamedTuple):
    """Hashes and a thumbnail that are nearly equal for copies of a photo: columns of `HASHES`."""

    digest: bytes
    phash: int
    thumbnail: bytes


def perceptual_hash(jpeg: bytes) -> PerceptualHash:
    """Compute a hash of the file, the 64-bit DCT hash of the picture, and a thumbnail.

    The DCT hashes (imagehash.phash) of near-duplicates differ in few bits. The thumbnail is made
    from a JPEG that is decoded at a fraction of its size, and the DCT hash from the thumbnail,
    which takes 2 ms in place of 12.

    Raises:
        ImageError: The file is no image.
    """
    image = open_image(jpeg)
    image.draft("L", (4 * THUMBNAIL, 4 * THUMBNAIL))
    grey = image.convert("L").resize((THUMBNAIL, THUMBNAIL), Image.Resampling.LANCZOS)
    bits = imagehash.phash(grey, highfreq_factor=THUMBNAIL // 8).hash.ravel()
    digest = hashlib.blake2b(jpeg, digest_size=16).digest()
    return PerceptualHash(digest, int(np.packbits(bits).view(">u8")[0]), grey.tobytes())
