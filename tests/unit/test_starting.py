"""What a person reads when Ray doesn't start."""

import subprocess
import sys

import pytest
import ray

from landmark_ray.errors import UserError
from landmark_ray.stages import starting

BUSY = (
    "The current node timed out during startup. This could happen because some of the raylet "
    "failed to startup or the GCS has become overloaded."
)


@pytest.fixture(autouse=True)
def unchanged(monkeypatch):
    """The tests of this process may start a Ray of their own."""
    monkeypatch.setattr(starting.ray_constants, "ENABLE_RAY_CLUSTER", True)
    for name in (
        starting.ray_constants.ENABLE_RAY_CLUSTERS_ENV_VAR,
        "RAY_gcs_server_port_wait_time_s",
    ):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)


def test_a_busy_machine_is_told_of_in_a_line(monkeypatch):
    def init(**options):
        assert options["address"] == "local" and options["num_cpus"] == 3
        raise Exception(BUSY)

    monkeypatch.setattr(ray, "init", init)
    monkeypatch.setattr(starting.os, "getloadavg", lambda: (15.2, 1, 1))
    with pytest.raises(UserError) as found:
        starting.start(num_cpus=3)
    line = str(found.value)
    assert line.startswith("Ray didn't start on this machine: The current node timed out during ")
    assert "if this machine is busy (load 15 on " in line and "try again" in line
    assert "session_latest/logs" in line and "\n" not in line


def test_rays_processes_have_longer_than_rays_own_30_s(monkeypatch):
    told = []
    monkeypatch.setattr(starting, "Config", type("C", (), {"initialize": told.append}))
    monkeypatch.setattr(ray, "init", lambda **options: None)
    starting.start()
    assert told == [b'{"raylet_start_wait_time_s": 180}']
    assert starting.os.environ["RAY_gcs_server_port_wait_time_s"] == "180"


def test_ray_has_the_setting():
    """It ends the process where it has none of that name."""
    words = "from ray._raylet import Config; Config.initialize(b'{\"%s\": 180}')"
    for name, status in (("raylet_start_wait_time_s", 0), ("raylet_start_wait_tame_s", 1)):
        done = subprocess.run([sys.executable, "-c", words % name], capture_output=True)
        assert done.returncode == status


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
        starting.join("10.0.0.1:6379", log_to_driver=False)
    assert str(found.value).startswith("RAY_ADDRESS 10.0.0.1:6379: ")
    assert str(found.value).endswith(says)
