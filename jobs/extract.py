"""Run the stage extract: python jobs/extract.py --source URI --root URI [--config FILE]."""

from landmark_ray import cli
from landmark_ray.stages import extract

if __name__ == "__main__":
    cli.main(["extract"], str(extract.__doc__))
