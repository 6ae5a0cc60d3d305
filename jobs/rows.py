"""Rows of a table as csv: python jobs/rows.py --root URI --table NAME [--where CONDITION]."""

from landmark_ray import cli
from landmark_ray.rows import RowsConfig, show

if __name__ == "__main__":
    cli.simple(RowsConfig, show, "Rows of a table that meet conditions, as csv on stdout.")
