"""Write the page about what was discarded, and why: python jobs/report.py --root URI."""

from landmark_ray import cli
from landmark_ray.config import Config
from landmark_ray.data.root import Root
from landmark_ray.reports import curation_page


class ReportConfig(Config):
    """Options of jobs/report.py; the options of the run are read from its ledger."""


def report(config: ReportConfig, root: Root) -> None:
    """Write the page."""
    curation_page.store(root, config)
    print(f"page in {root.uri}/{curation_page.PAGE}")


if __name__ == "__main__":
    cli.report(
        ReportConfig, report, "Write the page about what was discarded, and why.", last="clean"
    )
