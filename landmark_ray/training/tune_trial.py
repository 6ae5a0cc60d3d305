"""A trial of the search for options: heads that learn with some options, and their scores."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import ray
from numpy.typing import NDArray
from ray import tune

from landmark_ray.config import Config
from landmark_ray.kernels.calibration import softmax
from landmark_ray.kernels.metrics import global_average_precision
from landmark_ray.runtime.resources import pin_tensorflow
from landmark_ray.training.fit_head import fit_head, logits_of, new_head
from landmark_ray.training.vectors import GroupVectors

PARTS = 6
"""Number of scores during the training of a single group; after each, ASHA may stop the trial."""

Options = dict[str, Any]


def try_options(options: Options, *, config: Config, data: dict[int, Any], on_cpus: bool) -> None:
    """Train heads with the options of a trial, and report their scores; runs in a worker.

    `config` has the run's own options, `data` is group -> reference to its GroupVectors.
    """
    if on_cpus:
        pin_tensorflow()
    changed = config.model_copy(update={"train": config.train.model_copy(update=options)})
    scores: list[float] = []
    for group, reference in data.items():
        vectors: GroupVectors = ray.get(reference)
        train = vectors.train.where(vectors.train.view < options["views"])
        vectors = GroupVectors(vectors.landmarks, vectors.other, train, vectors.validation)
        head = new_head(vectors, group, changed)
        if len(data) == 1:
            fit_head(head, vectors, changed, _score_reporter(vectors, scores), reports=PARTS)
            while len(scores) < PARTS:  # of a training that ended early, too
                _report(head, vectors, scores)
        else:
            fit_head(head, vectors, changed)
            scores.append(score(logits_of(head, vectors.validation.x), vectors))
            tune.report({"score": float(np.mean(scores))})


def _score_reporter(data: GroupVectors, scores: list[float]) -> Any:
    """Return a function that reports the score of a head in training, but not of the last part."""

    def report(epoch: int, head: Any) -> None:
        if len(scores) < PARTS - 1:
            _report(head, data, scores)

    return report


def _report(head: Any, data: GroupVectors, scores: list[float]) -> None:
    scores.append(score(logits_of(head, data.validation.x), data))
    tune.report({"score": scores[-1]})


def score(chunks: Iterable[NDArray[np.float32]], data: GroupVectors) -> float:
    """Return the GAP of a head on the validation images of its group and of others, 0 to 1.

    Args:
        chunks: Logits [n, C] or [n, C + 1] of some images at a time, for C landmarks and the class
            "other"; the score is 0 if they are not finite.
        data: The vectors of the group.
    """
    y, classes = data.validation.y, len(data.landmarks)
    named: list[int] = []
    confidence: list[float] = []
    for logits in chunks:
        if not np.isfinite(logits).all():
            return 0.0
        confidences = softmax(logits)[:, :classes]
        named += confidences.argmax(axis=1).tolist()
        confidence += confidences.max(axis=1).tolist()
    ids = [f"{i:08d}" for i in range(len(y))]
    solution = {i: {int(n)} if n < classes else set() for i, n in zip(ids, y, strict=True)}
    return global_average_precision(ids, named, confidence, solution)
