"""describe: compute a global descriptor of every ingested photo, with the network as it is given.

The network sees the photo as it does when it serves (`kernels.image.square`). `prune` asks the
descriptors which photos resemble each other, and `embed` takes them as its vectors of the photos as
they are. A network that has no weights yet (`--train.weights none`) describes nothing.
"""

from functools import partial

import numpy as np
import pyarrow as pa
import ray
from ray.exceptions import RayTaskError

from landmark_ray.bundle.network_files import PRETRAINED, read_trunk, trunk_info, write_trunk
from landmark_ray.config import Config
from landmark_ray.data import schemas
from landmark_ray.data.root import Root
from landmark_ray.data.sources import Source
from landmark_ray.data.store import Store
from landmark_ray.kernels.image import square
from landmark_ray.runtime.counts import StageCounts
from landmark_ray.runtime.ray_start import start_ray
from landmark_ray.runtime.resources import pin_tensorflow, plan_workers
from landmark_ray.runtime.shards import ShardReader, ShardResult, process_shards_with_model
from landmark_ray.runtime.stage import Stage
from landmark_ray.runtime.tasks import Row, unwrap_ray_error

NOTHING = (
    "agreement cannot be judged: with --train.weights none no network can describe the photos "
    "before they are cleaned, so that prune keeps only what geometry verifies"
)


def run(config: Config, root: Root, source: Source) -> StageCounts:
    """Write `models/pretrained` and `descriptors`."""
    if config.train.from_scratch:
        images = sum(shard.images for shard in root.shards())
        return StageCounts(images, images, notes=[NOTHING])
    if trunk_info(Store(f"{root.uri}/models"), PRETRAINED) is None:
        store_network(config, root)
    workers = plan_workers(config, "train.", config.train)
    load = partial(Describe, config, root, pin=not workers.gpus)
    return process_shards_with_model("describe", "descriptors", load, workers, config, root)


def store_network(config: Config, root: Root) -> None:
    """Store the network with the weights that `--train.weights` names.

    Raises:
        UserError: They cannot be loaded.
    """
    start_ray(config)
    try:
        ray.get(ray.remote(store).options(max_retries=0).remote(config, root))
    except RayTaskError as error:
        raise unwrap_ray_error(error) from None


def store(config: Config, root: Root) -> None:
    """Build the network and store it; runs in a worker."""
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

        self.size = config.resize.size
        network = read_trunk(Store(f"{root.uri}/models"), PRETRAINED)
        self.embedder = Embedder(network, config.train.augment)

    def __call__(self, shard: ShardReader) -> ShardResult:
        """Describe the photos of a shard, `BATCH` at a time: a shard of them would be 5 GB."""
        images = shard.read("images", ["image_id", "landmark_id", "jpeg"])
        rows: list[Row] = []
        for batch in images.to_batches(max_chunksize=BATCH):
            photos = batch.to_pylist()
            pixels = np.stack([np.asarray(square(row.pop("jpeg"), self.size)) for row in photos])
            vectors = self.embedder.embed(pixels).astype(np.float16)
            rows += [row | {"vector": v.tobytes()} for row, v in zip(photos, vectors, strict=True)]
        counts = StageCounts(images.num_rows, images.num_rows)
        return ShardResult(pa.Table.from_pylist(rows, schemas.DESCRIPTORS), counts)


STAGE = Stage("describe", reads=("images",), writes=("models/pretrained", "descriptors"), run=run)
