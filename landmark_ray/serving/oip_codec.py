"""Reading of the requests of the Open Inference Protocol, and building of the responses."""

import json
import math
from typing import Any

import numpy as np
from fastapi.responses import JSONResponse, Response
from numpy.typing import NDArray
from pydantic import ValidationError

from landmark_ray.serving import request_names
from landmark_ray.serving.api_errors import APIError
from landmark_ray.serving.api_models import PhotoAnswer
from landmark_ray.serving.base64_photos import EXPECTED, decode_photos
from landmark_ray.serving.oip_models import (
    MODEL_AT,
    OUTPUTS,
    InferenceRequest,
    RequestOutput,
    RequestParameters,
)

MODEL, INPUT = "landmark", "photo"
JSON_LENGTH_HEADER = "inference-header-content-length"

MAX_JSON_VALUES = 1000
"""Values in a request's JSON, at most; each photo is one."""

NUMPY_TYPES = {"INT64": np.int64, "FP32": np.float32, "INT32": np.int32, "BOOL": np.bool_}
"""Datatype of the protocol -> that of numpy; BYTES is `object`."""


def split_body(body: bytes, json_length: str | None) -> tuple[InferenceRequest, bytes]:
    """Split a body into its JSON and the binary data that follows it.

    Args:
        body: The request's body.
        json_length: Value of `JSON_LENGTH_HEADER`; None where the whole body is JSON.

    Raises:
        APIError: The body doesn't follow the protocol.
    """
    text = str(len(body)) if json_length is None else json_length
    if not text.isdecimal() or len(text) > 15 or int(text) > len(body):
        raise APIError(
            400, f"{JSON_LENGTH_HEADER} must be the JSON's length, got {text[:20]!r}.", "malformed"
        )
    end = int(text)
    if body.count(b",", 0, end) > MAX_JSON_VALUES:  # a few bytes of JSON can be many objects
        raise APIError(400, f"The JSON has more than {MAX_JSON_VALUES} values.", "malformed")
    return parse_request(body[:end]), body[end:]


def parse_request(text: bytes) -> InferenceRequest:
    """Parse and validate the JSON of a request.

    Raises:
        APIError: The JSON doesn't follow the protocol.
    """
    try:
        try:
            return InferenceRequest.model_validate_json(text)
        except ValidationError as error:
            problem = error.errors()[0]
            if problem["type"] != "json_invalid" or "control character" not in problem["msg"]:
                raise
            # a shell's "$(base64 FILE)" puts line breaks into strings
            return InferenceRequest.model_validate_json(text.translate(None, b"\r\n"))
    except ValidationError as error:
        raise APIError(400, f"{explain_problem(error.errors()[0])}.", "malformed") from None


def explain_problem(problem: Any) -> str:
    """Say what is wrong with a request's JSON, from one of pydantic's `errors()`."""
    *parents, last = problem["loc"] or [""]
    if problem["type"] == "extra_forbidden":
        model = MODEL_AT[tuple(name for name in parents if isinstance(name, str))]
        known = {name: name for name in model.model_fields}
        if model is not RequestParameters:
            known = {name: f"parameters.{name}" for name in RequestParameters.model_fields} | known
        where = ".".join(map(str, parents)) or "the request"
        return request_names.explain_unknown(str(last), known, where)
    where = ".".join(map(str, problem["loc"])) or "the request"
    if last == "data":
        return f"{where}: {problem['msg']}: {EXPECTED}"
    return f"{where}: {problem['msg']}"


