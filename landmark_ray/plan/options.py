"""Options of jobs/plan.py."""

from pydantic import Field

from landmark_ray.config.base import Share, StageConfig
from landmark_ray.pipeline import PipelineConfig


class PlanOptions(StageConfig):
    """How the plan is made, and for which machines."""

    cluster: str = Field(
        "this", description="this machine as it is, or a cluster of the file: desktop, ..."
    )
    clusters: str | None = Field(
        None,
        description="toml file with clusters, instead of landmark_ray/plan/clusters.toml",
    )
    sample: int = Field(
        384,
        ge=0,
        description="photos to calibrate on; 0: by stored figures of another machine",
    )
    read_gb: float = Field(
        1.0,
        ge=0,
        description="tars of so many GB in all are read whole, to calibrate on whole landmarks; of "
        "more, the beginning of one",
    )
    unverified: Share | None = Field(
        None,
        description="share of the photos that no other of their landmark verifies; measured where "
        "whole landmarks are read, else that of the stored figures",
    )
    tests: int | None = Field(
        None, ge=0, description="photos of the test set; by its solution when not given"
    )
    scratch: str | None = Field(
        None, description="folder for the calibration's tables; the system's when not given"
    )
    output: str | None = Field(None, description="JSON file for the plan")


class PlanConfig(PipelineConfig):
    """Options of jobs/plan.py: those of the run that it is a plan of, and its own."""

    plan: PlanOptions = PlanOptions()
