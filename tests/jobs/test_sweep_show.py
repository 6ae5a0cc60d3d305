"""jobs/sweep.py and jobs/show_match.py on a small run that tried every pair."""

import json
import shutil

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from landmark_ray.data.schemas import REJECTS
from tests.conftest import line_of
from tests.tables import rows

pytestmark = pytest.mark.ray

CAPS = ("--prune.max_images", "10", "--prune.min_images", "8")


@pytest.fixture(scope="module")
def exhaustive_root(small_source, small_root, run_job, tmp_path_factory):
    """`small_root` with every pair matched, made as the refused sweep says."""
    root = tmp_path_factory.mktemp("exhaustive") / "root"
    shutil.copytree(small_root, root)
    every = ("--match.mode", "exhaustive", "--redo", "match", "--from", "match", "--to", "prune")
    args = ("--source", small_source.path, "--root", root, *small_source.options, *CAPS)
    done = run_job("pipeline", *args, *every)
    assert done.returncode == 0, done.stderr
    return root


def ran(done):
    assert done.returncode == 0, done.stderr
    return done


@pytest.mark.parametrize(("job", "option"), [("sweep", "--min_partners"), ("show_match", "--pair")])
def test_help_explains_the_job(job, option, run_job):
    assert option in ran(run_job(job, "--help")).stdout


def test_cell_of_the_runs_own_options_equals_kept(exhaustive_root, run_job):
    done = ran(run_job("sweep", "--root", exhaustive_root))
    value = json.loads((exhaustive_root / "reports/sweep.json").read_text())
    (own,) = (cell for cell in value["cells"] if cell["own"])
    kept = rows(exhaustive_root, "kept")
    stay = kept[kept.keep]
    assert set(kept.reason) == {"verified", "unverified", "over_cap", "small_class"}
    assert (own["min_inliers"], own["min_partners"], own["agreement"]) == (11, 1, 0)
    assert (own["images"], own["classes"]) == (len(stay), stay.landmark_id.nunique())
    assert "left out: 6, 7, 8, 9, 10 inliers" in done.stderr
    assert min(cell["min_inliers"] for cell in value["cells"]) == 11
    assert f"*{len(stay)}" in done.stdout
    assert Image.open(exhaustive_root / "reports/sweep.png").width > 800
    cells = pd.read_csv(exhaustive_root / "reports/sweep.csv")
    assert len(cells) == len(value["cells"]) == 10 * 4


def test_sweep_takes_other_thresholds_and_caps_but_adds_the_runs_own(exhaustive_root, run_job):
    options = ("--min_inliers", "500,15", "--min_partners", "3", "--prune.max_images", "3")
    least = ("--prune.min_images", "1")
    ran(run_job("sweep", "--root", exhaustive_root, *options, *least))
    cells = pd.read_csv(exhaustive_root / "reports/sweep.csv")
    assert sorted(set(cells.min_inliers)) == [11, 15, 500]
    assert sorted(set(cells.min_partners)) == [1, 3]
    assert (cells[cells.min_inliers == 500].images == 0).all()
    assert cells[cells.own == 1].images.item() == 3 * cells[cells.own == 1].classes.item()


def test_sweep_of_an_early_run_says_how_to_match_every_pair(small_root, run_job):
    line = line_of(run_job("sweep", "--root", small_root))
    assert "matched in mode early" in line
    assert "--to prune --match.mode exhaustive --redo match" in line


def test_reporting_jobs_need_a_finished_match_with_the_options_given(
    exhaustive_root, run_job, tmp_path
):
    none = line_of(run_job("sweep", "--root", tmp_path / "none"))
    assert "stage sample is not finished; run jobs/sample.py first" in none
    other = line_of(run_job("sweep", "--root", exhaustive_root, "--match.min_inliers", "15"))
    assert f"--match.min_inliers 15: {exhaustive_root} was made with 11" in other
    options = ("--pair", "a", "b", "--redo", "match")
    assert "only reads" in line_of(run_job("show_match", "--root", exhaustive_root, *options))


def test_sweep_names_a_damaged_shard(exhaustive_root, run_job, tmp_path):
    root = tmp_path / "root"
    shutil.copytree(exhaustive_root, root)
    file = next((root / "pairs").rglob("shard-*.parquet"))
    file.write_bytes(b"PAR1")
    assert f"{file} is damaged" in line_of(run_job("sweep", "--root", root))
    file.unlink()
    assert f"{file} is missing" in line_of(run_job("sweep", "--root", root))


def test_shown_counts_equal_those_in_pairs(exhaustive_root, run_job, tmp_path):
    pairs = rows(exhaustive_root, "pairs").sort_values("inliers", ignore_index=True)
    for pair in (pairs.iloc[-1], pairs.iloc[0]):
        ids = pair.image_b, pair.image_a
        done = ran(run_job("show_match", "--root", exhaustive_root, "--pair", *ids))
        assert f"verified: {pair.inliers} inliers (11 verify a pair) from {pair.putative}" in (
            done.stdout
        )
        assert f"left {pair.image_a}, right {pair.image_b}" in done.stdout
        assert "warning" not in done.stderr and "did not match" not in done.stdout
    files = list((exhaustive_root / "reports/matches").iterdir())
    assert len(files) == 2 and all(Image.open(file).width > 1000 for file in files)


def test_pair_of_different_landmarks_is_shown_and_said(small_root, run_job, tmp_path):
    features = rows(small_root, "features").groupby("landmark_id").image_id.first()
    ids = features.iloc[0], features.iloc[-1]
    out = tmp_path / "new" / "pair.png"
    options = ("--out", out, "--others", "false")
    done = ran(run_job("show_match", "--root", small_root, "--pair", *ids, *options))
    assert "different landmarks: " in done.stdout
    assert "not verified: 0 inliers" in done.stdout and "did not match this pair" in done.stdout
    assert np.asarray(Image.open(out)).shape[2] == 3


def test_pairs_that_cannot_be_shown_are_one_line(small_root, run_job, tmp_path):
    good = rows(small_root, "features").image_id[0]
    bad = rows(small_root, "rejects").set_index("reason").image_id
    broken = bad[bad.index.str.startswith("truncated")].item()

    def line(*options) -> str:
        return line_of(run_job("show_match", "--root", small_root, *options))

    assert f"{good} is given twice" in line("--pair", good, good)
    assert "has no image 1e10: the id is mistyped" in line("--pair", good, "1e10")
    assert f"ingest rejected {broken}: truncated: " in line("--pair", broken, good)
    assert "--pair: expected 2 arguments" in line("--pair", good)
    assert "must end in .png" in line("--pair", good, good, "--out", tmp_path / "x.gif")


def test_image_that_extract_rejected_is_named_with_the_reason(small_root, run_job, tmp_path):
    root = tmp_path / "root"
    shutil.copytree(small_root, root)
    file = next((root / "features").rglob("shard-*.parquet"))
    table = pq.read_table(file, partitioning=None)
    lost, good = table["image_id"].to_pylist()[:2]
    pq.write_table(table.slice(1), file)
    row = {"image_id": lost, "landmark_id": table["landmark_id"][0].as_py(), "reason": "odd: it"}
    rejects = root / "rejects/stage=extract" / file.parent.name / file.name
    rejects.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist([row], REJECTS), rejects)
    line = line_of(run_job("show_match", "--root", root, "--pair", lost, good))
    assert f"extract rejected {lost}: odd: it" in line
