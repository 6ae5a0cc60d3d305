"""Every benchmark runs at a toy size: what it measures is there and finite."""

import runpy

import pytest

from tests.jobs.conftest import BENCH

HELPERS = {"bundles", "common", "flask_app", "gldv2", "load", "pairs", "services", "vectors"}
"""What benchmarks import or start."""

pytestmark = pytest.mark.ray


def benchmarks() -> dict[str, int]:
    """Those that bench/all.py runs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(BENCH))
        return runpy.run_path(str(BENCH / "all.py"))["BENCHMARKS"]


def test_bench_all_runs_every_script():
    scripts = {path.stem for path in BENCH.glob("*.py")} - HELPERS - {"all"}
    assert scripts == set(benchmarks())


LONG = {"enrolment", "served_index"}
"""They take minutes at toy size, too: these are the pipeline of `recognition` twice, and four
services as `serving` has them."""


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.long) if name in LONG else name
        for name in benchmarks()
        if name != "cluster"
    ],
)
def test_benchmark_runs_at_toy_size(name, toy_figures):
    assert toy_figures(name)
