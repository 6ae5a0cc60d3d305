"""The Open Inference Protocol, version 2, with its extension for binary data.

https://github.com/open-inference-protocol/open-inference-protocol: photos are the input `photo`, a
BYTES tensor [N] of image files; outputs are `landmark_id`, `name`, `confidence`, `group` [N, top_k]
and `is_landmark` [N]. In JSON the bytes are Base64; clients that send binary data send them as they
are. `top_k` is a parameter of the request.
"""

import asyncio
import json
import math
from typing import Any

import numpy as np
from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response
from numpy.typing import NDArray
from pydantic import ValidationError

from landmark_ray.serving import request_names
from landmark_ray.serving.api_errors import APIError
from landmark_ray.serving.api_models import Error, PhotoAnswer
from landmark_ray.serving.base64_photos import WANTED, decoded
from landmark_ray.serving.oip_models import OUTPUTS, PARTS, Inference, Inferred, Parameters, Wanted
from landmark_ray.serving.recogniser import Recogniser

MODEL, INPUT = "landmark", "photo"
LENGTH = "inference-header-content-length"

VALUES = 1000
"""In a request's JSON, at most: a photo is one."""

KINDS = {"INT64": np.int64, "FP32": np.float32, "INT32": np.int32, "BOOL": np.bool_}


router = APIRouter(prefix="/v2", tags=["Open Inference Protocol"])


@router.get("")
async def server() -> dict[str, Any]:
    """What this server is."""
    return {"name": "landmark_ray", "version": "2", "extensions": ["binary_tensor_data"]}


@router.get("/health/live")
async def live() -> dict[str, bool]:
    """Whether requests are taken."""
    return {"live": True}


@router.get("/health/ready", responses={503: {"model": Error}})
async def ready(request: Request) -> dict[str, bool]:
    """Whether every group model is ready."""
    service: Recogniser = request.app.state.service
    await service.check_ready()
    return {"ready": True}


def known(service: Recogniser, model: str, version: str | None) -> None:
    """Check the path's model and version.

    Raises:
        Refused: there is no such model or version.
    """
    have = service.knowledge.manifest.version
    if model != MODEL or version not in (None, have):
        raise APIError(404, f"There is only the model {MODEL}, version {have}.", "model")


_MISSING: dict[int | str, dict[str, Any]] = {404: {"model": Error}}


@router.get("/models/{model}", responses=_MISSING)
@router.get("/models/{model}/versions/{version}", responses=_MISSING)
async def metadata(request: Request, model: str, version: str | None = None) -> dict[str, Any]:
    """The model's inputs and outputs."""
    service: Recogniser = request.app.state.service
    known(service, model, version)
    return {
        "name": MODEL,
        "versions": [service.knowledge.manifest.version],
        "platform": "landmark_ray",
        "inputs": [{"name": INPUT, "datatype": "BYTES", "shape": [-1]}],
        "outputs": [
            {"name": name, "datatype": kind, "shape": shape}
            for name, (kind, shape) in OUTPUTS.items()
        ],
    }


@router.get("/models/{model}/ready", responses=_MISSING)
@router.get("/models/{model}/versions/{version}/ready", responses=_MISSING)
async def model_ready(request: Request, model: str, version: str | None = None) -> dict[str, Any]:
    """Whether the model is ready."""
    service: Recogniser = request.app.state.service
    known(service, model, version)
    await service.check_ready()
    return {"name": MODEL, "ready": True}


_BINARY = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}
_BODY = {
    "parameters": [
        {
            "name": LENGTH,
            "in": "header",
            "description": "bytes of JSON, where binary data follow it",
            "schema": {"type": "integer", "minimum": 0},
        }
    ],
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {"schema": {"$ref": "#/components/schemas/Inference"}},
            **_BINARY,
        },
    },
}
_ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {"model": Inferred, "content": _BINARY},
    **{code: {"model": Error} for code in (404, 408, 413, 415)},
}


@router.post("/models/{model}/infer", openapi_extra=_BODY, responses=_ANSWERS)
@router.post("/models/{model}/versions/{version}/infer", openapi_extra=_BODY, responses=_ANSWERS)
async def infer(request: Request, model: str, version: str | None = None) -> Response:
    """Name the landmarks on photos; one that can't be used fails the request."""
    service: Recogniser = request.app.state.service
    known(service, model, version)
    with service.upload():
        body = await request.body()
    head, rest = split(body, request.headers.get(LENGTH))
    photos = photos_of(head, rest, service.options.max_files)
    top_k = head.parameters.top_k
    found = await asyncio.gather(*(service.answer(p, top_k) for p in photos))
    for _, seen in found:
        if isinstance(seen, APIError):
            raise seen
    answers = [answer for answer, _ in found]
    return respond(head, arrays(answers, top_k), answers[0].model_version)


def split(body: bytes, length: str | None) -> tuple[Inference, bytes]:
    """A body's JSON and the binary data behind it.

    Raises:
        Refused: it isn't what the protocol says.
    """
    said = str(len(body)) if length is None else length
    if not said.isdecimal() or len(said) > 15 or int(said) > len(body):
        raise APIError(400, f"{LENGTH} must be the JSON's length, got {said[:20]!r}.", "malformed")
    end = int(said)
    if body.count(b",", 0, end) > VALUES:  # few bytes of JSON can be very many objects of Python
        raise APIError(400, f"The JSON has more than {VALUES} values.", "malformed")
    return read(body[:end]), body[end:]


