"""What was thrown away, and why, as a page: python jobs/report.py --root URI."""

from landmark_ray import cli
from landmark_ray.config import Config
from landmark_ray.reports import curation
from landmark_ray.storage import Tables


class ReportConfig(Config):
    """Options of jobs/report.py; those of the run come from its ledger."""


def report(config: ReportConfig, tables: Tables) -> None:
    """Write the page."""
    curation.store(tables, config)
    print(f"page in {tables.uri}/{curation.PAGE}")


if __name__ == "__main__":
    cli.report(ReportConfig, report, "What was thrown away, and why, as a page.", last="clean")
