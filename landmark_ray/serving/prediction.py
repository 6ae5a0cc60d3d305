"""POST /predict: photos in a form, or the bytes of one, to landmarks."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Annotated

from fastapi import APIRouter, Query, Request
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartParser

from landmark_ray.serving.answers import Error, Prediction, Timings
from landmark_ray.serving.networks import MOST
from landmark_ray.serving.refusals import Refused

if TYPE_CHECKING:
    from landmark_ray.serving.ingress import Ingress

MultiPartParser.spool_max_size = 1 << 40  # the body is bounded; no upload ever lies on a disk

RAW = ("image/", "application/octet-stream")
FORM = "multipart/form-data"

_BINARY = {"schema": {"type": "string", "format": "binary"}}
_BODY = {
    "required": True,
    "content": {
        FORM: {
            "schema": {
                "type": "object",
                "properties": {
                    "photo": {"type": "array", "items": _BINARY["schema"], "minItems": 1}
                },
                "required": ["photo"],
            }
        },
        **{f"image/{kind}": _BINARY for kind in ("jpeg", "png", "webp", "heic", "avif")},
        "application/octet-stream": _BINARY,
    },
}

router = APIRouter(tags=["recognition"])


@router.post(
    "/predict",
    response_model=Prediction,
    openapi_extra={"requestBody": _BODY},
    responses={code: {"model": Error} for code in (408, 413, 415, 422)},
)
async def predict(request: Request, top_k: Annotated[int, Query(ge=1, le=MOST)] = 5) -> Prediction:
    """Name the landmark on one or several photos.

    Send a form with one file or more, under any names, or the bytes of one photo with its
    Content-Type: JPEG, PNG, WebP, HEIC, AVIF, TIFF, GIF (its first frame) or BMP. Of several files
    those that can't be used have an `error` of their own; where none can, the request fails.
    """
    service: Ingress = request.app.state.service
    begun = time.monotonic()
    with service.upload():
        photos = await read_photos(request, service)
    answers = await asyncio.gather(*(service.answer(data, top_k, file) for file, data in photos))
    seen = [found for _, found in answers if not isinstance(found, Refused)]
    if not seen:
        raise next(found for _, found in answers if isinstance(found, Refused))
    return Prediction(
        photos=[answer for answer, _ in answers],
        model_version=seen[0].knowledge.manifest.version,
        warning=seen[0].knowledge.manifest.warning,
        timings_ms=Timings(
            decode=_ms(max(found.decode_s for found in seen)),
            models=_ms(max(found.models_s for found in seen)),
            total=_ms(time.monotonic() - begun),
        ),
    )


def _ms(seconds: float) -> float:
    return round(1000 * seconds, 2)


async def read_photos(request: Request, service: Ingress) -> list[tuple[str | None, bytes]]:
    """File names and bytes of the photos in a request.

    Raises:
        Refused: there are none, too many, or the body is of another type.
    """
    kind = request.headers.get("content-type", "").strip().lower()
    if kind.startswith(RAW):
        return [(None, await request.body())]
    if not kind.startswith(FORM):
        raise Refused(
            415,
            f"Content-Type must be {FORM}, image/* or application/octet-stream, got {kind[:80]!r}.",
            "content type",
        )
    most = service.options.max_files
    try:
        async with request.form(max_files=most, max_fields=most) as form:
            files = [value for _, value in form.multi_items() if isinstance(value, UploadFile)]
            photos = [(printable(file.filename), await file.read()) for file in files]
    except UnicodeError:  # of charsets such as punycode
        raise Refused(400, "The form's charset can't be used: leave it out.", "form") from None
    if not photos:
        raise Refused(400, "The form has no file: add one, as in curl -F photo=@FILE.", "no file")
    return photos


def printable(name: str | None) -> str | None:
    """A file's name without what JSON can't say: halves of letters, as UTF-7 has them."""
    return name and name.encode(errors="replace").decode()
