"""Two photos, and what matches: python jobs/show_match.py --root URI --pair A B [--out FILE]."""

from landmark_ray import cli
from landmark_ray.reports.show_match import ShowMatchConfig, show_match

if __name__ == "__main__":
    cli.report(ShowMatchConfig, show_match, "Two photos side by side, with their matches.")
