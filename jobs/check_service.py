"""Ask a service for a test set: python jobs/check_service.py --bundle URI --source URI."""

from landmark_ray import cli
from landmark_ray.serving import service_check

if __name__ == "__main__":
    cli.simple(service_check.CheckOptions, service_check.run, str(service_check.__doc__))
