"""Photos that kill the process that reads them: they end in rejects, and nothing else is lost."""

import hashlib
import io
import os
import shutil
import tarfile
from pathlib import Path

import pandas as pd
import pytest

from landmark_ray.config.curation import DetectConfig
from tests import deadly, delf, detector
from tests.conftest import REPO
from tests.jobs.conftest import ONE_DETECTOR, detecting
from tests.poison.mark import MARK
from tests.tables import rows

pytestmark = pytest.mark.ray

DEADLY = {"PYTHONPATH": f"{REPO / 'tests/poison'}:{REPO}"}
"""The environment of a machine that marked photos kill."""

REASON = "kills its worker: 3 attempts ended at this image"


@pytest.fixture(scope="module")
def marked(small_source, tmp_path_factory) -> tuple[Path, str]:
    """A copy of `small_source` in which one photo kills, and its id."""
    folder = tmp_path_factory.mktemp("marked")
    for path in small_source.path.rglob("*"):
        if path.is_file():
            target = folder / path.relative_to(small_source.path)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes())
    tar = folder / "train/images_001.tar"
    out, killer = io.BytesIO(), ""
    with tarfile.open(tar) as old, tarfile.open(fileobj=out, mode="w") as new:
        for member in old:
            data = old.extractfile(member).read()
            if not killer and data[:2] == b"\xff\xd8":
                killer = Path(member.name).stem
                data = data[:2] + b"\xff\xfe" + (len(MARK) + 2).to_bytes(2) + MARK + data[2:]
                member.size = len(data)
            new.addfile(member, io.BytesIO(data))
    tar.write_bytes(out.getvalue())
    md5 = hashlib.md5(tar.read_bytes(), usedforsecurity=False).hexdigest()
    (folder / "md5sum/train/md5.images_001.txt").write_text(f"{md5}  {tar.name}\n")
    return folder, killer


def assert_only_missing(found: pd.DataFrame, whole: pd.DataFrame, killer: str) -> None:
    """All rows but those of one image are there, and equal."""
    assert killer in set(whole.image_id)
    rest = whole[whole.image_id != killer].reset_index(drop=True)
    pd.testing.assert_frame_equal(found, rest)


@pytest.fixture(scope="module")
def marked_root(marked, small_source, run_job, tmp_path_factory) -> Path:
    """The marked photos, as tables, by a machine that they don't kill."""
    root = tmp_path_factory.mktemp("marked-root") / "root"
    args = ("--source", marked[0], "--root", root, *small_source.options)
    done = run_job("pipeline", *args, "--to", "dedupe")
    assert done.returncode == 0, done.stderr
    return root


def with_delf(model: Path) -> tuple[object, ...]:
    return ("--extract.extractor", "delf", "--extract.handle", model, "--to", "extract")


@pytest.fixture(scope="module")
def whole(marked, marked_root, small_source, run_job, tmp_path_factory) -> Path:
    """`marked_root`, gone on with by a DELF that no photo kills."""
    folder = tmp_path_factory.mktemp("whole")
    shutil.copytree(marked_root, folder / "root")
    args = ("--source", marked[0], "--root", folder / "root", *small_source.options)
    done = run_job("pipeline", *args, *with_delf(delf.save(folder / "model")))
    assert done.returncode == 0, done.stderr
    return folder / "root"


def assert_rejected(root: Path, stage: str, killer: str) -> None:
    """It is named with the reason, and nothing is left of the attempts."""
    rejects = rows(root, "rejects").set_index("image_id")
    assert rejects.loc[killer, "stage"] == stage
    assert rejects.loc[killer, "reason"] == REASON
    assert not list(root.glob("_staging/attempts/*/*"))


@pytest.mark.timeout(1800)
@pytest.mark.parametrize(("stage", "table"), [("ingest", "images"), ("extract", "features")])
def test_photo_that_kills_its_worker_is_rejected_and_the_rest_goes_on(
    marked, marked_root, small_source, small_root, run_process, tmp_path, stage, table
):
    folder, killer = marked
    root = tmp_path / "root"
    if stage != "ingest":
        shutil.copytree(marked_root, root)
    args = ("--source", folder, "--root", root, *small_source.options)
    done = run_process("pipeline", *args, "--to", stage, env=os.environ | DEADLY)
    assert done.returncode == 0, done.stderr
    assert_rejected(root, stage, killer)
    assert_only_missing(rows(root, table), rows(small_root, table), killer)
    assert "kills its worker" in done.stdout


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("where", ["decoding", "model"])
def test_photo_that_kills_a_worker_with_a_model_is_rejected(
    where, marked, marked_root, whole, small_source, run_process, run_job, tmp_path
):
    folder, killer = marked
    root = tmp_path / "root"
    shutil.copytree(marked_root, root)
    args = ("--source", folder, "--root", root, *small_source.options)
    if where == "decoding":
        model = delf.save(tmp_path / "model")
        done = run_process("pipeline", *args, *with_delf(model), env=os.environ | DEADLY)
    else:
        total = deadly.total(rows(root, "images").set_index("image_id").jpeg[killer])
        done = run_job("pipeline", *args, *with_delf(delf.save(tmp_path / "model", total)))
    assert done.returncode == 0, done.stderr
    assert_rejected(root, "extract", killer)
    assert_only_missing(rows(root, "features"), rows(whole, "features"), killer)


@pytest.mark.timeout(1800)
def test_photo_that_kills_the_detector_is_rejected(
    small_source, small_root, detected, run_job, tmp_path
):
    images = rows(small_root, "images").set_index("image_id")
    kept = rows(small_root, "kept")
    killer = kept[kept.keep].image_id.iloc[0]
    root, total = tmp_path / "root", deadly.total(images.jpeg[killer], DetectConfig().max_side)
    shutil.copytree(small_root, root)
    options = detecting(small_source, root, detector.save(tmp_path / "model", total))
    done = run_job("pipeline", *options, *ONE_DETECTOR, "--redo", "detect")
    assert done.returncode == 0, done.stderr
    assert_rejected(root, "detect", killer)
    assert_only_missing(rows(root, "detections"), rows(detected, "detections"), killer)
