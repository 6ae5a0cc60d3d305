"""Workers that hold a model write several tables, and load it once."""

import os
from functools import partial
from pathlib import Path

import pyarrow as pa
import pytest

from landmark_ray.config import Config
from landmark_ray.data.root import Root, Shard
from landmark_ray.data.schemas import PREDICTIONS
from landmark_ray.runtime.counts import StageCounts
from landmark_ray.runtime.resources import Workers
from landmark_ray.runtime.shards import ShardReader, ShardResult, process_shards_with_model

pytestmark = pytest.mark.ray

TESTS = "test_predictions"


class Model:
    """A rule that notes each start of a worker, and which shards it is given."""

    def __init__(self, place: Path) -> None:
        self.place = place
        (place / f"started-{os.getpid()}").touch()

    def __call__(self, shard: ShardReader) -> ShardResult:
        (self.place / f"{shard.table}-{shard.shard}-by-{os.getpid()}").touch()
        counts = StageCounts(shard.images, shard.images)
        return ShardResult(PREDICTIONS.empty_table(), counts)


@pytest.fixture
def root(tmp_path) -> Root:
    """A root with two shards of 3 and 2 images."""
    root = Root(str(tmp_path / "root"))
    catalog = {"image_id": list("abcde"), "landmark_id": [1, 1, 1, 2, 2], "shard": [0, 0, 0, 1, 1]}
    root.write_table("catalog/bucket=0/catalog.parquet", pa.table(catalog))
    return root


@pytest.mark.usefixtures("run_job")  # which leaves the Ray of this process at the end
def test_one_pool_writes_all_tables_and_counts_the_first(root, tmp_path):
    config = Config(root=root.uri, source="none")
    tests = [Shard(0, number, 10) for number in range(3)]

    def run() -> StageCounts:
        load, workers = partial(Model, tmp_path), Workers(1, 0, 0.9)
        more = {TESTS: tests}
        return process_shards_with_model(
            "evaluate", "predictions", load, workers, config, root, more=more
        )

    root.commit(TESTS, 0, 1, PREDICTIONS.empty_table(), StageCounts(9, 9).to_json())
    assert run().images_in == 5
    (started,) = tmp_path.glob("started-*")
    worked = {path.name.partition("-by-")[0] for path in tmp_path.glob("*-by-*")}
    assert worked == {"predictions-0", "predictions-1", f"{TESTS}-0", f"{TESTS}-2"}
    assert set(root.committed(TESTS)) == {(0, 0), (0, 1), (0, 2)}
    assert run().images_in == 5, "what is committed counts"
    assert list(tmp_path.glob("started-*")) == [started], "nothing is left to load a model for"
