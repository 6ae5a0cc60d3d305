"""What `model.fit` needs: the whole classifier, loss, optimizer, schedule, precision."""

from typing import Any

import keras
from keras import ops

from landmark_ray.models.layers import InferenceMode, Tensor, register
from landmark_ray.models.specs import OptimizerKind

UNDECAYED = ["bias", "gamma", "beta", "scale"]
"""Variables that weight decay leaves alone."""


def build_classifier(
    trunk: keras.Model,
    head: keras.Model,
    augmentation: keras.Model | None = None,
    *,
    learn_statistics: bool | None = None,
) -> keras.Model:
    """Augmentation, trunk and head in one model; they stay usable on their own.

    Args:
        trunk: of `networks.build_trunk`. Freeze it before, if it is to be frozen.
        head: of `heads.build_head`.
        augmentation: of `augmentation.build_augmentation`; none when not given.
        learn_statistics: whether training updates the trunk's BatchNorm statistics and applies its
            dropout. When not given, unless the trunk is frozen. For fine-tuning on few or small
            batches, False.

    Returns:
        A model from [B, H, W, 3] in 0..255 to logits [B, classes].
    """
    inputs = x = keras.Input(trunk.input_shape[1:], dtype="float32", name="photos")
    if augmentation is not None:
        x = augmentation(x)
    if learn_statistics is None:
        learn_statistics = trunk.trainable
    features = trunk(x) if learn_statistics else InferenceMode(trunk)(x)
    return keras.Model(inputs, head(features), name="classifier")


def split_classifier(classifier: keras.Model) -> tuple[keras.Model, keras.Model]:
    """The trunk and the head of a classifier; of one from a checkpoint, too."""
    trunk, head = classifier.layers[-2:]
    return (trunk.layer if isinstance(trunk, InferenceMode) else trunk), head


def freeze(trunk: keras.Model, frozen: bool = True) -> None:
    """Keep a trunk's variables as they are in training, or let them learn again.

    Afterwards make the classifier anew, and compile it.
    """
    trunk.trainable = not frozen


def schedule(
    rate: float, steps: int, warmup_steps: int = 0
) -> keras.optimizers.schedules.LearningRateSchedule:
    """Learning rates that rise to `rate` on a line, then fall to 0 on half a cosine.

    Args:
        rate: the highest.
        steps: batches of the whole training; later ones have a rate of 0.
        warmup_steps: those in which the rate rises.

    Raises:
        ValueError: a rate or steps out of range.
    """
    if not rate > 0:
        raise ValueError(f"schedule: rate must be above 0, got {rate}")
    if not 0 <= warmup_steps < steps:
        raise ValueError(
            f"schedule: warmup_steps must be less than steps ({steps}), got {warmup_steps}"
        )
    if not warmup_steps:
        return keras.optimizers.schedules.CosineDecay(rate, steps)
    return keras.optimizers.schedules.CosineDecay(
        rate / warmup_steps, steps - warmup_steps, warmup_target=rate, warmup_steps=warmup_steps
    )


def optimizer(
    kind: OptimizerKind,
    rate: float | keras.optimizers.schedules.LearningRateSchedule,
    weight_decay: float = 0.0,
) -> keras.optimizers.Optimizer:
    """An optimizer whose weight decay spares biases, BatchNorm and scales.

    Args:
        kind: "adamw" (Loshchilov and Hutter 2019), or "sgd" with Nesterov momentum 0.9.
        rate: learning rate, or a schedule of it.
        weight_decay: share of a weight, times the rate, that each step takes away.

    Raises:
        ValueError: another kind, or a negative decay.
    """
    if weight_decay < 0:
        raise ValueError(f"optimizer: weight_decay must be at least 0, got {weight_decay}")
    made: keras.optimizers.Optimizer
    if kind == "adamw":
        made = keras.optimizers.AdamW(rate, weight_decay=weight_decay)
    elif kind == "sgd":
        decay = weight_decay or None
        made = keras.optimizers.SGD(rate, momentum=0.9, nesterov=True, weight_decay=decay)
    else:
        raise ValueError(f"optimizer: kind must be adamw or sgd, got {kind!r}")
    made.exclude_from_weight_decay(var_names=UNDECAYED)
    return made


@register
class SmoothedCrossentropy(keras.losses.Loss):  # type: ignore[misc]
    """Cross-entropy of class numbers and logits, with label smoothing (Szegedy et al. 2016).

    y_true: [B] or [B, 1] class numbers, or [B, classes] probabilities; y_pred: [B, classes] logits.
    """

    def __init__(self, smoothing: float = 0.0, **kwargs: Any) -> None:
        """smoothing: share of each label's weight that is spread over all classes."""
        super().__init__(**{"name": "crossentropy", "dtype": "float32"} | kwargs)
        self.smoothing = smoothing

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        """[B] losses; Keras weights them by sample and reduces them."""
        classes = y_pred.shape[-1]
        if len(y_true.shape) == 1 or y_true.shape[-1] != classes or classes == 1:
            y_true = ops.one_hot(ops.cast(ops.reshape(y_true, (-1,)), "int32"), classes)
        y_true = ops.cast(y_true, "float32") * (1 - self.smoothing) + self.smoothing / classes
        return ops.categorical_crossentropy(y_true, y_pred, from_logits=True)

    def get_config(self) -> dict[str, Any]:
        """Arguments of the constructor."""
        return super().get_config() | {"smoothing": self.smoothing}


def loss(smoothing: float = 0.0) -> keras.losses.Loss:
    """The loss of a classifier's logits; it takes sample weights.

    Args:
        smoothing: share of each label's weight that is spread over all classes.

    Raises:
        ValueError: smoothing out of 0..1.
    """
    if not 0 <= smoothing < 1:
        raise ValueError(f"loss: smoothing must be at least 0 and below 1, got {smoothing}")
    return SmoothedCrossentropy(smoothing)


def set_mixed_precision(on: bool) -> None:
    """Let networks built from now on compute in 16 bits, with variables and outputs in float32.

    For GPUs. `model.fit` scales the loss by itself, so that small gradients aren't lost.
    """
    keras.config.set_dtype_policy("mixed_float16" if on else "float32")
