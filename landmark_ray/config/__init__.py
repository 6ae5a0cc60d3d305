"""Every option of every stage: one frozen, validated model a stage.

A configuration comes from the defaults below, a toml file (`--config`), and `--stage.option VALUE`
on the command line, the later winning. An unknown option is an error.
"""

from typing import Any, Literal, get_args

from pydantic import Field, field_validator, model_validator

from landmark_ray.config.base import SPEED, Options
from landmark_ray.config.curation import (
    CleanConfig,
    DedupeConfig,
    DetectConfig,
    ExtractConfig,
    GroupConfig,
    IngestConfig,
    MatchConfig,
    PruneConfig,
    ResizeConfig,
    SampleConfig,
)
from landmark_ray.config.training import EvaluateConfig, ExportConfig, TrainConfig
from landmark_ray.errors import redact_url

StageName = Literal[
    "sample",
    "ingest",
    "dedupe",
    "extract",
    "match",
    "prune",
    "detect",
    "clean",
    "group",
    "resize",
    "trunk",
    "embed",
    "train",
    "finetune",
    "evaluate",
    "export",
]
STAGES: tuple[StageName, ...] = get_args(StageName)


def _shown(value: Any) -> Any:
    if isinstance(value, list):
        return [_shown(part) for part in value]
    return redact_url(value) if isinstance(value, str) else value


class Config(Options):
    """Options of the whole pipeline. Stages read their own section."""

    source: str | None = Field(
        None,
        description="raw dataset: folder or URI in GLDv2's layout, or of class folders",
    )
    root: str | None = Field(None, description="folder or URI that holds all tables")
    seed: int = Field(0, description="seed of every random choice")
    redo: StageName | None = Field(
        None, description="delete the tables of this stage and all later ones first"
    )
    sample: SampleConfig = SampleConfig()
    ingest: IngestConfig = IngestConfig()
    dedupe: DedupeConfig = DedupeConfig()
    extract: ExtractConfig = ExtractConfig()
    match: MatchConfig = MatchConfig()
    prune: PruneConfig = PruneConfig()
    detect: DetectConfig = DetectConfig()
    clean: CleanConfig = CleanConfig()
    group: GroupConfig = GroupConfig()
    resize: ResizeConfig = ResizeConfig()
    train: TrainConfig = TrainConfig()
    evaluate: EvaluateConfig = EvaluateConfig()
    export: ExportConfig = ExportConfig()

    @field_validator("source", "root")
    @classmethod
    def _not_empty(cls, value: str | None) -> str | None:
        if value == "":
            raise ValueError("must not be empty")
        return value

    @model_validator(mode="after")
    def _votes_need_angles(self) -> "Config":
        if self.extract.extractor == "delf" and self.match.rule("delf").vote:
            raise ValueError("match.vote: DELF's keypoints have no angle; leave preset sift out")
        return self

    def config_key(self, stage: str) -> dict[str, Any]:
        """The options that decide a stage's rows, by their full names, as JSON values.

        They are written down in ledgers and bundles, so passwords in addresses are left out.
        """
        return {name: _shown(value) for name, value in self._config_key(stage).items()}

    def _config_key(self, stage: str) -> dict[str, Any]:
        if stage in ("trunk", "embed", "train", "finetune"):
            return {"seed": self.seed} | self.train.config_key(stage)
        model = getattr(self, stage)
        options = {
            f"{stage}.{name}": value
            for name, value in model.model_dump(mode="json").items()
            if type(model).model_fields[name].json_schema_extra != SPEED
        }
        if stage == "match":
            rule = self.match.rule(self.extract.extractor)
            options |= {f"match.{name}": value for name, value in rule.as_dict().items()}
            if self.match.mode == "early":  # its last pair depends on how many images stay
                options["prune.max_images"] = self.prune.max_images
        return {"seed": self.seed} | options
