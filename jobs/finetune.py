"""Run the stage finetune: python jobs/finetune.py --source URI --root URI [--config FILE]."""

from landmark_ray import cli
from landmark_ray.stages import finetune

if __name__ == "__main__":
    cli.main(["finetune"], str(finetune.__doc__))