def read_photos(head: InferenceRequest, binary_data: bytes, max_photos: int) -> list[bytes]:
    """Return the image files of a request.

    Raises:
        APIError: They don't follow the protocol, or there are more than `max_photos`.
    """
    if [tensor.name for tensor in head.inputs] != [INPUT]:
        raise APIError(400, f"There must be one input, {INPUT}.", "malformed")
    tensor = head.inputs[0]
    if tensor.datatype != "BYTES" or not tensor.shape or min(tensor.shape) < 1:
        raise APIError(400, f"{INPUT} must be BYTES of shape [N].", "malformed")
    count = math.prod(tensor.shape)
    if count > max_photos:
        raise APIError(422, f"A request takes {max_photos} photos.", "files")
    size = tensor.parameters.binary_data_size
    if size is None:
        photos = decode_photos(tensor.data or [])
    else:
        photos = split_elements(binary_data, size, count)
    if len(photos) != count:
        raise APIError(
            400, f"{INPUT} has {len(photos)} photos, its shape says {count}.", "malformed"
        )
    return photos


def split_elements(data: bytes, size: int, count: int) -> list[bytes]:
    """Split binary data into elements, each of which follows its length (4 bytes, little-endian).

    Args:
        data: The binary data of a request.
        size: The length that the request announced, in bytes.
        count: Number of elements, at most.

    Raises:
        APIError: The lengths don't add up to the data's.
    """
    elements: list[bytes] = []
    offset = 0
    if size == len(data):
        while offset + 4 <= size and len(elements) < count:
            length = int.from_bytes(data[offset : offset + 4], "little")
            elements.append(data[offset + 4 : offset + 4 + length])
            offset += 4 + length
    if not elements or offset != size:
        raise APIError(400, "The binary data isn't as long as it says.", "malformed")
    return elements


def output_arrays(answers: list[PhotoAnswer], top_k: int) -> dict[str, NDArray[Any]]:
    """Return the outputs by name: [N, top_k], and `is_landmark` [N].

    A photo with fewer landmarks is padded with the id -1, an empty name, confidence 0 and group 0.
    """
    padding = {"landmark_id": -1, "name": "", "confidence": 0.0, "group": 0}
    arrays: dict[str, NDArray[Any]] = {}
    for name, pad in padding.items():
        rows = [[getattr(candidate, name) for candidate in answer.landmarks] for answer in answers]
        padded = [row + [pad] * (top_k - len(row)) for row in rows]
        arrays[name] = np.array(padded, NUMPY_TYPES.get(OUTPUTS[name][0], object))
    arrays["is_landmark"] = np.array([answer.is_landmark for answer in answers])
    return arrays


def build_response(
    head: InferenceRequest, arrays: dict[str, NDArray[Any]], version: str | None
) -> Response:
    """Build the response: JSON, followed by binary data where the request asks for it.

    Args:
        head: The JSON of the request.
        arrays: All outputs, by name.
        version: The version of the bundle that answered.

    Raises:
        APIError: The request asks for an unknown output.
    """
    outputs, binary_data = [], b""
    for requested in head.outputs or [RequestOutput(name=name) for name in OUTPUTS]:
        if requested.name not in arrays:
            raise APIError(400, f"There are the outputs {', '.join(OUTPUTS)}.", "malformed")
        array = arrays[requested.name]
        output: dict[str, Any] = {
            "name": requested.name,
            "datatype": OUTPUTS[requested.name][0],
            "shape": list(array.shape),
        }
        binary = requested.parameters.binary_data
        if head.parameters.binary_data_output if binary is None else binary:
            data = to_bytes(array)
            output["parameters"] = {"binary_data_size": len(data)}
            binary_data += data
        else:
            output["data"] = array.ravel().tolist()
        outputs.append(output)
    response = {"model_name": MODEL, "model_version": version, "outputs": outputs}
    if head.id is not None:
        response["id"] = head.id
    if not binary_data:
        return JSONResponse(response)
    text = json.dumps(response).encode()
    headers = {JSON_LENGTH_HEADER: str(len(text))}
    return Response(text + binary_data, headers=headers, media_type="application/octet-stream")


def to_bytes(array: NDArray[Any]) -> bytes:
    """Return an array's elements, little-endian; each string follows its length in 4 bytes."""
    if array.dtype != object:
        return array.astype(array.dtype.newbyteorder("<")).tobytes()
    texts = [text.encode() for text in array.ravel()]
    return b"".join(len(text).to_bytes(4, "little") + text for text in texts)
