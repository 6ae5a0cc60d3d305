"""What jobs/plan.py calculates, without a run."""

import json
import tarfile

import numpy as np
import pytest

from landmark_ray.config import STAGES
from landmark_ray.data.sources import Source
from landmark_ray.errors import UserError
from landmark_ray.kernels import pair_schedule
from landmark_ray.plan import calibration, report, sampling, workload
from landmark_ray.plan.clusters import Cluster, cluster_of
from landmark_ray.plan.fit import Fit, at_rate, line, makespan
from landmark_ray.plan.forecast import forecast, row_of
from landmark_ray.plan.machines import crew_of
from landmark_ray.plan.observed import Observed
from landmark_ray.plan.options import PlanConfig
from landmark_ray.plan.requests import requests_of
from landmark_ray.plan.shares import Flow, Shares, flow_of, pairs_of
from landmark_ray.plan.work import Job, work_of
from landmark_ray.plan.workload import Workload
from tests import drawn

PLAIN = Shares(usable=1.0, unverified=0.0, tries=2.0)

HERE = Cluster(about="two cores", machines=({"count": 1, "cores": 2},))


def data_of(sizes, shard=None, archives=(10,), **more) -> Workload:
    shard = np.arange(len(sizes)) if shard is None else np.array(shard)
    return Workload(sum(sizes), np.array(sizes), shard, 4, np.array(archives), **more)


def job_of(sizes, shares=PLAIN, **more) -> Job:
    config = PlanConfig(**more.pop("config", {}))
    return Job.of(config, data_of(sizes, **more), shares)


def known_of(**fits) -> calibration.Calibration:
    return calibration.Calibration(
        about="a test",
        fits={stage: fits.get(stage, Fit()) for stage in STAGES},
        bytes={stage: Fit() for stage in STAGES},
        files=dict.fromkeys(STAGES, 1.0),
        shares=PLAIN,
    )


@pytest.mark.parametrize(
    ("weights", "workers", "most"),
    [([5, 4, 3, 3], 2, 8), ([7], 3, 7), ([], 2, 0), ([1] * 10, 3, 4), ([10, 1, 1], 2, 10)],
)
def test_largest_piece_goes_to_the_idlest_worker(weights, workers, most):
    assert makespan(np.array(weights, float), workers) == most


def test_two_runs_tell_the_fixed_part_from_the_rate():
    fit = line([(1, 10, 5), (1, 30, 9)])
    assert (fit.fixed, fit.rate) == pytest.approx((3, 0.2))


def test_neither_part_is_negative():
    assert line([(1, 10, 5), (1, 30, 4)]).rate == 0
    assert at_rate([(1, 10, 5), (1, 30, 4)], 0.1) == Fit(fixed=2.5, rate=0.1)
    assert line([(1, 10, 1), (1, 30, 9)]).fixed == 0


def test_one_run_alone_is_all_work():
    assert line([(1, 10, 5)]) == Fit(rate=0.5)
    assert line([(1, 0, 5)]) == Fit(fixed=5)


def test_fixed_part_is_paid_in_every_round():
    fit = line([(1, 10, 12), (3, 30, 36)])
    assert 3 * fit.fixed + 30 * fit.rate == pytest.approx(36)


def tried(n: int, alone: int, rng: np.random.Generator, cap: int = 100) -> tuple[int, int]:
    """Pairs that the matcher itself tries, and tries of verified images; half the pairs match."""
    lonely = set(rng.permutation(n)[:alone].tolist())
    matches = rng.random((n, n)) < 0.5
    evidence = pair_schedule.VerifiedPairs(11)

    def evaluate(a: int, b: int) -> int:
        return 20 if not {a, b} & lonely and matches[a, b] else 0

    for wave in pair_schedule.rounds(list(range(n)), evidence, max_images=cap):
        pair_schedule.verify_until_decided(
            wave, evaluate, lambda i: [j for j in range(n) if j != i], evidence
        )
    return len(evidence.inliers), sum(map(evidence.verified, range(n)))


@pytest.mark.parametrize(("n", "alone"), [(12, 2), (60, 12), (90, 0), (400, 80)])
def test_pairs_are_about_as_many_as_the_matcher_tries(n, alone):
    rng = np.random.default_rng(0)
    real, _ = tried(n, alone, rng)
    one = np.array([n])
    flow = Flow(one, one - alone, one, one, one, 0)
    assert pairs_of(flow, 2.0, PlanConfig())[0] == pytest.approx(real, rel=0.35, abs=15)


