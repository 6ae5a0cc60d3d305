"""Run the stage prune: python jobs/prune.py --source URI --root URI [--config FILE]."""

from landmark_ray import cli
from landmark_ray.stages import prune

if __name__ == "__main__":
    cli.main(["prune"], str(prune.__doc__))
