"""POST /predict: photos in a form, or the bytes of one, to landmarks."""

import asyncio
import time
from typing import Annotated

from fastapi import APIRouter, Query, Request

from landmark_ray.serving import predict_request, request_names
from landmark_ray.serving.api_errors import APIError
from landmark_ray.serving.api_models import Error, Prediction, Timings
from landmark_ray.serving.inference import MAX_TOP_K
from landmark_ray.serving.recogniser import Recogniser

_BINARY = {"schema": {"type": "string", "format": "binary"}}
_BODY = {
    "required": True,
    "content": {
        predict_request.FORM: {
            "schema": {
                "type": "object",
                "properties": {
                    "photo": {"type": "array", "items": _BINARY["schema"], "minItems": 1},
                    "top_k": {"type": "integer", "minimum": 1, "maximum": MAX_TOP_K, "default": 5},
                },
                "required": ["photo"],
            }
        },
        **{f"image/{kind}": _BINARY for kind in ("jpeg", "png", "webp", "heic", "avif")},
        **{kind: _BINARY for kind in predict_request.BYTES},
    },
}

router = APIRouter(tags=["recognition"])


@router.post(
    "/predict",
    response_model=Prediction,
    openapi_extra={"requestBody": _BODY},
    responses={code: {"model": Error} for code in (408, 413, 415)},
)
async def predict(
    request: Request, top_k: Annotated[int, Query(ge=1, le=MAX_TOP_K)] = 5
) -> Prediction:
    """Name the landmark on one or several photos.

    Send a form with one file or more, under any names, or the bytes of one photo with its
    Content-Type: JPEG, PNG, WebP, HEIC, AVIF, TIFF, GIF (its first frame) or BMP. Of several files
    those that can't be used have an `error` of their own; where none can, the request fails.
    `top_k` may be a field of the form instead. A body may be packed: `Content-Encoding` gzip or
    deflate.
    """
    service: Recogniser = request.app.state.service
    begun = time.monotonic()
    with service.upload():
        came = await predict_request.read(request, service.options.max_files)
    if came.top_k is not None:
        request_names.check([*request.query_params, "top_k"], ["top_k"], "the query and the form")
        top_k = came.top_k
    asked = (service.answer(data, top_k, file) for file, data in came.photos)
    answers = await asyncio.gather(*asked)
    seen = [found for _, found in answers if not isinstance(found, APIError)]
    if not seen:
        raise came.refusal(next(found for _, found in answers if isinstance(found, APIError)))
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
