import keras
import numpy as np
import pytest
from pydantic import ValidationError

from landmark_ray.models.augmentation import ERASED, build_augmentation, resample
from landmark_ray.models.backend import xla
from landmark_ray.models.specs import AugmentationOptions

ONLY = {
    "flip": {"flip": True},
    "crop": {"crop": 0.5},
    "rotation": {"rotation": 10},
    "colour": {"colour": 0.5},
    "erase": {"erase": 1},
}


def only(**options):
    return AugmentationOptions(**AugmentationOptions.off().model_dump() | options)


def photos(batch=8, height=32, width=32):
    """Smooth colours, dark at the bottom, different left and right."""
    y, x = np.mgrid[0:height, 0:width]
    one = np.stack([200 - 150 * y / height, 40 + 150 * x / width, 0 * x + 90], axis=-1)
    return np.broadcast_to(one, (batch, height, width, 3)).astype("float32").copy()


def varied(options, images, seed=3):
    return np.asarray(build_augmentation(options, seed)(images, training=True))


@pytest.mark.parametrize(
    "options", [AugmentationOptions(), AugmentationOptions(colour=1, crop=0.9)]
)
@pytest.mark.parametrize("shape", [(8, 32, 32), (3, 40, 24)])
def test_varied_photos_keep_shape_and_range(options, shape):
    images = np.random.default_rng(0).integers(0, 256, (*shape, 3)).astype("uint8")
    out = varied(options, images)
    assert out.shape == images.shape and out.dtype == np.float32
    assert out.min() >= 0 and out.max() <= 255
    assert np.abs(out - images).mean() > 1


@pytest.mark.parametrize("training", [False, None])
def test_photos_stay_as_they_are_outside_training(training):
    augmentation = build_augmentation(AugmentationOptions(), 0)
    np.testing.assert_array_equal(augmentation(photos(), training=training), photos())
    np.testing.assert_array_equal(augmentation.predict(photos(), verbose=0), photos())


def test_nothing_happens_with_all_off():
    augmentation = build_augmentation(AugmentationOptions.off(), 0)
    np.testing.assert_array_equal(augmentation(photos(), training=True), photos())


@pytest.mark.parametrize("kind", ONLY)
def test_each_kind_works_alone_and_photo_by_photo(kind):
    out = varied(only(**ONLY[kind]), photos())
    changed = np.abs(out - photos()).max(axis=(1, 2, 3)) > 1
    assert changed.any()
    assert any(np.abs(out[0] - other).max() > 1 for other in out[1:])


def test_equal_seeds_give_equal_batches():
    first, again, other = (build_augmentation(AugmentationOptions(), s) for s in (1, 1, 2))
    for _ in range(2):
        batch = np.asarray(first(photos(), training=True))
        np.testing.assert_array_equal(batch, again(photos(), training=True))
        assert np.abs(batch - other(photos(), training=True)).mean() > 1
    assert np.abs(batch - first(photos(), training=True)).mean() > 1


def test_flip_mirrors_some_photos_left_to_right_exactly():
    images = np.random.default_rng(0).integers(0, 256, (16, 9, 8, 3)).astype("float32")
    same = mirrored = 0
    for before, after in zip(images, varied(only(flip=True), images), strict=True):
        same += np.allclose(after, before, atol=1e-2)
        mirrored += np.allclose(after, before[:, ::-1], atol=1e-2)
    assert same + mirrored == 16 and min(same, mirrored) > 2


@pytest.mark.parametrize("shape", [(4, 32, 32), (3, 40, 24), (2, 1, 5)])
@pytest.mark.parametrize("compiled", [False, True])
def test_resampling_equals_affine_transform_and_compiles(shape, compiled):
    rng = np.random.default_rng(0)
    images = rng.uniform(0, 255, (*shape, 3)).astype("float32")
    batch, height, width = shape
    maps = rng.normal(0, [1, 1, 3 * width], (2, batch, 3)).astype("float32")  # far outside, too
    column, row = maps.transpose(0, 2, 1)
    model = keras.Model(*resampler(height, width))
    model.compile(jit_compile=compiled)
    assert model.jit_compile == compiled
    flat = np.concatenate([column.T, row.T], axis=1)
    wanted = keras.ops.image.affine_transform(
        images, np.pad(flat, ((0, 0), (0, 2))), fill_mode="reflect"
    )
    # coordinates of hundreds of pixels have an error of 1e-4 of a pixel
    np.testing.assert_allclose(model.predict_on_batch([images, flat]), wanted, atol=0.1)


