"""Every benchmark runs at a toy size: what it measures is there and finite."""

import importlib.util
import json
import os
import runpy
import subprocess
import sys

import pytest

from tests.conftest import COMPILE_FAST, REPO
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
    scripts = {path.stem for path in BENCH.glob("*.py")} - HELPERS - {"all", "gpu"}
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


def test_gpu_rates_need_neither_ray_nor_tensorflow():
    if not importlib.util.find_spec("jax"):
        pytest.skip("jax is not installed")
    absent = ("ray", "tensorflow", "pyarrow", "pandas", "cv2", "matplotlib", "PIL", "keras_hub")
    blocked = f"import sys; sys.modules.update(dict.fromkeys({absent}));"
    code = f"{blocked} import runpy; sys.argv[1:] = ['--smoke'];"
    done = subprocess.run(
        [sys.executable, "-c", f"{code} runpy.run_path('bench/gpu.py', run_name='__main__')"],
        capture_output=True,
        text=True,
        cwd=REPO,
        env=os.environ | {"KERAS_BACKEND": "jax"} | COMPILE_FAST,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert len(found["rates"]) == 6
    assert found["ratios"]["augmentation"] > 0
