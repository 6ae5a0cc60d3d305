"""Base classes, types and texts that the models of all options share."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

SPEED: dict[str, Any] = {"speed": True}
"""Mark of an option that changes how fast a stage is, or when it fails, but never its rows."""

MAX_REJECTED = "the stage fails if it rejects a larger share of its photos"
GPUS_PER_WORKER = "GPUs of one worker; when not given, 1 if there are GPUs"
"""Help texts of options that several stages have."""

Witness = Literal["fused", "heads"]
"""What answers for a photo: heads and index together, or the heads alone."""

Verify = Literal["off", "doubtful", "always"]
"""Which photos exemplars verify: none, those whose answer they may change, or all."""

VERIFY = (
    "which photos are verified by geometry, with exemplars of the landmarks that lead: doubtful "
    "(those whose answer it may change), always, or off"
)

Count = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(ge=0, le=1)]
Cpus = Annotated[float, Field(gt=0)]


class StageConfig(BaseModel):
    """Base of the options of a stage: frozen, and unknown keys are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class TaskConfig(StageConfig):
    """Base of the options of a stage that runs tasks: the resources of one task."""

    cpus: Cpus = Field(
        1.0,
        description="cores of one task, or of one worker if the stage uses a model; a worker with "
        "a GPU reserves half a core instead",
        json_schema_extra=SPEED,
    )
    memory_gb: float | None = Field(
        None,
        gt=0,
        description="memory that Ray reserves for one task, in GB; a machine with less memory for "
        "each core runs fewer tasks side by side",
        json_schema_extra=SPEED,
    )


class ClusterConfig(StageConfig):
    """The local Ray that a job starts, unless RAY_ADDRESS or `ray job submit` names a cluster."""

    cpus: Count | None = Field(
        None, description="cores that Ray uses; all cores of the machine when not given"
    )
    object_store_gb: float = Field(
        1.0, gt=0.07, description="memory for rows that pass between Ray tasks, in GB"
    )


class Options(BaseSettings):
    """Base of the options of every job."""

    model_config = SettingsConfigDict(
        frozen=True,
        extra="forbid",
        cli_avoid_json=True,
        cli_hide_none_type=True,
        cli_use_class_docs_for_groups=True,
        populate_by_name=True,
    )

    config: str | None = Field(
        None, description="toml file with any of the options below; the command line overrides it"
    )
    cluster: ClusterConfig = ClusterConfig()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Read options from the command line and the toml file only, never from the environment."""
        return (init_settings,)
