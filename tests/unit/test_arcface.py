"""Sub-center ArcFace against float64 numpy written from the papers, and its margins by hand."""

import math

import keras
import numpy as np
import pytest
import tensorflow as tf

from landmark_ray.errors import UserError
from landmark_ray.models.arcface import (
    CENTERS,
    ArcFace,
    SubCenterCosine,
    accuracy,
    classes_of_a_step,
    margins_of,
)

SCALE = 8.0
MARGINS = np.array([0.0, 0.3, 0.5, 1.2])


def from_the_paper(features, centers, y, margins, scale=SCALE):
    """Loss [B] in float64: Deng et al. 2020, equation 2, with the angles themselves.

    Args:
        features: [B, D].
        centers: [C, k, D].
        y: [B].
        margins: [C].
        scale: Factor of the cosines.
    """
    x = features / np.linalg.norm(features, axis=1, keepdims=True)
    w = centers / np.linalg.norm(centers, axis=2, keepdims=True)
    angles = np.arccos(np.clip(np.einsum("bd,ckd->bck", x, w).max(axis=2), -1, 1))
    losses = []
    for row, own in zip(angles, y, strict=True):
        margin = margins[own]
        enlarged = row[own] + margin
        far = math.cos(enlarged)
        if enlarged > math.pi:
            far = math.cos(row[own]) - margin * math.sin(margin)
        others = np.exp(scale * np.cos(np.delete(row, own))).sum()
        losses.append(-math.log(math.exp(scale * far) / (math.exp(scale * far) + others)))
    return np.array(losses)


@pytest.fixture
def case():
    """Features [6, 5], centers [4, 3, 5] and labels [6]; the last feature is far from its class."""
    rng = np.random.default_rng(3)
    features, centers = rng.normal(size=(6, 5)), rng.normal(size=(4, CENTERS, 5))
    centers[3] = centers[3, 0] + 0.2 * centers[3]
    y = np.array([0, 1, 2, 3, 1, 3])
    opposite = -(centers[3] / np.linalg.norm(centers[3], axis=1, keepdims=True)).sum(axis=0)
    features[5] = opposite
    return features, centers, y


def network(centers):
    """The layer with these centers, and the loss."""
    layer = SubCenterCosine(len(centers), SCALE)
    layer.build((None, centers.shape[2]))
    layer.set_weights([centers])
    return layer, ArcFace(SCALE, reduction="none")


def labels(y):
    """Labels of the loss, for classes with these margins."""
    return np.stack([y, MARGINS[y]], axis=1).astype(np.float32)


def test_loss_is_that_of_the_paper(case):
    features, centers, y = case
    layer, loss = network(centers)
    computed = keras.ops.convert_to_numpy(loss(labels(y), layer(features.astype(np.float32))))
    np.testing.assert_allclose(computed, from_the_paper(features, centers, y, MARGINS), rtol=2e-5)


def test_case_has_an_angle_that_the_margin_takes_beyond_180_degrees(case):
    features, centers, y = case
    x = features[5] / np.linalg.norm(features[5])
    w = centers[y[5]] / np.linalg.norm(centers[y[5]], axis=1, keepdims=True)
    assert math.acos((w @ x).max()) + MARGINS[y[5]] > math.pi


def gradients(layer, loss, features, y):
    """Gradients of the mean loss for the features and the kernel."""
    x = tf.constant(features, tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(x)
        value = tf.reduce_mean(loss(labels(y), layer(x)))
    return tuple(g.numpy() for g in tape.gradient(value, [x, layer.kernel.value]))


def finite_differences(function, at, step=1e-6):
    """Central differences of a function at an array."""
    result = np.zeros_like(at)
    for i in np.ndindex(at.shape):
        ends = []
        for sign in (1, -1):
            moved = at.copy()
            moved[i] += sign * step
            ends.append(function(moved))
        result[i] = (ends[0] - ends[1]) / (2 * step)
    return result


def test_gradients_are_those_of_the_paper(case):
    features, centers, y = case
    layer, loss = network(centers)
    of_features, of_kernel = gradients(layer, loss, features, y)
    mean = lambda x, w: from_the_paper(x, w, y, MARGINS).mean()  # noqa: E731
    np.testing.assert_allclose(
        of_features, finite_differences(lambda x: mean(x, centers), features), atol=2e-5
    )
    wanted = finite_differences(lambda w: mean(features, w), centers)
    np.testing.assert_allclose(of_kernel, wanted, atol=2e-5)


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_gradients_are_finite_on_a_center_and_opposite_to_it(sign):
    centers = np.repeat(np.eye(4)[:, None], CENTERS, axis=1)
    layer, loss = network(centers)
    for gradient in gradients(layer, loss, sign * np.eye(4), np.arange(4)):
        assert np.isfinite(gradient).all()


def test_margins_by_hand():
    counts = np.array([1, 16, 81, 10_000, 0])
    margins = margins_of(counts, 0.45, 0.05, 0.25)
    np.testing.assert_allclose(margins, [0.5, 0.275, 0.2, 0.095, 0.5], rtol=1e-6)
    np.testing.assert_allclose(margins_of(counts, 0.45, 0.05, 0.0), 0.5, rtol=1e-6)


@pytest.mark.parametrize(("a", "b"), [(1.5, 0.1), (-0.5, 0.1)])
def test_margin_out_of_range_is_one_line(a, b):
    with pytest.raises(
        UserError, match=r"radians, and must be at least 0 and below 1\.571"
    ) as error:
        margins_of(np.array([1, 16]), a, b, 0.25)
    assert "\n" not in str(error.value)


def test_step_holds_all_landmarks_that_fit():
    # 200,000 landmarks * 3 centers * 512 numbers * 4 bytes * 12 arrays = 14.7456e9
    assert classes_of_a_step(200_000, 512, 32, 14.75) == 200_000
    assert classes_of_a_step(200_000, 512, 32, 14.7) == 20_000  # a tenth
    assert classes_of_a_step(200_000, 512, 32, 1.0) == 13_563
    assert classes_of_a_step(5, 512, 32, 0.001) == 5


def test_step_that_does_not_fit_says_what_would():
    with pytest.raises(UserError) as error:
        classes_of_a_step(200_000, 512, 32, 0.004)  # 64 landmarks need 4.72 MB
    assert str(error.value) == (
        "the 3 centers of 64 landmarks, which a step of 32 photos needs, take 0.0047 GB, and "
        "--train.metric_memory_gb is 0.004: give 0.0052, or a smaller --train.batch or "
        "--train.embedding"
    )
    assert classes_of_a_step(200_000, 512, 32, 0.0052) >= 64


def test_accuracy_counts_the_photos_whose_own_center_is_nearest(case):
    features, centers, y = case
    layer, _ = network(centers)
    right = accuracy(labels(y), layer(features.astype(np.float32)))
    nearest = np.einsum(
        "bd,ckd->bck", features, centers / np.linalg.norm(centers, axis=2, keepdims=True)
    )
    np.testing.assert_array_equal(right, nearest.max(axis=2).argmax(axis=1) == y)
    assert 0 < np.mean(right) < 1


def test_layer_and_loss_are_stored_with_their_options():
    layer = SubCenterCosine.from_config(SubCenterCosine(7, 12.0, 2).get_config())
    assert (layer.classes, layer.scale, layer.centers) == (7, 12.0, 2)
    assert keras.losses.deserialize(keras.losses.serialize(ArcFace(9.0))).scale == 9.0
