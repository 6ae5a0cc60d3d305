"""The JSON of the Open Inference Protocol; OpenAPI documents it from here."""

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
"""Name -> datatype and shape."""


TopK = Annotated[int, Field(ge=1, le=MAX_TOP_K)]
"""Landmarks that an answer names."""


class Strict(BaseModel):
    """Part of a request: what it doesn't know isn't ignored."""

    model_config = ConfigDict(extra="forbid")


class InputParameters(Strict):
    """Of an input."""

    binary_data_size: int | None = None


class Tensor(Strict):
    """An input."""

    name: str
    shape: list[Annotated[int, Field(lt=1 << 31)]] = Field(max_length=8)
    datatype: str
    parameters: InputParameters = InputParameters()
    data: list[Any] | None = None


class OutputParameters(Strict):
    """Of an output."""

    binary_data: bool | None = None


class Wanted(Strict):
    """An output that is asked for."""

    name: str
    parameters: OutputParameters = OutputParameters()


class Parameters(Strict):
    """Of a request."""

    top_k: TopK = 5
    binary_data_output: bool = False


class Inference(Strict):
    """A request, or the JSON that one with binary data begins with."""

    id: str | None = None
    parameters: Parameters = Parameters()
    inputs: list[Tensor]
    outputs: list[Wanted] | None = Field(None, max_length=len(OUTPUTS))


PARTS: dict[tuple[str, ...], type[Strict]] = {
    (): Inference,
    ("parameters",): Parameters,
    ("inputs",): Tensor,
    ("inputs", "parameters"): InputParameters,
    ("outputs",): Wanted,
    ("outputs", "parameters"): OutputParameters,
}
"""Where in a request each is."""


class Output(BaseModel):
    """An output; its data may be binary, behind the JSON."""

    name: str
    datatype: str
    shape: list[int]
    parameters: dict[str, int] = {}
    data: list[Any] = []


class Inferred(BaseModel):
    """The answer, or the JSON that one with binary data begins with."""

    model_name: str
    model_version: str
    id: str | None = None
    outputs: list[Output]


_schema = Inference.model_json_schema(ref_template="#/components/schemas/{model}")
SCHEMAS = {**_schema.pop("$defs"), "Inference": _schema}
"""What OpenAPI's document refers to, and FastAPI doesn't know: it never sees the request's body."""
