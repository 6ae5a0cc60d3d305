import os
import subprocess
import sys

import pytest
import ray

from landmark_ray.config import Config
from landmark_ray.errors import UserError
from landmark_ray.runtime.resources import Workers, plan_workers, task_resources


@pytest.fixture
def machine(monkeypatch):
    """A Ray of 4 cores and 8 GB that the job started itself."""
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(ray, "cluster_resources", lambda: {"CPU": 4.0, "memory": 8e9})


def test_task_takes_what_its_options_say(machine):
    assert task_resources(Config(), "match") == {"num_cpus": 1.0}
    config = Config(match={"cpus": 2, "memory_gb": 1.5})
    assert task_resources(config, "match") == {"num_cpus": 2.0, "memory": 1_500_000_000}


@pytest.mark.parametrize(
    ("option", "value", "says"),
    [
        ("cpus", 5, "--resize.cpus 5: Ray has 4 on this machine"),
        ("memory_gb", 9, "--resize.memory_gb 9: Ray has 8 on this machine"),
    ],
)
def test_more_than_there_is_is_an_error_and_no_endless_wait(machine, option, value, says):
    with pytest.raises(UserError, match=says):
        task_resources(Config(resize={option: value}), "resize")


def test_cluster_may_get_larger_machines(machine, monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:6379")
    assert task_resources(Config(resize={"cpus": 5}), "resize")["num_cpus"] == 5


@pytest.fixture
def without_gpus(machine, monkeypatch):
    monkeypatch.setattr("landmark_ray.runtime.resources.start_ray", lambda config: None)


def test_gpus_that_a_machine_lacks_are_an_error(without_gpus):
    config = Config(train={"gpus": 1})
    with pytest.raises(UserError, match=r"--train.gpus 1: this machine has 0 GPUs; leave this"):
        plan_workers(config, "train.", config.train)


def test_a_worker_that_does_not_train_has_one_gpu(without_gpus, monkeypatch):
    monkeypatch.setattr(ray, "cluster_resources", lambda: {"CPU": 64.0, "GPU": 8.0})
    config = Config(train={"gpus": 8})
    training, describing = (
        plan_workers(config, "train.", config.train, trains=trains) for trains in (True, False)
    )
    assert (training.count, training.gpus) == (1, 8)
    assert (describing.count, describing.gpus) == (8, 1)
    with pytest.raises(UserError, match=r"--train.gpus 9: this machine has 8 GPUs"):
        plan_workers(config, "train.", Config(train={"gpus": 9}).train, trains=False)


def test_gpus_that_are_asked_for_are_added_by_the_autoscaler_of_a_cluster(
    without_gpus, monkeypatch
):
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:6379")
    config = Config(train={"gpus": 1})
    assert plan_workers(config, "train.", config.train).resources == {"CPU": 0.5, "GPU": 1}
    config = Config()
    assert plan_workers(config, "train.", config.train).gpus == 0


def test_workers_keep_memory_only_where_it_is_asked_for():
    assert Workers(3, 0, 0.9).resources == {"CPU": 0.9, "GPU": 0}
    assert Workers(3, 1, 0.5, 7).resources == {"CPU": 0.5, "GPU": 1, "memory": 7}
    assert Workers(3, 1, 0.5, 7).pool["memory"] == 7
    assert not Workers(3, 1, 0.5).pool["compute"].enable_true_multi_threading
    assert Workers(3, 1, 0.5, calls=2).pool["compute"].max_concurrent_calls_per_actor == 2


def test_tensorflow_uses_onednn_on_every_processor():
    from tensorflow.python.util import _pywrap_util_port

    assert _pywrap_util_port.IsMklEnabled()


@pytest.mark.parametrize(("own", "used"), [({}, "1"), ({"TF_ENABLE_ONEDNN_OPTS": "0"}, "0")])
def test_onednn_can_be_switched_off(own, used):
    code = "import os, landmark_ray; print(os.environ['TF_ENABLE_ONEDNN_OPTS'])"
    env = {k: v for k, v in os.environ.items() if k != "TF_ENABLE_ONEDNN_OPTS"} | own
    words = [sys.executable, "-c", code]
    done = subprocess.run(words, env=env, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == used
