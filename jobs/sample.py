"""Run the stage sample: python jobs/sample.py --source URI --root URI [--config FILE]."""

from landmark_ray import cli
from landmark_ray.stages import sample

if __name__ == "__main__":
    cli.main(["sample"], str(sample.__doc__))
