"""Photos as JSON has them: Base64, as tools write it."""

import base64
import binascii
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote

from landmark_ray.serving.api_errors import APIError

WANTED = (
    'photo\'s data must be Base64 texts of image files, such as ["/9j/4AAQSkZJRg…"] or '
    '[{"b64": "/9j/4AAQSkZJRg…"}]'
)
"""In refusals."""

_DATA_URL = re.compile(r"\s*data:[^,]{0,200};base64,", re.IGNORECASE)
_BLANK = str.maketrans("-_", "+/", " \t\r\n\f\v")
"""URL-safe letters -> usual ones; blanks and line breaks -> none."""


def decoded(texts: list[Any]) -> list[bytes]:
    """The photos of a tensor's data; nested lists are flat here.

    Base64 may have line breaks, the letters of URLs, no padding, the head of a `data:` URL, or be
    in an object, as `{"b64": …}`.

    Raises:
        Refused: one isn't Base64.
    """
    return [_bytes(text) for text in _flat(texts)]


def _flat(texts: list[Any]) -> Iterator[Any]:
    for text in texts:
        yield from text if isinstance(text, list) else [text]


def _bytes(given: Any) -> bytes:
    text = given["b64"] if isinstance(given, dict) and list(given) == ["b64"] else given
    if not isinstance(text, str):
        raise refused(f"got {_shown(text)}")
    url = _DATA_URL.match(text)
    letters = (unquote(text[url.end() :]) if url else text).translate(_BLANK).rstrip("=")
    try:
        return base64.b64decode(letters + "=" * (-len(letters) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise refused(f"got a text that begins with {text[:20]!r}") from None


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return f"an object with {', '.join(map(repr, value))[:80] or 'nothing'}"
    return {list: "a list in a list"}.get(type(value), f"{value!r}"[:40])


def refused(got: str) -> APIError:
    """For data that are no Base64."""
    return APIError(400, f"{WANTED}; {got}.", "malformed")
