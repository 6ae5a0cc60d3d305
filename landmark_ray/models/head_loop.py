"""Train a head on vectors that are on the device: an epoch is one call of a compiled loop.

Nothing here knows Ray or a backend of Keras. What a training needs to go on after it was stopped is
a `HeadState`, whose arrays a checkpoint stores.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray

from landmark_ray.models import classification
from landmark_ray.models.compiled import jit, value_and_grad
from landmark_ray.models.layers import Tensor
from landmark_ray.models.specs import OptimizerKind

SMALLEST_BATCH, LARGEST_BATCH = 64, 4096
STEPS = 64
"""Steps that an epoch has at least, if that leaves a batch of SMALLEST_BATCH vectors."""

PADDING = 4
"""Vectors and steps are filled up to the next of this many sizes between two powers of two, so that
heads of similar size share a compiled loop."""

MOMENTUM = 0.9
BETA_1, BETA_2, EPSILON = 0.9, 0.999, 1e-7
"""Of Adam, as in Keras."""

FILE = "head.npz"


def batch_size(vectors: int) -> int:
    """Return the number of vectors in a batch: a power of two that leaves an epoch STEPS steps."""
    wanted = 2 ** int(np.log2(max(vectors / STEPS, 1)))
    return min(max(wanted, SMALLEST_BATCH), LARGEST_BATCH)


def rate_of(rate: float, batch: int) -> float:
    """Return the learning rate of a batch: `rate` is that of 64, and Adam's grows with the root.

    Source: Malladi et al. 2022, On the SDEs and Scaling Rules for Adaptive Gradient Algorithms.
    """
    return float(rate * np.sqrt(batch / SMALLEST_BATCH))


def padded(number: int) -> int:
    """Return the next size that PADDING allows."""
    step = max(2 ** int(np.log2(max(number - 1, 1))) // PADDING, 1)
    return -(-number // step) * step


@dataclass(frozen=True)
class Samples:
    """Vectors on the device.

    Attributes:
        x: [M, D] float16; M is `padded`, and rows from `count` on are empty.
        y: [M] int32 numbers of the classes.
        weights: [M] float32, 0 in empty rows.
        count: Number of vectors N.
    """

    x: Tensor
    y: Tensor
    weights: Tensor
    count: int

    @classmethod
    def send(
        cls, x: NDArray[Any], y: NDArray[np.int32], weights: NDArray[np.float32]
    ) -> "Samples":
        """Send vectors [N, D] and the classes and weights [N] of each to the device."""
        more = padded(max(len(x), 1)) - len(x)
        return cls(
            ops.convert_to_tensor(np.pad(x, ((0, more), (0, 0))), "float16"),
            ops.convert_to_tensor(np.pad(y, (0, more)), "int32"),
            ops.convert_to_tensor(np.pad(weights, (0, more)), "float32"),
            len(x),
        )


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

    def save(self, folder: str) -> None:
        """Write the state into the folder of a checkpoint."""
        arrays = keras.tree.flatten(self.tensors())
        np.savez(Path(folder) / FILE, *(ops.convert_to_numpy(a) for a in arrays))


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
        self._run, self._measure = jit(self._train), jit(self._validate)
        learned = [ops.convert_to_tensor(v) for v in head.trainable_variables]
        self.state = HeadState(
            learned,
            [ops.convert_to_tensor(v) for v in head.non_trainable_variables],
            [ops.zeros_like(v) for v in learned],
            [ops.zeros_like(v) for v in learned],
            ops.convert_to_tensor(0.0, "float32"),
        )

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
        """Do an epoch; return the weighted `loss` and `accuracy` of its steps.

        Args:
            number: Number of the epoch, from 0; its order depends on it and the seed.
        """
        data, order = self.samples, np.random.default_rng([self.options.seed, number])
        rows = batches_of(order.permutation(data.count), self.steps, self.batch)
        *state, sums = self._run(
            self.state.tensors(), data.x, data.y, data.weights, rows, np.int32(self.steps)
        )
        self.state = HeadState(*state)
        loss, right, weight = np.asarray(ops.convert_to_numpy(sums), np.float64)
        return {"loss": loss / data.count, "accuracy": right / max(weight, 1e-12)}

    def validate(self, data: Samples) -> dict[str, float]:
        """Return the weighted negative log-likelihood `val_loss` of vectors; nothing for none."""
        if not data.count:
            return {}
        steps = -(-data.count // LARGEST_BATCH)
        batch = padded(-(-data.count // steps))
        rows = batches_of(np.arange(data.count), steps, batch)
        sums = self._measure(
            *self.state.tensors()[:2], data.x, data.y, data.weights, rows, np.int32(steps)
        )
        loss, weight = np.asarray(ops.convert_to_numpy(sums), np.float64)
        return {"val_loss": float(loss / max(weight, 1e-12))}

    def weights(self) -> list[NDArray[np.float32]]:
        """Return the trainable variables as arrays."""
        return [ops.convert_to_numpy(v) for v in self.state.learned]

    def finish(self, weights: Sequence[NDArray[np.float32]] | None = None) -> keras.Model:
        """Return the head with the given weights, or with those of the last step."""
        chosen = self.weights() if weights is None else weights
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
            losses = ops.sum(self._loss.call(y, logits) * weight)
            hits = ops.cast(ops.argmax(logits, axis=-1), "int32") == y
            right = ops.sum(ops.cast(hits, "float32") * weight)
            return losses / ops.sum(used), (after, losses, right)

        (_, (after, loss, right)), gradients = value_and_grad(loss_of, learned)
        rate = ops.cast(self._schedule(step), "float32")
        step = step + 1
        updates = [
            self._update(variable.name, *values, rate, step)
            for variable, *values in zip(
                self.head.trainable_variables, learned, gradients, first, second, strict=True
            )
        ]
        lists = [list(column) for column in zip(*updates, strict=True)]
        return lists[0], list(after), lists[1], lists[2], step, loss, right

    def _update(
        self, name: str, value: Tensor, gradient: Tensor, first: Tensor, second: Tensor,
        rate: Tensor, step: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
        """Return a variable and the means of its gradients after a step of Keras's optimizers."""
        if not any(word in name for word in classification.UNDECAYED):
            value = value * (1 - rate * self.options.weight_decay)
        if self.options.optimizer == "sgd":
            first = MOMENTUM * first - rate * gradient
            return value + MOMENTUM * first - rate * gradient, first, second
        first = first + (1 - BETA_1) * (gradient - first)
        second = second + (1 - BETA_2) * (ops.square(gradient) - second)
        rate = rate * ops.sqrt(1 - BETA_2**step) / (1 - BETA_1**step)
        return value - rate * first / (ops.sqrt(second) + EPSILON), first, second

    def _validate(
        self, learned: Any, fixed: Any, x: Tensor, y: Tensor, weights: Tensor, order: Tensor,
        steps: Tensor,
    ) -> Tensor:  # fmt: skip
        def body(number: Tensor, sums: Tensor) -> Tensor:
            rows = order[number]
            weight = ops.take(weights, ops.maximum(rows, 0)) * ops.cast(rows >= 0, "float32")
            rows = ops.maximum(rows, 0)
            batch = ops.cast(ops.take(x, rows, axis=0), "float32")
            logits, _ = self.head.stateless_call(learned, fixed, batch, training=False)
            losses = ops.sparse_categorical_crossentropy(
                ops.take(y, rows), logits, from_logits=True
            )
            return sums + ops.stack([ops.sum(losses * weight), ops.sum(weight)])

        return ops.fori_loop(0, steps, body, ops.zeros(2))


def batches_of(order: NDArray[np.int64], steps: int, batch: int) -> NDArray[np.int32]:
    """Cut an order [N] into batches of nearly equal size; return [padded(steps), batch], -1 for none.

    A last batch that is much smaller than the others would disturb the training.
    """
    rows = np.full((padded(steps), batch), -1, np.int32)
    for number, part in enumerate(np.array_split(order, steps)):
        rows[number, : len(part)] = part
    return rows


def fit(
    loop: HeadLoop,
    epochs: Sequence[int],
    on_epoch: Callable[[int, dict[str, float]], bool],
) -> None:
    """Do epochs until `on_epoch`, called with the number that are done and figures, returns True."""
    for number in epochs:
        if on_epoch(number + 1, loop.epoch(number)):
            return
