"""What stays for other thresholds: python jobs/sweep.py --root URI [--min_inliers 11,13,15]."""

from landmark_ray import cli
from landmark_ray.reports.count_kept import SweepConfig, sweep

if __name__ == "__main__":
    title = (
        "Count the photos and landmarks that other thresholds would keep, without matching again."
    )
    cli.report(SweepConfig, sweep, title)
