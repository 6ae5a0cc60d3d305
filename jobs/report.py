"""What was thrown away, and why, as a page: python jobs/report.py --root URI."""

from landmark_ray import cli
from landmark_ray.config import Config
from landmark_ray.data.root import Root
from landmark_ray.reports import curation_page


class ReportConfig(Config):
    """Options of jobs/report.py; those of the run come from its ledger."""


def report(config: ReportConfig, root: Root) -> None:
    """Write the page."""
    curation_page.store(root, config)
    print(f"page in {root.uri}/{curation_page.PAGE}")


if __name__ == "__main__":
    cli.report(ReportConfig, report, "What was thrown away, and why, as a page.", last="clean")
