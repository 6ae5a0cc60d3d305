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
from landmark_ray.kernels.image import square
from landmark_ray.runtime import ledger
from landmark_ray.runtime.counts import StageCounts
from landmark_ray.runtime.pixels import decoded, unpacked
from landmark_ray.runtime.resources import pin_tensorflow, plan_workers
from landmark_ray.runtime.shards import ShardReader, ShardResult, process_shards_with_model
from landmark_ray.runtime.stage import Stage
from landmark_ray.runtime.tasks import probe_on_cluster
from landmark_ray.training.new_network import build_network, check_preset, preset_inputs

NO_NETWORK = "not described, as --train.weights none gives no network yet"
"""The counter of all images, if the network is trained later."""


def run(config: Config, root: Root, source: Source) -> StageCounts:
    """Write `models/pretrained` and `descriptors`."""
    if config.train.from_scratch:
        return ledger.untouched(root, "ingest", NO_NETWORK)
    if trunk_info(root.models, PRETRAINED) is None:
        probe_on_cluster(config, store, config, root)
    workers = plan_workers(config, "train.", config.train, overlap=True, trains=False)
    load = partial(Describe, config, root, pin=not workers.gpus)
    return process_shards_with_model(
        "describe",
        "descriptors",
        load,
        workers,
        config,
        root,
        prepare=partial(
            decoded,
            stage="describe",
            root=root,
            images_of=images_of,
            decode=partial(square, size=config.resize.size, fit=config.resize.fit),
        ),
    )


def images_of(shard: ShardReader) -> pa.Table:
    """Read the images of a shard."""
    return shard.read("images", ["image_id", "jpeg"])


def store(config: Config, root: Root) -> None:
    """Store the network with the weights that `--train.weights` names; runs in a worker.

    Raises:
        UserError: The weights cannot be loaded.
    """
    write_trunk(root.models, PRETRAINED, build_network(config))


def inputs(config: Config, source: Source) -> dict[str, str]:
    """Return the checksum of the preset of a network `hub:FOLDER`, as another may take its place.

    Raises:
        UserError: The folder is no preset.
    """
    return {} if config.train.from_scratch else preset_inputs(config)


class Describe:
    """The rule of the stage: it holds the network."""

    def __init__(self, config: Config, root: Root, *, pin: bool) -> None:
        """Load the network; `pin` limits its threads to the cores of the worker."""
        if pin:
            pin_tensorflow()
        from landmark_ray.models.classification import use_precision
        from landmark_ray.models.embedding import Embedder

        use_precision(config.train.precision)
        self.size = config.resize.size
        self.embedder = Embedder(read_trunk(root.models, PRETRAINED))

    def __call__(self, shard: ShardReader) -> ShardResult:
        """Describe the photos of a shard, which take 0.15 MB each when they are decoded."""
        images = shard.read("images", ["image_id", "landmark_id"])
        pixels = unpacked(shard)
        rows, rejects = shard.map_images(images, lambda image: {"pixels": pixels(image)})
        photos = np.array([row.pop("pixels") for row in rows], np.uint8)
        vectors = self.embedder.embed(photos.reshape(-1, self.size, self.size, 3))
        for row, vector in zip(rows, vectors.astype(np.float16), strict=True):
            row["vector"] = vector.tobytes()
        table = pa.Table.from_pylist(rows, schemas.DESCRIPTORS)
        return ShardResult(table, StageCounts.between(images, table, rejects), rejects)


STAGE = Stage(
    "describe",
    reads=("images",),
    writes=("models/pretrained", "descriptors", "rejects/stage=describe"),
    run=run,
    inputs=inputs,
    check=check_preset,
)
