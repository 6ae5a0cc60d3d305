import ctypes
import os
import random
import shutil
import signal
import subprocess
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests import drawn, running
from tests.running import REPO

SHARED = REPO.parent / "shared"
COMPILE_FAST = {"XLA_FLAGS": "--xla_backend_optimization_level=0"}
"""The environment of a process whose JAX computes for moments: its programs compile faster."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--order-seed", help="run modules, and the tests of each, in a random order")


def pytest_configure() -> None:
    """Let tests interrupt jobs even in the background of a shell, which ignores Ctrl-C there."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    seed = config.getoption("--order-seed")
    if seed is None:
        return
    modules: dict[Path, list[pytest.Item]] = defaultdict(list)
    for item in items:
        modules[item.path].append(item)
    chance = random.Random(seed)
    order = chance.sample(sorted(modules), len(modules))
    items[:] = [item for path in order for item in chance.sample(modules[path], len(modules[path]))]


class SignalStack(ctypes.Structure):
    """`stack_t` of sigaltstack(2)."""

    _fields_ = (("start", ctypes.c_void_p), ("flags", ctypes.c_int), ("size", ctypes.c_size_t))


@pytest.fixture(autouse=True)
def own_signal_stack():
    """Python handles signals on the stack that it had before the test.

    OpenVINO gives the thread that it runs in another one, which goes with the network: the next
    signal would end the process.
    """
    stack, libc = SignalStack(), ctypes.CDLL(None)
    libc.sigaltstack(None, ctypes.byref(stack))
    yield
    libc.sigaltstack(ctypes.byref(stack), None)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with real photographs and models."""
    if not SHARED.is_dir():
        pytest.skip(f"needs real photographs and models in {SHARED}, which is not there")
    return SHARED


@pytest.fixture(scope="session")
def gld_mini(shared: Path) -> Path:
    """A miniature of GLDv2 with 655 real photographs."""
    return shared / "data" / "gld-mini"


@pytest.fixture(scope="session")
def run_job():
    """Run jobs/NAME.py in this process."""
    yield running.here
    running.no_ray_here()


@pytest.fixture(scope="session")
def run_process():
    """Run jobs/NAME.py as a person does."""
    return running.in_a_process


@pytest.fixture(scope="module")
def browser():
    """Chromium; of one module, since Playwright keeps an event loop running in this thread."""
    from tests.browser import chromium  # most tests need neither

    with chromium() as browser:
        yield browser


def line_of(done: "subprocess.CompletedProcess[str]") -> str:
    """The one line of a job that a person's mistake ended."""
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    line = done.stderr.strip().splitlines()[-1]
    assert line.startswith("error: ")
    return line


@dataclass(frozen=True)
class SmallSource:
    """A drawn dataset, and the options that make its run quick."""

    path: Path
    options: tuple[str, ...] = (
        *("--sample.buckets", "3", "--sample.shard_images", "16"),
        *("--extract.max_feature_num", "400", "--extract.max_side", "320"),
        *("--match.task_pairs", "40"),  # the larger classes are cut into parts
        *("--train.network", "small", "--train.weights", "none"),
    )


TRAINING = (
    *("--resize.size", "32", "--group.edges", "6,12"),
    *("--train.trunk_epochs", "3", "--train.views", "2"),
    *("--train.head_epochs", "3", "--train.batch", "16"),
    *("--train.log", "tensorboard,mlflow"),
)
FINETUNING = ("--train.phases", "head,finetune", "--train.epochs", "4", "--train.rate", "1e-3")
"""Training of two groups of `small_source` in a minute; they need not learn much."""


@pytest.fixture(scope="session")
def small_source(tmp_path_factory) -> SmallSource:
    """72 drawn photos in 4 tars."""
    path = tmp_path_factory.mktemp("small") / "source"
    drawn.draw(path)
    return SmallSource(path)


@pytest.fixture(scope="session")
def small_root(small_source, run_job, tmp_path_factory) -> Path:
    """The tables of an undisturbed run over `small_source`, up to the examples."""
    root = tmp_path_factory.mktemp("small-root")
    args = ("--source", small_source.path, "--root", root, *small_source.options)
    done = run_job("pipeline", *args, "--to", "resize")
    assert done.returncode == 0, done.stderr
    return root


@pytest.fixture(scope="session")
def described(tmp_path_factory) -> tuple[str | Path, ...]:
    """Options with which photos are described, and a few stay that are similar only."""
    import keras

    from landmark_ray.models import networks

    keras.utils.set_random_seed(1)
    path = tmp_path_factory.mktemp("weights") / "small.weights.h5"
    networks.save_trunk(networks.build_trunk("small", weights=None, size=32), path)
    return ("--train.weights", path, "--resize.size", "32", "--prune.agreement", "0.4")


@pytest.fixture(scope="session")
def described_root(small_source, small_root, described, run_job, tmp_path_factory) -> Path:
    """`small_root` with descriptors: its network has random weights."""
    root = tmp_path_factory.mktemp("described") / "root"
    shutil.copytree(small_root, root)
    args = ("--source", small_source.path, "--root", root, *small_source.options, *described)
    more = ("--train.cpus", os.cpu_count(), "--redo", "describe", "--to", "resize")
    done = run_job("pipeline", *args, *more)
    assert done.returncode == 0, done.stderr
    return root


@pytest.fixture(scope="session")
def trained_root(small_source, small_root, run_job, tmp_path_factory) -> Path:
    """`small_root`, gone on with to the bundle: two groups, both phases.

    The heads are trained side by side; all else has one worker, which starts TensorFlow once.
    """
    root = tmp_path_factory.mktemp("trained") / "root"
    shutil.copytree(small_root, root)
    args = ("--source", small_source.path, "--root", root, *small_source.options, *TRAINING)
    one = ("--train.cpus", os.cpu_count())
    for more in ((*one, "--redo", "group", "--to", "embed"), ("--to", "train"), one):
        done = run_job("pipeline", *args, *FINETUNING, *more)
        assert done.returncode == 0, done.stderr
    return root
