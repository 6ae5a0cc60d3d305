"""The JSON objects of the Open Inference Protocol, as the OpenAPI document describes them."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from landmark_ray.serving.inference import MAX_TOP_K

OUTPUTS: dict[str, tuple[str, list[int]]] = {
    "landmark_id": ("INT64", [-1, -1]),
    "name": ("BYTES", [-1, -1]),
    "confidence": ("FP32", [-1, -1]),
    "group": ("INT32", [-1, -1]),
    "is_landmark": ("BOOL", [-1]),
}
"""Name of an output -> its datatype and shape."""


TopK = Annotated[int, Field(ge=1, le=MAX_TOP_K)]
"""Number of landmarks that an answer names."""


class Strict(BaseModel):
    """A part of a request; an unknown field is an error."""

    model_config = ConfigDict(extra="forbid")


class InputParameters(Strict):
    """The parameters of an input."""

    binary_data_size: int | None = None


class RequestInput(Strict):
    """An input tensor."""

    name: str
    shape: list[Annotated[int, Field(lt=1 << 31)]] = Field(max_length=8)
    datatype: str
    parameters: InputParameters = InputParameters()
    data: list[Any] | None = None


class OutputParameters(Strict):
    """The parameters of a requested output."""

    binary_data: bool | None = None


class RequestOutput(Strict):
    """An output that the client requests."""

    name: str
    parameters: OutputParameters = OutputParameters()


class RequestParameters(Strict):
    """The parameters of a request."""

    top_k: TopK = 5
    binary_data_output: bool = False


class InferenceRequest(Strict):
    """A request, or the JSON at the start of a request with binary data."""

    id: str | None = None
    parameters: RequestParameters = RequestParameters()
    inputs: list[RequestInput]
    outputs: list[RequestOutput] | None = Field(None, max_length=len(OUTPUTS))


MODEL_AT: dict[tuple[str, ...], type[Strict]] = {
    (): InferenceRequest,
    ("parameters",): RequestParameters,
    ("inputs",): RequestInput,
    ("inputs", "parameters"): InputParameters,
    ("outputs",): RequestOutput,
    ("outputs", "parameters"): OutputParameters,
}
"""Path of names in a request -> the model of what is there."""


class ResponseOutput(BaseModel):
    """An output tensor; binary data follows the JSON."""

    name: str
    datatype: str
    shape: list[int]
    parameters: dict[str, int] = {}
    data: list[Any] = []


class InferenceResponse(BaseModel):
    """A response, or the JSON at the start of a response with binary data."""

    model_name: str
    model_version: str
    id: str | None = None
    outputs: list[ResponseOutput]


_schema = InferenceRequest.model_json_schema(ref_template="#/components/schemas/{model}")
SCHEMAS = {**_schema.pop("$defs"), "InferenceRequest": _schema}
"""Schemas of a request, for the OpenAPI document: FastAPI doesn't parse its body, so lacks them."""
