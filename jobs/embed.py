"""Run the stage embed: python jobs/embed.py --source URI --root URI [--config FILE]."""

from landmark_ray import cli
from landmark_ray.stages import embed

if __name__ == "__main__":
    cli.main(["embed"], str(embed.__doc__))
