"""Run the stage group: python jobs/group.py --source URI --root URI [--config FILE]."""

from landmark_ray import cli
from landmark_ray.stages import group

if __name__ == "__main__":
    cli.main(["group"], str(group.__doc__))
