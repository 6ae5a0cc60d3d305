"""Options of the classifiers: the stages trunk, embed, train and finetune read one section."""

from typing import Any, Literal

from pydantic import Field, field_validator

from landmark_ray.config.base import SPEED, Count, Share, StageConfig, TaskConfig
from landmark_ray.errors import UserError
from landmark_ray.models.specs import (
    AugmentationOptions,
    HeadKind,
    OptimizerKind,
    Pooling,
    network_name,
)

Phase = Literal["head", "finetune"]

TRUNK = {"network", "weights", "pooling"}
SCRATCH = {"trunk_epochs", "trunk_rate", "batch", "optimizer", "smoothing", "weight_decay"}
SCRATCH |= {"warmup", "dropout", "augment"}
EMBED = {"views", "augment"}
FINETUNE = {"phases", "epochs", "rate", "patience", "batch", "precision", "augment"}
"""What only the stage finetune reads besides the options of train."""


class TrainConfig(TaskConfig):
    """The networks of the groups: how they begin, and how they learn."""

    network: str = Field(
        "resnet50",
        description="vgg16, vgg19, inception_v3, inception_resnet_v2, mobilenet_v2, any other of "
        "keras.applications, or small",
    )
    weights: str = Field(
        "imagenet",
        description="imagenet (downloaded), a file of weights without the top, or none: the trunk "
        "is trained from scratch on all landmarks together first",
    )
    pooling: Pooling = Field("avg", description="how the trunk's map becomes a vector")
    augment: AugmentationOptions = AugmentationOptions()
    trunk_epochs: Count = Field(20, description="weights none: epochs of the trunk")
    trunk_rate: float = Field(2e-3, gt=0, description="weights none: highest learning rate")
    phases: tuple[Phase, ...] = Field(
        ("head",),
        min_length=1,
        description="head: the trunk stays as it is; finetune: the whole network learns, after it",
    )
    views: Count = Field(
        6, description="head: vectors of each training image, all but the first of varied photos"
    )
    head: HeadKind = Field("cosine", description="cosine: scaled cosines; linear: a dense layer")
    scale: float = Field(16.0, gt=0, description="of a cosine head")
    head_epochs: Count = Field(60, description="head: epochs")
    head_rate: float = Field(3e-3, gt=0, description="head: highest learning rate")
    head_batch: Count = Field(64, description="head: vectors a step")
    epochs: Count = Field(20, description="finetune: epochs at most")
    rate: float = Field(1e-4, gt=0, description="finetune: highest learning rate")
    warmup: Share = Field(0.1, description="share of the epochs in which the rate rises")
    patience: Count = Field(5, description="finetune: stop after so many epochs without progress")
    batch: Count = Field(32, description="images a step")
    optimizer: OptimizerKind = Field("adamw", description="adamw or sgd")
    weight_decay: float = Field(1e-4, ge=0, description="of the optimizer")
    dropout: float = Field(0.2, ge=0, lt=1, description="of the vectors before the head")
    smoothing: float = Field(0.1, ge=0, lt=1, description="of the labels")
    balance: bool = Field(True, description="weigh classes alike, however many images they have")
    other_share: float = Field(
        0.5,
        ge=0,
        lt=1,
        description="weight of the class other, of images of other groups and of none; 0: no such "
        "class, as in the reference",
    )
    others: Count = Field(20_000, description="images of the class other, at most")
    calibrate: bool = Field(True, description="fit a temperature for each group")
    precision: Literal["auto", "float32", "mixed"] = Field(
        "auto", description="mixed: 16 bits where that is enough; auto: on GPUs"
    )
    parallel_groups: Count | None = Field(
        None,
        description="groups trained side by side; as many as GPUs or cores when not given",
        json_schema_extra=SPEED,
    )
    gpus: int | None = Field(
        None,
        ge=0,
        description="GPUs a group; 1 where there are any, when not given",
        json_schema_extra=SPEED,
    )
    retries: int = Field(
        3,
        ge=0,
        description="workers that a group may lose, each of which is replaced",
        json_schema_extra=SPEED,
    )

    @field_validator("network")
    @classmethod
    def _known(cls, name: str) -> str:
        try:
            return network_name(name)
        except UserError as error:
            raise ValueError(str(error)) from None

    @field_validator("phases")
    @classmethod
    def _head_first(cls, phases: tuple[Phase, ...]) -> tuple[Phase, ...]:
        if phases not in (("head",), ("head", "finetune")):
            raise ValueError("must be head, or head,finetune: an untrained head spoils the trunk")
        return phases

    @property
    def from_scratch(self) -> bool:
        """Whether the trunk has no weights to begin with."""
        return self.weights == "none"

    def config_key(self, stage: str) -> dict[str, Any]:
        """The options that decide what a stage makes."""
        learns = {n for n, f in type(self).model_fields.items() if f.json_schema_extra != SPEED}
        learns -= TRUNK | {"trunk_epochs", "trunk_rate", "views"}
        own = {
            "trunk": TRUNK | (SCRATCH if self.from_scratch else set()),
            "embed": EMBED,
            "train": learns - FINETUNE,
            "finetune": learns if "finetune" in self.phases else {"phases"},
        }[stage]
        return {f"train.{k}": v for k, v in self.model_dump(mode="json", include=own).items()}


class EvaluateConfig(StageConfig):
    """How good the models are."""

    top_k: int = Field(5, ge=5, le=100, description="landmarks to keep for each image")


class ExportConfig(StageConfig):
    """The bundle that serves."""

    to: str = Field("", description="folder or URI of the bundle; ROOT/bundle when not given")
