"""Run the stage train: python jobs/train.py --source URI --root URI [--config FILE]."""

from landmark_ray import cli
from landmark_ray.stages import train

if __name__ == "__main__":
    cli.main(["train"], str(train.__doc__))
