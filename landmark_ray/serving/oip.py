"""The Open Inference Protocol, version 2, with its extension for binary data.

https://github.com/open-inference-protocol/open-inference-protocol. Photos are the input `photo`, a
BYTES tensor [N] of image files. The outputs are `landmark_id`, `name`, `confidence` and `group`
[N, top_k], and `is_landmark` [N]. JSON holds the bytes as Base64; with the binary extension they
follow the JSON as they are. `top_k` is a parameter of the request.
"""

import asyncio
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import Response

from landmark_ray.serving.api_errors import APIError
from landmark_ray.serving.api_models import Error
from landmark_ray.serving.oip_codec import (
    INPUT,
    JSON_LENGTH_HEADER,
    MODEL,
    build_response,
    output_arrays,
    read_photos,
    split_body,
)
from landmark_ray.serving.oip_models import OUTPUTS, InferenceResponse
from landmark_ray.serving.recogniser import Recogniser

router = APIRouter(prefix="/v2", tags=["Open Inference Protocol"])


@router.get("")
async def server() -> dict[str, Any]:
    """Return the name and the extensions of this server."""
    return {"name": "landmark_ray", "version": "2", "extensions": ["binary_tensor_data"]}


@router.get("/health/live")
async def live() -> dict[str, bool]:
    """Tell whether the service accepts requests."""
    return {"live": True}


@router.get("/health/ready", responses={503: {"model": Error}})
async def ready(request: Request) -> dict[str, bool]:
    """Tell whether every group's model is loaded."""
    service: Recogniser = request.app.state.service
    await service.serving()
    return {"ready": True}


def check_model(service: Recogniser, model: str, version: str | None) -> None:
    """Check the model and the version that a path names.

    Raises:
        APIError: There is no such model or version.
    """
    served = [bundle.manifest.version for bundle in service.bundles]
    if model != MODEL or version not in (None, *served):
        versions = " and ".join(served)
        raise APIError(404, f"There is only the model {MODEL}, version {versions}.", "model")


_MISSING: dict[int | str, dict[str, Any]] = {404: {"model": Error}}


@router.get("/models/{model}", responses=_MISSING)
@router.get("/models/{model}/versions/{version}", responses=_MISSING)
async def metadata(request: Request, model: str, version: str | None = None) -> dict[str, Any]:
    """Return the model's inputs and outputs."""
    service: Recogniser = request.app.state.service
    check_model(service, model, version)
    return {
        "name": MODEL,
        "versions": [(await service.serving(version)).manifest.version],
        "platform": "landmark_ray",
        "inputs": [{"name": INPUT, "datatype": "BYTES", "shape": [-1]}],
        "outputs": [
            {"name": name, "datatype": datatype, "shape": shape}
            for name, (datatype, shape) in OUTPUTS.items()
        ],
    }


@router.get("/models/{model}/ready", responses=_MISSING)
@router.get("/models/{model}/versions/{version}/ready", responses=_MISSING)
async def model_ready(request: Request, model: str, version: str | None = None) -> dict[str, Any]:
    """Tell whether the model is loaded."""
    service: Recogniser = request.app.state.service
    check_model(service, model, version)
    await service.serving(version)
    return {"name": MODEL, "ready": True}


_BINARY = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}
_BODY = {
    "parameters": [
        {
            "name": JSON_LENGTH_HEADER,
            "in": "header",
            "description": "length of the JSON in bytes, where binary data follows it",
            "schema": {"type": "integer", "minimum": 0},
        }
    ],
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {"schema": {"$ref": "#/components/schemas/InferenceRequest"}},
            **_BINARY,
        },
    },
}
_RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {"model": InferenceResponse, "content": _BINARY},
    **{code: {"model": Error} for code in (404, 408, 413, 415)},
}


@router.post("/models/{model}/infer", openapi_extra=_BODY, responses=_RESPONSES)
@router.post("/models/{model}/versions/{version}/infer", openapi_extra=_BODY, responses=_RESPONSES)
async def infer(request: Request, model: str, version: str | None = None) -> Response:
    """Name the landmarks on photos. If one photo can't be used, the whole request fails."""
    service: Recogniser = request.app.state.service
    check_model(service, model, version)
    with service.queue.upload():
        body = await request.body()
    head, binary_data = split_body(body, request.headers.get(JSON_LENGTH_HEADER))
    photos = read_photos(head, binary_data, service.options.max_files)
    top_k = head.parameters.top_k
    with service.queue.admit(len(photos)):
        pending = (service.answer(photo, top_k, version=version) for photo in photos)
        results = await asyncio.gather(*pending)
    for _, outcome in results:
        if isinstance(outcome, APIError):
            raise outcome
    answers = [answer for answer, _ in results]
    return build_response(head, output_arrays(answers, top_k), answers[0].model_version)
