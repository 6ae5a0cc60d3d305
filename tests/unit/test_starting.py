"""What a person reads when Ray doesn't start."""

import shutil
import subprocess

import psutil
import pytest
import ray

from landmark_ray.errors import UserError
from landmark_ray.runtime import ray_start
from landmark_ray.runtime.ray_private import RAYLET_WAIT, WORKERS_STARTING, ray_constants, services

BUSY = (
    "The current node timed out during startup. This could happen because some of the raylet "
    "failed to startup or the GCS has become overloaded."
)


@pytest.fixture(autouse=True)
def unchanged(monkeypatch):
    """The tests of this process may start a Ray of their own."""
    monkeypatch.setattr(ray_constants, "ENABLE_RAY_CLUSTER", True)
    for name in (ray_constants.ENABLE_RAY_CLUSTERS_ENV_VAR, RAYLET_WAIT, WORKERS_STARTING):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)


def test_a_busy_machine_is_told_of_in_a_line(monkeypatch):
    def init(**options):
        assert options["address"] == "local" and options["num_cpus"] == 3
        assert options["_node_ip_address"] == "127.0.0.1", "other machines don't reach it"
        assert options["include_dashboard"] is False
        raise Exception(BUSY)

    monkeypatch.setattr(ray, "init", init)
    monkeypatch.setattr(ray_start.os, "getloadavg", lambda: (15.2, 1, 1))
    with pytest.raises(UserError) as found:
        ray_start.start_local(num_cpus=3)
    line = str(found.value)
    assert line.startswith("Ray didn't start on this machine: The current node timed out during ")
    assert "if this machine is busy (load 15 on " in line and "try again" in line
    assert "session_latest/logs" in line and "\n" not in line


@pytest.mark.parametrize(
    ("misses", "lives", "starts"), [(3, True, True), (10**9, True, False), (1, False, False)]
)
def test_rays_own_node_is_asked_for_until_it_is_there(monkeypatch, misses, lives, starts):
    asked = []

    def get_node(*args):
        asked.append(args)
        if len(asked) <= misses:
            raise RuntimeError("GCS cannot find the node")
        return {"node": 7}

    monkeypatch.setattr(services, "get_node", get_node)
    monkeypatch.setattr(ray_start, "START_S", 60 if starts else 0.5)
    monkeypatch.setattr(ray_start, "_raylet_lives", lambda: lives)
    found = []
    monkeypatch.setattr(ray, "init", lambda **options: found.append(services.get_node("a", "b")))
    if starts:
        ray_start.start_local()
        assert found == [{"node": 7}] and len(asked) == 4
    else:
        with pytest.raises(UserError, match="cannot find the node"):
            ray_start.start_local()
        assert (len(asked) > 1) == lives
    assert services.get_node is get_node and set(asked) == {("a", "b")}


def test_the_rest_of_ray_has_longer_too(monkeypatch):
    monkeypatch.setattr(ray, "init", lambda **options: None)
    ray_start.start_local()
    assert ray_start.os.environ[RAYLET_WAIT] == "180"


def test_a_raylet_is_a_child_of_its_driver(tmp_path):
    assert not ray_start._raylet_lives()
    shutil.copy(shutil.which("sleep"), tmp_path / "raylet")
    with subprocess.Popen([tmp_path / "raylet", "60"]) as child:
        assert ray_start._raylet_lives()
        child.kill()
        while psutil.Process(child.pid).status() != psutil.STATUS_ZOMBIE:
            pass
        assert not ray_start._raylet_lives()


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (
            ConnectionError("ray client connection\n timeout"),
            "joined: ray client connection timeout",
        ),
        (RuntimeError("Version mismatch: 2.9.\nMore."), "joined: Version mismatch: 2.9"),
        (ValueError(), "joined: ValueError"),
    ],
)
def test_a_cluster_that_cant_be_joined_is_named(monkeypatch, error, says):
    def init(**options):
        raise error

    monkeypatch.setattr(ray, "init", init)
    with pytest.raises(UserError) as found:
        ray_start.join("10.0.0.1:6379", log_to_driver=False)
    assert str(found.value).startswith("RAY_ADDRESS 10.0.0.1:6379: ")
    assert str(found.value).endswith(says)
