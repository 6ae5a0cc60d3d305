# /// script
# requires-python = ">=3.11"
# dependencies = ["keras>=3.15", "jax[cuda12]", "numpy", "pydantic", "torch", "torchvision"]
# ///
"""Rates of networks and heads on this machine's GPU, beside torchvision's ResNet50 on the card.

    uv run bench/gpu.py [--smoke]
    python bench/gpu.py [--smoke]

The first installs what it needs into an environment of its own. The second needs keras, jax (or
another backend, by KERAS_BACKEND), numpy and pydantic, but neither Ray nor TensorFlow; where torch
and torchvision are installed, they are measured, too.
Photos and vectors are made up. Every side gets batches of bytes from the host's memory, converts
them on the device, and computes in 16 bits; ratios are to torchvision compiled by `torch.compile`.

It prints a table, and the same as one JSON line, and exits with status 1 if a ratio is below its
target. About five minutes on one H100, where it has not been run yet. `--smoke` runs the same on a
toy, where no target is judged.
"""

import argparse
import importlib.util
import json
import math
import os
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

os.environ.setdefault("KERAS_BACKEND", "jax")
sys.path.insert(0, str(Path(__file__).parents[1]))

import keras
import numpy as np

from landmark_ray.kernels.head_batches import batch_size
from landmark_ray.models import classification, fit_loop
from landmark_ray.models.augmentation import build_augmentation
from landmark_ray.models.backend import on_gpu
from landmark_ray.models.embedding import Embedder
from landmark_ray.models.head_loop import HeadLoop, HeadOptions
from landmark_ray.models.heads import build_head, start_at_means
from landmark_ray.models.networks import build_trunk
from landmark_ray.models.samples import Samples
from landmark_ray.models.specs import AugmentationOptions

OPTIONS = SimpleNamespace(optimizer="adamw", weight_decay=1e-4, smoothing=0.1)
"""Those of the training, as `TrainConfig`, which would need pandas and more, has them."""

TARGETS = {"training": 0.85, "embedding": 0.7, "heads": 0.5, "augmentation": 0.9}


@dataclass(frozen=True)
class Size:
    """How much work there is.

    Attributes:
        network: a name of `--train.network`.
        side: width and height of the photos.
        batch: photos of a training step.
        steps: of an epoch; batches of photos to embed.
        landmarks: classes of the head.
        features: length of its vectors.
        vectors: number of them.
        rounds: measurements, of which the median counts.
    """

    network: str
    side: int
    batch: int
    steps: int
    landmarks: int
    features: int
    vectors: int
    rounds: int


FULL = Size("ResNet50", 224, 128, 40, 18_000, 2048, 360_000, 3)
SMOKE = Size("small", 32, 8, 3, 10, 32, 200, 1)


def some_photos(size: Size, count: int) -> np.ndarray:
    """Photos [count, side, side, 3] of noise."""
    shape = (count, size.side, size.side, 3)
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


def training(size: Size, precision: Any, augment: bool) -> float:
    """Photos a second of `fit_loop.fit`, of all steps of an epoch but the first."""
    classification.use_precision(precision)
    trunk = build_trunk(size.network, weights=None, size=size.side)
    views = build_augmentation(AugmentationOptions(), 0) if augment else None
    head = build_head(int(trunk.output_shape[-1]), 1000)
    model = classification.build_classifier(trunk, head, views, learn_statistics=True)
    photos = some_photos(size, size.batch)
    y = np.arange(size.batch, dtype=np.int32) % 1000
    weights = np.ones(size.batch, np.float32)
    seconds: list[float] = []

    def batches() -> Any:
        while True:
            yield photos, y, weights

    def keep(epoch: int, figures: dict[str, float], model: keras.Model) -> None:
        seconds.append(figures["step_s"])

    fit_loop.fit(
        model,
        fit_loop.Stream(batches(), size.steps),
        rate=1e-3,
        epochs=size.rounds + 1,
        warmup=0.1,
        options=OPTIONS,
        on_progress=keep,
    )
    return size.batch / statistics.median(seconds[1:])


def embedding(size: Size, precision: Any) -> float:
    """Photos a second of the trunk as `describe` and `embed` call it."""
    classification.use_precision(precision)
    embedder = Embedder(build_trunk(size.network, weights=None, size=size.side))
    photos = some_photos(size, size.batch * size.steps)
    return len(photos) / typical(lambda: embedder.embed(photos), size.rounds)


def heads(size: Size, batch: int) -> float:
    """Vectors a second of the training of a head."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(size.vectors, size.features)).astype(np.float16)
    y = rng.integers(0, size.landmarks, size.vectors).astype(np.int32)
    products = "bfloat16" if on_gpu() else "float32"
    head = build_head(size.features, size.landmarks, kind="cosine", scale=16.0, products=products)
    start_at_means(head, x, y, 16.0)
    samples = Samples.send(x, y, np.ones(len(x), np.float32))
    loop = HeadLoop(head, samples, HeadOptions(batch=batch, rate=3e-3, epochs=size.rounds + 1))
    epochs = iter(range(size.rounds + 1))
    return len(x) / typical(lambda: loop.epoch(next(epochs)), size.rounds)


def typical(work: Callable[[], object], rounds: int) -> float:
    """Median of the seconds of some calls, after a first one that compiles."""
    work()
    seconds = []
    for _ in range(rounds):
        begun = time.monotonic()
        work()
        seconds.append(time.monotonic() - begun)
    return statistics.median(seconds)


def torch_network(size: Size, features: bool) -> Any:
    """Torchvision's ResNet50 on the GPU, compiled, from bytes [B, H, W, 3]."""
    import torch
    import torchvision

    network = torchvision.models.resnet50()
    if features:
        network.fc = torch.nn.Identity()
    network = network.cuda().to(memory_format=torch.channels_last)

    def forward(photos: Any) -> Any:
        x = photos.permute(0, 3, 1, 2).to(torch.float32) / 127.5 - 1
        with torch.autocast("cuda", torch.bfloat16):
            return network(x)

    return network, torch.compile(forward)


