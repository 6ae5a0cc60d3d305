"""The training of a large head against its bare products, on the same framework, cores and batch.

A step of `landmark_ray/models/head_loop.py` gathers vectors, drops features, and does the products
of the cosines and their gradients, the loss, the backward pass and AdamW's update. The bare
product, compiled in the same way, is only the two large ones: vectors [B, D] times weights [D, C],
and their transpose times [B, C]. Vectors are made up. Both alternate, and medians are compared.

    python bench/heads.py [--smoke]

2 minutes, 4 GiB of memory, with 18,000 landmarks, 2,048 numbers and batches of 1,024. It uses
Keras's backend: KERAS_BACKEND=jax measures JAX. It needs neither Ray nor the photographs' vectors.
"""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from common import Figure, in_own_process, report, run

FIGURES = {
    "ratio": Figure(
        "training of a head of 18,000 landmarks", "the bare products, same batch", least=0.5
    ),
    "vectors_s": Figure("training of a head of 18,000 landmarks", unit="vectors/s"),
}


@dataclass(frozen=True)
class Size:
    """How much work there is.

    Attributes:
        landmarks: classes of the head.
        features: length of a vector.
        batch: vectors of a step.
        steps: of an epoch.
        rounds: epochs, and measurements of the products.
    """

    landmarks: int
    features: int
    batch: int
    steps: int
    rounds: int


def rates(size: Size) -> tuple[float, float]:
    """Return the vectors a second of the training, and of the bare products."""
    from keras import ops

    from landmark_ray.models.backend import jit
    from landmark_ray.models.head_loop import HeadLoop, HeadOptions
    from landmark_ray.models.heads import build_head, start_at_means
    from landmark_ray.models.samples import Samples

    rng = np.random.default_rng(0)
    count = size.batch * size.steps
    x = rng.normal(size=(count, size.features)).astype(np.float16)
    y = rng.integers(0, size.landmarks, count).astype(np.int32)
    head = build_head(size.features, size.landmarks, kind="cosine", scale=16.0)
    start_at_means(head, x, y, 16.0)
    samples = Samples.send(x, y, np.ones(count, np.float32))
    options = HeadOptions(batch=size.batch, rate=3e-3, epochs=size.rounds + 1)
    loop = HeadLoop(head, samples, options)
    kernel = ops.convert_to_tensor(head.get_weights()[0])
    batch = ops.convert_to_tensor(x[: size.batch].astype(np.float32))

    @jit
    def products(batch: object, kernel: object) -> object:
        return ops.matmul(ops.transpose(batch), ops.matmul(batch, kernel))

    def bare() -> None:
        for _ in range(size.steps):
            result = products(batch, kernel)
        ops.convert_to_numpy(result[0, 0])

    ours, theirs = [], []
    loop.epoch(0)
    bare()
    for number in range(size.rounds):
        ours.append(seconds_of(lambda number=number: loop.epoch(number + 1)))
        theirs.append(seconds_of(bare))
    return count / statistics.median(ours), count / statistics.median(theirs)


def seconds_of(work: Callable[[], object]) -> float:
    """What a call takes."""
    begun = time.monotonic()
    work()
    return time.monotonic() - begun


def measure(size: Size, folder: Path) -> dict[str, float]:
    """Compare both in a process on `CORES` cores."""
    ours, theirs = in_own_process(rates, size)
    report(
        f"{size.landmarks:,} landmarks, batch {size.batch:,}",
        ["", "vectors/s"],
        [("training of the head", ours), ("bare products", theirs)],
    )
    return {"ratio": ours / theirs, "vectors_s": ours}


if __name__ == "__main__":
    run(
        measure,
        FIGURES,
        full=Size(landmarks=18_000, features=2048, batch=1024, steps=4, rounds=3),
        smoke=Size(landmarks=10, features=32, batch=64, steps=3, rounds=2),
    )
