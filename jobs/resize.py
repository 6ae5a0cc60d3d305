"""Run the stage resize: python jobs/resize.py --source URI --root URI [--config FILE]."""

from landmark_ray import cli
from landmark_ray.stages import resize

if __name__ == "__main__":
    cli.main(["resize"], str(resize.__doc__))
