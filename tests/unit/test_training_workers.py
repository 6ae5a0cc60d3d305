"""How groups are handed out to workers, what a lost one costs, and where a training goes on."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import ray
from ray.train import TrainingFailedError
from ray.train.v2.api import data_parallel_trainer

from landmark_ray.config import Config
from landmark_ray.data.root import Root
from landmark_ray.runtime.resources import Workers
from landmark_ray.training import worker
from landmark_ray.training.checkpoints import STAGING, Checkpoints
from landmark_ray.training.photo_stream import Pool
from landmark_ray.training.progress_actor import ProgressActor
from landmark_ray.training.vectors import weigh
from landmark_ray.training.worker import TrainingJob, run_worker


def test_each_group_goes_to_the_worker_that_is_free_first():
    actor = ProgressActor([11, 10, 9])
    assert (actor.take("worker-1"), actor.take("worker-2")) == (11, 10)
    actor.finish("worker-2")
    assert actor.take("worker-2") == 9
    actor.finish("worker-2")
    assert actor.take("worker-2") is None, "worker-1 is slow"
    assert actor.progress() == {10: 1.0, 9: 1.0}


def test_worker_in_place_of_a_lost_one_has_its_group():
    actor = ProgressActor([2, 1])
    assert actor.take("worker-1") == actor.take("worker-1") == actor.current("worker-1") == 2
    actor.finish("worker-1")
    assert actor.current("worker-1") is None
    actor.stop()
    assert actor.take("worker-1") is None


class Losing:
    """A trainer whose worker is lost while it has one of these groups, one time after the other."""

    def __init__(self, groups):
        self.groups = iter(groups)
        self.current = None

    def __call__(self, loop, **_):
        return self

    def fit(self):
        self.current = next(self.groups, None)
        if self.current is None:
            return SimpleNamespace(return_value="")
        raise TrainingFailedError

    def remote(self, worker):
        return self.current


@pytest.mark.parametrize(
    ("groups", "fails"),
    [([], False), ([3, 3], False), ([3, 3, 2, 2], False), ([3, 2, 3, 3], True)],
)
def test_each_group_may_lose_as_many_workers_as_there_are_retries(
    groups, fails, tmp_path, monkeypatch
):
    losing = Losing(groups)
    monkeypatch.setattr(data_parallel_trainer, "DataParallelTrainer", losing)
    monkeypatch.setattr(worker, "plan_workers", lambda *_: Workers(1, 0, 1))
    monkeypatch.setattr(ray, "get", lambda found: found)
    config = Config.model_validate({"train": {"retries": 2}})
    progress = SimpleNamespace(current=losing)
    job = TrainingJob(config, Root(str(tmp_path)), progress, 1, 1, 0.1)
    if fails:
        with pytest.raises(TrainingFailedError):
            run_worker("worker-1", print, job)
    else:
        run_worker("worker-1", print, job)


def test_the_last_whole_checkpoint_is_gone_on_from(tmp_path):
    root = Root(str(tmp_path))
    checkpoints = Checkpoints(root, "group-3", print)
    assert checkpoints.load(lambda folder: 1) is None

    def writer(text):
        return lambda folder: Path(folder, "model").write_text(text)

    for epoch in (1, 2):
        checkpoints.save({"epoch": epoch, "loss": 1 / epoch}, writer(f"model {epoch}"))
        assert checkpoints.epochs == epoch
    folders = [path.name for path in (tmp_path / STAGING / "group-3").iterdir()]
    assert folders == ["checkpoint_00002"]
    half = tmp_path / STAGING / "group-3/checkpoint_00003"  # its worker was killed
    half.mkdir()
    (half / "model").write_text("half a model")
    again = Checkpoints(root, "group-3", print)
    assert again.load(lambda folder: Path(folder, "model").read_text()) == "model 2"
    assert again.history == [{"epoch": 1, "loss": 1}, {"epoch": 2, "loss": 0.5}]
    assert Checkpoints(root, "group-33", print).load(lambda folder: 1) is None


@pytest.mark.parametrize(
    ("balance", "wanted"),
    [
        # an epoch has 1250 photos of other, and as many of landmarks, whose weight is 1250, too
        (True, [1250 / 3 / 300, 1250 / 3 / 50, 1250 / 3 / 900, 1]),
        (False, [1, 1, 1, 1]),
    ],
)
def test_an_epoch_has_all_landmarks_photos_and_weights_as_if_worked_out_from_it(balance, wanted):
    rng = np.random.default_rng(0)
    y = np.repeat(np.arange(4, dtype=np.int32), [300, 50, 900, 3000])  # 3: other
    file = rng.integers(0, 7, len(y)).astype(np.int32)
    options = {"batch": 16, "other_share": 0.5, "balance": balance}
    config = Config.model_validate({"train": options})
    pool = Pool([str(i) for i in range(7)], file, np.arange(len(y), dtype=np.int32), y, 3, config)
    first, second = pool.sample(0), pool.sample(1)
    assert len(first) == len(set(first.tolist())) == pool.size == 2500
    assert (first == pool.sample(0)).all() and (first != second).any()
    for rows in (first, second):
        assert set(np.flatnonzero(y < 3)) <= set(rows.tolist())
        np.testing.assert_array_equal(pool.weights[y[rows]], weigh(y[rows], 3, config))
    np.testing.assert_allclose(pool.weights, wanted, rtol=1e-6)


@pytest.mark.parametrize(("own", "others"), [(250, 40_000), (3000, 3000), (3000, 0)])
def test_photos_of_the_class_other_are_spread_over_an_epoch(own, others):
    y = np.repeat(np.array([0, 1], np.int32), [own, others])
    file = np.arange(len(y), dtype=np.int32) % 40
    config = Config.model_validate({"train": {"batch": 16, "others": 20_000}})
    pool = Pool([str(i) for i in range(40)], file, np.arange(len(y), dtype=np.int32), y, 1, config)
    parts = np.array_split(y[pool.sample(0)] == 1, 5)
    assert np.ptp([part.mean() for part in parts]) < 0.1
