"""Run the stage evaluate: python jobs/evaluate.py --source URI --root URI [--config FILE]."""

from landmark_ray import cli
from landmark_ray.stages import evaluate

if __name__ == "__main__":
    cli.main(["evaluate"], str(evaluate.__doc__))
