"""The stage `index`: which index comes of some embeddings, and what ends it in one line."""

import os
import signal
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pytest

from landmark_ray.bundle.landmark_index import FILES, LandmarkIndex, index_info
from landmark_ray.config import Config
from landmark_ray.data import schemas
from landmark_ray.data.root import Root
from landmark_ray.data.store import Store
from landmark_ray.errors import UserError
from landmark_ray.stages.index import make, run
from tests.holds import Holds
from tests.running import REPO

NOBODY = np.full((1, 2), -1), np.zeros((1, 2))


def embeddings(count=40, length=12):
    """Photos of landmarks 7, 8 and 9, and every fifth one of none."""
    rng = np.random.default_rng(0)
    return [
        {
            "image_id": f"{i:03d}",
            "landmark_id": 7 + i % 3,
            "group": i % 5 and 1,
            "split": "validation" if i % 4 == 3 else "train",
            "view": 0,
            "vector": rng.normal(size=length).astype(np.float16).tobytes(),
        }
        for i in range(count)
    ]


def write_root(path, rows, shards=1):
    root = Root(str(path))
    for shard in range(shards):
        table = pa.Table.from_pylist(rows[shard::shards], schemas.EMBEDDINGS)
        root.commit("embeddings", shard % 2, shard, table, "")
    root.ensure("duplicates")
    Store(f"{root.uri}/models").write("trunk/network.weights.h5", b"weights")
    return root


def files(root):
    store = Store(f"{root.uri}/models")
    return {name: store.read(f"index/{name}") for name in FILES}


def test_the_index_does_not_depend_on_shards_and_buckets(tmp_path):
    roots = [write_root(tmp_path / f"{shards}", embeddings(), shards) for shards in (1, 3)]
    infos = [make(Config(), root) for root in roots]
    assert infos[0] == infos[1]
    assert (infos[0].photos, infos[0].strangers, infos[0].features) == (32, 8, 12)
    assert files(roots[0]) == files(roots[1])


def test_killed_in_the_middle_there_is_no_index_and_the_same_command_makes_it(tmp_path):
    roots = [write_root(tmp_path / name, embeddings()) for name in ("killed", "whole")]
    holds = Holds(tmp_path / "holds")
    holds.order("index", after=1)  # before index.json, which is written last
    program = (
        "import sys; from landmark_ray.stages.index import make; from landmark_ray.config import "
        "Config; from landmark_ray.data.root import Root; make(Config(), Root(sys.argv[1]))"
    )
    driver = subprocess.Popen(
        [sys.executable, "-c", program, tmp_path / "killed"], env=os.environ | holds.env(), cwd=REPO
    )
    os.kill(holds.wait("index", driver), signal.SIGKILL)
    driver.wait()
    models = Store(f"{roots[0].uri}/models")
    assert (tmp_path / "killed/models/index/photos.parquet").exists()
    assert index_info(models) is None
    for root in roots:
        make(Config(), root)
    assert files(roots[0]) == files(roots[1])


@pytest.mark.parametrize(
    ("values", "says"),
    [
        (np.full(12, np.nan), r"embeddings: .*not finite; run embed with --redo embed"),
        (None, r"embeddings: all of \d+ descriptors are equal"),
    ],
)
def test_vectors_that_say_nothing_are_one_line(tmp_path, values, says):
    rows = embeddings()
    bad = rows if values is None else rows[5:6]
    for row in bad:
        row["vector"] = np.asarray(np.ones(12) if values is None else values, np.float16).tobytes()
    with pytest.raises(UserError, match=says) as error:
        make(Config(), write_root(tmp_path, rows))
    assert "\n" not in str(error.value)


def test_an_index_without_photos_of_landmarks_answers_with_none(tmp_path):
    root = write_root(tmp_path, [row | {"group": 0} for row in embeddings()])
    assert make(Config(), root).photos == 0
    index = LandmarkIndex(Store(f"{root.uri}/models"))
    found = index.candidates(np.ones((1, 12), np.float32), NOBODY)
    assert (found.landmarks < 0).all()
    assert found.strangers[0] > -1


def test_a_shard_without_a_landmark_answers_with_none(tmp_path):
    root = write_root(tmp_path, embeddings())
    make(Config(), root)
    index = LandmarkIndex(Store(f"{root.uri}/models"), shard=2, shards=4)  # 7, 8 and 9 are others
    assert (index.candidates(np.ones((1, 12), np.float32), NOBODY).landmarks < 0).all()


@pytest.mark.parametrize("table", ["images", "features", "pairs"])
def test_exemplars_need_tables_that_may_be_gone(tmp_path, table):
    root = write_root(tmp_path, embeddings())
    for name in {"images", "features", "pairs"} - {table}:
        (tmp_path / name).mkdir()
    with pytest.raises(UserError, match=f"{table} is gone.*add --index.exemplars 0") as error:
        run(Config(), root, None)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "models/index").exists()
