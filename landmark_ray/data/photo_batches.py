"""What stages and jobs share that ask the models: photos in, answers out."""

from collections.abc import Iterable, Iterator
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from landmark_ray.data.sources import Member
from landmark_ray.kernels.image import ImageError, Limits, model_input

CHUNK = 256
"""Photos in memory at once."""


def photos(
    members: Iterable[Member], size: int, limits: Limits
) -> Iterator[tuple[list[str], NDArray[np.uint8], dict[str, str]]]:
    """The usable photos of members, chunk by chunk.

    Yields:
        Ids, photos [N, size, size, 3], and id -> reason of those that can't be used.
    """
    rest = iter(members)
    while chunk := list(islice(rest, CHUNK)):
        ids: list[str] = []
        found: list[NDArray[np.uint8]] = []
        bad: dict[str, str] = {}
        for member in chunk:
            try:
                if member.problem:
                    raise ImageError(member.problem)
                if member.size and not member.data:
                    raise ImageError(
                        f"too large: a file of {member.size} bytes, over max_megabytes"
                    )
                found.append(model_input(member.data, size, limits))
                ids.append(member.image_id)
            except ImageError as error:
                bad[member.image_id] = str(error)
        empty = np.zeros((0, size, size, 3), np.uint8)
        yield ids, np.stack(found) if found else empty, bad
