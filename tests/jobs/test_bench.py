"""Every benchmark runs at a toy size: what it measures is there and finite."""

import contextlib
import json
import os
import runpy
import sys
from unittest import mock

import pytest

from tests.conftest import REPO
from tests.running import no_ray_here

BENCH = REPO / "bench"
HELPERS = {"bundles", "common", "flask_app", "gldv2", "load", "services"}
"""What benchmarks import or start."""

pytestmark = pytest.mark.ray


@pytest.fixture(scope="module", autouse=True)
def one_ray():
    """All benchmarks share one Ray, and the toy dataset that the first of them draws."""
    yield
    no_ray_here()


@pytest.fixture
def smoke(monkeypatch, capfd):
    """Run bench/NAME.py --smoke in this process; returns its figures."""

    def run(name: str) -> dict[str, dict]:
        script = str(BENCH / f"{name}.py")
        monkeypatch.syspath_prepend(str(BENCH))
        monkeypatch.setattr(sys, "argv", [script, "--smoke"])
        with mock.patch.dict(os.environ), pytest.raises(SystemExit) as end:
            os.environ.pop("RAY_ADDRESS", None)
            runpy.run_path(script, run_name="__main__")
        out, err = capfd.readouterr()
        assert end.value.code == 0, out + err
        return json.loads(out.splitlines()[-1])

    return run


def benchmarks() -> dict[str, int]:
    """Those that bench/all.py runs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(BENCH))
        return runpy.run_path(str(BENCH / "all.py"))["BENCHMARKS"]


def test_bench_all_runs_every_script():
    scripts = {path.stem for path in BENCH.glob("*.py")} - HELPERS - {"all"}
    assert scripts == set(benchmarks())


def judged(figures: dict[str, dict]) -> None:
    """Each figure has a value, and what a table says of it."""
    assert figures
    for name, row in figures.items():
        assert isinstance(row["value"], int | float), name
        assert {"what", "unit", "bound", "met", "quoted"} <= set(row), name


@pytest.mark.parametrize("name", [name for name in benchmarks() if name != "cluster"])
def test_benchmark_runs_at_toy_size(name, smoke):
    judged(smoke(name))


@pytest.mark.timeout(900)
def test_benchmark_of_a_cluster_runs_at_toy_size_on_the_cluster_of_the_tests(
    smoke, cluster, monkeypatch
):
    monkeypatch.setattr("tests.cluster.running", lambda _: contextlib.nullcontext(cluster))
    judged(smoke("cluster"))
