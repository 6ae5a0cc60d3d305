"""The classifier of trunk and head, and its loss, optimizer, schedule and precision."""

from typing import Any

import keras
from keras import ops

from landmark_ray.models.backend import in_16_bits, pays_to_compile
from landmark_ray.models.layers import InferenceMode, Tensor, register
from landmark_ray.models.specs import OptimizerKind, Precision

UNDECAYED = ["bias", "gamma", "beta", "scale"]
"""Names of the variables to which weight decay does not apply."""


def build_classifier(
    trunk: keras.Model,
    head: keras.Model,
    augmentation: keras.Model | None = None,
    *,
    learn_statistics: bool,
) -> keras.Model:
    """Build one model of augmentation, trunk and head, which stay usable on their own.

    Args:
        trunk: From `networks.build_trunk`.
        head: From `heads.build_head`.
        augmentation: From `augmentation.build_augmentation`; none when not given.
        learn_statistics: Whether training updates the BatchNorm statistics of the trunk and applies
            its dropout. Use False for fine-tuning with few or small batches.

    Returns:
        A model from [B, H, W, 3] in 0..255 to logits [B, classes].
    """
    inputs = x = keras.Input(trunk.input_shape[1:], dtype="float32", name="photos")
    if augmentation is not None:
        x = augmentation(x)
    features = trunk(x) if learn_statistics else InferenceMode(trunk)(x)
    return keras.Model(inputs, head(features), name="classifier")


def split_classifier(classifier: keras.Model) -> tuple[keras.Model, keras.Model]:
    """Return the trunk and the head of a classifier, which may come from a checkpoint."""
    trunk, head = classifier.layers[-2:]
    return (trunk.layer if isinstance(trunk, InferenceMode) else trunk), head


def schedule(
    rate: float, steps: int, warmup_steps: int = 0
) -> keras.optimizers.schedules.LearningRateSchedule:
    """Return a learning rate schedule: linear warm-up, then cosine decay to 0.

    Args:
        rate: Highest learning rate.
        steps: Number of batches of the whole training; afterwards the rate is 0.
        warmup_steps: Number of batches in which the rate rises.

    Raises:
        ValueError: The rate or the steps are out of range.
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
    average: float | None = None,
) -> keras.optimizers.Optimizer:
    """Return an optimizer whose weight decay does not apply to biases, BatchNorm and scales.

    Args:
        kind: "adamw" (Loshchilov and Hutter 2019), or "sgd" with Nesterov momentum 0.9.
        rate: Learning rate, or a schedule.
        weight_decay: Each step subtracts this share, times the rate, from each weight.
        average: Momentum of the exponential average of the weights; none when not given.

    Raises:
        ValueError: The kind is unknown, or the decay is negative.
    """
    if weight_decay < 0:
        raise ValueError(f"optimizer: weight_decay must be at least 0, got {weight_decay}")
    result: keras.optimizers.Optimizer
    ema = {} if average is None else {"use_ema": True, "ema_momentum": average}
    if kind == "adamw":
        result = keras.optimizers.AdamW(rate, weight_decay=weight_decay, **ema)
    elif kind == "sgd":
        decay = weight_decay or None
        result = keras.optimizers.SGD(rate, momentum=0.9, nesterov=True, weight_decay=decay, **ema)
    else:
        raise ValueError(f"optimizer: kind must be adamw or sgd, got {kind!r}")
    result.exclude_from_weight_decay(var_names=UNDECAYED)
    return result


def compile_as(model: keras.Model, former: keras.Model) -> None:
    """Compile a model as another with the same weights, so that it trains on from there.

    Keras 3.15 keeps neither in a file nor in a configuration which weights do not decay.

    Args:
        model: The model, whose own optimizer is replaced.
        former: A compiled model that has begun to train; may be the same.
    """
    states = [ops.convert_to_numpy(variable) for variable in former.optimizer.variables]
    config = keras.saving.deserialize_keras_object(former.get_compile_config())
    config["optimizer"].exclude_from_weight_decay(var_names=UNDECAYED)
    model.compile(**config | {"jit_compile": pays_to_compile(model)})  # here, not where it began
    model.optimizer.build(model.trainable_variables)
    for variable, state in zip(model.optimizer.variables, states, strict=True):
        variable.assign(state)


@register
class SmoothedCrossentropy(keras.losses.Loss):  # type: ignore[misc]
    """Cross-entropy of class numbers and logits, with label smoothing (Szegedy et al. 2016).

    `y_true` is [B] or [B, 1] class numbers, or [B, classes] probabilities; `y_pred` is [B, classes]
    logits.
    """

    def __init__(self, smoothing: float = 0.0, **kwargs: Any) -> None:
        """Spread the share `smoothing` of each label over all classes."""
        super().__init__(**{"name": "crossentropy", "dtype": "float32"} | kwargs)
        self.smoothing = smoothing

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        """Return the losses [B]; Keras applies sample weights and reduces them."""
        classes = y_pred.shape[-1]
        if len(y_true.shape) == 1 or y_true.shape[-1] != classes or classes == 1:
            y_true = ops.one_hot(ops.cast(ops.reshape(y_true, (-1,)), "int32"), classes)
        y_true = ops.cast(y_true, "float32") * (1 - self.smoothing) + self.smoothing / classes
        return ops.categorical_crossentropy(y_true, y_pred, from_logits=True)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor."""
        return super().get_config() | {"smoothing": self.smoothing}


def loss(smoothing: float = 0.0) -> keras.losses.Loss:
    """Return the loss of a classifier's logits; it takes sample weights.

    Args:
        smoothing: Share of each label that is spread over all classes.

    Raises:
        ValueError: `smoothing` is not at least 0 and below 1.
    """
    if not 0 <= smoothing < 1:
        raise ValueError(f"loss: smoothing must be at least 0 and below 1, got {smoothing}")
    return SmoothedCrossentropy(smoothing)


def use_precision(precision: Precision) -> None:
    """Let networks that are built from now on compute in 16 bits ("mixed"), or in float32.

    "auto" is "mixed" on GPUs, for which 16 bits are. Variables and outputs stay float32, and
    `model.fit` scales the loss, so that small gradients are not lost.
    """
    keras.config.set_dtype_policy("mixed_float16" if in_16_bits(precision) else "float32")
