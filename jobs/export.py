"""Run the stage export: python jobs/export.py --source URI --root URI [--config FILE]."""

from landmark_ray import cli
from landmark_ray.stages import export

if __name__ == "__main__":
    cli.main(["export"], str(export.__doc__))
