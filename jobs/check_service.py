"""Ask a service for a test set: python jobs/check_service.py --bundle URI --source URI."""

from landmark_ray import cli
from landmark_ray.serving import check

if __name__ == "__main__":
    cli.simple(check.CheckOptions, check.run, str(check.__doc__))
