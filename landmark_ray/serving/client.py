"""A client of the HTTP API that asks for many photos."""

import asyncio
from typing import Any

import aiohttp

from landmark_ray.errors import UserError

TOP_K = 5
"""Landmarks of an answer."""

AT_ONCE = 4
"""Requests in flight."""

TRIES = 60
"""Of a request, while the service is busy or its models load."""

PATIENCE_S = 120.0
"""A request takes no longer."""

PHOTO_AT_FAULT = (400, 413, 415, 422)
"""Statuses of a request none of whose photos can be used."""

Answer = list[tuple[int, float]]
"""Landmarks and confidences of a photo, the surest first; none where it can't be used."""


class Client:
    """Asks one service, as long as the context lasts."""

    def __init__(self, url: str, key: str = "", most_bytes: float = 20e6) -> None:
        """url: of its root; key: that it asks for; most_bytes: of a request with several photos."""
        self.url, self.most_bytes = url.rstrip("/"), 0.9 * most_bytes
        self._headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._room = asyncio.Semaphore(AT_ONCE)

    async def __aenter__(self) -> "Client":
        """Open connections."""
        timeout = aiohttp.ClientTimeout(total=PATIENCE_S)
        self._session = aiohttp.ClientSession(headers=self._headers, timeout=timeout)
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close them."""
        await self._session.close()

    async def version(self) -> str:
        """Of the bundle that it serves.

        Raises:
            UserError: it can't be asked.
        """
        value, error = await self._asked("GET", "/version", lambda: {})
        if error:
            raise UserError(f"{self.url}: {error}")
        return str(value["version"])

    async def predict(self, photos: list[bytes], files: int) -> list[Answer]:
        """What it says of photos, which are sent so many a request.

        Raises:
            UserError: it can't be asked.
        """
        parts = self._parts(photos, files)
        found = await asyncio.gather(*(self._recognise(part) for part in parts))
        return [answer for part in found for answer in part]

    def _parts(self, photos: list[bytes], files: int) -> list[list[bytes]]:
        """In order: `files` a request at most, fewer where they are large."""
        parts: list[list[bytes]] = []
        for photo in photos:
            last = parts[-1] if parts else []
            if last and len(last) < files and sum(map(len, last)) + len(photo) <= self.most_bytes:
                last.append(photo)
            else:
                parts.append([photo])
        return parts

    async def _recognise(self, photos: list[bytes]) -> list[Answer]:
        def body() -> dict[str, Any]:
            if len(photos) == 1:
                kind = {"Content-Type": "application/octet-stream"}
                return {"data": photos[0], "headers": kind}
            form = aiohttp.FormData()
            for number, photo in enumerate(photos):
                form.add_field("photo", photo, filename=f"{number}", content_type="image/*")
            return {"data": form}

        value, error = await self._asked("POST", f"/predict?top_k={TOP_K}", body)
        if error:
            return [[] for _ in photos]
        return [
            [(guess["landmark_id"], guess["confidence"]) for guess in photo["landmarks"]]
            for photo in value["photos"]
        ]

    async def _asked(self, method: str, path: str, body: Any) -> tuple[Any, str]:
        """A request's JSON; or why none of its photos can be used.

        Raises:
            UserError: it isn't answered.
        """
        async with self._room:
            for _ in range(TRIES):
                try:
                    async with self._session.request(method, self.url + path, **body()) as answer:
                        value = await answer.json()
                except (aiohttp.ClientError, TimeoutError, ValueError) as error:
                    raise UserError(f"{self.url} can't be asked: {error or 'too slow'}") from None
                if answer.status not in (429, 503):
                    break
                await asyncio.sleep(float(answer.headers.get("Retry-After", 1)))
        if answer.status == 200:
            return value, ""
        if answer.status in PHOTO_AT_FAULT:
            return None, value["error"]
        raise UserError(f"{self.url} answers {answer.status}: {value.get('error')}")
