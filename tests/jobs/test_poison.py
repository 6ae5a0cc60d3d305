"""Photos that kill the process that reads them: they end in rejects, and nothing else is lost."""

import hashlib
import io
import os
import tarfile
from pathlib import Path

import pandas as pd
import pytest

from tests.conftest import REPO
from tests.poison.mark import MARK
from tests.tables import rows

pytestmark = pytest.mark.ray

POISON = REPO / "tests/poison"


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


@pytest.mark.timeout(900)
@pytest.mark.parametrize(("stage", "table"), [("ingest", "images"), ("extract", "features")])
def test_photo_that_kills_its_worker_is_rejected_and_the_rest_goes_on(
    marked, small_source, small_root, run_job, tmp_path, stage, table
):
    folder, killer = marked
    args = ("--source", folder, "--root", tmp_path, *small_source.options)
    if stage != "ingest":
        done = run_job("pipeline", *args, "--to", "dedupe")
        assert done.returncode == 0, done.stderr
    deadly = os.environ | {"PYTHONPATH": f"{POISON}:{REPO}"}
    done = run_job("pipeline", *args, "--to", stage, env=deadly)
    assert done.returncode == 0, done.stderr
    rejects = rows(tmp_path, "rejects").set_index("image_id")
    assert rejects.loc[killer, "stage"] == stage
    assert rejects.loc[killer, "reason"] == "kills its worker: 3 attempts ended at this image"
    assert_only_missing(rows(tmp_path, table), rows(small_root, table), killer)
    assert "kills its worker" in done.stdout
    assert not list(tmp_path.glob("_staging/attempts/*/*"))
