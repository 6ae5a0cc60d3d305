"""Options of geometric verification: the stages extract and match."""

from typing import Any, Literal

from pydantic import Field, model_validator

from landmark_ray.config.base import GPUS_PER_WORKER, MAX_REJECTED, SPEED, Count, Share, TaskConfig
from landmark_ray.kernels.matching import MatchingRule

ONNX = ("xfeat", "aliked", "onnx")
"""The extractors that an ONNX file holds."""

DEFAULTS: dict[str, dict[str, Any]] = {
    "delf": {"max_feature_num": 1000, "max_side": 512},
    **dict.fromkeys(ONNX, {"max_feature_num": 1024}),
}
"""Extractor -> the defaults that are others than those of sift."""

RULES = {
    "sift": MatchingRule.sift(),
    "delf": MatchingRule.delf(),
    "delf_tutorial": MatchingRule.delf_tutorial(),
    "xfeat": MatchingRule.xfeat(),
    "aliked": MatchingRule.aliked(),
}


class ExtractConfig(TaskConfig):
    """Compute local features: keypoints with descriptors."""

    extractor: Literal["sift", "delf", "xfeat", "aliked", "onnx"] = Field(
        "sift",
        description="kind of features: sift (RootSIFT); or delf, xfeat, aliked, or any other "
        "detector with descriptors in an ONNX file, which need a handle",
    )
    max_feature_num: Count = Field(
        2000,
        description="largest number of features of a photo; when not given, 1000 for delf, and "
        "1024 for xfeat, aliked and onnx",
    )
    max_side: int = Field(
        640,
        ge=32,
        description="resize photos to this longest side before features are computed, in pixels; "
        "delf doesn't enlarge smaller photos; 512 when not given for delf",
    )
    handle: str = Field(
        "",
        description="delf: TF-Hub address or SavedModel folder of the model; xfeat, aliked, onnx: "
        "the ONNX file, which jobs/export_features.py makes for the first two",
    )
    image_scales: tuple[float, ...] = Field(
        (0.25, 0.3536, 0.5, 0.7071, 1.0, 1.4142, 2.0),
        description="delf: scales of the image pyramid on which features are computed",
    )
    score_threshold: float = Field(
        100.0, description="delf: discard features with a lower attention score"
    )
    gpus: float | None = Field(
        None,
        ge=0,
        description="all but sift: " + GPUS_PER_WORKER,
        json_schema_extra=SPEED,
    )
    max_rejected: Share = Field(0.1, description=MAX_REJECTED, json_schema_extra=SPEED)

    @model_validator(mode="before")
    @classmethod
    def _extractors_have_defaults(cls, given: dict[str, Any]) -> dict[str, Any]:
        return DEFAULTS.get(given.get("extractor", "sift"), {}) | given

    @model_validator(mode="after")
    def _models_have_a_handle(self) -> "ExtractConfig":
        if self.extractor != "sift" and not self.handle:
            needed = "a TF-Hub address or a SavedModel folder"
            if self.extractor in ONNX:
                needed = "an ONNX file (docs/local_features.md)"
            raise ValueError(f"extractor {self.extractor} needs extract.handle, {needed}")
        if self.extractor == "sift" and self.handle:
            raise ValueError(
                "extract.handle is of no use to extractor sift: give extractor delf, xfeat, aliked "
                "or onnx, too"
            )
        return self


class MatchConfig(TaskConfig):
    """Verify pairs of photos of the same landmark by the geometry of their matches."""

    mode: Literal["early", "exhaustive"] = Field(
        "early",
        description="early: stop matching a photo when enough partners have verified it; "
        "exhaustive: try every pair; both keep the same photos",
    )
    min_inliers: Count = Field(11, description="smallest number of inliers that verifies a pair")
    min_partners: Count = Field(
        1, description="smallest number of partners that must verify a photo"
    )
    preset: Literal["sift", "delf", "delf_tutorial", "xfeat", "aliked"] | None = Field(
        None,
        description="matching rule from which the options below take their defaults; delf_tutorial "
        "is the rule of the DELF tutorial, for comparison; the extractor's rule when not given",
    )
    ratio: float | None = Field(
        None,
        gt=0,
        le=1,
        description="largest ratio of the distances to the nearest and the second-nearest "
        "descriptor (Lowe's ratio test); 1 turns the test off",
    )
    max_distance: float | None = Field(
        None,
        gt=0,
        le=2,
        description="largest distance between the descriptors of a match, which have length 1; "
        "2 turns the test off",
    )
    mutual: bool | None = Field(
        None, description="accept a match only if each descriptor is the other's nearest"
    )
    vote: bool | None = Field(
        None,
        description="accept only matches whose rotation and zoom agree with those of most matches "
        "of the pair (weak geometric consistency); needs keypoints with an angle, as those of sift",
    )
    residual: float | None = Field(
        None,
        gt=0,
        description="largest distance of an inlier from the place that the affine map gives it, "
        "in pixels of a photo whose longest side is 512",
    )
    cell: float | None = Field(
        None,
        ge=0,
        description="count all inliers in the same square cell as one; side of a cell in pixels "
        "of a photo whose longest side is 512; 0 counts every inlier",
    )
    share: Share | None = Field(
        None,
        description="smallest share of a pair's matches that must be inliers; a pair with fewer "
        "has 0 inliers; 0 turns this off",
    )
    plausible: bool | None = Field(
        None,
        description="refuse affine maps that no camera makes, because they mirror, or zoom or "
        "stretch too much",
    )
    trials: Count | None = Field(None, description="largest number of RANSAC trials")
    task_pairs: Count = Field(
        10_000,
        description="largest number of pairs that one task tries; a landmark that needs more is "
        "divided over several tasks",
    )
    memory_mb: float = Field(
        256.0,
        gt=0,
        description="memory for the features of one task, in MB",
        json_schema_extra=SPEED,
    )

    def rule(self, extractor: str) -> MatchingRule:
        """Return the rule of the preset, or else of the extractor, with the values given here."""
        given = self.model_dump(include=set(MatchingRule.__dataclass_fields__), exclude_none=True)
        return RULES.get(self.preset or extractor, MatchingRule()).replace(**given)
