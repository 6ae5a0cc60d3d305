"""Run the stage describe: python jobs/describe.py --source URI --root URI [--config FILE]."""

from landmark_ray import cli
from landmark_ray.stages import describe

if __name__ == "__main__":
    cli.main(["describe"], str(describe.__doc__))