def test_every_pair_is_tried_where_that_is_asked_for():
    flow = flow_of(data_of([10, 7]), PLAIN, PlanConfig())
    config = PlanConfig(match={"mode": "exhaustive"})
    assert pairs_of(flow, 2.0, config).tolist() == [45, 21]


def test_classes_are_capped_and_small_ones_dropped():
    flow = flow_of(data_of([500, 6, 5]), PLAIN, PlanConfig())
    assert flow.kept.tolist() == flow.examples.tolist() == [100, 6, 0]
    assert flow.group.tolist() == [11, 1, 0]
    assert flow.background == 5  # what is over the cap shows its landmark
    half = Shares(usable=1.0, unverified=0.5, tries=2.0)
    assert flow_of(data_of([1000]), half, PlanConfig()).verified[0] == pytest.approx(500, abs=60)


def test_a_large_class_is_work_for_several():
    job = job_of([500, 10], shares=Shares(usable=1.0, unverified=1.0, tries=0.0))
    work = work_of("match", job)
    assert work.total == pytest.approx(500 * 499 / 2 + 45)
    assert work.weights.max() <= job.config.match.task_pairs


@pytest.mark.parametrize("stage", STAGES)
def test_each_stage_has_work_a_crew_and_requests(stage):
    config = {"train": {"phases": ("head", "finetune"), "weights": "none"}}
    job = job_of([50, 20, 8] * 4, tests=30, config=config)
    work = work_of(stage, job)
    assert np.isfinite(work.weights).all() and (work.weights >= 0).all()
    for cluster in ("this", "desktop", "threadripper", "aws", "reference"):
        machines = cluster_of(PlanConfig(plan={"cluster": cluster}))
        crew = crew_of(stage, work, job.config, machines)
        assert crew.count >= 1 and crew.speed > 0
    assert all(count >= 0 for count in requests_of(stage, job))


def test_gpus_take_the_networks_and_cores_the_rest():
    job, cluster = job_of([50] * 40), cluster_of(PlanConfig(plan={"cluster": "aws"}))
    embed, extract, train = (
        crew_of(stage, work_of(stage, job), job.config, cluster)
        for stage in ("embed", "extract", "train")
    )
    assert (embed.count, embed.networks, embed.gpus) == (12, 80, 1)
    assert (extract.count, extract.speed, extract.gpus) == (512, 0.6, 0)
    assert (train.count, train.speed, train.networks) == (12, 0.6, 80)


def test_without_gpus_networks_take_cores():
    job, cluster = job_of([50] * 40), cluster_of(PlanConfig(plan={"cluster": "reference"}))
    assert crew_of("embed", work_of("embed", job), job.config, cluster).count == 8


def test_a_head_of_many_landmarks_takes_longer_for_a_vector():
    few, many = job_of([10] * 20), job_of([10] * 2000, config={"train": {"others": 1}})
    each = [w.total / w.units.sum() for w in (work_of("train", few), work_of("train", many))]
    assert each == pytest.approx([1 + 2048 * 20 / 390_000, 1 + 2048 * 2000 / 390_000])


def test_time_and_dollars_of_a_stage_by_hand():
    cluster = Cluster(
        about="two",
        machines=({"count": 2, "cores": 2, "core_speed": 0.5, "dollars_hour": 3.0},),
        head_dollars_hour=1.0,
        object_store=True,
        get_dollars=0.0,
        put_dollars=0.0,
    )
    job = job_of([9, 9, 9, 9])
    row = row_of("extract", job, known_of(extract=Fit(fixed=10, rate=100)), cluster)
    assert row.seconds == pytest.approx(10 / 0.5 + 100 * 9 / 0.5)
    assert row.cpu_hours == pytest.approx((20 + 4 * 1800) / 3600)
    assert row.dollars == pytest.approx((2 * 3 + 1) * 1820 / 3600)
    assert row.gets and row.objects == 4


def test_fragments_count_for_the_peak_alone():
    known = known_of()
    known.bytes["ingest"] = Fit(rate=1e9)
    found = forecast(job_of([6]), known, cluster_of(PlanConfig()), ("sample", "ingest"))
    assert (found.total("kept_gb"), found.total("written_gb"), found.peak_gb) == (6, 12, 12)
    assert not found.total("gets") and not found.total("dollars")


def test_stored_figures_know_every_stage():
    known = calibration.stored()
    assert set(known.fits) == set(known.bytes) == set(known.files) == set(STAGES)
    assert all(known.fits[stage].rate for stage in STAGES if stage not in ("detect", "export"))


