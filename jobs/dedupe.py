"""Run the stage dedupe: python jobs/dedupe.py --source URI --root URI [--config FILE]."""

from landmark_ray import cli
from landmark_ray.stages import dedupe

if __name__ == "__main__":
    cli.main(["dedupe"], str(dedupe.__doc__))
