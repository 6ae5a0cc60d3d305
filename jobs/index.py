"""Run the stage index: python jobs/index.py --source URI --root URI [--config FILE]."""

from landmark_ray import cli
from landmark_ray.stages import index

if __name__ == "__main__":
    cli.main(["index"], str(index.__doc__))
