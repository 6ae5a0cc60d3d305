"""The limit of the photos that an ingress holds at once."""

import contextlib
import math
from collections.abc import Iterator

from landmark_ray.serving.api_errors import queue_full


class PhotoQueue:
    """Counts the photos that wait or are in work, and the uploads that arrive."""

    def __init__(self, places: int) -> None:
        """Create an empty queue with room for a number of photos."""
        self.places = places
        self.photos = self.uploads = 0
        self.latency_ema_s = 0.1

    @contextlib.contextmanager
    def upload(self) -> Iterator[None]:
        """Count an upload while its body is read, since bodies in memory count for the queue.

        Raises:
            APIError: The queue is full.
        """
        self._check(self.photos + self.uploads + 1)
        self.uploads += 1
        try:
            yield
        finally:
            self.uploads -= 1

    @contextlib.contextmanager
    def admit(self, photos: int) -> Iterator[None]:
        """Count the photos of a request while they are in work; an idle service takes any number.

        Raises:
            APIError: The queue lacks room for them.
        """
        if self.photos:
            self._check(self.photos + photos)
        self.photos += photos
        try:
            yield
        finally:
            self.photos -= photos

    def answered(self, seconds: float) -> None:
        """Note how long a photo took, from which the time to try again follows."""
        self.latency_ema_s += 0.05 * (seconds - self.latency_ema_s)

    def _check(self, needed: int) -> None:
        if needed > self.places:
            raise queue_full(max(math.ceil(self.latency_ema_s), 1))
