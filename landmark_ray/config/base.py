"""What the models of all options share."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

SPEED: dict[str, Any] = {"speed": True}
"""Marks an option that changes how fast a stage is, or when it gives up, but never its rows."""

Count = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(ge=0, le=1)]
Cpus = Annotated[float, Field(gt=0)]


class StageConfig(BaseModel):
    """What all stages' models share: frozen, no unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class TaskConfig(StageConfig):
    """What a task of a stage takes of a machine."""

    cpus: Cpus = Field(
        1.0, description="cores a task, or a worker with a model", json_schema_extra=SPEED
    )
    memory_gb: float | None = Field(
        None,
        gt=0,
        description="memory that Ray keeps for a task, in GB: fewer run side by side where cores "
        "have less",
        json_schema_extra=SPEED,
    )


class ClusterConfig(StageConfig):
    """The Ray that a script starts when it isn't given one by RAY_ADDRESS or `ray job submit`."""

    cpus: Count | None = Field(None, description="cores to use; all of the machine when not given")
    object_store_gb: float = Field(
        1.0, gt=0.07, description="memory for rows between Ray tasks, in GB"
    )


class Options(BaseSettings):
    """What the options of all jobs share."""

    model_config = SettingsConfigDict(
        frozen=True,
        extra="forbid",
        cli_avoid_json=True,
        cli_hide_none_type=True,
        cli_use_class_docs_for_groups=True,
        populate_by_name=True,
    )

    config: str | None = Field(None, description="toml file with the options below")
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
        """Options come from where they can be seen: never from the environment."""
        return (init_settings,)
