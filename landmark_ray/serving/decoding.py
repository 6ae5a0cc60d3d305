"""Photos to squares, in processes that a photo can crash, fill or keep busy without harm.

Plain JPEGs, which can do none of that, are spared the way there and back: 1.5 ms of 3.
"""

import asyncio
import io
import multiprocessing
import resource
import time
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as Late

import numpy as np
from numpy.typing import NDArray
from pebble import ProcessExpired, ProcessPool
from PIL import Image

from landmark_ray.kernels.image import ImageError, Limits, model_input
from landmark_ray.serving.api_errors import APIError, bad_photo

MEMORY = 3 << 30
"""Address space of a decoding process, in bytes."""


PLAIN_PIXELS = 4e6
PLAIN_SCANS = 2
"""Of a plain JPEG, with its thumbnail's."""


def is_plain(data: bytes) -> bool:
    """Whether a photo is a JPEG of modest size that is decoded in one pass: in 30 ms at most.

    A progressive one can have thousands of passes; so can one that names its components one by one.
    A colour profile is a program of its own.
    """
    if data[:2] != b"\xff\xd8" or data.count(b"\xff\xda") > PLAIN_SCANS:
        return False
    try:
        with Image.open(io.BytesIO(data), formats=["JPEG"]) as image:
            small = image.width * image.height <= PLAIN_PIXELS
            simple = not {"progressive", "icc_profile"} & set(image.info)
            return small and simple and image.format == "JPEG"
    except Exception:  # it is for a process to find out what is wrong
        return False


def bound_memory() -> None:
    """In a new process: more than `MEMORY` is a MemoryError."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))


class Decoder:
    """Decodes in processes of its own, each photo within a time."""

    def __init__(self, processes: int, seconds: float) -> None:
        """Start them."""
        self.processes, self.seconds = processes, seconds
        self.threads = ThreadPoolExecutor(processes)
        self.pool = ProcessPool(
            processes,
            initializer=bound_memory,
            context=multiprocessing.get_context("spawn"),
        )

    async def start(self) -> None:
        """Wait until all are there."""
        await asyncio.gather(
            *(
                asyncio.wrap_future(self.pool.schedule(time.sleep, [0.1]))
                for _ in range(self.processes)
            )
        )

    def stop(self) -> None:
        """End them."""
        self.threads.shutdown()
        self.pool.stop()
        self.pool.join()

    async def square(self, data: bytes, size: int, limits: Limits) -> NDArray[np.uint8]:
        """`kernels.image.model_input`: [size, size, 3].

        Raises:
            Refused: what is wrong with the photo.
        """
        given = data, size, limits
        work = asyncio.wrap_future(
            self.threads.submit(model_input, *given)
            if is_plain(data)
            else self.pool.schedule(model_input, given, timeout=self.seconds)
        )
        work.add_done_callback(_seen)
        try:  # a client that hangs up would else end the process, and others wait for a new one
            return await asyncio.shield(work)
        except ImageError as error:
            raise bad_photo(error) from None
        except Late:
            raise bad_photo(
                ImageError(
                    f"too slow: decoding takes more than {self.seconds:g} s (--decode_seconds)"
                )
            ) from None
        except MemoryError:
            raise APIError(
                413, "The photo can't be used: too large: it needs too much memory.", "too large"
            ) from None
        except ProcessExpired:
            raise bad_photo(ImageError("damaged: the decoder crashed")) from None


def _seen(work: "asyncio.Future[NDArray[np.uint8]]") -> None:
    """An error that a client who hung up will never see is no warning in the log."""
    if not work.cancelled():
        work.exception()
