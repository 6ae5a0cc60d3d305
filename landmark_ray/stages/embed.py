"""embed: compute vectors of all examples with the frozen trunk, once for all groups and epochs.

A training image has several vectors: one of the photo as it is, and one of each augmented view. The
former is the descriptor of `describe`, where the trunk is the network that computed it. Workers
hold the trunk, on GPUs if there are any.
"""

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from landmark_ray.config import Config
from landmark_ray.data import schemas
from landmark_ray.data.examples import IDS, pixels, read_examples
from landmark_ray.data.root import Root
from landmark_ray.data.sources import Source
from landmark_ray.kernels.sampling import rank_key
from landmark_ray.runtime.counts import StageCounts
from landmark_ray.runtime.pixels import decoded, pixels_by_id
from landmark_ray.runtime.resources import pin_tensorflow, plan_workers
from landmark_ray.runtime.shards import ShardReader, ShardResult, process_shards_with_model
from landmark_ray.runtime.stage import Stage

if TYPE_CHECKING:
    from landmark_ray.models.embedding import Embedder

SEARCH = "_staging/tune"
"""The scratch folder of jobs/tune.py, which searches over these vectors."""


def run(config: Config, root: Root, source: Source) -> StageCounts:
    """Write `embeddings`."""
    workers = plan_workers(config, "train.", config.train, overlap=True, trains=False)
    load = partial(Embed, config, root, pin=not workers.gpus)
    return process_shards_with_model(
        "embed",
        "embeddings",
        load,
        workers,
        config,
        root,
        prepare=partial(
            decoded,
            stage="embed",
            root=root,
            images_of=partial(images_of, seed=config.seed),
            decode=partial(pixels, size=config.resize.size),
        ),
    )


def images_of(shard: ShardReader, seed: int) -> pa.Table:
    """Read the examples of a shard, and its background images."""
    return read_examples(shard.root, shard.key, seed)


class Embed:
    """The rule of the stage: it holds the trunk."""

    def __init__(self, config: Config, root: Root, *, pin: bool) -> None:
        """Load the trunk; `pin` limits its threads to the cores of the worker."""
        if pin:
            pin_tensorflow()
        from landmark_ray.bundle.network_files import read_trunk
        from landmark_ray.models.classification import use_precision
        from landmark_ray.models.embedding import Embedder

        use_precision(config.train.precision)
        self.config = config
        self.embedder = Embedder(read_trunk(root.models), config.train.augment)

    def __call__(self, shard: ShardReader) -> ShardResult:
        """Embed the examples of a shard."""
        examples = read_examples(shard.root, shard.key, self.config.seed, IDS)
        photos = cast(dict[str, NDArray[np.uint8]], pixels_by_id(shard))  # none is damaged
        known = schemas.DESCRIPTORS.empty_table()
        if not (self.config.train.from_scratch or self.config.train.is_metric):
            known = shard.read("descriptors")
        rows = embed_rows(examples, photos, known, self.embedder, self.config)
        counts = StageCounts(shard.images, shard.images)
        counts.counters["vectors"] = rows.num_rows
        return ShardResult(rows, counts)


def embed_rows(
    examples: pa.Table,
    by_id: Mapping[str, NDArray[np.uint8]],
    known: pa.Table,
    embedder: "Embedder",
    config: Config,
) -> pa.Table:
    """Compute rows of `embeddings` for rows of `examples`.

    Each image has a row with view 0, the photo as it is. Each training image has further rows, one
    for each augmented view.

    Args:
        examples: Rows of `examples`, without `jpeg`.
        by_id: image_id -> its pixels [H, W, 3].
        known: Rows of `descriptors` of the same shard: vectors that need not be computed.
        embedder: Computes the others.
        config: All options.
    """
    if not examples.num_rows:
        return schemas.EMBEDDINGS.empty_table()
    photos = np.stack([by_id[image_id] for image_id in examples["image_id"].to_pylist()])
    train = np.flatnonzero(examples["split"].to_numpy() == "train")
    views: list[tuple[NDArray[np.int64], NDArray[np.floating]]] = [
        (np.arange(len(photos)), vectors_of(examples, photos, known, embedder))
    ]
    for view in range(1, config.train.views):
        key = f"{view} {examples['image_id'][0]}"
        seed = int(rank_key([key], config.seed)[0] % 2**31)
        views.append((train, embedder.augmented_views(photos[train], seed)))
    rows = examples.take(np.concatenate([index for index, _ in views]))
    number = np.repeat(np.arange(len(views)), [len(index) for index, _ in views])
    vectors = [row.tobytes() for _, matrix in views for row in matrix.astype(np.float16)]
    rows = rows.append_column("view", pa.array(number, pa.int32()))
    return rows.append_column("vector", pa.array(vectors, pa.binary())).cast(schemas.EMBEDDINGS)


def vectors_of(
    examples: pa.Table, photos: NDArray[np.uint8], known: pa.Table, embedder: "Embedder"
) -> NDArray[np.float16]:
    """Return the vectors [N, D] of photos [N, H, W, 3] as they are; drawn images are not known."""
    place = pc.index_in(examples["image_id"], known["image_id"]).to_numpy(zero_copy_only=False)
    unknown = np.flatnonzero(np.isnan(place))
    computed = embedder.embed(photos[unknown]).astype(np.float16)
    if len(unknown) == len(photos):
        return computed
    vectors = np.empty((len(photos), computed.shape[1]), np.float16)
    vectors[unknown] = computed
    stored = np.flatnonzero(~np.isnan(place))
    data = known["vector"].take(pa.array(place[stored].astype(np.int64))).to_pylist()
    vectors[stored] = np.frombuffer(b"".join(data), np.float16).reshape(len(stored), -1)
    return vectors


STAGE = Stage(
    "embed",
    reads=("models/trunk", "examples", "descriptors"),
    writes=("embeddings",),
    run=run,
    scratch=(SEARCH,),
)