def torch_training(size: Size) -> float:
    """Photos a second of torchvision's training."""
    import torch

    network, forward = torch_network(size, features=False)
    optimizer = torch.optim.AdamW(network.parameters(), 1e-3, fused=True)
    loss_of = torch.nn.CrossEntropyLoss(label_smoothing=0.1)
    photos = torch.from_numpy(some_photos(size, size.batch)).pin_memory()
    y = torch.arange(size.batch).cuda() % 1000

    def epoch() -> None:
        for _ in range(size.steps):
            optimizer.zero_grad()
            loss_of(forward(photos.cuda(non_blocking=True)).float(), y).backward()
            optimizer.step()
        torch.cuda.synchronize()

    return size.batch * size.steps / typical(epoch, size.rounds)


def torch_embedding(size: Size) -> float:
    """Photos a second of torchvision's features."""
    import torch

    network, forward = torch_network(size, features=True)
    network.eval()
    photos = torch.from_numpy(some_photos(size, size.batch * size.steps)).pin_memory()

    @torch.no_grad()
    def embed() -> None:
        parts = photos.split(2 * size.batch)
        torch.cat([forward(part.cuda(non_blocking=True)).float() for part in parts]).cpu()

    return len(photos) / typical(embed, size.rounds)


def torch_products(size: Size, batch: int) -> float:
    """Vectors a second of the two products of a head in PyTorch: [B, D][D, C] and [D, B][B, C]."""
    import torch

    x = torch.randn(batch, size.features, device="cuda", dtype=torch.bfloat16)
    kernel = torch.randn(size.features, size.landmarks, device="cuda", dtype=torch.bfloat16)
    steps = max(size.vectors // batch, 1)

    def run() -> None:
        for _ in range(steps):
            x.T @ (x @ kernel)
        torch.cuda.synchronize()

    return batch * steps / typical(run, size.rounds)


def measure(size: Size, with_torch: bool) -> tuple[list[tuple[str, float]], dict[str, float]]:
    """All rates, and the ratios that have targets."""
    batch = batch_size(size.vectors)
    half = "mixed" if on_gpu() else "float32"
    work: list[tuple[str, str, Callable[[], float]]] = [
        ("plain", f"{size.network}: training", lambda: training(size, half, False)),
        ("", "  training in float32", lambda: training(size, "float32", False)),
        ("training", "  training with augmentation", lambda: training(size, half, True)),
        ("embedding", f"{size.network}: embedding", lambda: embedding(size, half)),
        ("", "  embedding in float32", lambda: embedding(size, "float32")),
        ("heads", f"head of {size.landmarks:,}, batch {batch:,}", lambda: heads(size, batch)),
    ]
    if with_torch:
        work += [
            ("torch training", "torchvision: training", lambda: torch_training(size)),
            ("torch embedding", "torchvision: embedding", lambda: torch_embedding(size)),
            ("torch heads", f"bare products, {batch:,}", lambda: torch_products(size, batch)),
        ]
    rows, found = [], {}
    for name, title, run in work:
        rate = run()
        print(f"{title}: {rate:,.0f}", file=sys.stderr, flush=True)
        rows.append((title, rate))
        found[name] = rate
    ratios = {
        name: found[name] / found[f"torch {name}"] for name in TARGETS if f"torch {name}" in found
    }
    return rows, {"augmentation": found["training"] / found["plain"], **ratios}


def device_name() -> str:
    """The name of the device, as its driver gives it."""
    if keras.backend.backend() == "jax":
        import jax

        return str(jax.devices()[0].device_kind)
    return ", ".join(keras.distribution.list_devices()) or "CPU"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--smoke", action="store_true", help="a toy size; no target is judged")
    given = parser.parse_args()
    if not given.smoke and not on_gpu():
        sys.exit("error: Keras finds no GPU here: install a backend with CUDA, or try --smoke")
    parts = ("torch", "torchvision")
    with_torch = on_gpu() and all(importlib.util.find_spec(part) for part in parts)
    rows, ratios = measure(SMOKE if given.smoke else FULL, with_torch)
    name = device_name()
    print(f"{name}, Keras {keras.__version__} on {keras.backend.backend()}: a second")
    for title, rate in rows:
        print(f"{title:<34}{rate:>14,.0f}")
    for ratio, value in ratios.items():
        print(f"{ratio:<34}{value:>14.2f}, target {TARGETS[ratio]}")
    rates = {title.strip(): rate for title, rate in rows}
    print(json.dumps({"device": name, "rates": rates, "ratios": ratios}))
    if not all(map(math.isfinite, rates.values())):
        sys.exit("error: a rate is not finite")
    if not given.smoke and any(ratios[n] < TARGETS[n] for n in TARGETS if n in ratios):
        sys.exit(1)


if __name__ == "__main__":
    main()
