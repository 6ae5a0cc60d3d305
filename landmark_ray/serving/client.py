"""A client of the HTTP API that sends many photos."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

import aiohttp

from landmark_ray.errors import UserError

TOP_K = 5
"""Number of landmarks that each photo's answer has, at most."""

MAX_CONCURRENT_REQUESTS = 4

MAX_ATTEMPTS = 60
"""How often a request is sent while the service is busy or its models are loading."""

REQUEST_TIMEOUT_S = 120.0

PHOTO_ERROR_STATUSES = (413, 415, 422)
"""HTTP statuses of a request in which no photo can be used."""

RankedLandmarks = list[tuple[int, float]]
"""Landmark ids and confidences of a photo, highest first; empty when the photo can't be used."""


class Client:
    """An asynchronous context that holds connections to one service."""

    def __init__(self, url: str, key: str = "", max_bytes: float = 20e6) -> None:
        """Describe the service.

        Args:
            url: Address of its root.
            key: The bearer token that it asks for; empty where it asks for none.
            max_bytes: The largest request body that it accepts.
        """
        self.url, self.max_bytes = url.rstrip("/"), 0.9 * max_bytes
        self._headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._slots = asyncio.Semaphore(MAX_CONCURRENT_REQUESTS)

    async def __aenter__(self) -> "Client":
        """Open the session."""
        timeout = aiohttp.ClientTimeout(total=REQUEST_TIMEOUT_S)
        self._session = aiohttp.ClientSession(headers=self._headers, timeout=timeout)
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close the session."""
        await self._session.close()

    async def version(self) -> str:
        """Return the version of the bundle that the service serves.

        Raises:
            UserError: The service doesn't answer.
        """
        value, error = await self._request("GET", "/version", lambda: {})
        if error:
            raise UserError(f"{self.url}: {error}")
        return str(value["version"])

    async def predict(self, photos: list[bytes], files: int) -> list[RankedLandmarks]:
        """Return the landmarks of each photo, in order; a request has at most `files` photos.

        Raises:
            UserError: The service doesn't answer.
        """
        requests = self._split(photos, files)
        answers = await asyncio.gather(*(self._recognise(request) for request in requests))
        return [landmarks for answer in answers for landmarks in answer]

    def _split(self, photos: list[bytes], files: int) -> list[list[bytes]]:
        """Split photos into requests of at most `files` photos and `max_bytes` bytes, in order."""
        requests: list[list[bytes]] = []
        for photo in photos:
            last = requests[-1] if requests else []
            if last and len(last) < files and sum(map(len, last)) + len(photo) <= self.max_bytes:
                last.append(photo)
            else:
                requests.append([photo])
        return requests

    async def _recognise(self, photos: list[bytes]) -> list[RankedLandmarks]:
        def body() -> dict[str, Any]:
            if len(photos) == 1:
                headers = {"Content-Type": "application/octet-stream"}
                return {"data": photos[0], "headers": headers}
            form = aiohttp.FormData()
            for number, photo in enumerate(photos):
                form.add_field("photo", photo, filename=f"{number}", content_type="image/*")
            return {"data": form}

        value, error = await self._request("POST", f"/predict?top_k={TOP_K}", body)
        if error and len(photos) > 1:  # perhaps they are too large together
            return [landmarks for photo in photos for landmarks in await self._recognise([photo])]
        if error:
            return [[]]
        return [
            [(landmark["landmark_id"], landmark["confidence"]) for landmark in photo["landmarks"]]
            for photo in value["photos"]
        ]

    async def _request(
        self, method: str, path: str, body: Callable[[], dict[str, Any]]
    ) -> tuple[Any, str]:
        """Return the JSON of a response, or why no photo of the request can be used.

        Raises:
            UserError: The service doesn't answer.
        """
        async with self._slots:
            for _ in range(MAX_ATTEMPTS):
                try:
                    async with self._session.request(method, self.url + path, **body()) as response:
                        text = await response.text(errors="replace")
                except (aiohttp.ClientError, TimeoutError) as error:
                    reason = str(error) or f"no answer within {REQUEST_TIMEOUT_S:g} s"
                    raise UserError(f"{self.url} can't be reached: {reason}") from None
                if response.status not in (429, 503):  # of the service, or of a proxy before it
                    break
                await asyncio.sleep(_pause_s(response.headers.get("Retry-After", "")))
        try:
            value = json.loads(text)
            if response.status == 200:
                return value, ""
            sentence = value["error"]
        except (ValueError, TypeError, KeyError):
            sentence = " ".join(text.split())[:200]
        if response.status in PHOTO_ERROR_STATUSES:
            return None, sentence
        raise UserError(f"{self.url} answers {response.status}: {sentence}")


def _pause_s(retry_after: str) -> float:
    """Return the seconds of a header `Retry-After`; 1 if it holds a date, or nothing."""
    return min(float(retry_after), 60.0) if retry_after.isdecimal() else 1.0
