import numpy as np
import pytest

from landmark_ray.kernels.delf import Delf
from tests.delf import signature as delf_signature
from tests.vectors import assert_same_outputs

SCALES = (0.5, 1.0)
OPTIONS = {"image_scales": SCALES, "score_threshold": 0.0, "max_features": 200, "threads": 1}


def saved(path, outputs, signature="default"):
    """A SavedModel whose signature gives these outputs, taking what DELF's takes."""
    import tensorflow as tf

    class Model(tf.Module):
        @tf.function(input_signature=delf_signature())
        def extract(self, image, score_threshold, image_scales, max_feature_num):
            size = tf.cast(tf.shape(image)[:2], tf.float32)
            parts = tf.stack([tf.reduce_max(image), score_threshold, image_scales[0]])
            made = {
                "locations": tf.tile(size[None], [max_feature_num, 1]),
                "descriptors": tf.tile(parts[None], [max_feature_num, 1]),
            }
            return {name: made[name] for name in outputs}

    model = Model()
    tf.saved_model.save(model, str(path), {signature: model.extract})
    return str(path)


def test_the_model_gets_the_options_and_an_image_between_0_and_1(tmp_path):
    options = {"image_scales": (0.25, 1), "score_threshold": 100, "max_features": 3}
    delf = Delf(saved(tmp_path, ["locations", "descriptors"]), **options)
    _, descriptors = delf(np.full((8, 9, 3), 255, np.uint8))
    assert descriptors.tolist() == [[1, 100, 0.25]] * 3


def test_keypoints_are_x_then_y(tmp_path):
    delf = Delf(saved(tmp_path, ["locations", "descriptors"]), **OPTIONS | {"max_features": 1})
    keypoints, _ = delf(np.zeros((40, 70, 3), np.uint8))  # the model gives (height, width)
    assert keypoints.tolist() == [[70, 40]]
    assert keypoints.dtype == np.float32


def test_a_missing_model_is_named_in_one_line(tmp_path):
    with pytest.raises(
        ValueError, match="nowhere.*can't be loaded.*give a TF-Hub address"
    ) as error:
        Delf(str(tmp_path / "nowhere"), **OPTIONS)
    assert "\n" not in str(error.value)


def test_a_model_without_the_default_signature_is_refused(tmp_path):
    handle = saved(tmp_path, ["locations", "descriptors"], signature="other")
    with pytest.raises(ValueError, match="no signature 'default'.*other.*give a TF-Hub"):
        Delf(handle, **OPTIONS)


def test_a_model_that_lacks_an_output_is_refused(tmp_path):
    handle = saved(tmp_path, ["descriptors"])
    with pytest.raises(ValueError, match="lacks the output locations.*has: descriptors.*give a"):
        Delf(handle, **OPTIONS)


@pytest.fixture(scope="module")
def standin_model(shared):
    return str(shared / "models/delf_standin")


@pytest.fixture(scope="module")
def standin(standin_model):
    return Delf(standin_model, **OPTIONS)


def checks(height, width):
    """A chessboard with squares of random colour."""
    rng = np.random.default_rng(0)
    squares = rng.integers(0, 256, (height // 16 + 1, width // 16 + 1, 3), np.uint8)
    return squares.repeat(16, 0).repeat(16, 1)[:height, :width]


@pytest.mark.shared
def test_features_of_the_standin_are_unit_vectors_inside_the_image(standin):
    keypoints, descriptors = standin(checks(180, 320))
    assert 0 < len(keypoints) <= 200
    assert keypoints.shape == (len(descriptors), 2) and descriptors.shape[1] == 40
    assert keypoints.dtype == descriptors.dtype == np.float32
    assert (keypoints >= 0).all() and (keypoints <= [320, 180]).all()
    assert keypoints[:, 0].max() > 180  # x runs along the longer side
    np.testing.assert_allclose(np.linalg.norm(descriptors, axis=1), 1, rtol=1e-4)


@pytest.mark.shared
def test_the_standin_gives_equal_features_for_equal_images(standin):
    image = checks(120, 90)
    for one, two in zip(standin(image), standin(image), strict=True):
        assert_same_outputs(one, two)


@pytest.mark.shared
def test_a_threshold_above_all_scores_leaves_no_features(standin_model):
    delf = Delf(standin_model, **OPTIONS | {"score_threshold": 1e9})
    keypoints, descriptors = delf(checks(64, 64))
    assert keypoints.shape == (0, 2)
    assert descriptors.shape == (0, 40)
