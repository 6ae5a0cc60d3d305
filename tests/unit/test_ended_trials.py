"""Trials of jobs/plan.py that end before their last stage, and odd options of the planned run."""

import numpy as np
import pyarrow as pa
import pytest

from landmark_ray.config import STAGES, Config
from landmark_ray.cost.calibration import default_calibration, fitted
from landmark_ray.cost.job import CostConfig
from landmark_ray.cost.trial import Sample, read_trial, scaled_down
from landmark_ray.cost.work import expected_run
from landmark_ray.cost.workload import Workload
from landmark_ray.data import schemas
from landmark_ray.data.root import Root
from landmark_ray.runtime import preflight


@pytest.fixture
def ended(tmp_path):
    """Makes the trial of 2 landmarks of 8 photos that ended after some stages."""
    source = tmp_path / "source"
    photos = [(f"{name}/{i}.jpg", number) for number, name in enumerate("ab") for i in range(8)]
    for name, _ in photos:
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_bytes(b"\xff\xd8\xff" + bytes(500))
    root = Root(str(tmp_path / "root"))
    rows = [{"image_id": name, "landmark_id": i, "shard": 0} for name, i in photos]
    catalog = pa.Table.from_pylist(rows, schemas.CATALOG)
    root.write_table("catalog/bucket=0/catalog.parquet", catalog)
    images = [row | {"jpeg": b"photo", "width": 8, "height": 8} for row in rows]
    images = [{k: v for k, v in row.items() if k != "shard"} for row in images]
    root.commit("images", 0, 0, pa.Table.from_pylist(images, schemas.IMAGES), "{}")

    def trial(*stages):
        funnel = {"images_in": 16, "images_out": 16, "task_seconds": 1.0}
        for stage in stages:
            record = {"state": "finished", "fingerprint": "f", "identity": {}, "inputs": {}}
            root.write_json(f"_ledger/{stage}.json", record | {"seconds": 2.0, "funnel": funnel})
        return read_trial(Config(source=str(source), root=root.uri))

    return trial


@pytest.mark.parametrize(
    ("stages", "measured"), [(["sample"], set()), (["sample", "ingest"], {"usable"})]
)
def test_what_no_trial_measured_is_that_of_the_stored_figures(ended, stages, measured):
    trial = ended(*stages)
    assert trial.run.rates.model_fields_set == measured
    known, stored = fitted([trial, trial], 2), default_calibration().rates
    for name in ("unverified", "tries", "cleaned"):
        assert getattr(known.rates, name) == getattr(stored, name) > 0
    sizes = np.full(10, 100)
    data = Workload(1000, np.arange(10), sizes, np.arange(10), np.array([10**8]), 0, 1.0)
    assert expected_run(Config(), data, known.rates).examples.sum() > 500


@pytest.mark.parametrize(
    "options",
    [
        {"group": {"edges": (1,)}, "prune": {"min_images": 1}},
        {"group": {"edges": (1, 5)}},
        {"sample": {"max_images": 3}, "prune": {"min_images": 3}, "group": {"edges": (3,)}},
    ],
)
def test_options_of_a_run_that_can_be_made_are_those_of_its_trials(options, tmp_path):
    config = CostConfig(source="x", root="y", **options)
    preflight.check_options(config, STAGES)
    small = scaled_down(config, Sample(tmp_path, 12, True, 0.0), 100)
    preflight.check_options(small, STAGES)
    assert small.sample.min_images <= small.sample.max_images
