"""What jobs/plan.py calculates, without a run."""

import json

import numpy as np
import pytest

from landmark_ray.config import STAGES
from landmark_ray.cost import work
from landmark_ray.cost.calibration import Fit
from landmark_ray.cost.clusters import Cluster, makespan, read_cluster, worker_pool
from landmark_ray.cost.forecast import clock, forecast, number, row_of
from landmark_ray.cost.job import CostConfig
from landmark_ray.cost.work import Rates, expected_pairs, work_of
from landmark_ray.errors import UserError
from landmark_ray.kernels import pair_schedule
from tests.plans import cluster_of, known_of, run_of


@pytest.mark.parametrize(
    ("weights", "workers", "most"),
    [([5, 4, 3, 3], 2, 8), ([7], 3, 7), ([], 2, 0), ([1] * 10, 3, 4), ([10, 1, 1], 2, 10)],
)
def test_largest_piece_goes_to_the_first_free_worker(weights, workers, most):
    assert makespan(np.array(weights, float), workers) == most


def tried(n: int, alone: int, rng: np.random.Generator, cap: int = 100) -> tuple[int, int]:
    """Pairs that the matcher itself tries, and tries of verified images; half the pairs match."""
    lonely = set(rng.permutation(n)[:alone].tolist())
    matches = rng.random((n, n)) < 0.5
    verified_pairs = pair_schedule.VerifiedPairs(11)

    def evaluate(a: int, b: int) -> int:
        return 20 if not {a, b} & lonely and matches[a, b] else 0

    for round_images in pair_schedule.rounds(list(range(n)), verified_pairs, max_images=cap):
        pair_schedule.verify_until_decided(
            round_images, evaluate, lambda i: [j for j in range(n) if j != i], verified_pairs
        )
    return len(verified_pairs.inliers), sum(map(verified_pairs.verified, range(n)))


@pytest.mark.parametrize(("n", "alone"), [(12, 2), (60, 12), (90, 0), (400, 80)])
def test_pairs_are_about_as_many_as_the_matcher_tries(n, alone):
    rng = np.random.default_rng(0)
    real, _ = tried(n, alone, rng)
    (pairs,) = expected_pairs(np.array([n]), np.array([n - alone]), 2.0, CostConfig())
    assert pairs == pytest.approx(real, rel=0.35, abs=15)


def test_every_pair_is_tried_where_that_is_asked_for():
    assert run_of([10, 7], config={"match": {"mode": "exhaustive"}}).pairs.tolist() == [45, 21]


def test_classes_are_capped_and_small_ones_dropped():
    run = run_of([500, 6, 5])
    assert run.kept.tolist() == run.examples.tolist() == [100, 6, 0]
    assert run.group.tolist() == [11, 1, 0]
    assert run.background == 5  # what is over the cap shows its landmark
    half = Rates(usable=1.0, unverified=0.5, tries=2.0)
    run = run_of([1000], half, config={"prune": {"max_images": 1000}})
    assert run.kept[0] == pytest.approx(500, abs=60)


def test_a_large_class_is_work_for_several():
    run = run_of([500, 10], Rates(usable=1.0, unverified=1.0, tries=0.0))
    work = work_of("match", run)
    assert work.weights.sum() == pytest.approx(500 * 499 / 2 + 45)
    assert work.weights.max() <= run.config.match.task_pairs


def test_each_stage_has_work():
    config = {
        "train": {"phases": ("head", "finetune"), "weights": "none"},
        "detect": {"handle": "a detector"},
    }
    run = run_of([50, 20, 8] * 4, tests=30, config=config)
    amounts = {stage: work_of(stage, run).units.sum() for stage in STAGES}
    assert [stage for stage in STAGES if not amounts[stage]] == ["describe", "export"]
    assert amounts["ingest"] == amounts["extract"] == amounts["group"] == 312
    assert amounts["trunk"] == 312 * 20


def test_gpus_take_the_networks_and_cores_the_rest():
    run, cluster = run_of([50] * 40), cluster_of("aws")
    embed, extract, train = (
        worker_pool(stage, work_of(stage, run), run.config, cluster)
        for stage in ("embed", "extract", "train")
    )
    assert (embed.count, embed.network_speed, embed.gpus) == (12, 80, 1)
    assert (extract.count, extract.speed, extract.gpus) == (512, 0.6, 0)
    assert (train.count, train.speed, train.network_speed) == (12, 0.6, 80)


@pytest.mark.parametrize(
    ("extractor", "cuda", "gpus"),
    [("sift", True, 0), ("delf", False, 1), ("xfeat", True, 1), ("xfeat", False, 0)],
)
def test_gpus_take_the_features_that_a_network_makes(extractor, cuda, gpus, monkeypatch):
    monkeypatch.setattr(work, "runs_on_gpus", lambda: cuda)
    config = {"extract": {"extractor": extractor, "handle": "a model"}}
    run = run_of([50] * 40, config={} if extractor == "sift" else config)
    pool = worker_pool("extract", work_of("extract", run), run.config, cluster_of("aws"))
    assert pool.gpus == gpus


def test_without_gpus_networks_take_cores():
    run, cluster = run_of([50] * 40), cluster_of("reference")
    assert worker_pool("embed", work_of("embed", run), run.config, cluster).count == 8


