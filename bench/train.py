"""The loop that fine-tunes against plain Keras; the phase `head` against fine-tuning.

Loop: photos from Ray Data (read, decoded, shuffled each epoch) against `model.fit` on the same ones
in memory: the same network, augmentation, optimizer and batch, in turn; images/s from the end of
the first epoch on.

Head phase: the seconds of the stages embed and train for all groups, against those that fine-tuning
them for as many epochs would take at the loop's rate.

    python bench/train.py

12 minutes, with gld-mini and mobilenet_v2; without ../shared with the drawn demo and the small
network. To expect: a loop of 0.9 or more of plain Keras's rate.
"""

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from common import GLD_MINI, finish, gld_mini_options, report

from landmark_ray import cli
from landmark_ray.config import Config
from landmark_ray.data.root import Root
from landmark_ray.demo import dataset
from landmark_ray.runtime import ledger
from landmark_ray.training import worker
from landmark_ray.training.photo_stream import Pool, decoded, pool_of, read_index, stream

REPO = Path(__file__).parents[1]
ROUNDS, EPOCHS = 3, 3
LEAST_RATIO = 0.9


def options(folder: Path) -> list[str]:
    """A dataset, a root, and a network that can be had."""
    root = ["--root", str(folder / "root")]
    if GLD_MINI.exists():
        return [*root, *gld_mini_options()]
    dataset.draw(folder / "source", seed=0)
    network = ["--train.network", "small", "--train.weights", "none"]
    return [*root, "--source", str(folder / "source"), *network, "--resize.size", "112"]


def classifier(config: Config, classes: int) -> Any:
    """What the stage finetune trains, for any weights."""
    from landmark_ray.models import classification
    from landmark_ray.models.augmentation import build_augmentation
    from landmark_ray.models.heads import build_head
    from landmark_ray.models.networks import build_trunk

    train = config.train
    trunk = build_trunk(train.network, weights=None, input_size=config.resize.size)
    head = build_head(trunk.output_shape[-1], classes, dropout=train.dropout, kind=train.head)
    vary = build_augmentation(train.augment, config.seed)
    return classification.classifier(trunk, head, vary, learn_statistics=False)


def ours(config: Config, tables: Root, pool: Pool) -> float:
    """Images/s of the loop."""
    from landmark_ray.models import fit_loop

    ends: list[float] = []
    readers = worker.work_of(config, tables, None, 1)["readers"]
    batches = (
        (photos.astype(np.float32), y, weights)
        for photos, y, weights in stream(tables, pool, range(EPOCHS), *readers)
    )
    fit_loop.fit(
        classifier(config, pool.classes + 1),
        fit_loop.Stream(batches, pool.steps),
        rate=config.train.rate,
        epochs=EPOCHS,
        warmup=config.train.warmup,
        options=config.train,
        report=lambda *_: ends.append(time.monotonic()),
    )
    return (EPOCHS - 1) * pool.steps * pool.batch / (ends[-1] - ends[0])


def plain(config: Config, tables: Root, pool: Pool) -> float:
    """Images/s of Keras alone, with all photos in memory."""
    import keras

    from landmark_ray.models import classification

    rows = pool.sample(0)[: pool.steps * pool.batch]
    x = np.concatenate([found for _, found in decoded(tables, pool, rows)]).astype(np.float32)
    model = classifier(config, pool.classes + 1)
    train = config.train
    schedule = classification.schedule(train.rate, EPOCHS * pool.steps)
    model.compile(
        classification.optimizer(train.optimizer, schedule, train.weight_decay),
        classification.loss(train.smoothing),
        weighted_metrics=["accuracy"],
    )
    ends: list[float] = []
    seen = keras.callbacks.LambdaCallback(on_epoch_end=lambda *_: ends.append(time.monotonic()))
    weights = np.ones(len(rows), np.float32)
    arguments: dict[str, Any] = {"batch_size": pool.batch, "epochs": EPOCHS, "verbose": 0}
    model.fit(x, pool.y[rows], sample_weight=weights, callbacks=[seen], **arguments)
    return (EPOCHS - 1) * len(rows) / (ends[-1] - ends[0])


def main() -> None:
    """Measure, print, and end with what `finish` says."""
    with tempfile.TemporaryDirectory(prefix="bench-train-") as folder:
        words = options(Path(folder))
        job = [sys.executable, str(REPO / "jobs/pipeline.py"), *words, "--to", "train"]
        subprocess.run(job, check=True, stdout=subprocess.DEVNULL)
        config = cli.parse(Config, words, "")
        tables = Root(f"{folder}/root")
        head = sum((ledger.read(tables, stage) or {})["seconds"] for stage in ("embed", "train"))
        index = read_index(tables, config.seed)
        pools = []
        for group in sorted(set(index.group) - {0}):
            landmarks = np.unique(index.landmark_id[index.group == group])
            pools.append(pool_of(index, landmarks, "train", config, other=True))
        largest = max(pools, key=lambda pool: pool.size)
        pairs = []
        for turn in range(ROUNDS):
            pairs.append((plain(config, tables, largest), ours(config, tables, largest)))
            print(f"round {turn + 1}: {pairs[-1][0]:.1f} and {pairs[-1][1]:.1f}", file=sys.stderr)
    rate = statistics.median(own for _, own in pairs)
    ratio = statistics.median(own / other for other, own in pairs)
    photos = sum(pool.steps * pool.batch for pool in pools) * config.train.head_epochs
    tuning = photos / rate
    rows: list[tuple[str, float, float]] = [
        (f"round {n}, images/s", other, own) for n, (other, own) in enumerate(pairs, 1)
    ]
    report(f"Fine-tuning {config.train.network}", ["", "plain Keras", "the loop"], rows)
    report(
        f"{len(pools)} groups, {config.train.head_epochs} epochs",
        ["", "seconds"],
        [("head phase: embed and train", head), ("fine-tuning, at the loop's rate", tuning)],
    )
    finish({"loop_ratio": ratio, "head_speedup": tuning / head}, ratio >= LEAST_RATIO)


if __name__ == "__main__":
    main()
