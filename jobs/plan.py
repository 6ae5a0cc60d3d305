"""What a run will cost: python jobs/plan.py --source URI [--plan.cluster aws] [--to STAGE]."""

from landmark_ray import cli
from landmark_ray.cost import job

if __name__ == "__main__":
    cli.simple(job.CostConfig, job.run, str(job.__doc__))
