"""POST /predict: takes a form with photos, or the bytes of one, and names the landmarks."""

import asyncio
import time
from http import HTTPStatus
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
        predict_request.FORM_TYPE: {
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
        **{content_type: _BINARY for content_type in predict_request.BYTES_TYPES},
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
    request: Request,
    top_k: Annotated[int, Query(ge=1, le=MAX_TOP_K)] = 5,
    explain: Annotated[
        bool, Query(description="add to each answer the nearest photos of the first landmark")
    ] = False,
) -> Prediction:
    """Name the landmark on one or several photos.

    Send a form with one file or more, under any names, or the bytes of one photo with its
    Content-Type: JPEG, PNG, WebP, HEIC, AVIF, TIFF, GIF (its first frame) or BMP. If some of
    several files can't be used, each of these has an `error` of its own; if none can, the request
    fails. `top_k` may be a field of the form instead. The body may be compressed with gzip or
    deflate, named by `Content-Encoding`.
    """
    service: Recogniser = request.app.state.service
    start = time.monotonic()
    with service.queue.upload():
        parsed = await predict_request.read_request(request, service.options.max_files)
    if parsed.top_k is not None:
        names = [*request.query_params, "top_k"]
        request_names.check_names(names, ["top_k", "explain"], "the query and the form")
        top_k = parsed.top_k
    with service.queue.admit(len(parsed.photos)):
        pending = (service.answer(data, top_k, file, explain) for file, data in parsed.photos)
        results = await asyncio.gather(*pending)
    recognitions = [outcome for _, outcome in results if not isinstance(outcome, APIError)]
    errors = [outcome for _, outcome in results if isinstance(outcome, APIError)]
    for error in errors:
        if error.status == HTTPStatus.SERVICE_UNAVAILABLE:  # not an error of the photo
            raise error
    if not recognitions:
        raise parsed.explain(errors[0])
    for error in errors:
        service.metrics.count_rejection(error.reason)
    manifest = recognitions[0].metadata.manifest
    return Prediction(
        photos=[answer for answer, _ in results],
        model_version=manifest.version,
        warning=manifest.warning,
        timings_ms=Timings(
            decode=_to_ms(max(recognition.decode_s for recognition in recognitions)),
            models=_to_ms(max(recognition.models_s for recognition in recognitions)),
            total=_to_ms(time.monotonic() - start),
        ),
    )


def _to_ms(seconds: float) -> float:
    return round(1000 * seconds, 2)
