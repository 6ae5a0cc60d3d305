"""Options of the networks. The stages trunk, embed, train and finetune share one section."""

import itertools
import math
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from landmark_ray.config.base import SPEED, Count, Share, TaskConfig
from landmark_ray.errors import UserError
from landmark_ray.models.specs import (
    HUB,
    MIN_SIZE,
    AugmentationOptions,
    HeadKind,
    OptimizerKind,
    Pooling,
    Precision,
    is_preset,
    network_name,
    preset_folder,
)

Phase = Literal["metric", "head", "finetune"]
Program = Literal["tensorboard", "mlflow"]
"""A program that shows the curves of trainings."""

TRUNK = {"network", "weights", "pooling"}
SCRATCH = {"trunk_epochs", "trunk_rate", "batch", "optimizer", "smoothing", "weight_decay"}
SCRATCH |= {"warmup", "dropout", "augment"}
NEWER = {"metric_sizes", "metric_proportions"}
"""Options of the phase metric that older roots lack; by default they are off."""

METRIC = {"metric_epochs", "metric_rate", "embedding", "margin_few", "margin_many"} | NEWER
METRIC |= {"margin_power", "metric_scale", "metric_memory_gb", "average"}
EMBED = {"views", "augment"}
FINETUNE = {"phases", "epochs", "rate", "patience", "batch", "augment"}
"""Options that finetune reads and train doesn't; finetune reads those of train, too."""


