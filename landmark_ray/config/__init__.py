"""Every option of every stage: one frozen, validated model for each stage.

A toml file (`--config`) overrides the defaults below, and `--stage.option VALUE` on the command
line overrides the file. An unknown option is an error.
"""

from typing import Any, Literal, get_args

from pydantic import Field, field_validator, model_validator

from landmark_ray.config.base import SPEED, Options
from landmark_ray.config.curation import (
    CleanConfig,
    DedupeConfig,
    DetectConfig,
    GroupConfig,
    IngestConfig,
    PruneConfig,
    ResizeConfig,
    SampleConfig,
)
from landmark_ray.config.results import EvaluateConfig, ExportConfig, IndexConfig
from landmark_ray.config.training import TrainConfig
from landmark_ray.config.verification import ExtractConfig, MatchConfig
from landmark_ray.errors import redact_url

StageName = Literal[
    "sample",
    "ingest",
    "dedupe",
    "extract",
    "match",
    "describe",
    "prune",
    "detect",
    "clean",
    "group",
    "resize",
    "trunk",
    "embed",
    "index",
    "train",
    "finetune",
    "evaluate",
    "export",
]
STAGES: tuple[StageName, ...] = get_args(StageName)


def _without_passwords(value: Any) -> Any:
    if isinstance(value, list):
        return [_without_passwords(part) for part in value]
    return redact_url(value) if isinstance(value, str) else value


class Config(Options):
    """Options of the whole pipeline; each stage reads the section with its name."""

    source: str | None = Field(
        None,
        description="raw dataset: folder or URI in the layout of Google Landmarks v2, or with one "
        "folder of photos for each landmark",
    )
    root: str | None = Field(
        None, description="folder or URI to which all tables, models and reports are written"
    )
    seed: int = Field(  # Keras takes 32 bits, also of seeds that are this one and a group's number
        0, ge=0, lt=2**31, description="seed of all random choices"
    )
    redo: StageName | None = Field(
        None,
        description="first delete the tables of this stage and of all later stages, to make them "
        "again",
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
    index: IndexConfig = IndexConfig()
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
        extractor = self.extract.extractor
        if extractor != "sift" and self.match.rule(extractor).vote:
            raise ValueError(
                f"match.vote needs keypoints with an angle, which those of {extractor} do not "
                "have; leave out the preset sift, or set match.vote to false"
            )
        return self

    @model_validator(mode="after")
    def _every_extractor_has_a_rule(self) -> "Config":
        known = (self.match.preset, self.match.max_distance)
        if self.extract.extractor == "onnx" and not any(known):
            raise ValueError(
                "extract.extractor onnx has no matching rule of its own; give match.preset, or "
                "match.max_distance and what else its descriptors need"
            )
        return self

    @model_validator(mode="after")
    def _photos_have_the_largest_size(self) -> "Config":
        largest = max(self.train.metric_sizes, default=0)
        if largest > self.resize.size:
            raise ValueError(
                f"train.metric_sizes must be at most resize.size, {self.resize.size} pixels, the "
                f"size of the stored photos, got {largest}; give a larger resize.size"
            )
        return self

    @model_validator(mode="after")
    def _photos_have_all_their_proportions(self) -> "Config":
        if self.train.metric_proportions and self.resize.fit != "pad":
            raise ValueError(
                f"train.metric_proportions needs photos that were not cut to squares, and "
                f"resize.fit is {self.resize.fit}; give resize.fit pad"
            )
        return self

    @property
    def compares(self) -> bool:
        """Whether `prune` asks which photos resemble a photo most."""
        return self.prune.agreement > 0 and not self.train.from_scratch

    def config_key(self, stage: str) -> dict[str, Any]:
        """Return the options that decide a stage's rows: full name -> JSON value.

        They are written to ledgers and bundles, so passwords in addresses are left out.
        """
        return {name: _without_passwords(value) for name, value in self._config_key(stage).items()}

    def _config_key(self, stage: str) -> dict[str, Any]:
        # the tables of older versions, which always crop, do not name the option
        fit = {} if self.resize.fit == "crop" else {"resize.fit": self.resize.fit}
        if stage == "describe":  # the network sees the photos as `resize` makes them
            seen = {} if self.train.from_scratch else {"resize.size": self.resize.size, **fit}
            return self.train.config_key(stage) | seen
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
            if self.match.mode == "early":  # its pairs depend on how many images stay
                options["prune.max_images"] = self.prune.max_images
        if stage == "resize":
            options = {k: v for k, v in options.items() if k != "resize.fit"} | fit
        return {"seed": self.seed} | options
