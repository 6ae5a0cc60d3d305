"""Photos in batches, as the stages and jobs read them that run the models."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from landmark_ray.data.tars import Member
from landmark_ray.kernels.image import ImageError, Limits, model_input

CHUNK = 256
"""Largest number of photos in memory."""


@dataclass(frozen=True)
class PhotoBatch:
    """Some photos.

    Attributes:
        ids: [N] of the usable photos.
        squares: [N, size, size, 3] uint8 RGB, as the models take them.
        files: [N] their files.
        rejected: Id -> reason of each unusable photo.
    """

    ids: list[str]
    squares: NDArray[np.uint8]
    files: list[bytes]
    rejected: dict[str, str]


def bytes_of(member: Member) -> bytes:
    """Return the file of a photo.

    Raises:
        ImageError: It could not be read, or was too large to be.
    """
    if member.problem:
        raise ImageError(member.problem)
    if member.size and not member.data:
        raise ImageError(f"too large: a file of {member.size} bytes, over max_megabytes")
    return member.data


def photos(members: Iterable[Member], size: int, limits: Limits) -> Iterator[PhotoBatch]:
    """Decode the usable photos of archives, chunk by chunk.

    Args:
        members: Photos of archives or tables.
        size: Width and height that the models take, in pixels.
        limits: Limits of the photos that are accepted.
    """
    rest = iter(members)
    while chunk := list(islice(rest, CHUNK)):
        ids: list[str] = []
        usable: list[NDArray[np.uint8]] = []
        files: list[bytes] = []
        rejected: dict[str, str] = {}
        for member in chunk:
            try:
                usable.append(model_input(bytes_of(member), size, limits))
                ids.append(member.image_id)
                files.append(member.data)
            except ImageError as error:
                rejected[member.image_id] = str(error)
        empty = np.zeros((0, size, size, 3), np.uint8)
        yield PhotoBatch(ids, np.stack(usable) if usable else empty, files, rejected)
