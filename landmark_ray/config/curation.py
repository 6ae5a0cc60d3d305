"""Options of the stages from the source to the examples: one frozen model for each stage."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, model_validator

from landmark_ray.config.base import SPEED, Count, Share, StageConfig, TaskConfig
from landmark_ray.kernels.image import Limits
from landmark_ray.kernels.matching import MatchingRule

DELF_DEFAULTS = {"max_feature_num": 1000, "max_side": 512}

RULES = {
    "sift": MatchingRule.sift(),
    "delf": MatchingRule.delf(),
    "delf_tutorial": MatchingRule.delf_tutorial(),
}


def _rising(edges: tuple[int, ...]) -> tuple[int, ...]:
    if any(low >= high for low, high in zip(edges, edges[1:], strict=False)):
        raise ValueError(f"must rise from one edge to the next, got {list(edges)}")
    return edges


class SampleConfig(StageConfig):
    """Which classes and images are worth reading."""

    min_images: Count = Field(6, description="a class with fewer images is dropped")
    max_images: Count = Field(500, description="a random choice of so many images of a class")
    buckets: Count = Field(
        16, description="folders of a table, as in bucket=7; 128 for 4 million images"
    )
    shard_images: Count = Field(
        128, description="images a file, the unit of work; a class is never split over files"
    )


class IngestConfig(TaskConfig):
    """Which photos are usable, and how they are stored."""

    max_side: Count = Field(800, description="longest side of a stored image, in pixels")
    min_side: Count = Field(32, description="an image with a shorter side is rejected, in pixels")
    max_megapixels: float = Field(
        100.0,
        gt=0,
        description="a larger image is rejected unread, in millions of pixels; a JPEG counts at "
        "the fraction that it is decoded at",
    )
    max_megabytes: float = Field(64.0, gt=0, description="a larger file is rejected unread, in MB")
    quality: int = Field(92, ge=1, le=95, description="JPEG quality of images that are changed")
    buffer_mb: float = Field(
        256.0,
        gt=0,
        description="memory for images of one tar before they are written, in MB",
        json_schema_extra=SPEED,
    )
    max_rejected: Share = Field(
        0.5, description="the stage fails when a larger share is rejected", json_schema_extra=SPEED
    )

    @property
    def limits(self) -> Limits:
        """What the kernels accept and make."""
        return Limits(
            self.max_side,
            self.min_side,
            self.max_megapixels * 1e6,
            self.quality,
            max_option="--ingest.max_megapixels",
            min_option="--ingest.min_side",
        )


class DedupeConfig(TaskConfig):
    """Which images show the same photo."""

    bits: int = Field(
        6, ge=0, le=8, description="64-bit perceptual hashes differ in so many bits at most"
    )
    difference: float = Field(
        4.0, ge=0, le=255, description="and 32 x 32 thumbnails in so many grey levels, on average"
    )


class ExtractConfig(TaskConfig):
    """Local features."""

    extractor: Literal["sift", "delf"] = Field(
        "sift", description="RootSIFT, or DELF (needs handle)"
    )
    max_feature_num: Count = Field(2000, description="most features of an image; delf: 1000")
    max_side: int = Field(
        640,
        ge=32,
        description="longest side at which features are sought, in pixels; smaller images are "
        "enlarged for sift; delf: 512",
    )
    handle: str = Field("", description="delf: TF-Hub address or SavedModel folder")
    image_scales: tuple[float, ...] = Field(
        (0.25, 0.3536, 0.5, 0.7071, 1.0, 1.4142, 2.0), description="delf: pyramid of scales"
    )
    score_threshold: float = Field(
        100.0, description="delf: features with a lower score are left out"
    )
    gpus: float | None = Field(
        None,
        ge=0,
        description="delf: GPUs a worker; 1 where there are any, when not given",
        json_schema_extra=SPEED,
    )
    max_rejected: Share = Field(
        0.1, description="the stage fails when a larger share is rejected", json_schema_extra=SPEED
    )

    @model_validator(mode="before")
    @classmethod
    def _delf_has_defaults_of_its_own(cls, given: dict[str, Any]) -> dict[str, Any]:
        return DELF_DEFAULTS | given if given.get("extractor") == "delf" else given

    @model_validator(mode="after")
    def _delf_has_a_handle(self) -> "ExtractConfig":
        if self.extractor == "delf" and not self.handle:
            raise ValueError(
                "extractor delf needs extract.handle, a TF-Hub address or a SavedModel folder"
            )
        return self


class MatchConfig(TaskConfig):
    """Geometric verification of the pairs of a class."""

    mode: Literal["early", "exhaustive"] = Field(
        "early", description="stop an image at its first verified partner, or try every pair"
    )
    min_inliers: Count = Field(11, description="inliers that verify a pair")
    min_partners: Count = Field(1, description="partners that must verify an image")
    preset: Literal["sift", "delf", "delf_tutorial"] | None = Field(
        None,
        description="rule that the options below change: for sift, for delf, or the DELF "
        "tutorial's own for comparison; the extractor's when not given",
    )
    ratio: float | None = Field(
        None, gt=0, le=1, description="nearest to second-nearest distance at most; 1 turns it off"
    )
    max_distance: float | None = Field(
        None, gt=0, le=2, description="descriptor distance at most; 2 turns it off"
    )
    mutual: bool | None = Field(None, description="matches must be each other's nearest")
    vote: bool | None = Field(
        None, description="matches must turn and zoom as most do (sift: keypoints have an angle)"
    )
    residual: float | None = Field(
        None, gt=0, description="RANSAC residual, in pixels of a 512-px longest side"
    )
    cell: float | None = Field(
        None,
        ge=0,
        description="inliers count once in a cell of so many pixels at 512; 0: all count",
    )
    share: Share | None = Field(
        None, description="inliers of all matches at least, else none count; 0 turns it off"
    )
    plausible: bool | None = Field(
        None, description="refuse affine maps that no camera makes: mirrored, extreme"
    )
    trials: Count | None = Field(None, description="RANSAC trials at most")
    task_pairs: Count = Field(
        10_000, description="pairs a task tries at most; a class with more is split over tasks"
    )
    memory_mb: float = Field(
        256.0, gt=0, description="memory of a task for features, in MB", json_schema_extra=SPEED
    )

    def rule(self, extractor: str) -> MatchingRule:
        """The matching rule: the preset's, or else the extractor's, with what is set here."""
        given = self.model_dump(include=set(MatchingRule.__dataclass_fields__), exclude_none=True)
        return RULES[self.preset or extractor].replace(**given)


class PruneConfig(TaskConfig):
    """Which verified images stay."""

    max_images: Count = Field(100, description="at most so many images of a class stay")
    min_images: Count = Field(6, description="a class left with fewer is dropped")


PEOPLE = (
    *("Person", "Man", "Woman", "Boy", "Girl", "Human face", "Human head", "Human body"),
    *("Human arm", "Human beard", "Human ear", "Human eye", "Human foot", "Human hair"),
    *("Human hand", "Human leg", "Human mouth", "Human nose"),
)
NATURE = (
    *("Tree", "Palm tree", "Maple", "Willow", "Christmas tree", "Plant", "Houseplant", "Flower"),
    *("Rose", "Lily", "Lavender", "Sunflower", "Water", "Swimming pool"),
)
BUILDINGS = (
    *("Building", "House", "Skyscraper", "Office building", "Convenience store", "Tower"),
    *("Castle", "Lighthouse", "Tree house", "Porch", "Stairs", "Window", "Door", "Fountain"),
    *("Sculpture", "Bronze sculpture", "Bust"),
)
"""Names of Open Images V4, whose boxes know no water but the pool's."""


