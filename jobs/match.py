"""Run the stage match: python jobs/match.py --source URI --root URI [--config FILE]."""

from landmark_ray import cli
from landmark_ray.stages import match

if __name__ == "__main__":
    cli.main(["match"], str(match.__doc__))
