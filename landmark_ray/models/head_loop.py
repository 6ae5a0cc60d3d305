"""Train a head on vectors that are on the device: an epoch is one call of a compiled loop.

Nothing here knows Ray or a backend of Keras. What a training needs to go on after it was stopped is
a `HeadState`, whose arrays a checkpoint stores.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray

from landmark_ray.kernels.head_batches import LARGEST_BATCH, batches_of, padded
from landmark_ray.models import classification
from landmark_ray.models.backend import jit, value_and_grad
from landmark_ray.models.layers import Tensor
from landmark_ray.models.samples import Samples
from landmark_ray.models.specs import OptimizerKind

MOMENTUM = 0.9
BETA_1, BETA_2, EPSILON = 0.9, 0.999, 1e-7
"""Of Adam, as in Keras."""

FILE = "head.npz"


@dataclass(frozen=True)
class HeadOptions:
    """How a head is trained.

    Attributes:
        batch: Largest number of vectors in a batch.
        rate: Highest learning rate.
        epochs: Largest number of epochs, from which the learning rates follow.
        warmup: Share of the epochs in which the learning rate rises.
        optimizer: "adamw" or "sgd".
        weight_decay: Share of a weight that a step subtracts, times the rate.
        smoothing: Share of each label that is spread over all classes.
        seed: Seed of the orders.
    """

    batch: int
    rate: float
    epochs: int
    warmup: float = 0.1
    optimizer: OptimizerKind = "adamw"
    weight_decay: float = 1e-4
    smoothing: float = 0.1
    seed: int = 0


@dataclass
class HeadState:
    """What changes in a training; lists have an entry for each variable of the head.

    Attributes:
        learned: Trainable variables.
        fixed: Other variables, among them the states of random numbers.
        first: Means of the gradients (momentum, for SGD).
        second: Means of the squared gradients.
        step: [] float32 number of steps that are done.
    """

    learned: list[Tensor]
    fixed: list[Tensor]
    first: list[Tensor]
    second: list[Tensor]
    step: Tensor

    def tensors(self) -> tuple[Any, ...]:
        """Return the fields, for a compiled function."""
        return (self.learned, self.fixed, self.first, self.second, self.step)


class HeadLoop:
    """The training of a head; `epoch` does one epoch, `validate` measures."""

    def __init__(self, head: keras.Model, samples: Samples, options: HeadOptions) -> None:
        """Start from the weights of a head that `heads.build_head` made."""
        self.head, self.samples, self.options = head, samples, options
        steps = max(-(-samples.count // options.batch), 1)
        self.steps, self.batch = steps, min(options.batch, padded(-(-samples.count // steps)))
        total = options.epochs * steps
        self._schedule = classification.schedule(
            options.rate, total, min(int(options.warmup * total), total - 1)
        )
        self._loss = classification.loss(options.smoothing)
        self._compiled = False
        self._run, self._measure = jit(self._train), jit(self._validate)
        learned = [ops.convert_to_tensor(v) for v in head.trainable_variables]
        self.state = HeadState(
            learned,
            [ops.convert_to_tensor(v) for v in head.non_trainable_variables],
            [ops.zeros_like(v) for v in learned],
            [ops.zeros_like(v) for v in learned],
            ops.convert_to_tensor(0.0, "float32"),
        )

    def save(self, folder: str) -> None:
        """Write the state into the folder of a checkpoint."""
        arrays = keras.tree.flatten(self.state.tensors())
        np.savez(Path(folder) / FILE, *(ops.convert_to_numpy(a) for a in arrays))

    def load(self, folder: str) -> None:
        """Read the state of a checkpoint; training goes on as if it had never been stopped."""
        with np.load(Path(folder) / FILE, allow_pickle=False) as saved:
            arrays = [saved[name] for name in saved.files]
        before = keras.tree.flatten(self.state.tensors())
        tensors = [
            ops.convert_to_tensor(array, tensor.dtype)
            for array, tensor in zip(arrays, before, strict=True)
        ]
        self.state = HeadState(*keras.tree.pack_sequence_as(self.state.tensors(), tensors))

    def epoch(self, number: int) -> dict[str, float]:
        """Do an epoch.

        Args:
            number: Number of the epoch, from 0; its order depends on it and the seed.

        Returns:
            The weighted `loss` and `accuracy` of its steps, and `vector_s`, the seconds of a
            vector, except of the first epoch, which compiles.
        """
        begun = time.monotonic()
        data, rng = self.samples, np.random.default_rng([self.options.seed, number])
        rows = batches_of(rng.permutation(data.count), self.steps, self.batch)
        *state, sums = self._run(
            self.state.tensors(), data.x, data.y, data.weights, rows, np.int32(self.steps)
        )
        self.state = HeadState(*state)
        loss, right, weight = np.asarray(ops.convert_to_numpy(sums), np.float64).tolist()
        figures = {"loss": loss / data.count, "accuracy": right / max(weight, 1e-12)}
        if self._compiled:
            figures["vector_s"] = (time.monotonic() - begun) / data.count
        self._compiled = True
        return figures

    def validate(self, data: Samples, landmarks: int) -> dict[str, float]:
        """Return the weighted `val_loss`, and the top-1 of landmarks and of the class "other".

        Args:
            data: Vectors that the head does not learn from.
            landmarks: Number of classes that are landmarks.

        Returns:
            The negative log-likelihood `val_loss`, `top1` of vectors of landmarks and `other_top1`
            of others; without those of no vectors.
        """
        if not data.count:
            return {}
        steps = -(-data.count // LARGEST_BATCH)
        batch = padded(-(-data.count // steps))
        rows = batches_of(np.arange(data.count), steps, batch)
        found = self._measure(
            *self.state.tensors()[:2], data.x, data.y, data.weights, rows, np.int32(steps)
        )
        loss, right, seen = (np.asarray(ops.convert_to_numpy(a), np.float64) for a in found)
        sides = {"top1": slice(landmarks), "other_top1": slice(landmarks, None)}
        return {
            "val_loss": float(loss / max(data.total, 1e-12)),
            **{n: right[s].sum() / seen[s].sum() for n, s in sides.items() if seen[s].sum()},
        }

    def get_weights(self) -> list[NDArray[np.float32]]:
        """Return the trainable variables as arrays."""
        return [ops.convert_to_numpy(v) for v in self.state.learned]

    def finish(self, weights: Sequence[NDArray[np.float32]] | None = None) -> keras.Model:
        """Return the head with the given weights, or with those of the last step."""
        chosen = self.get_weights() if weights is None else weights
        for variable, value in zip(self.head.trainable_variables, chosen, strict=True):
            variable.assign(value)
        return self.head

    def _train(
        self, state: Any, x: Tensor, y: Tensor, weights: Tensor, order: Tensor, steps: Tensor
    ) -> Any:
        def body(number: Tensor, carry: Any) -> Any:
            *state, sums = carry
            rows = order[number]
            used = ops.cast(rows >= 0, "float32")
            rows = ops.maximum(rows, 0)
            batch = ops.cast(ops.take(x, rows, axis=0), "float32")
            weight = ops.take(weights, rows) * used
            *state, loss, right = self._step(state, batch, ops.take(y, rows), weight, used)
            return *state, sums + ops.stack([loss, right, ops.sum(weight)])

        return ops.fori_loop(0, steps, body, (*state, ops.zeros(3)))

    def _step(self, state: Any, x: Tensor, y: Tensor, weight: Tensor, used: Tensor) -> Any:
        learned, fixed, first, second, step = state

        def loss_of(variables: list[Tensor]) -> tuple[Tensor, Any]:
            logits, after = self.head.stateless_call(variables, fixed, x, training=True)
            logits = ops.cast(logits, "float32")
            losses = ops.sum(self._loss.call(y, logits) * weight)
            hits = ops.cast(ops.argmax(logits, axis=-1), "int32") == y
            right = ops.sum(ops.cast(hits, "float32") * weight)
            return losses / ops.sum(used), (after, losses, right)

        (_, (after, loss, right)), gradients = value_and_grad(loss_of, learned)
        rate = ops.cast(self._schedule(step), "float32")
        step = step + 1
        variables = [v.name for v in self.head.trainable_variables]
        columns = zip(variables, learned, gradients, first, second, strict=True)
        updates = [updated(*column, rate, step, self.options) for column in columns]
        lists = [list(column) for column in zip(*updates, strict=True)]
        return lists[0], list(after), lists[1], lists[2], step, loss, right

    def _validate(
        self, learned: Any, fixed: Any, x: Tensor, y: Tensor, weights: Tensor, order: Tensor,
        steps: Tensor,
    ) -> Any:  # fmt: skip
        classes = self.head.output_shape[-1]

        def body(number: Tensor, sums: Any) -> Any:
            used, rows = order[number] >= 0, ops.maximum(order[number], 0)
            batch = ops.cast(ops.take(x, rows, axis=0), "float32")
            logits, _ = self.head.stateless_call(learned, fixed, batch, training=False)
            logits, labels = ops.cast(logits, "float32"), ops.take(y, rows)
            losses = ops.sparse_categorical_crossentropy(labels, logits, from_logits=True)
            hits = used & (ops.cast(ops.argmax(logits, axis=-1), "int32") == labels)
            return (
                sums[0] + ops.sum(losses * ops.take(weights, rows) * ops.cast(used, "float32")),
                sums[1] + ops.segment_sum(ops.cast(hits, "float32"), labels, classes),
                sums[2] + ops.segment_sum(ops.cast(used, "float32"), labels, classes),
            )

        nothing = ops.zeros(()), ops.zeros(classes), ops.zeros(classes)
        return ops.fori_loop(0, steps, body, nothing)


def updated(
    name: str,
    value: Tensor,
    gradient: Tensor,
    first: Tensor,
    second: Tensor,
    rate: Tensor,
    step: Tensor,
    options: HeadOptions,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return a variable and the means of its gradients after a step, as Keras's optimizers do.

    Keras's own have no step without side effects under TensorFlow, which a compiled loop needs.

    Args:
        name: Name of the variable; weight decay does not apply to some.
        value: The variable.
        gradient: Its gradient.
        first: Mean of the gradients, see `HeadState`.
        second: Mean of the squared gradients.
        rate: [] learning rate.
        step: [] number of the step, from 1.
        options: The optimizer and its weight decay.
    """
    if not any(word in name for word in classification.UNDECAYED):
        value = value * (1 - rate * options.weight_decay)
    if options.optimizer == "sgd":
        first = MOMENTUM * first - rate * gradient
        return value + MOMENTUM * first - rate * gradient, first, second
    first = first + (1 - BETA_1) * (gradient - first)
    second = second + (1 - BETA_2) * (ops.square(gradient) - second)
    rate = rate * ops.sqrt(1 - BETA_2**step) / (1 - BETA_1**step)
    return value - rate * first / (ops.sqrt(second) + EPSILON), first, second
