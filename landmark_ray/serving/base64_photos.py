"""Decoding of photos that JSON holds as Base64, in the variants that tools write."""

import base64
import binascii
import re
from collections.abc import Iterator
from typing import Any

from landmark_ray.serving.api_errors import APIError

EXPECTED = (
    'photo\'s data must be Base64 texts of image files, such as ["/9j/4AAQSkZJRg…"] or '
    '[{"b64": "/9j/4AAQSkZJRg…"}]'
)
"""The start of the message for data in another form."""

_DATA_URL = re.compile(r"\s*data:[^,]{0,200};base64,", re.IGNORECASE)
_TO_STANDARD = str.maketrans("-_", "+/", " \t\r\n\f\v")
"""Maps the URL-safe alphabet to the standard one, and removes white space."""
_ESCAPED = {f"%{ord(c):02{case}}": c for c in "+/=-_ \r\n" for case in "xX"}
"""What a URL can hold in place of a character of Base64 that is no letter or digit."""


def decode_photos(values: list[Any]) -> list[bytes]:
    """Decode the data of a tensor; a list within it is flattened.

    Base64 may have line breaks, the URL-safe alphabet, no padding, a `data:` URL's prefix, or be
    wrapped in an object: `{"b64": …}`.

    Raises:
        APIError: A value isn't Base64.
    """
    return [_decode(value) for value in _flatten(values)]


def _flatten(values: list[Any]) -> Iterator[Any]:
    for value in values:
        yield from value if isinstance(value, list) else [value]


def _decode(value: Any) -> bytes:
    text = value["b64"] if isinstance(value, dict) and list(value) == ["b64"] else value
    if not isinstance(text, str):
        raise base64_error(f"got {_describe(text)}")
    url = _DATA_URL.match(text)
    letters = text[url.end() :] if url else text
    for escaped, character in _ESCAPED.items() if url else ():
        letters = letters.replace(escaped, character)  # `unquote` takes a second for 2 MB
    letters = letters.translate(_TO_STANDARD).rstrip("=")
    try:
        return base64.b64decode(letters + "=" * (-len(letters) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise base64_error(f"got a text that begins with {text[:20]!r}") from None


def _describe(value: Any) -> str:
    if isinstance(value, dict):
        return f"an object with {', '.join(map(repr, value))[:80] or 'nothing'}"
    return {list: "a list in a list"}.get(type(value), f"{value!r}"[:40])


def base64_error(received: str) -> APIError:
    """Return the error for data that isn't Base64; `received` describes the data."""
    return APIError(400, f"{EXPECTED}; {received}.", "malformed")
