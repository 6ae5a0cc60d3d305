"""Workers on GPUs have two shards in hand; here, so does one without a GPU."""

import shutil
import threading

import pytest

from landmark_ray.runtime.resources import GPU_CALLS, Workers
from landmark_ray.stages import describe
from tests.vectors import assert_same_descriptors

pytestmark = pytest.mark.ray


class Together(describe.Describe):
    """The stage's rule; its first calls go on when as many of them as may be at once are there."""

    def __init__(self, *args, **options):
        super().__init__(*args, **options)
        self.left, self.lock = GPU_CALLS, threading.Lock()
        self.all_here = threading.Barrier(GPU_CALLS, timeout=60)

    def __call__(self, shard):
        with self.lock:
            waits, self.left = self.left > 0, self.left - 1
        if waits:
            self.all_here.wait()
        return super().__call__(shard)


def test_shards_that_are_described_at_once_have_the_same_descriptors(
    described_root, small_source, described, run_job, tmp_path, monkeypatch
):
    assert len(list((described_root / "descriptors").rglob("shard-*"))) >= GPU_CALLS
    monkeypatch.setattr(describe, "Describe", Together)
    monkeypatch.setattr(
        describe,
        "plan_workers",
        lambda *_, overlap, trains: Workers(1, 0, 0.9, calls=GPU_CALLS * overlap),
    )
    root = shutil.copytree(described_root, tmp_path / "root")
    args = ("--source", small_source.path, "--root", root, *small_source.options, *described)
    done = run_job("pipeline", *args, "--redo", "describe", "--to", "describe")
    assert done.returncode == 0, done.stderr
    assert_same_descriptors(root, described_root)
