"""What a run will cost: python jobs/plan.py --source URI [--plan.cluster aws] [--to STAGE]."""

from landmark_ray import cli
from landmark_ray.plan import job, options

if __name__ == "__main__":
    cli.simple(options.PlanConfig, job.run, str(job.__doc__))