def test_photos_of_a_training_take_what_its_steps_took():
    """Epochs of both runs wait for 2 s, so that they take equally long."""
    config = PlanConfig(train={"weights": "none", "trunk_epochs": 10}, cluster={"cpus": 2})
    runs = []
    for photos in (64, 256):
        job = Job.of(config, data_of([photos]), PLAIN)
        alike = {"trunk": 1}
        runs.append(Observed(job, {"trunk": 30.0}, alike, alike, 0, {"trunk": np.array([0.002])}))
    fit = calibration.fitted(runs, config).fits["trunk"]
    assert fit.rate == pytest.approx(0.002 * 2)
    seen = sum(work_of("trunk", run.job).total for run in runs) / 2
    assert fit.fixed == pytest.approx(30 - 0.002 * seen)


def test_vectors_of_heads_take_what_steps_took_where_there_are_steps():
    job = job_of([40, 40, 10], config={"group": {"edges": (5, 20)}, "cluster": {"cpus": 2}})
    work, crew = work_of("train", job), crew_of("train", work_of("train", job), job.config, HERE)
    assert len(work.weights) == 2
    run = Observed(job, {}, {}, {}, 0, {"train": np.array([np.nan, 1e-4])})
    assert run.rate("train", crew) == pytest.approx(1e-4 * work.units[1] / work.weights[1])
    none = Observed(job, {}, {}, {}, 0, {"train": np.array([np.nan, np.nan])})
    assert none.rate("train", crew) is None and none.rate("extract", crew) is None


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"cluster": "mainframe"}, "there are this, desktop"),
        ({"cluster": "x", "clusters": "nowhere.toml"}, "cannot be read as toml"),
    ],
)
def test_wrong_cluster_is_named(options, words):
    with pytest.raises(UserError, match=words):
        cluster_of(PlanConfig(plan=options))


def test_mistake_in_a_cluster_file_is_named(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text('[mine]\nabout = "mine"\nmachines = [{ count = 1, cores = 0 }]\n')
    with pytest.raises(UserError, match=r"mine\.machines\.0\.cores"):
        cluster_of(PlanConfig(plan={"cluster": "mine", "clusters": str(path)}))


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    folder = tmp_path_factory.mktemp("plan") / "source"
    drawn.draw(folder)
    source = Source(str(folder))
    return source, *workload.read(PlanConfig(sample={"buckets": 3}), source, None)


def test_workload_is_that_of_train_csv(small):
    _, data, catalog = small
    assert data.images == catalog.num_rows == data.sizes.sum()
    assert (data.listed, len(data.sizes), len(data.archives)) == (74, 5, 4)


def copied(small, folder, most_bytes):
    source, _, catalog = small
    found = sampling.copy(source, catalog, {folder / "a": 16, folder / "b": 40}, most_bytes, 0)
    rows = Source(str(folder / "b")).index()[0].to_pandas()
    names = set()
    for path in (folder / "b/train").iterdir():
        with tarfile.open(path) as tar:
            names |= {n.rpartition("/")[2].removesuffix(".jpg") for n in tar.getnames()}
    assert set(rows.image_id) == names and found[folder / "b"].photos == len(rows)
    assert found[folder / "a"].photos <= 16
    return found[folder / "b"], rows


def test_whole_landmarks_are_copied_where_all_can_be_read(small, tmp_path):
    sample, rows = copied(small, tmp_path, 1e9)
    _, _, catalog = small
    sizes = catalog.to_pandas().landmark_id.value_counts()
    assert sample.whole and dict(rows.landmark_id.value_counts()).items() <= dict(sizes).items()


def test_else_photos_are_filed_under_landmarks_of_like_sizes(small, tmp_path):
    sample, rows = copied(small, tmp_path, 0)
    _, data, _ = small
    assert not sample.whole
    assert {*rows.landmark_id.value_counts()} <= {*data.sizes.tolist()}


def test_numbers_are_short():
    assert [report.number(n) for n in (0, 0.0123, 1.234, 23.45, 1234.5)] == [
        *("", "0.012", "1.23", "23.4", "1,234"),
    ]
    assert (report.clock(59.6), report.clock(7200), report.clock(259200)) == (
        *("0:01:00", "2:00:00", "3.0 days"),
    )


def test_a_plan_is_json():
    found = forecast(job_of([20] * 3), known_of(), cluster_of(PlanConfig()), STAGES)
    assert set(json.loads(json.dumps(found.to_json()))["stages"]) == {"start", *STAGES}
