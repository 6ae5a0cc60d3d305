"""Parsing of a request to /predict: a form with photos, or the bytes of one photo."""

from dataclasses import dataclass, field

from fastapi import Request
from pydantic import TypeAdapter, ValidationError
from python_multipart.multipart import parse_options_header
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from landmark_ray.serving import request_names
from landmark_ray.serving.api_errors import APIError
from landmark_ray.serving.oip_models import TopK

FORM_TYPE = "multipart/form-data"
BYTES_TYPES = ("application/octet-stream", "binary/octet-stream")

MAX_FORM_FIELDS = 16
"""Fields of a form that aren't photos, at most."""

_CONTROL_CHARACTERS = bytes({*range(32), 127} - set(b"\t\r\n"))


@dataclass
class PredictRequest:
    """The photos of a request and its options.

    Attributes:
        photos: File name and bytes of each photo; the name is None where there is none.
        top_k: The form's field; None where the form has none.
        unusual_type: The Content-Type of a raw body, if it isn't one of a photo; else empty.
    """

    photos: list[tuple[str | None, bytes]]
    top_k: int | None = None
    unusual_type: str = field(default="", kw_only=True)

    def explain(self, error: APIError) -> APIError:
        """Return an error that names the Content-Type, where the body wasn't meant as a photo."""
        if not self.unusual_type or error.reason != "not an image":
            return error
        return APIError(
            415,
            f"Content-Type must be {FORM_TYPE}, image/* or {BYTES_TYPES[0]}, "
            f"got {self.unusual_type[:80]!r}.",
            "content type",
        )


async def read_request(request: Request, max_photos: int) -> PredictRequest:
    """Read the body of a request.

    Raises:
        APIError: There are no photos, or more than `max_photos`, or the form has unknown fields.
    """
    header = request.headers.get("content-type", "")
    content_type = header.partition(";")[0].strip().lower()
    if content_type == FORM_TYPE:
        return await _read_form(request, max_photos)
    usual = not content_type or content_type.startswith("image/") or content_type in BYTES_TYPES
    return PredictRequest([(None, await request.body())], unusual_type="" if usual else header)


class _FormParser(MultiPartParser):
    """Starlette's parser, for which a part without a file name is a file, too."""

    spool_max_size = 1 << 40  # the body's size is limited, so no upload is ever written to a disk

    def on_headers_finished(self) -> None:
        part = self._current_part
        disposition = part.content_disposition or b"form-data"
        _, options = parse_options_header(disposition)
        missing = [name for name in (b"name", b"filename") if name not in options]
        added = [b'; %s=""' % name for name in missing]
        part.content_disposition = b"".join([disposition, *added])
        super().on_headers_finished()


async def _read_form(request: Request, max_photos: int) -> PredictRequest:
    max_files = max_photos + MAX_FORM_FIELDS
    parser = _FormParser(request.headers, request.stream(), max_files=max_files)
    try:
        form = await parser.parse()
    except MultiPartException as error:
        raise APIError(400, f"{error.message.rstrip('.')}.", "form") from None
    except UnicodeError:  # the charset is punycode or another that isn't for text
        raise APIError(400, "The form's charset can't be used: leave it out.", "form") from None
    photos: list[tuple[str | None, bytes]] = []
    fields: list[tuple[str, str]] = []
    for name, part in form.multi_items():
        if not isinstance(part, UploadFile):  # an open quote hides the file name that was added
            raise APIError(400, "A part of the form has broken headers.", "form")
        data = await part.read()
        if _is_field(part, data):
            fields.append((name, data.decode()))
        else:
            photos.append((drop_surrogates(part.filename) or None, data))
    await form.close()
    if not photos:
        raise APIError(400, "The form has no file: add one, as in curl -F photo=@FILE.", "no file")
    if len(photos) > max_photos:
        raise APIError(400, f"Too many files: a request takes {max_photos} photos.", "files")
    request_names.check_names([name for name, _ in fields], ["top_k"], "the form")
    return PredictRequest(photos, parse_top_k(fields[0][1]) if fields else None)


def _is_field(part: UploadFile, data: bytes) -> bool:
    """Tell whether a part is a text field, not a photo without a file name."""
    content_type = (part.content_type or "").strip().lower()
    if part.filename or content_type.startswith(("image/", *BYTES_TYPES)):
        return False
    if data.translate(None, _CONTROL_CHARACTERS) != data:
        return False
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def parse_top_k(text: str) -> int:
    """Parse a form's field `top_k`.

    Raises:
        APIError: It isn't an integer in the range.
    """
    try:
        return TypeAdapter(TopK).validate_python(text)
    except ValidationError as error:
        raise APIError(422, f"top_k: {error.errors()[0]['msg']}.", "option") from None


def drop_surrogates(name: str | None) -> str | None:
    """Replace the lone surrogates of a file name, which a form in UTF-7 can have and JSON can't."""
    return name and name.encode(errors="replace").decode()
