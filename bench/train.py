"""Fine-tuning on Ray against plain Keras; heads on stored vectors against fine-tuning.

1. The stage `finetune`, of one group with all landmarks, against `model.fit` on the same photos in
   memory: the same network, augmentation, optimizer and batch, in turn. The rate is that of all
   steps of an epoch but the first, which waits for its data. The median of three epochs counts.
2. The seconds of the stages `embed` and `train` (heads on vectors that are made once), against
   those that fine-tuning would take for as many epochs at the rate of 1.

    python bench/train.py [--smoke]

6 minutes, with gld-mini and mobilenet_v2.
"""

import io
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.dataset as pads
from common import (
    CORES,
    FEW_FEATURES,
    MOBILENET,
    TINY_NETWORK,
    Figure,
    report,
    run,
    run_stages,
    source_folder,
    tiny_weights,
)
from PIL import Image

from landmark_ray.bundle.network_files import (
    FINETUNED,
    GROUPS,
    HeadInfo,
    head_infos,
    read_head,
    read_trunk,
)
from landmark_ray.config import Config
from landmark_ray.data.root import Root
from landmark_ray.data.store import Store
from landmark_ray.runtime import ledger

OPTIONS = ("--group.edges", "6", "--train.phases", "head,finetune", *FEW_FEATURES)

FIGURES = {
    "loop": Figure("rate of fine-tuning", "Keras `fit` on arrays in memory", least=0.9),
    "heads": Figure(
        "training heads on stored vectors", "fine-tuning for as many epochs", "times as fast"
    ),
}


@dataclass(frozen=True)
class Size:
    """How much work there is.

    Attributes:
        smoke: whether the dataset is the toy.
        rounds: of fine-tuning, and of plain Keras.
        epochs: of each.
        options: of the run.
    """

    smoke: bool
    rounds: int
    epochs: int
    options: tuple[object, ...]


def seconds_of(root: Root, stage: str) -> float:
    """What a stage took."""
    record = ledger.read(root, stage)
    assert record is not None
    return float(record["seconds"])


def ours(words: Sequence[object]) -> tuple[float, HeadInfo]:
    """Photos a second of the stage `finetune`, and what it says of its only group."""
    config, root = run_stages([*words, "--redo", "finetune"], "finetune", "finetune")
    (info,) = head_infos(root.models, FINETUNED)
    step_s = statistics.median(entry["step_s"] for entry in info.report["history"])
    return min(config.train.batch, photos_of(info)) / step_s, info


def photos_of(info: HeadInfo) -> int:
    """Photos of an epoch."""
    return int(info.report["train_own"] + info.report["train_other"])


def arrays(root: Path, landmarks: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """The training photos [N, H, W, 3] and the numbers of their landmarks [N]."""
    examples = pads.dataset(root / "examples", partitioning="hive")
    rows = examples.to_table(["landmark_id", "jpeg"], filter=pads.field("split") == "train")
    photos = [np.asarray(Image.open(io.BytesIO(data))) for data in rows["jpeg"].to_pylist()]
    return np.stack(photos), np.searchsorted(landmarks, rows["landmark_id"].to_numpy())


def plain(config: Config, root: Path, epochs: int) -> float:
    """Photos a second of Keras alone, with all photos in memory."""
    import keras

    from landmark_ray.models import classification
    from landmark_ray.models.augmentation import build_augmentation

    options, folder = config.train, Store(f"{root}/models")
    (info,) = head_infos(folder, GROUPS)
    head = read_head(folder, GROUPS, info, dropout=options.dropout)
    vary = build_augmentation(options.augment, config.seed)
    model = classification.build_classifier(read_trunk(folder), head, vary, learn_statistics=False)
    x, y = arrays(root, info.landmarks)
    batch = min(options.batch, len(x) // 2)
    steps = len(x) // batch
    x, y = x[: steps * batch].astype(np.float32), y[: steps * batch]
    model.compile(
        classification.optimizer(
            options.optimizer,
            classification.schedule(options.rate, epochs * steps),
            options.weight_decay,
        ),
        classification.loss(options.smoothing),
        weighted_metrics=["accuracy"],
    )
    clock = Clock()
    seen = keras.callbacks.LambdaCallback(on_train_batch_begin=clock.step, on_epoch_end=clock.end)
    named: dict[str, Any] = {"sample_weight": np.ones(len(x), np.float32), "callbacks": [seen]}
    model.fit(x, y, batch_size=batch, epochs=epochs, verbose=0, **named)
    return batch * (steps - 1) / statistics.median(clock.epochs)


class Clock:
    """The seconds of each epoch, from its second step on."""

    def __init__(self) -> None:
        """No epoch has ended."""
        self.second = 0.0
        self.epochs: list[float] = []

    def step(self, number: int, logs: object = None) -> None:
        """A step begins."""
        if number == 1:
            self.second = time.monotonic()

    def end(self, number: int, logs: object = None) -> None:
        """An epoch ends."""
        self.epochs.append(time.monotonic() - self.second)


def measure(size: Size, folder: Path) -> dict[str, float]:
    """Both comparisons, on one root."""
    words = [*("--source", source_folder(size.smoke)), *size.options, *OPTIONS]
    words += tiny_weights() if size.smoke else ()
    words += ["--train.epochs", str(size.epochs), "--root", str(folder / "root")]
    config, root = run_stages(words, "sample", "train")
    heads_s = seconds_of(root, "embed") + seconds_of(root, "train")
    (head,) = head_infos(root.models, GROUPS)
    epochs = int(head.report["history"][-1]["epoch"])
    pairs: list[tuple[float, float]] = []
    for number in range(size.rounds):
        rate, info = ours(words)
        pairs.append((plain(config, folder / "root", size.epochs), rate))
        print(f"round {number + 1}: {pairs[-1][0]:.1f} and {rate:.1f}", file=sys.stderr)
    rate = statistics.mean(ours_rate for _, ours_rate in pairs)
    finetuning_s = photos_of(info) * epochs / rate
    report(
        f"{len(info.landmarks)} landmarks, {epochs} epochs",
        ["", "seconds"],
        [("embed and train", heads_s), ("fine-tuning, at the stage's rate", finetuning_s)],
    )
    return {
        "loop": statistics.mean(ours_rate / other for other, ours_rate in pairs),
        "heads": finetuning_s / heads_s,
    }


if __name__ == "__main__":
    run(
        measure,
        FIGURES,
        full=Size(smoke=False, rounds=2, epochs=3, options=MOBILENET),
        smoke=Size(
            smoke=True,
            rounds=1,
            epochs=1,
            options=(
                *(*TINY_NETWORK, "--resize.synthetic", 16),
                *("--train.batch", 8, "--train.cpus", CORES),  # one worker embeds
            ),
        ),
    )