def resampler(height, width):
    inputs = [keras.Input((height, width, 3)), keras.Input((6,))]

    class Resample(keras.layers.Layer):
        def call(self, images, maps):
            parts = [maps[:, i] for i in range(6)]
            return resample(images, parts[:3], parts[3:])

    return inputs, Resample()(*inputs)


def test_augmentation_can_be_compiled():
    augmentation = build_augmentation(AugmentationOptions(), 0)
    compiled = xla(lambda images: augmentation(images, training=True))
    out = np.asarray(compiled(photos()))
    assert out.shape == photos().shape and out.min() >= 0 and out.max() <= 255
    assert (np.abs(out - photos()).max(axis=(1, 2, 3)) > 1).all()


def test_photos_never_stand_on_their_heads():
    out = varied(AugmentationOptions(colour=0, erase=0, rotation=45, crop=0.9), photos(64))
    red = out[..., 0].mean(axis=2)
    assert (red[:, :8].mean(axis=1) > red[:, -8:].mean(axis=1)).all()


def test_crop_shows_a_part_of_the_photo():
    y, x = np.mgrid[0:64, 0:64].astype("float32")
    images = np.stack([np.stack([x, y, 0 * x], axis=-1)] * 64)
    out = varied(only(crop=0.5), images)
    wide = np.ptp(out[..., 0], axis=(1, 2)) / 63
    high = np.ptp(out[..., 1], axis=(1, 2)) / 63
    assert (wide * high > 0.5 - 1e-3).all() and (wide * high).min() < 0.6
    assert (wide <= 1 + 1e-3).all() and (high <= 1 + 1e-3).all()
    assert 0.3 < out[..., 0].mean() / 63 < 0.7


def test_colour_keeps_grey_grey():
    grey = np.full((16, 4, 4, 3), 100, "float32")
    out = varied(only(colour=0.5), grey)
    np.testing.assert_allclose(out[..., 0], out[..., 2], atol=0.1)
    assert 50 <= out.min() < 80 and 120 < out.max() <= 150


def test_colour_changes_are_mild_by_default():
    out = varied(only(colour=AugmentationOptions().colour), photos(64))
    assert 5 < np.abs(out - photos(64)).mean() < 30


def test_erasing_paints_one_rectangle_in_a_share_of_the_photos():
    black = np.zeros((200, 64, 64, 3), "float32")
    out = varied(only(erase=0.25), black)
    painted = out.any(axis=-1)
    share = painted.mean(axis=(1, 2))
    assert 0.15 < (share > 0).mean() < 0.35
    hit = painted[share > 0]
    box = hit.any(axis=1).sum(axis=1) * hit.any(axis=2).sum(axis=1)
    np.testing.assert_array_equal(box, hit.sum(axis=(1, 2)))
    assert share[share > 0].min() > ERASED[0] - 0.01 and share.max() < ERASED[1] + 0.02


def test_it_runs_in_a_data_pipeline_and_survives_saving(tmp_path):
    import tensorflow as tf

    first, again = (build_augmentation(AugmentationOptions(), 1) for _ in range(2))
    first.save(tmp_path / "augmentation.keras")
    wanted = np.asarray(first(photos(), training=True))
    data = tf.data.Dataset.from_tensors(photos()).map(lambda x: again(x, training=True))
    np.testing.assert_allclose(next(iter(data)), wanted, atol=1e-2)
    loaded = keras.saving.load_model(tmp_path / "augmentation.keras")
    np.testing.assert_allclose(loaded(photos(), training=True), wanted, atol=1e-2)


@pytest.mark.parametrize("wrong", [{"crop": 1}, {"erase": 2}, {"rotation": -1}, {"turn": 1}])
def test_options_out_of_range_are_refused(wrong):
    with pytest.raises(ValidationError):
        AugmentationOptions(**wrong)