def read(text: bytes) -> Inference:
    """A request's JSON.

    Raises:
        Refused: it isn't what the protocol says.
    """
    try:
        try:
            return Inference.model_validate_json(text)
        except ValidationError as error:
            problem = error.errors()[0]
            if problem["type"] != "json_invalid" or "control character" not in problem["msg"]:
                raise
            # of a shell, as in "$(base64 FILE)": lines are broken within texts
            return Inference.model_validate_json(text.translate(None, b"\r\n"))
    except ValidationError as error:
        raise APIError(400, f"{explain(error.errors()[0])}.", "malformed") from None


def explain(problem: Any) -> str:
    """What is wrong with a request's JSON."""
    *place, last = problem["loc"] or [""]
    where = ".".join(map(str, place)) or "the request"
    if problem["type"] == "extra_forbidden":
        part = PARTS[tuple(word for word in place if isinstance(word, str))]
        known = {name: name for name in part.model_fields}
        if part is not Parameters:
            known = {name: f"parameters.{name}" for name in Parameters.model_fields} | known
        return request_names.unknown(str(last), known, where)
    what = ".".join(map(str, problem["loc"])) or "the request"
    if last == "data":
        return f"{what}: {problem['msg']}: {WANTED}"
    return f"{what}: {problem['msg']}"


def photos_of(head: Inference, rest: bytes, most: int) -> list[bytes]:
    """The photos of a request, `most` at most.

    Raises:
        Refused: they aren't what the protocol says.
    """
    if [tensor.name for tensor in head.inputs] != [INPUT]:
        raise APIError(400, f"There must be one input, {INPUT}.", "malformed")
    tensor = head.inputs[0]
    if tensor.datatype != "BYTES" or not tensor.shape or min(tensor.shape) < 1:
        raise APIError(400, f"{INPUT} must be BYTES of shape [N].", "malformed")
    count = math.prod(tensor.shape)
    if count > most:
        raise APIError(422, f"A request takes {most} photos.", "files")
    size = tensor.parameters.binary_data_size
    photos = unpacked(rest, size, count) if size is not None else decoded(tensor.data or [])
    if len(photos) != count:
        raise APIError(
            400, f"{INPUT} has {len(photos)} photos, its shape says {count}.", "malformed"
        )
    return photos


def unpacked(data: bytes, size: int, count: int) -> list[bytes]:
    """Each element follows its length, 4 bytes, little-endian; `count` of them."""
    found, place = [], 0
    if size == len(data):
        while place + 4 <= size and len(found) < count:
            length = int.from_bytes(data[place : place + 4], "little")
            found.append(data[place + 4 : place + 4 + length])
            place += 4 + length
    if not found or place != size:
        raise APIError(400, "The binary data isn't as long as it says.", "malformed")
    return found


def arrays(answers: list[PhotoAnswer], top_k: int) -> dict[str, NDArray[Any]]:
    """The outputs; where there are fewer landmarks, -1, empty, 0."""
    empty = {"landmark_id": -1, "name": "", "confidence": 0.0, "group": 0}
    found: dict[str, NDArray[Any]] = {}
    for name, filler in empty.items():
        rows = [[getattr(guess, name) for guess in answer.landmarks] for answer in answers]
        full = [row + [filler] * (top_k - len(row)) for row in rows]
        found[name] = np.array(full, KINDS.get(OUTPUTS[name][0], object))
    found["is_landmark"] = np.array([answer.is_landmark for answer in answers])
    return found


def respond(head: Inference, found: dict[str, NDArray[Any]], version: str | None) -> Response:
    """The answer: JSON, with binary data behind it where that is asked for.

    Raises:
        Refused: an unknown output is asked for.
    """
    wanted = head.outputs or [Wanted(name=name) for name in OUTPUTS]
    outputs, tail = [], b""
    for one in wanted:
        if one.name not in found:
            raise APIError(400, f"There are the outputs {', '.join(OUTPUTS)}.", "malformed")
        values = found[one.name]
        output: dict[str, Any] = {
            "name": one.name,
            "datatype": OUTPUTS[one.name][0],
            "shape": list(values.shape),
        }
        binary = one.parameters.binary_data
        if head.parameters.binary_data_output if binary is None else binary:
            data = packed(values)
            output["parameters"] = {"binary_data_size": len(data)}
            tail += data
        else:
            output["data"] = values.ravel().tolist()
        outputs.append(output)
    value = {"model_name": MODEL, "model_version": version, "outputs": outputs}
    if head.id is not None:
        value["id"] = head.id
    if not tail:
        return JSONResponse(value)
    text = json.dumps(value).encode()
    kind = "application/octet-stream"
    return Response(text + tail, headers={LENGTH: str(len(text))}, media_type=kind)


def packed(values: NDArray[Any]) -> bytes:
    """Little-endian; of texts each follows its length, 4 bytes."""
    if values.dtype != object:
        return values.astype(values.dtype.newbyteorder("<")).tobytes()
    texts = [text.encode() for text in values.ravel()]
    return b"".join(len(text).to_bytes(4, "little") + text for text in texts)
