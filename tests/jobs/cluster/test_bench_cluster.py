"""The benchmark of a cluster runs at a toy size, on the cluster of the tests."""

import contextlib

import pytest

pytestmark = pytest.mark.ray


@pytest.mark.timeout(1800)
def test_benchmark_of_a_cluster_runs_at_toy_size(toy_figures, cluster, monkeypatch):
    monkeypatch.setattr("tests.cluster.running", lambda _: contextlib.nullcontext(cluster))
    assert toy_figures("cluster")
