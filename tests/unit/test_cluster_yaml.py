"""cluster.yaml as `ray up` would read it: what can be checked without a cloud."""

import pytest
import yaml

from landmark_ray.serving.proxy import CALLBACK
from tests.conftest import REPO
from tests.ray_private import prepare_config, validate_config


@pytest.fixture(scope="module")
def config():
    return yaml.safe_load((REPO / "cluster.yaml").read_text())


def test_rays_own_schema_accepts_it(config):
    validate_config(prepare_config(config))


def test_a_schema_is_checked_at_all(config):
    with pytest.raises(Exception, match="max_wrkers"):
        validate_config(prepare_config(config | {"max_wrkers": 3}))


@pytest.fixture(scope="module")
def desktops():
    return yaml.safe_load((REPO / "desktops.yaml").read_text())


def test_rays_own_schema_accepts_the_desktops(desktops):
    validate_config(prepare_config(desktops))
    assert "make --quiet venv" in desktops["setup_commands"][1]


@pytest.mark.parametrize("which", ["config", "desktops"])
def test_every_start_of_ray_asks_for_the_token_and_opens_nothing(which, request):
    config = request.getfixturevalue(which)
    starts = [
        command
        for which in ("head", "worker")
        for command in config[f"{which}_start_ray_commands"]
        if "ray start" in command
    ]
    assert len(starts) == 2
    for command in starts:
        assert "RAY_AUTH_MODE=token" in command and "RAY_AUTH_TOKEN_PATH=" in command
        assert "0.0.0.0" not in command
        assert "=".join(CALLBACK) in command, "serve.yaml needs it"
    assert "--dashboard-host=127.0.0.1" in starts[0]
    assert "--autoscaling-config=" in starts[0], "or the head would start no worker"
    assert "security_group" not in config["provider"]  # Ray's own lets only ssh in


def test_spot_machines_come_first_and_have_a_fallback(config):
    types = config["available_node_types"]
    for kind in ("cpu", "gpu"):
        spot, fixed = types[kind], types[f"{kind}_on_demand"]
        assert spot["node_config"]["InstanceMarketOptions"] == {"MarketType": "spot"}
        assert "InstanceMarketOptions" not in fixed["node_config"]
        assert spot["node_config"]["InstanceType"] == fixed["node_config"]["InstanceType"]
        assert spot["priority"] > fixed["priority"]
    assert "InstanceMarketOptions" not in types["head"]["node_config"]


def test_workers_may_use_the_bucket_and_all_nodes_have_the_users_image(config):
    """Ray gives its own role to the head alone, and its own image is older than the packages."""
    types = config["available_node_types"]
    assert {node["node_config"]["ImageId"] for node in types.values()} == {"IMAGE"}
    assert all("IamInstanceProfile" in types[name]["node_config"] for name in set(types) - {"head"})


@pytest.mark.parametrize("lock", ["requirements", "requirements-gpu"])
def test_the_head_can_start_machines_of_aws(lock):
    assert "\nboto3==" in (REPO / f"{lock}.txt").read_text()


def test_the_nodes_python_is_made_of_the_locked_requirements(config):
    setup = "\n".join(config["setup_commands"])
    assert "requirements.txt" in setup and "requirements-gpu.txt" in setup and "3.11" in setup
    assert "--require-hashes" in setup and "--no-build-isolation" in setup
    lock = (REPO / "requirements-dev.txt").read_text()
    uv = next(word for word in lock.split() if word.startswith("uv=="))
    assert f"pip install --quiet --user {uv}\n" in setup
