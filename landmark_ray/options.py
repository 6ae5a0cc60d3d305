"""What the models of all stages' options share."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

SPEED: dict[str, Any] = {"speed": True}
"""Marks an option that changes how fast a stage is, or when it gives up, but never its rows."""

Count = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(ge=0, le=1)]
Cpus = Annotated[float, Field(gt=0)]


class StageConfig(BaseModel):
    """What all stages' models share: frozen, no unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")
