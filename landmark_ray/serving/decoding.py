"""Decoding of photos in processes, which a photo can crash, fill or keep busy without harm.

Plain JPEGs can do none of that. A thread decodes them, which saves the 1.5 ms (of 3 ms) that it
takes to send a photo to a process and back.
"""

import asyncio
import io
import multiprocessing
import resource
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as PoolTimeoutError
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pebble import ProcessExpired, ProcessPool
from PIL import Image

from landmark_ray.kernels.image import ImageError, Limits, decode, model_input
from landmark_ray.serving.api_errors import APIError, photo_error

MAX_ADDRESS_SPACE = 3 << 30
"""Address space of a decoding process, in bytes."""

PLAIN_MAX_PIXELS = 4e6
PLAIN_MAX_SCANS = 2
"""Scans of a plain JPEG, with that of its thumbnail."""
PLAIN_MAX_SEGMENTS = 200
"""Segments before the first scan of a plain JPEG; a colour profile or EXIF is one, or some."""
_SEGMENTS = {0xDB, 0xDD, 0xFE, *range(0xC0, 0xD0), *range(0xE0, 0xF0)} - {0xC8}
"""Second byte of the markers of segments that a JPEG has before its first scan."""


def is_plain_jpeg(data: bytes) -> bool:
    """Tell whether a photo is a small JPEG of one scan, which takes at most 30 ms to decode.

    A progressive JPEG can have thousands of scans, and so can one that stores each component in a
    scan of its own. A JPEG with a colour profile isn't plain: the profile is a program. Nor is one
    with many segments, or bytes between them: Pillow reads them one after the other, in Python.
    """
    if data.count(b"\xff\xda") > PLAIN_MAX_SCANS or not _has_short_header(data):
        return False
    try:
        with Image.open(io.BytesIO(data), formats=["JPEG"]) as image:
            small = image.width * image.height <= PLAIN_MAX_PIXELS
            simple = not {"progressive", "icc_profile"} & set(image.info)
            return small and simple and image.format == "JPEG"
    except Exception:  # a decoding process will say what is wrong
        return False


def _has_short_header(data: bytes) -> bool:
    """Tell whether at most `PLAIN_MAX_SEGMENTS` segments precede the first scan of a JPEG."""
    place = 2 if data[:2] == b"\xff\xd8" else len(data)
    for _ in range(PLAIN_MAX_SEGMENTS):
        marker = data[place : place + 2]
        if marker == b"\xff\xda":
            return True
        if len(marker) < 2 or marker[0] != 0xFF or marker[1] not in _SEGMENTS:
            return False
        place += 2 + int.from_bytes(data[place + 2 : place + 4], "big")
    return False


def limit_memory() -> None:
    """Limit this process to `MAX_ADDRESS_SPACE`; beyond that, it has a MemoryError."""
    resource.setrlimit(resource.RLIMIT_AS, (MAX_ADDRESS_SPACE, MAX_ADDRESS_SPACE))


class Decoder:
    """A pool of processes and threads that decode photos."""

    def __init__(self, processes: int, timeout_s: float) -> None:
        """Create the pool; a process that decodes one photo for longer than the time is killed."""
        self.processes, self.timeout_s = processes, timeout_s
        self.threads = ThreadPoolExecutor(processes)
        self.pool = ProcessPool(
            processes,
            initializer=limit_memory,
            context=multiprocessing.get_context("spawn"),
        )

    @cached_property
    def _turns(self) -> dict[bool, asyncio.Semaphore]:
        """Limit the photos that threads (True) and processes (False) have in hand."""
        return {plain: asyncio.Semaphore(self.processes) for plain in (True, False)}

    async def start(self) -> None:
        """Wait until all processes have started."""
        await asyncio.gather(
            *(
                asyncio.wrap_future(self.pool.schedule(time.sleep, [0.1]))
                for _ in range(self.processes)
            )
        )

    def stop(self) -> None:
        """End all processes and threads."""
        self.threads.shutdown()
        self.pool.stop()  # type: ignore[no-untyped-call]  # pebble annotates only some methods
        self.pool.join()

    async def square(self, data: bytes, size: int, limits: Limits) -> NDArray[np.uint8]:
        """Return a photo as `kernels.image.model_input` does: [size, size, 3], RGB.

        Raises:
            APIError: The photo can't be used.
        """
        return await self._run(model_input, data, size, limits)

    async def whole(self, data: bytes, side: int, limits: Limits) -> NDArray[np.uint8]:
        """Return a photo as `kernels.image.decode` does: [H, W, 3], RGB, of at most `side` pixels.

        Raises:
            APIError: The photo can't be used.
        """
        return await self._run(decode, data, side, limits)

    async def _run(
        self, function: Callable[..., NDArray[np.uint8]], data: bytes, *rest: Any
    ) -> NDArray[np.uint8]:
        """Decode with a function; a plain JPEG in a thread, any other photo in a process.

        A photo waits here until a thread or a process is free: in their own queues it would be
        decoded even if its client no longer waits for it.
        """
        plain = is_plain_jpeg(data)
        await self._turns[plain].acquire()
        try:
            future = asyncio.wrap_future(
                self.threads.submit(function, data, *rest)
                if plain
                else self.pool.schedule(function, (data, *rest), timeout=self.timeout_s)
            )
        except BaseException:
            self._turns[plain].release()
            raise
        future.add_done_callback(lambda _: self._turns[plain].release())
        future.add_done_callback(_retrieve_exception)
        try:
            # shielded: a cancelled future ends its process, and others would wait for a new one
            return await asyncio.shield(future)
        except ImageError as error:
            raise photo_error(error) from None
        except PoolTimeoutError:
            raise photo_error(
                ImageError(
                    f"too slow: decoding takes more than {self.timeout_s:g} s (--decode_seconds)"
                )
            ) from None
        except MemoryError:
            raise APIError(
                413, "The photo can't be used: too large: it needs too much memory.", "too large"
            ) from None
        except ProcessExpired:
            raise photo_error(ImageError("damaged: the decoder crashed")) from None


def _retrieve_exception(future: "asyncio.Future[NDArray[np.uint8]]") -> None:
    """Keep asyncio from logging an error that nobody awaits, since the client disconnected."""
    if not future.cancelled():
        future.exception()
