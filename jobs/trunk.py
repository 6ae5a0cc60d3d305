"""Run the stage trunk: python jobs/trunk.py --source URI --root URI [--config FILE]."""

from landmark_ray import cli
from landmark_ray.stages import trunk

if __name__ == "__main__":
    cli.main(["trunk"], str(trunk.__doc__))
