"""Options of the stages from `sample` to `resize`; see `verification` for extract and match."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from landmark_ray.config.base import (
    GPUS_PER_WORKER,
    MAX_REJECTED,
    SPEED,
    Count,
    Share,
    StageConfig,
    TaskConfig,
)
from landmark_ray.kernels.image import Fit, Limits
from landmark_ray.models.specs import MIN_SIZE


def _rising(edges: tuple[int, ...]) -> tuple[int, ...]:
    if any(low >= high for low, high in zip(edges, edges[1:], strict=False)):
        raise ValueError(f"each edge must be larger than the one before it, got {list(edges)}")
    return edges


class SampleConfig(StageConfig):
    """Choose the landmarks and photos to read, from the metadata alone."""

    min_images: Count = Field(6, description="drop a landmark that has fewer photos")
    max_images: Count = Field(
        500, description="choose this many photos at random from a landmark that has more"
    )
    strangers: int = Field(
        20_000,
        ge=0,
        description="also read this many photos of landmarks with fewer than min_images photos; "
        "models learn from them what is no landmark that they know",
    )
    buckets: Count = Field(
        16,
        description="number of folders (bucket=0, bucket=1, ...) that each table is divided into; "
        "use 128 for 4 million photos",
    )
    shard_images: Count = Field(
        128,
        description="photos in one file of a table, which is the unit of work; the photos of a "
        "landmark are never divided over several files, so a file can have more",
    )


class IngestConfig(TaskConfig):
    """Read the chosen photos, and store the usable ones as upright RGB JPEGs."""

    max_side: Count = Field(
        800, description="longest side of a stored photo, in pixels; larger photos are reduced"
    )
    min_side: Count = Field(32, description="reject a photo with a shorter side, in pixels")
    max_megapixels: float = Field(
        100.0,
        gt=0,
        description="reject a larger photo without decoding it, in millions of pixels; a JPEG "
        "counts with the reduced size that it is decoded to",
    )
    max_megabytes: float = Field(
        64.0, gt=0, description="reject a larger file without decoding it, in MB"
    )
    quality: int = Field(
        92, ge=1, le=95, description="JPEG quality of photos that have to be encoded again"
    )
    buffer_mb: float = Field(
        256.0,
        gt=0,
        description="memory for photos of one tar that wait to be written, in MB",
        json_schema_extra=SPEED,
    )
    max_rejected: Share = Field(0.5, description=MAX_REJECTED, json_schema_extra=SPEED)

    @property
    def limits(self) -> Limits:
        """The limits of the photos that the kernels accept and make."""
        return Limits(
            self.max_side,
            self.min_side,
            self.max_megapixels * 1e6,
            self.quality,
            max_option="--ingest.max_megapixels",
            min_option="--ingest.min_side",
        )


class DedupeConfig(TaskConfig):
    """Find copies of the same photo, within a landmark and under several landmarks."""

    bits: int = Field(
        6,
        ge=0,
        le=8,
        description="largest number of bits in which the 64-bit perceptual hashes of two copies "
        "may differ",
    )
    difference: float = Field(
        4.0,
        ge=0,
        le=255,
        description="largest mean difference between the 32 x 32 thumbnails of two copies, in "
        "grey levels (0 to 255)",
    )


class PruneConfig(TaskConfig):
    """Choose the photos that stay: verified ones, and those that resemble their landmark."""

    agreement: Share = Field(
        1.0,
        description="a photo that no partner verifies stays if at least this share of the photos "
        "that resemble it most are of its landmark; 0: only verified photos stay",
    )
    neighbours: Count = Field(5, description="number of photos whose landmarks are compared")
    max_images: Count = Field(100, description="largest number of photos of a landmark that stay")
    min_images: Count = Field(
        6, description="drop a landmark that is left with fewer photos, here and in clean"
    )


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
"""Class names of Open Images V4. Its only boxes of water are those of swimming pools."""


class DetectConfig(TaskConfig):
    """Find objects such as people, plants and buildings on the photos that prune keeps."""

    handle: str = Field(
        "",
        description="TF-Hub address or SavedModel folder of a detector with the signature of "
        "google/openimages_v4/ssd/mobilenet_v2/1; no objects are sought when not given",
    )
    min_score: Share = Field(0.1, description="discard objects with a lower score")
    max_side: int = Field(
        640,
        ge=32,
        description="reduce photos to this longest side before objects are sought, in pixels",
    )
    gpus: float | None = Field(None, ge=0, description=GPUS_PER_WORKER, json_schema_extra=SPEED)
    max_rejected: Share = Field(0.1, description=MAX_REJECTED, json_schema_extra=SPEED)


class CleanConfig(TaskConfig):
    """Drop photos that show no building, and apply the verdicts of people."""

    min_score: Share = Field(0.3, description="ignore objects with a lower score")
    people: tuple[str, ...] = Field(PEOPLE, description="names of objects that are people")
    nature: tuple[str, ...] = Field(NATURE, description="names of objects that are plants or water")
    buildings: tuple[str, ...] = Field(
        BUILDINGS, description="names of objects that can be a landmark"
    )
    min_cover: Share = Field(
        0.1,
        description="drop a photo if people and nature cover at least this share of it and it "
        "shows no building",
    )
    people_cover: Share = Field(
        0.3, description="smallest share of a photo that people cover when they dominate it"
    )
    max_people: Share = Field(
        0.5,
        description="drop a landmark if people dominate a larger share of its photos than this",
    )
    duplicates: Literal["keep", "drop"] = Field(
        "keep", description="drop: of several copies of a photo in a landmark, only one stays"
    )
    conflicts: Literal["keep", "drop"] = Field(
        "keep", description="drop: a photo that has copies under other landmarks is dropped"
    )
    verdicts: tuple[str, ...] = Field(
        (),
        description="csv files (verdict,image_id,landmark_id,reason) of photos and landmarks to "
        "keep or drop; they override the other rules",
    )


class GroupConfig(TaskConfig):
    """Assign landmarks to groups by their number of photos; split photos for validation."""

    edges: Annotated[tuple[Count, ...], Field(min_length=1), AfterValidator(_rising)] = Field(
        (6, 11, 16, 21, 26, 31, 41, 51, 61, 76, 100),
        description="smallest number of photos of a landmark in each group, in rising order",
    )
    validation_first: Share = Field(
        0.4, description="share of a landmark's photos that validate, in the first group"
    )
    validation_last: Share = Field(
        0.2,
        description="the same share in the last group; it changes evenly from group to group",
    )
    left_out: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="share of the landmarks that no model learns, rounded down to whole landmarks; "
        "their photos show validation what other landmarks look like",
    )


class ResizeConfig(TaskConfig):
    """Make the square photos that the models see."""

    size: int = Field(224, ge=MIN_SIZE, description="width and height of a square photo, in pixels")
    fit: Fit = Field(
        "crop",
        description="how a photo becomes a square: crop: its centre, without what is above and "
        "below or beside it; pad: all of it in its proportions, continued by its mirror image, "
        "which shows everything smaller and so needs a larger size",
    )
    quality: int = Field(95, ge=1, le=95, description="JPEG quality of a square photo")
    background: int = Field(
        100_000,
        ge=0,
        description="approximate number of discarded photos from which the models learn what is "
        "not a landmark",
    )
    synthetic: int = Field(
        64,
        ge=0,
        description="number of drawn pictures (one colour, gradients, noise) that serve the same "
        "purpose",
    )
    max_rejected: Share = Field(0.1, description=MAX_REJECTED, json_schema_extra=SPEED)
