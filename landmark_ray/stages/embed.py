"""embed: compute vectors of all examples with the frozen trunk, once for all groups and epochs.

A training image has several vectors: one of the photo as it is, and one of each augmented view.
Workers hold the trunk, on GPUs if there are any.
"""

from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from landmark_ray.config import Config
from landmark_ray.data import schemas
from landmark_ray.data.examples import pixels, read_examples
from landmark_ray.data.root import Root
from landmark_ray.data.sources import Source
from landmark_ray.data.store import Store
from landmark_ray.kernels.sampling import rank_key
from landmark_ray.runtime.counts import StageCounts
from landmark_ray.runtime.resources import pin_tensorflow, plan_workers
from landmark_ray.runtime.shards import ShardReader, ShardResult, process_shards_with_model
from landmark_ray.runtime.stage import Stage

if TYPE_CHECKING:
    from landmark_ray.models.embedding import Embedder

SEARCH = "_staging/tune"
"""The scratch folder of jobs/tune.py, which searches over these vectors."""


def run(config: Config, root: Root, source: Source) -> StageCounts:
    """Write `embeddings`."""
    workers = plan_workers(config, "train.", config.train)
    load = partial(Embed, config, root, pin=not workers.gpus)
    return process_shards_with_model("embed", "embeddings", load, workers, config, root)


class Embed:
    """The rule of the stage: it holds the trunk."""

    def __init__(self, config: Config, root: Root, *, pin: bool) -> None:
        """Load the trunk; `pin` limits its threads to the cores of the worker."""
        if pin:
            pin_tensorflow()
        from landmark_ray.bundle.network_files import read_trunk
        from landmark_ray.models.embedding import Embedder

        self.config = config
        self.embedder = Embedder(read_trunk(Store(f"{root.uri}/models")), config.train.augment)

    def __call__(self, shard: ShardReader) -> ShardResult:
        """Embed the examples of a shard."""
        examples = read_examples(shard.root, shard.key, self.config.seed)
        rows = embed_rows(examples, self.embedder, self.config)
        counts = StageCounts(shard.images, shard.images)
        counts.counters["vectors"] = rows.num_rows
        return ShardResult(rows, counts)


def embed_rows(examples: pa.Table, embedder: "Embedder", config: Config) -> pa.Table:
    """Compute rows of `embeddings` for rows of `examples`.

    Each image has a row with view 0, the photo as it is. Each training image has further rows, one
    for each augmented view.
    """
    if not examples.num_rows:
        return schemas.EMBEDDINGS.empty_table()
    photos = np.stack([pixels(jpeg, config.resize.size) for jpeg in examples["jpeg"].to_pylist()])
    train = np.flatnonzero(examples["split"].to_numpy() == "train")
    views = [(np.arange(len(photos)), embedder.embed(photos))]
    for view in range(1, config.train.views):
        key = f"{view} {examples['image_id'][0]}"
        seed = int(rank_key([key], config.seed)[0] % 2**31)
        views.append((train, embedder.augmented_views(photos[train], seed)))
    rows = examples.drop_columns(["jpeg"]).take(np.concatenate([index for index, _ in views]))
    number = np.repeat(np.arange(len(views)), [len(index) for index, _ in views])
    vectors = [row.tobytes() for _, matrix in views for row in matrix.astype(np.float16)]
    rows = rows.append_column("view", pa.array(number, pa.int32()))
    return rows.append_column("vector", pa.array(vectors, pa.binary())).cast(schemas.EMBEDDINGS)


STAGE = Stage(
    "embed", reads=("models/trunk", "examples"), writes=("embeddings",), run=run, scratch=(SEARCH,)
)
