"""describe: compute a global descriptor of every ingested photo, with the network as it is given.

The network sees the photo as it does when it serves (`kernels.image.square`). `prune` asks the
descriptors which photos resemble each other, and `embed` takes them as its vectors of the photos as
they are. A network that has no weights yet (`--train.weights none`) describes nothing.
"""

from functools import partial

import numpy as np
import pyarrow as pa

from landmark_ray.bundle.network_files import PRETRAINED, read_trunk, trunk_info, write_trunk
from landmark_ray.config import Config
from landmark_ray.data import schemas
from landmark_ray.data.root import Root
from landmark_ray.data.sources import Source
from landmark_ray.data.store import Store
from landmark_ray.kernels.image import square
from landmark_ray.runtime import ledger
from landmark_ray.runtime.counts import StageCounts
from landmark_ray.runtime.resources import pin_tensorflow, plan_workers
from landmark_ray.runtime.shards import ShardReader, ShardResult, process_shards_with_model
from landmark_ray.runtime.stage import Stage
from landmark_ray.runtime.tasks import Row, probe_on_cluster

NO_NETWORK = "not described, as --train.weights none gives no network yet"
"""The counter of all images, if the network is trained later."""


def run(config: Config, root: Root, source: Source) -> StageCounts:
    """Write `models/pretrained` and `descriptors`."""
    if config.train.from_scratch:
        return ledger.untouched(root, "ingest", NO_NETWORK)
    if trunk_info(Store(f"{root.uri}/models"), PRETRAINED) is None:
        probe_on_cluster(config, store, config, root)
    workers = plan_workers(config, "train.", config.train)
    load = partial(Describe, config, root, pin=not workers.gpus)
    return process_shards_with_model("describe", "descriptors", load, workers, config, root)


def store(config: Config, root: Root) -> None:
    """Store the network with the weights that `--train.weights` names; runs in a worker.

    Raises:
        UserError: The weights cannot be loaded.
    """
    from landmark_ray.models.networks import build_trunk

    network = build_trunk(
        config.train.network,
        weights=config.train.weights,
        input_size=config.resize.size,
        pooling=config.train.pooling,
    )
    write_trunk(Store(f"{root.uri}/models"), PRETRAINED, network)


class Describe:
    """The rule of the stage: it holds the network."""

    def __init__(self, config: Config, root: Root, *, pin: bool) -> None:
        """Load the network; `pin` limits its threads to the cores of the worker."""
        if pin:
            pin_tensorflow()
        from landmark_ray.models.embedding import Embedder

        self.size, self.fit = config.resize.size, config.resize.fit
        network = read_trunk(Store(f"{root.uri}/models"), PRETRAINED)
        self.embedder = Embedder(network, config.train.augment)

    def __call__(self, shard: ShardReader) -> ShardResult:
        """Describe the photos of a shard, which take 0.15 MB each when they are decoded."""
        images = shard.read("images", ["image_id", "landmark_id", "jpeg"])
        decoded, rejects = shard.map_images(images, self.decode)
        vectors = self.embedder.embed(np.array([row.pop("pixels") for row in decoded]))
        rows = [
            row | {"vector": vector.tobytes()}
            for row, vector in zip(decoded, vectors.astype(np.float16), strict=True)
        ]
        table = pa.Table.from_pylist(rows, schemas.DESCRIPTORS)
        return ShardResult(table, StageCounts.between(images, table, rejects), rejects)

    def decode(self, image: Row) -> Row:
        """Make the square of a photo that the network sees.

        Raises:
            ImageError: The photo cannot be decoded.
        """
        return {"pixels": square(image["jpeg"], self.size, self.fit)}


STAGE = Stage(
    "describe",
    reads=("images",),
    writes=("models/pretrained", "descriptors", "rejects/stage=describe"),
    run=run,
)
