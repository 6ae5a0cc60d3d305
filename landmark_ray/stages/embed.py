"""embed: vectors of all examples by the frozen trunk, once for all groups and epochs.

Training images have several: of the photo as it is, and of varied ones. Workers hold the trunk (on
GPUs where there are any).
"""

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from ray.data import Dataset

from landmark_ray.config import Config
from landmark_ray.data import schemas
from landmark_ray.data.examples import pixels, read_examples
from landmark_ray.data.root import Root
from landmark_ray.data.sources import Source
from landmark_ray.data.store import Store
from landmark_ray.kernels.sampling import rank_key
from landmark_ray.runtime.counts import StageCounts
from landmark_ray.runtime.resources import pin_tensorflow
from landmark_ray.runtime.shards import Row, idempotent, plan_workers, run_over_shards

if TYPE_CHECKING:
    from landmark_ray.models.embedding import Embedder

READS = ("trunk", "resize", "group")
WRITES = ("embeddings",)
SEARCH = "_staging/tune"
"""Scratch of the search over these tables, of jobs/tune.py."""
SCRATCH = (SEARCH,)


def inputs(config: Config, source: Source) -> dict[str, str]:
    """What the stage reads besides other stages' tables."""
    return {}


def run(config: Config, tables: Root, source: Source) -> StageCounts:
    """Write `embeddings`."""
    return run_over_shards(
        "embed", "embeddings", tables, config, lambda units: plan(units, config, tables)
    )


def plan(units: Dataset, config: Config, tables: Root) -> Dataset:
    """Units to reports."""
    options = config.train
    workers = plan_workers(config, "train.", options)

    class Worker:
        """Holds the trunk; one for each GPU, or for each core."""

        def __init__(self) -> None:
            if not workers.gpus:
                pin_tensorflow()
            from landmark_ray.bundle.network_files import read_trunk
            from landmark_ray.models.embedding import Embedder

            trunk = read_trunk(Store(f"{tables.uri}/models"))
            self.embedder = Embedder(trunk, options.augment)
            self.work = idempotent("embeddings", tables, self.embed_shard)

        def embed_shard(self, unit: Row) -> Row:
            place = unit["bucket"], unit["shard"]
            rows = embed_rows(read_examples(tables, place, config.seed), self.embedder, config)
            funnel = StageCounts(unit["rows"], unit["rows"])
            funnel.facts["vectors"] = rows.num_rows
            tables.commit("embeddings", *place, rows, funnel.to_json())
            return {"rows": unit["rows"], "report": funnel.to_json()}

        def __call__(self, unit: Row) -> Row:
            return self.work(unit)

    return units.map(Worker, **workers.pool)


def embed_rows(examples: pa.Table, embedder: "Embedder", config: Config) -> pa.Table:
    """Rows of `embeddings`: a vector of each image, and of those for training all views."""
    if not examples.num_rows:
        return schemas.EMBEDDINGS.empty_table()
    photos = np.stack([pixels(jpeg, config.resize.size) for jpeg in examples["jpeg"].to_pylist()])
    train = np.flatnonzero(examples["split"].to_numpy() == "train")
    views = [(np.arange(len(photos)), embedder.plain(photos))]
    for view in range(1, config.train.views):
        key = f"{view} {examples['image_id'][0]}"
        seed = int(rank_key([key], config.seed)[0] % 2**31)
        views.append((train, embedder.varied(photos[train], seed)))
    rows = examples.drop_columns(["jpeg"]).take(np.concatenate([index for index, _ in views]))
    number = np.repeat(np.arange(len(views)), [len(index) for index, _ in views])
    vectors = [v.tobytes() for _, found in views for v in found.astype(np.float16)]
    rows = rows.append_column("view", pa.array(number, pa.int32()))
    return rows.append_column("vector", pa.array(vectors, pa.binary())).cast(schemas.EMBEDDINGS)
