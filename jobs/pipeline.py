"""Run all stages: python jobs/pipeline.py --source URI --root URI [--from STAGE] [--to STAGE]."""

from landmark_ray import cli
from landmark_ray.config import STAGES

if __name__ == "__main__":
    cli.main(STAGES, f"Run the stages in order, skip finished ones: {', '.join(STAGES)}.")
