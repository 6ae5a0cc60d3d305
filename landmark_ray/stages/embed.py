"""embed: vectors of all examples by the frozen trunk, once for all groups and epochs.

Training images have several: of the photo as it is, and of varied ones. Workers hold the trunk (on
GPUs where there are any).
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
"""Scratch of the search over these tables, of jobs/tune.py."""


def run(config: Config, root: Root, source: Source) -> StageCounts:
    """Write `embeddings`."""
    workers = plan_workers(config, "train.", config.train)
    load = partial(Embed, config, root, pin=not workers.gpus)
    return process_shards_with_model("embed", "embeddings", load, workers, config, root)


class Embed:
    """The rule that holds the trunk."""

    def __init__(self, config: Config, root: Root, *, pin: bool) -> None:
        """Load the trunk; `pin` keeps it on the cores of its worker."""
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
        counts.facts["vectors"] = rows.num_rows
        return ShardResult(rows, counts)


def embed_rows(examples: pa.Table, embedder: "Embedder", config: Config) -> pa.Table:
    """Rows of `embeddings`: a vector of each image, and of those for training all views."""
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
    vectors = [v.tobytes() for _, found in views for v in found.astype(np.float16)]
    rows = rows.append_column("view", pa.array(number, pa.int32()))
    return rows.append_column("vector", pa.array(vectors, pa.binary())).cast(schemas.EMBEDDINGS)


STAGE = Stage(
    "embed", reads=("models/trunk", "examples"), writes=("embeddings",), run=run, scratch=(SEARCH,)
)
