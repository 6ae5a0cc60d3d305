"""The network of the phase metric: a trunk with an embedding, and centers of all landmarks.

Its first step begins where whitening of the trunk's vectors ends: the embedding is the whitening of
the trunk's own vectors, and the centers are the means of the landmarks.
"""

import keras
import numpy as np
from keras import layers
from numpy.typing import NDArray

from landmark_ray.errors import UserError
from landmark_ray.kernels.whitening import Whitening, fit_whitening, unit_length
from landmark_ray.models.arcface import CENTERS, SubCenterCosine
from landmark_ray.models.classification import build_classifier
from landmark_ray.models.embedding import Embedder
from landmark_ray.models.layers import GeneralisedMean
from landmark_ray.models.networks import build_trunk
from landmark_ray.models.specs import EMBEDDING, TrunkInfo

SAMPLE = 4096
"""Largest number of photos whose vectors the embedding and the centers begin with."""

SPREAD = 0.02
"""Standard deviation of what tells the centers of a landmark apart at first."""

LENGTH = 0.3
"""Length of the centers at first: shorter ones turn more in a step of Adam."""


def with_embedding(trunk: keras.Model, features: int, *, signed: bool | None = None) -> keras.Model:
    """Add an embedding to a trunk, and let the exponent of its pooling be learned.

    Args:
        trunk: A trunk of `networks.build_trunk`, with weights. A trunk with mean pooling begins
            with the exponent 1, which is the mean; others begin with 3. Networks of tokens, which
            have no maps to pool, keep their vector.
        features: Length of the embedding.
        signed: Whether the pooling keeps the signs of its maps; if None, where it was a mean.

    Returns:
        A model from the trunk's photos to [B, features] float32, which has the trunk's layers.
    """
    pooling, pooled = trunk.layers[-1], trunk.outputs[0]
    if len(pooling.input.shape) == 4:
        is_mean = isinstance(pooling, layers.GlobalAveragePooling2D)
        power, signed = 1.0 if is_mean else 3.0, is_mean if signed is None else signed
        pool = GeneralisedMean(power, learn_p=True, signed=signed, name="gem_pooling")
        pooled = pool(pooling.input)
    unit = layers.UnitNormalization(dtype="float32", name="unit")(pooled)
    outputs = layers.Dense(features, dtype="float32", name=EMBEDDING)(unit)
    return keras.Model(trunk.inputs, outputs, name=trunk.name)


def rebuilt(info: TrunkInfo) -> keras.Model:
    """Build a trunk that a bundle describes, with random weights.

    Raises:
        UserError: The network is unknown, or can't have the size.
    """
    trunk = build_trunk(
        info.network,
        weights=None,
        size=info.size,
        input_size=info.input_size,
        pooling=info.pooling,
        backbone=info.backbone,
    )
    return with_embedding(trunk, info.features, signed=info.signed) if info.embedding else trunk


def build(
    trunk: keras.Model,
    photos: NDArray[np.uint8],
    y: NDArray[np.int32],
    *,
    classes: int,
    features: int,
    scale: float,
    augmentation: keras.Model | None = None,
    learn_statistics: bool = False,
    sample: int | None = None,
) -> tuple[keras.Model, NDArray[np.float32]]:
    """Build the network of augmentation, trunk with embedding, and centers, before any training.

    Args:
        trunk: A trunk of `networks.build_trunk`, with weights.
        photos: [N, S, S, 3] RGB training photos, as squares.
        y: [N] number of the class of each.
        classes: Number of classes; those without one of the photos begin at random.
        features: Length of the embedding.
        scale: Factor of the cosines.
        augmentation: From `augmentation.build_augmentation`; none when not given.
        learn_statistics: Whether training updates the statistics of BatchNorm, which small batches
            spoil.
        sample: Number of classes whose centers the network holds; all when not given.

    Returns:
        A classifier of `classification.build_classifier`, whose logits are scaled cosines, and the
        first centers [classes, CENTERS, features] of all classes, which it has if it holds all.

    Raises:
        UserError: All photos have the same vector.
    """
    trunk = with_embedding(trunk, features)
    vectors = Embedder(keras.Model(trunk.inputs, trunk.get_layer("unit").output)).embed(photos)
    centers = _centers(_start(trunk, vectors), y, classes)
    inputs = keras.Input((features,), dtype="float32", name="features")
    layer = SubCenterCosine(sample or classes, scale, name="logits")
    head = keras.Model(inputs, layer(inputs), name="head")
    if layer.classes == classes:
        layer.set_weights([centers])
    return build_classifier(trunk, head, augmentation, learn_statistics=learn_statistics), centers


def _start(trunk: keras.Model, vectors: NDArray[np.floating]) -> NDArray[np.float32]:
    """Let the embedding of a trunk begin as whitening.

    Args:
        trunk: A trunk of `with_embedding`.
        vectors: [N, D] vectors of training photos, by the layer `unit`.

    Returns:
        The embeddings [N, features] of these photos, of unit length.

    Raises:
        UserError: All photos have the same vector.
    """
    embedding = trunk.get_layer(EMBEDDING)
    try:
        whitening = fit_whitening(vectors, embedding.units)
    except ValueError as error:
        raise UserError(f"the embedding cannot begin with the network's vectors: {error}") from None
    kernel = np.zeros(embedding.kernel.shape, np.float32)
    kernel[:, : whitening.projection.shape[1]] = whitening.projection
    embedding.set_weights([kernel, -whitening.mean @ kernel])
    return Whitening(whitening.mean, kernel)(vectors)


def _centers(
    embedded: NDArray[np.float32], y: NDArray[np.int32], classes: int
) -> NDArray[np.float32]:
    """Return the first centers [classes, CENTERS, features]; without a photo, they are random."""
    rng = np.random.default_rng(0)
    means = np.zeros((classes, embedded.shape[1]), np.float32)
    np.add.at(means, y, embedded)
    empty = ~means.any(axis=1)
    means[empty] = rng.standard_normal((int(empty.sum()), embedded.shape[1]), np.float32)
    shape = (classes, CENTERS, embedded.shape[1])
    centers = rng.standard_normal(shape, np.float32)
    centers *= SPREAD
    centers += unit_length(means)[:, None]
    centers *= LENGTH / np.linalg.norm(centers, axis=-1, keepdims=True)
    return centers