class TrainConfig(TaskConfig):
    """Train the network of each group: a trunk that makes a vector of a photo, and a head."""

    network: str = Field(
        "resnet50",
        description="architecture of the trunk: vgg16, vgg19, inception_v3, inception_resnet_v2, "
        "mobilenet_v2, any other of keras.applications, small, which trains without weights, or "
        "hub:FOLDER, an image network of keras-hub in the folder of a preset (DINOv2, DINOv3, "
        "SigLIP 2, ViT, Swin and others)",
    )
    weights: str = Field(
        "imagenet",
        description="weights of the trunk: imagenet (downloaded; of hub:FOLDER, those in the "
        "folder), a file of weights without the top layers, or none, to train the trunk from "
        "scratch on all landmarks together",
    )
    pooling: Pooling = Field(
        "avg",
        description="how the trunk's feature map becomes a vector: mean, maximum, or generalised "
        "mean; of networks of tokens (DINOv2, ViT), avg is the class token if there is one, and "
        "networks that pool by themselves (SigLIP) need avg",
    )
    augment: AugmentationOptions = AugmentationOptions()
    trunk_epochs: Count = Field(20, description="epochs of the trunk, if weights is none")
    trunk_rate: float = Field(
        2e-3, gt=0, description="highest learning rate of the trunk, if weights is none"
    )
    phases: tuple[Phase, ...] = Field(
        ("head",),
        min_length=1,
        description="head: train only a head for each group, on vectors of the frozen trunk; "
        "head,finetune: then train the whole network of each group on photos; metric before "
        "these: first train the trunk on all landmarks together, by sub-center ArcFace",
    )
    metric_epochs: Count = Field(10, description="epochs of the phase metric")
    metric_sizes: tuple[int, ...] = Field(
        (),
        description="rising widths and heights in pixels, as 224,448, to which the phase metric "
        "reduces photos in turn, each for as many epochs, the last sizes for those that remain; "
        "the trunk then works at the last size; when not given, at the network's own",
    )
    metric_proportions: bool = Field(
        False,
        description="let each batch of the phase metric have photos of like proportions (aspect "
        "ratios), and be a rectangle that shows them without the mirror images that resize.fit "
        "pad, which this needs, adds to them; the network must take rectangles",
    )
    metric_rate: float = Field(1e-4, gt=0, description="highest learning rate of the phase metric")
    embedding: Count = Field(512, description="length of the vector that the phase metric makes")
    margin_few: float = Field(
        0.45,
        ge=0,
        description="angle in radians that ArcFace adds for a landmark with one photo, beyond "
        "margin_many",
    )
    margin_many: float = Field(
        0.05, ge=0, description="angle in radians that ArcFace adds for landmarks with many photos"
    )
    margin_power: float = Field(
        0.25, ge=0, description="margin_few is divided by a landmark's photos to this power"
    )
    metric_scale: float = Field(30.0, gt=0, description="factor of the cosines in the phase metric")
    average: float = Field(
        0.99,
        gt=0,
        lt=1,
        description="momentum of the average of the weights of the phase metric, for each step",
    )
    metric_memory_gb: float = Field(
        8.0,
        gt=0,
        description="memory, in 10^9 bytes, for the landmarks' centers in a step of the phase "
        "metric; if those of all landmarks do not fit, each step trains a sample",
    )
    views: Count = Field(
        6,
        description="vectors of each training photo: one of the photo as it is, the others of "
        "augmented views",
    )
    head: HeadKind = Field(
        "cosine",
        description="cosine: scaled cosines of the vector and a vector of each landmark; linear: a "
        "dense layer",
    )
    scale: float = Field(16.0, gt=0, description="factor of the cosines of a cosine head")
    head_epochs: Count = Field(30, description="largest number of epochs of the phase head")
    head_patience: Count = Field(
        10,
        description="stop the phase head after this many epochs without a lower validation loss",
    )
    head_rate: float = Field(
        3e-3,
        gt=0,
        description="highest learning rate of the phase head; if head_batch is not given, that of "
        "a batch of 64: it grows with the root of the batch",
    )
    head_batch: Count | None = Field(
        None,
        description="vectors in a batch of the phase head; when not given, a 64th of the group's "
        "vectors, from 64 to 4096",
    )
    epochs: Count = Field(20, description="largest number of epochs of the phase finetune")
    rate: float = Field(1e-4, gt=0, description="highest learning rate of the phase finetune")
    warmup: Share = Field(0.1, description="share of the epochs in which the learning rate rises")
    patience: Count = Field(
        5, description="stop the phase finetune after this many epochs without improvement"
    )
    batch: Count = Field(32, description="photos in a batch, for the trunk and the phase finetune")
    optimizer: OptimizerKind = Field("adamw", description="AdamW, or SGD with Nesterov momentum")
    weight_decay: float = Field(1e-4, ge=0, description="weight decay of the optimizer")
    dropout: float = Field(0.2, ge=0, lt=1, description="dropout of the vectors before the head")
    smoothing: float = Field(0.1, ge=0, lt=1, description="label smoothing")
    balance: bool = Field(
        True, description="give all landmarks of a group the same weight in the loss"
    )
    other_share: float = Field(
        0.5,
        ge=0,
        lt=1,
        description="share of the loss for the class other, which stands for photos of other "
        "groups and of no landmark; 0: train without that class",
    )
    others: Count = Field(20_000, description="largest number of photos of the class other")
    calibrate: bool = Field(
        True, description="fit a temperature for each group, to calibrate its confidences"
    )
    precision: Precision = Field(
        "auto",
        description="precision of networks: float32, mixed (16 bits "
        "where that is enough), or auto (mixed on GPUs)",
    )
    parallel_groups: Count | None = Field(
        None,
        description="number of groups that are trained side by side; when not given, as many as "
        "there are GPUs, or cores if there are no GPUs",
        json_schema_extra=SPEED,
    )
    gpus: int | None = Field(
        None,
        ge=0,
        description="GPUs of one training, of the trunk or of a group; describe, embed and "
        "evaluate use at most 1 for each worker; when not given, 1 if there are GPUs",
        json_schema_extra=SPEED,
    )
    retries: int = Field(
        3,
        ge=0,
        description="largest number of workers that a group may lose; each is replaced",
        json_schema_extra=SPEED,
    )

    log: tuple[Program, ...] = Field(
        (),
        description="also write the curves of all trainings as files for these programs, to "
        "ROOT/logs: tensorboard, mlflow, or tensorboard,mlflow; nothing is sent anywhere",
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
        rest = phases[1:] if phases[0] == "metric" else phases
        if rest not in (("head",), ("head", "finetune")):
            raise ValueError(
                "must be head, or head,finetune, because an untrained head would spoil the trunk; "
                "metric may come before"
            )
        return phases

    @field_validator("metric_sizes")
    @classmethod
    def _rising(cls, sizes: tuple[int, ...]) -> tuple[int, ...]:
        if any(size < MIN_SIZE for size in sizes):
            raise ValueError(f"each size must be {MIN_SIZE} pixels or more")
        if any(size >= larger for size, larger in itertools.pairwise(sizes)):
            raise ValueError("each size must be larger than the one before it")
        return sizes

    @property
    def from_scratch(self) -> bool:
        """Whether the trunk is trained from random weights."""
        return self.weights == "none"

    @property
    def is_metric(self) -> bool:
        """Whether the trunk is trained by the phase metric."""
        return "metric" in self.phases

    @model_validator(mode="after")
    def _margin_is_below_a_right_angle(self) -> "TrainConfig":
        if self.margin_few + self.margin_many >= math.pi / 2:
            raise ValueError(
                f"margin_few {self.margin_few:g} and margin_many {self.margin_many:g} must be "
                "below 1.571, a right angle, together"
            )
        return self

    @model_validator(mode="after")
    def _every_size_has_an_epoch(self) -> "TrainConfig":
        if self.metric_epochs < len(self.metric_sizes):
            raise ValueError(
                f"metric_epochs {self.metric_epochs} must be at least {len(self.metric_sizes)}, "
                "one for each of metric_sizes"
            )
        return self

    @model_validator(mode="after")
    def _metric_options_have_their_phase(self) -> "TrainConfig":
        given = [name for name in sorted(NEWER) if getattr(self, name)]
        if given and not self.is_metric:
            raise ValueError(
                f"{given[0]} needs the phase metric; give phases metric,{','.join(self.phases)}, "
                f"or leave {given[0]} out"
            )
        return self

    @property
    def metric_ends(self) -> tuple[int, ...]:
        """The number of epochs after which the phase metric has done each size, rising."""
        count = max(len(self.metric_sizes), 1)
        return tuple(self.metric_epochs * done // count for done in range(1, count + 1))

    def config_key(self, stage: str) -> dict[str, Any]:
        """Return the options that decide what a stage makes: full name -> JSON value."""
        learns = {n for n, f in type(self).model_fields.items() if f.json_schema_extra != SPEED}
        learns -= TRUNK | METRIC | {"trunk_epochs", "trunk_rate", "views"}
        trained = SCRATCH if self.from_scratch else set()
        if self.is_metric:
            trained = METRIC | SCRATCH - {"trunk_epochs", "trunk_rate", "smoothing", "dropout"}
            trained -= {name for name in NEWER if not getattr(self, name)}
        options = {
            "describe": {"weights"} if self.from_scratch else TRUNK,  # or it does nothing
            "trunk": TRUNK | trained,
            "embed": EMBED,
            "train": learns - FINETUNE,
            "finetune": learns if "finetune" in self.phases else {"phases"},
        }[stage]
        chosen = self.model_dump(mode="json", include=options)
        if is_preset(chosen.get("network", "")):  # its content counts: a checksum is an input
            chosen["network"] = HUB + preset_folder(self.network).name
        return {f"train.{k}": v for k, v in chosen.items()}
