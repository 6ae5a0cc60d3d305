"""Run the stage detect: python jobs/detect.py --source URI --root URI [--config FILE]."""

from landmark_ray import cli
from landmark_ray.stages import detect

if __name__ == "__main__":
    cli.main(["detect"], str(detect.__doc__))
