"""Curves as TensorBoard and MLflow read them from a root: equal to the history."""

import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from landmark_ray.config import STAGES, Config
from landmark_ray.data import layout
from landmark_ray.data.root import Root
from landmark_ray.pipeline import FOLDERS
from landmark_ray.training.checkpoints import Checkpoints
from landmark_ray.training.trackers import Tracker
from tests.tracked import assert_curves, mlflow_curves, tensorboard_curves

CONFIG = Config.model_validate({"train": {"log": ["tensorboard", "mlflow"], "head_rate": 0.25}})
HISTORY = [
    {"epoch": 10, "loss": 0.1 + 0.2, "step_s": 1e-7},
    {"epoch": 20, "loss": np.float64(1 / 3), "step_s": 2e-7, "top1": 0.5},
    {"epoch": 25, "loss": -0.0, "step_s": math.inf, "top1": 1.0},
]


def tracker(root: object, run: str = "group-3", config: Config = CONFIG) -> Tracker:
    return Tracker(config, Root(str(root)), "train", run)


def train(root: object, until: int, *, lost: bool = False) -> None:
    """A training with a checkpoint for each entry; the last of them may end its worker."""
    checkpoints = Checkpoints(Root(str(root)), "group-3", tracker(root).write)
    checkpoints.load(lambda folder: True)
    for number in range(len(checkpoints.history), until):
        if lost and number == until - 1:
            checkpoints.on_change = lambda history: None
        checkpoints.save(HISTORY[number], lambda folder: Path(folder, "model").touch())


def test_both_programs_read_the_history(tmp_path):
    tracker(tmp_path).write(HISTORY, finished=True)
    tracker(tmp_path, "group-4").write(HISTORY[:1])
    assert_curves(tmp_path, "train", "group-3", HISTORY)
    assert_curves(tmp_path, "train", "group-4", HISTORY[:1])


@pytest.mark.parametrize("lost", [False, True])
def test_points_are_neither_lost_nor_doubled_by_a_training_that_goes_on(tmp_path, lost):
    for until in (1, 2, 2, 3):
        train(tmp_path, until, lost=lost)
        if not lost:
            assert_curves(tmp_path, "train", "group-3", HISTORY[:until])
    train(tmp_path, 3)
    assert_curves(tmp_path, "train", "group-3", HISTORY)


def test_a_training_that_begins_again_leaves_no_point_of_the_earlier_one(tmp_path):
    train(tmp_path, 3)
    Root(str(tmp_path)).delete("_staging")
    train(tmp_path, 1)
    assert_curves(tmp_path, "train", "group-3", HISTORY[:1])


def test_files_that_were_written_stay_as_they_are(tmp_path):
    def events() -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in tmp_path.rglob("events.*")}

    tracker(tmp_path).write(HISTORY[:2])
    before = events()
    start = mlflow_curves(tmp_path, "train", "group-3").info.start_time
    tracker(tmp_path).write(HISTORY, finished=True)
    assert before.items() < events().items() and len(events()) == len(HISTORY)
    run = mlflow_curves(tmp_path, "train", "group-3")
    assert (run.info.start_time, run.info.status) == (start, "FINISHED")


def test_a_run_of_mlflow_has_the_options_of_its_stage(tmp_path):
    tracker(tmp_path).write(HISTORY[:1])
    run = mlflow_curves(tmp_path, "train", "group-3")
    options = CONFIG.config_key("train")
    assert run.data.params == {name: str(value) for name, value in options.items()}
    assert run.data.params["train.head_rate"] == "0.25"
    assert (run.info.run_name, run.info.status) == ("group-3", "RUNNING")


def test_nothing_is_written_by_default_and_options_that_make_rows_are_the_same(tmp_path):
    tracker(tmp_path, config=Config()).write(HISTORY)
    assert not list(tmp_path.iterdir())
    default = Config.model_validate({"train": {"head_rate": 0.25}})
    assert [CONFIG.config_key(s) for s in STAGES] == [default.config_key(s) for s in STAGES]


def test_all_files_belong_to_the_stage_that_wrote_them(tmp_path):
    tracker(tmp_path).write(HISTORY, finished=True)
    names = [str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()]
    assert len(names) > 20 and all(map(layout.ours, names))
    assert all(any(name.startswith(f"{f}/") for f in FOLDERS["train"]) for name in names)
    Root(str(tmp_path)).delete(*FOLDERS["train"])
    assert not list(tmp_path.rglob("group-3"))


def test_curves_in_a_store_that_is_not_on_this_machine(tmp_path):
    root = "memory://tracked"
    train(root, 2, lost=True)
    train(root, 3)
    remote = Root(root)
    for name in remote.files("logs"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(remote.read(name))
    assert_curves(tmp_path, "train", "group-3", HISTORY)


def test_the_address_of_a_server_in_the_environment_has_no_effect(tmp_path, monkeypatch):
    """Neither is TensorFlow imported to write a file of TensorBoard, nor MLflow for its own."""
    script = (
        "import sys, socket\n"
        "def refuse(*args): raise AssertionError(args)\n"
        "socket.socket.connect = refuse\n"
        "from landmark_ray.config import Config\n"
        "from landmark_ray.data.root import Root\n"
        "from landmark_ray.training.trackers import Tracker\n"
        "config = Config.model_validate({'train': {'log': ['tensorboard', 'mlflow']}})\n"
        f"Tracker(config, Root({str(tmp_path)!r}), 'train', 'group-3').write({HISTORY[:1]!r})\n"
        "assert not {'tensorflow', 'mlflow', 'tensorboard'} & set(sys.modules)\n"
    )
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    subprocess.run([sys.executable, "-c", script], check=True)
    assert len(tensorboard_curves(tmp_path, "train", "group-3")["loss"]) == 1


def test_figures_of_an_epoch_are_float32_for_tensorboard(tmp_path):
    tracker(tmp_path).write(HISTORY[:1])
    ((step, value),) = tensorboard_curves(tmp_path, "train", "group-3")["loss"]
    assert (step, value) == (10, float(np.float32(0.1 + 0.2))) and value != 0.1 + 0.2
