"""The stages that compute vectors against the bare network, and vectors in 16 bits against float32.

1. `describe` and `embed` on Ray against the network alone: the same network in as many processes of
   one thread, on batches of decoded photos. The stages read, decode (and augment, `embed`) photos
   and write tables, on the same cores. The rate of a stage is that of its second half. Both are
   measured in turn, and the figure is the mean of these rounds, of which one may be a tenth off.
2. The least cosine between the vectors of photos in 16 bits and in float32.

    python bench/embed.py [--smoke]

7 minutes, with three copies of gld-mini and mobilenet_v2.
"""

import multiprocessing
import os
import statistics
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from common import (
    CORES,
    FEW_FEATURES,
    MOBILENET,
    TINY_NETWORK,
    Figure,
    in_own_process,
    photographs,
    report,
    run,
    run_stages,
    source_folder,
    tiny_weights,
    write_copies,
)
from stage_rates import ONE_THREAD, stage_rate

from landmark_ray.bundle.network_files import PRETRAINED, read_trunk
from landmark_ray.config import STAGES
from landmark_ray.data.root import Root
from landmark_ray.kernels.image import square
from landmark_ray.runtime.resources import pin_tensorflow

VIEWS = 3
FIGURES = {
    "describe": Figure("rate of `describe`", "the bare network", least=0.8),
    "embed": Figure(f"rate of `embed`, {VIEWS} views", "the bare network", least=0.8),
    "cosine": Figure("least cosine of vectors in 16 bits", "with those in float32", least=0.999),
}


@dataclass(frozen=True)
class Size:
    """How much work there is.

    Attributes:
        smoke: whether the photographs are the toy's.
        options: of the run.
        photos: for the bare network, in each process.
        copies: of each photograph.
        processes: of each side; each starts TensorFlow.
        rounds: in which a stage and the bare network are measured.
    """

    smoke: bool
    options: tuple[object, ...]
    photos: int
    copies: int
    processes: int = CORES
    rounds: int = 3


def bare_rate(root: Root, photos: int, processes: int) -> float:
    """Photos a second of the network alone, in some processes at the same time."""
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        return sum(pool.starmap(bare, [(root, photos)] * processes, chunksize=1))


def bare(root: Root, photos: int) -> float:
    """Photos a second of the network in this process, with one thread."""
    pin_tensorflow(1)
    import tensorflow as tf

    network = read_trunk(root.models, PRETRAINED)
    graph = tf.function(lambda batch: network(batch, training=False))
    batch = np.random.default_rng(0).uniform(0, 255, (32, *network.input_shape[1:]))
    batch = batch.astype(np.float32)
    graph(batch)
    begun = time.monotonic()
    for _ in range(photos // 32):
        graph(batch).numpy()
    return photos // 32 * 32 / (time.monotonic() - begun)


def least_cosine(root: Root) -> float:
    """The least cosine between the vectors of some photos in 16 bits and in float32."""
    from landmark_ray.models.classification import use_precision
    from landmark_ray.models.embedding import Embedder

    vectors, key = [], min(root.committed("images"))
    jpegs = root.read_shard("images", *key, ["jpeg"])["jpeg"].to_pylist()
    for precision in ("float32", "mixed"):
        use_precision(precision)
        embedder = Embedder(read_trunk(root.models, PRETRAINED))
        size = embedder.network.input_shape[1]
        found = embedder.embed(np.stack([square(jpeg, size) for jpeg in jpegs]))
        vectors.append(found / np.linalg.norm(found, axis=1, keepdims=True))
    return float((vectors[0] * vectors[1]).sum(axis=1).min())


def measure(size: Size, folder: Path) -> dict[str, float]:
    """Run both stages, each beside the bare network."""
    os.environ.update(dict.fromkeys(ONE_THREAD, "1"))
    photos = photographs(source_folder(size.smoke))
    write_copies(photos, size.copies, folder / "source")
    options = (*size.options, *(tiny_weights() if size.smoke else ()))
    words = [*options, "--source", folder / "source", "--root", folder / "root"]
    words += [*FEW_FEATURES, "--cluster.cpus", CORES, "--train.views", VIEWS]
    words += ["--train.cpus", CORES / size.processes]
    figures, rows = {}, []
    begin = STAGES[0]
    for stage in ("describe", "embed"):
        before = STAGES[STAGES.index(stage) - 1]
        _, root = run_stages(words, begin, before)
        ratios = []
        for _ in range(size.rounds):
            staged, worked = stage_rate(stage, words, root)
            if stage == "embed":  # the vectors of photos as they are come from `describe`
                views = root.dataset("embeddings").to_table(["view"])["view"].to_numpy()
                staged *= (views > 0).sum() / sum(len(ids) for ids in worked.values())
            alone = bare_rate(root, size.photos, size.processes)
            rows.append((f"{stage}, photos/s", staged, alone))
            ratios.append(staged / alone)
        figures[stage] = statistics.mean(ratios)
        begin = stage
    report("Vectors", ["", "stage", "bare network"], rows)
    figures["cosine"] = in_own_process(least_cosine, root)
    print(f"least cosine: {figures['cosine']:.5f}", file=sys.stderr)
    return figures


if __name__ == "__main__":
    run(
        measure,
        FIGURES,
        full=Size(smoke=False, options=MOBILENET, photos=320, copies=3),
        smoke=Size(
            smoke=True,
            options=(*TINY_NETWORK, "--sample.buckets", 2, "--sample.shard_images", 8),
            photos=32,
            copies=1,
            processes=1,
            rounds=1,
        ),
    )