class DetectConfig(TaskConfig):
    """Objects on the kept images."""

    handle: str = Field(
        "",
        description="TF-Hub address or SavedModel folder of a detector with the signature of "
        "google/openimages_v4/ssd/mobilenet_v2/1; none when not given",
    )
    min_score: Share = Field(0.1, description="objects that are less sure are not stored")
    max_side: int = Field(
        640, ge=32, description="longest side at which objects are sought, in pixels"
    )
    gpus: float | None = Field(
        None,
        ge=0,
        description="GPUs a worker; 1 where there are any, when not given",
        json_schema_extra=SPEED,
    )
    max_rejected: Share = Field(
        0.1, description="the stage fails when a larger share is rejected", json_schema_extra=SPEED
    )


class CleanConfig(TaskConfig):
    """What goes though it is verified, and what people decided."""

    min_score: Share = Field(0.3, description="objects that are less sure don't count")
    people: tuple[str, ...] = Field(PEOPLE, description="entities that are people")
    nature: tuple[str, ...] = Field(NATURE, description="entities that are plants or water")
    buildings: tuple[str, ...] = Field(BUILDINGS, description="entities that a landmark can be")
    min_cover: Share = Field(
        0.1,
        description="an image goes on which people and nature cover so much, and no building is",
    )
    people_cover: Share = Field(0.3, description="people who cover so much dominate an image")
    max_people: Share = Field(
        0.5, description="a class goes in which people dominate a larger share of the images"
    )
    duplicates: Literal["keep", "drop"] = Field(
        "keep", description="of a photo's copies in a class all stay, or one"
    )
    conflicts: Literal["keep", "drop"] = Field(
        "keep", description="a photo that is filed under several landmarks stays, or goes"
    )
    verdicts: tuple[str, ...] = Field(
        (),
        description="csv lists (verdict,image_id,landmark_id,reason) of what to keep or drop, "
        "whatever the rules say",
    )


class GroupConfig(TaskConfig):
    """Groups of classes by size, and the split into train and validation."""

    edges: Annotated[tuple[Count, ...], AfterValidator(_rising)] = Field(
        (6, 11, 16, 21, 26, 31, 41, 51, 61, 76, 100),
        description="least images of a class, for each group",
    )
    validation_first: Share = Field(0.4, description="validation share in the first group")
    validation_last: Share = Field(0.2, description="validation share in the last group")


class ResizeConfig(TaskConfig):
    """The examples that the models see."""

    size: int = Field(224, ge=16, description="width and height of an example, in pixels")
    quality: int = Field(95, ge=1, le=95, description="JPEG quality of an example")
    background: int = Field(
        100_000,
        ge=0,
        description="discarded images, about so many, that show models what is no landmark",
    )
    synthetic: int = Field(64, ge=0, description="drawn images of nothing that show it, too")
    max_rejected: Share = Field(
        0.1, description="the stage fails when a larger share is rejected", json_schema_extra=SPEED
    )
