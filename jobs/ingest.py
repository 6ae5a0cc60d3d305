"""Run the stage ingest: python jobs/ingest.py --source URI --root URI [--config FILE]."""

from landmark_ray import cli
from landmark_ray.stages import ingest

if __name__ == "__main__":
    cli.main(["ingest"], str(ingest.__doc__))
