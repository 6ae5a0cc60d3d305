"""Options of the stages from `index` on: what answers, how it is measured, and where it goes."""

from pydantic import Field

from landmark_ray.config.base import StageConfig, TaskConfig


class IndexConfig(TaskConfig):
    """Make what answers beside the heads: the index of photos, and exemplars of each landmark."""

    exemplars: int = Field(
        5,
        ge=0,
        le=100,
        description="number of photos of each landmark, those with most verified partners, that "
        "verify new photos by geometry; each takes up to 80 kB of the bundle; 0: geometry does not "
        "verify new photos",
    )


class EvaluateConfig(StageConfig):
    """Measure how good the models are on validation photos and on a test set."""

    top_k: int = Field(
        5,
        ge=5,
        le=100,
        description="number of landmarks to store for each photo, the most confident ones",
    )


class ExportConfig(StageConfig):
    """Write the bundle: all files that prediction and serving need."""

    to: str = Field("", description="folder or URI of the bundle; ROOT/bundle when not given")
