"""Run the stage clean: python jobs/clean.py --source URI --root URI [--config FILE]."""

from landmark_ray import cli
from landmark_ray.stages import clean

if __name__ == "__main__":
    cli.main(["clean"], str(clean.__doc__))
