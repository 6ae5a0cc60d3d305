"""What a request to /predict brings: photos in a form, or the bytes of one."""

from dataclasses import dataclass, field

from fastapi import Request
from pydantic import TypeAdapter, ValidationError
from python_multipart.multipart import parse_options_header
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from landmark_ray.serving import request_names
from landmark_ray.serving.api_errors import APIError
from landmark_ray.serving.oip_models import TopK

FORM = "multipart/form-data"
BYTES = ("application/octet-stream", "binary/octet-stream")

FIELDS = 16
"""Of a form beside its photos, at most."""

_CONTROL = bytes({*range(32), 127} - set(b"\t\r\n"))


@dataclass
class Sent:
    """Photos of a request, and what it asks of them.

    Attributes:
        photos: their file names, and bytes.
        top_k: that a form asks for.
        kind: the Content-Type of one photo, where it isn't that of a photo; else empty.
    """

    photos: list[tuple[str | None, bytes]]
    top_k: int | None = None
    kind: str = field(default="", kw_only=True)

    def refusal(self, refused: APIError) -> APIError:
        """Of the only photo; bytes that weren't meant as one are so in words."""
        if not self.kind or refused.reason != "not an image":
            return refused
        return APIError(
            415,
            f"Content-Type must be {FORM}, image/* or {BYTES[0]}, got {self.kind[:80]!r}.",
            "content type",
        )


async def read(request: Request, most: int) -> Sent:
    """What a request brings.

    Args:
        request: its body is read.
        most: photos.

    Raises:
        Refused: there are no photos, or too many, or there is something else beside them.
    """
    header = request.headers.get("content-type", "")
    kind = header.partition(";")[0].strip().lower()
    if kind == FORM:
        return await _form(request, most)
    usual = not kind or kind.startswith("image/") or kind in BYTES
    return Sent([(None, await request.body())], kind="" if usual else header)


class _Parts(MultiPartParser):
    """Starlette's, in which parts without a file name are bytes, too."""

    spool_max_size = 1 << 40  # the body is bounded; no upload ever lies on a disk

    def on_headers_finished(self) -> None:
        part = self._current_part
        said = part.content_disposition or b"form-data"
        _, options = parse_options_header(said)
        missing = [name for name in (b"name", b"filename") if name not in options]
        part.content_disposition = b"".join([said, *(b'; %s=""' % name for name in missing)])
        super().on_headers_finished()


async def _form(request: Request, most: int) -> Sent:
    parser = _Parts(request.headers, request.stream(), max_files=most + FIELDS)
    try:
        form = await parser.parse()
    except MultiPartException as error:
        raise APIError(400, f"{error.message.rstrip('.')}.", "form") from None
    except UnicodeError:  # of charsets such as punycode
        raise APIError(400, "The form's charset can't be used: leave it out.", "form") from None
    photos: list[tuple[str | None, bytes]] = []
    fields: list[tuple[str, str]] = []
    for name, part in form.multi_items():
        if not isinstance(part, UploadFile):  # quotes that don't end hide the name that was added
            raise APIError(400, "A part of the form has broken headers.", "form")
        data = await part.read()
        if _is_field(part, data):
            fields.append((name, data.decode()))
        else:
            photos.append((printable(part.filename) or None, data))
    await form.close()
    if not photos:
        raise APIError(400, "The form has no file: add one, as in curl -F photo=@FILE.", "no file")
    if len(photos) > most:
        raise APIError(400, f"Too many files: a request takes {most} photos.", "files")
    request_names.check([name for name, _ in fields], ["top_k"], "the form")
    return Sent(photos, top_k(fields[0][1]) if fields else None)


def _is_field(part: UploadFile, data: bytes) -> bool:
    """Whether a part is text, not a photo that came without a name."""
    kind = (part.content_type or "").strip().lower()
    if part.filename or kind.startswith(("image/", *BYTES)):
        return False
    if data.translate(None, _CONTROL) != data:
        return False
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def top_k(text: str) -> int:
    """Of a form's field.

    Raises:
        Refused: it is no number in the range.
    """
    try:
        return TypeAdapter(TopK).validate_python(text)
    except ValidationError as error:
        raise APIError(422, f"top_k: {error.errors()[0]['msg']}.", "option") from None


def printable(name: str | None) -> str | None:
    """A file's name without what JSON can't say: halves of letters, as UTF-7 has them."""
    return name and name.encode(errors="replace").decode()