def test_one_training_has_all_cores_of_a_machine():
    run = run_of([50] * 40, config={"train": {"weights": "none"}})
    pool = worker_pool("trunk", work_of("trunk", run), run.config, cluster_of("reference"))
    assert (pool.count, pool.network_speed) == (1, 8)


def test_options_limit_the_groups_side_by_side():
    run = run_of([50, 6] * 40, config={"train": {"parallel_groups": 1}})
    for name in ("reference", "threadripper"):
        pool = worker_pool("train", work_of("train", run), run.config, cluster_of(name))
        assert pool.count == 1


@pytest.mark.parametrize(("landmarks", "batch"), [(20, 64), (2000, 64), (2000, 1024)])
def test_a_head_takes_longer_for_many_landmarks_and_small_batches(landmarks, batch):
    run = run_of([100] * landmarks, config={"train": {"head_batch": batch, "others": 1}})
    work = work_of("train", run)
    products = landmarks / 155 * (1 + 100 / batch)
    each = 1 + products + 9 / batch
    assert work.weights.sum() / work.units.sum() == pytest.approx(each, rel=2e-3)
    assert 1 - np.asarray(work.gpu_share) == pytest.approx(9 / batch / each, rel=0.02)


def test_a_head_has_the_batches_that_training_chooses():
    """20,000 landmarks of 10 photos: 1,080,000 vectors, in batches of 4,096; 20: of 64."""
    few, many = (run_of([10] * landmarks) for landmarks in (20, 20_000))
    for run, batch in ((few, 64), (many, 4096)):
        given = run_of(run.data.sizes, config={"train": {"head_batch": batch}})
        assert work_of("train", run).weights == pytest.approx(work_of("train", given).weights)


def test_time_and_dollars_of_a_stage_by_hand():
    cluster = Cluster(
        about="two",
        machines=({"count": 2, "cores": 2, "core_speed": 0.5, "dollars_hour": 3.0},),
        head_dollars_hour=1.0,
    )
    row = row_of(
        "extract", run_of([9, 9, 9, 9]), known_of(extract=Fit(fixed=10, rate=100)), cluster
    )
    assert row.seconds == pytest.approx(10 / 0.5 + 100 * 9 / 0.5)
    assert row.cpu_hours == pytest.approx((20 + 4 * 1800) / 3600)
    assert row.dollars == pytest.approx((2 * 3 + 1) * 1820 / 3600)
    assert row.objects == 4


def test_workers_that_train_start_once_if_there_is_something_to_train():
    known, cluster = known_of(train=Fit(fixed=40), finetune=Fit(fixed=60)), cluster_of("desktop")
    run = run_of([50, 6] * 4)
    assert len(work_of("train", run).weights) == 2
    assert row_of("train", run, known, cluster).seconds == 40
    assert row_of("finetune", run, known, cluster).seconds == 0


def test_a_month_of_what_stays_costs_where_storage_does():
    known = known_of()
    known.bytes["ingest"] = Fit(rate=1e9)
    cluster = Cluster(about="", machines=({"count": 1, "cores": 1},), gb_month_dollars=0.5)
    assert forecast(run_of([6]), known, cluster, ("ingest",)).month_dollars == 3


def test_fragments_count_for_the_peak_alone():
    known = known_of()
    known.bytes["ingest"] = Fit(rate=1e9)
    found = forecast(run_of([6]), known, cluster_of(), ("sample", "ingest"))
    assert (found.total("kept_gb"), found.total("written_gb"), found.peak_gb) == (6, 12, 12)
    assert not found.total("dollars") and not found.month_dollars


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("mainframe", None, None), "there are this, desktop"),
        (("x", "nowhere.toml", None), "cannot be read as toml"),
    ],
)
def test_wrong_cluster_is_named(options, words):
    with pytest.raises(UserError, match=words):
        read_cluster(*options)


def test_mistake_in_a_cluster_file_is_named(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text('[mine]\nabout = "mine"\nmachines = [{ count = 1, cores = 0 }]\n')
    with pytest.raises(UserError, match=r"mine\.machines\.0\.cores"):
        read_cluster("mine", str(path), None)


def test_numbers_are_short():
    assert [number(n) for n in (0, 0.0123, 1.234, 23.45, 1234.5)] == [
        *("", "0.012", "1.23", "23.4", "1,234"),
    ]
    assert (clock(59.6), clock(7200), clock(259200)) == (*("0:01:00", "2:00:00", "3.0 days"),)


def test_a_plan_is_json():
    found = forecast(run_of([20] * 3), known_of(), cluster_of(), STAGES)
    assert set(json.loads(json.dumps(found.to_json()))["stages"]) == {"start", *STAGES}


def test_the_bundle_is_as_large_as_what_it_copies():
    known = known_of()
    known.bytes |= {"trunk": Fit(fixed=4e9), "train": Fit(rate=2e9), "index": Fit(rate=1e9)}
    rows = forecast(run_of([20] * 3), known, cluster_of(), STAGES).rows
    planned = {row.stage: row.kept_gb for row in rows}
    copied = sum(planned[stage] for stage in ("trunk", "index", "train", "finetune"))
    assert planned["export"] == pytest.approx(copied)
    assert (planned["trunk"], planned["train"]) == (4, 6) and planned["index"] > 0
