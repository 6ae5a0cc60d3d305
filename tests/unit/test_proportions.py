"""Batches of photos of like proportions: what they hold and show, and what learns from them."""

import dataclasses
import io

import keras
import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from landmark_ray import cli
from landmark_ray.bundle.network_files import read_trunk, trunk_info, write_trunk
from landmark_ray.config import Config
from landmark_ray.config.training import TrainConfig
from landmark_ray.data import schemas
from landmark_ray.data.root import Root
from landmark_ray.data.store import Store
from landmark_ray.errors import UserError
from landmark_ray.kernels.image import square
from landmark_ray.kernels.proportions import (
    PROPORTIONS,
    SQUARE,
    arranged,
    cut,
    nearest,
    rectangles,
    window_of,
)
from landmark_ray.models import arcface, fit_loop, growth, metric, networks, small
from landmark_ray.models.augmentation import build_augmentation
from landmark_ray.models.classification import split_classifier
from landmark_ray.models.embedding import Embedder
from landmark_ray.models.rectangles import copy_weights, for_rectangles, for_squares
from landmark_ray.models.specs import AugmentationOptions
from landmark_ray.training.example_index import read_index
from landmark_ray.training.photo_stream import Pool, pool_of

TALL, WIDE = PROPORTIONS.index((3, 4)), PROPORTIONS.index((4, 3))


def photo(width, height, seed=0):
    """Pixels, and them in a file without loss."""
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG")
    return pixels, out.getvalue()


@pytest.mark.parametrize(("width", "height"), [(64, 96), (72, 96), (96, 96), (96, 72), (96, 64)])
def test_cut_takes_away_the_mirrored_border_and_nothing_else(width, height):
    pixels, data = photo(width, height)
    proportion = nearest(np.array([width]), np.array([height]))
    assert PROPORTIONS[proportion[0]][0] * height == PROPORTIONS[proportion[0]][1] * width
    shown = cut(square(data, 96, "pad")[None], proportion)
    np.testing.assert_array_equal(shown[0], pixels)


def test_photo_between_two_proportions_keeps_a_strip_of_its_border_or_loses_one():
    pixels, data = photo(96, 54)
    shown = cut(square(data, 96, "pad")[None], nearest(np.array([16]), np.array([9])))
    assert shown.shape == (1, 64, 96, 3)
    np.testing.assert_array_equal(shown[0, 5:59], pixels)
    pixels, data = photo(96, 77)
    shown = cut(square(data, 96, "pad")[None], nearest(np.array([5]), np.array([4])))
    np.testing.assert_array_equal(shown[0], pixels[3:75])


def test_batch_shows_the_smallest_rectangle_that_holds_those_of_its_photos():
    squares = np.zeros((2, 96, 96, 3), np.uint8)
    assert cut(squares, np.array([WIDE, WIDE + 1])).shape == (2, 72, 96, 3)
    assert cut(squares, np.array([TALL, TALL])).shape == (2, 96, 72, 3)
    assert cut(squares, np.array([TALL, WIDE])).shape == (2, 96, 96, 3)


def test_arranged_photos_are_all_there_and_batches_have_like_proportions():
    proportion = np.random.default_rng(1).integers(0, len(PROPORTIONS), 1003)
    batch, window = 8, window_of(8, 250)
    assert window == 248
    order = arranged(proportion, batch, window, np.random.default_rng(2))
    assert sorted(order) == list(range(1003))
    assert (order == arranged(proportion, batch, window, np.random.default_rng(2))).all()
    assert (order != arranged(proportion, batch, window, np.random.default_rng(3))).any()
    assert order[1000:].tolist() == [1000, 1001, 1002], "beyond the last batch"
    for first in range(0, 1000, window):
        part = order[first : min(first + window, 1000)]
        assert (part // window == first // window).all(), "of another window"
        own = proportion[part].reshape(-1, batch)
        is_square = (rectangles(96)[own].max(axis=1) == 96).all(axis=1)
        squares, others = own[is_square], own[~is_square]
        assert ((others < SQUARE).all(axis=1) | (others > SQUARE).all(axis=1)).all()
        assert (squares < SQUARE).sum() < batch and (squares > SQUARE).sum() < batch, "left over"
        mixed = others.min(axis=1) != others.max(axis=1)
        assert mixed.sum() <= 2, "one of tall photos, and one of wide ones"
        turns = np.diff(np.sign(own.mean(axis=1) - SQUARE)) != 0
        assert turns.sum() > 3 or len(own) == 1, "the batches are not shuffled"


def pool(count, batch, **more):
    rng = np.random.default_rng(count)
    file, y = (np.sort(rng.integers(0, 3, count)).astype(np.int32) for _ in range(2))
    config = Config.model_validate({"train": {"batch": batch}})
    proportion = rng.integers(0, len(PROPORTIONS), count).astype(np.int8)
    row = np.arange(count, dtype=np.int32)
    return Pool(["a", "b", "c"], file, row, y, 3, config, True, **{"proportion": proportion} | more)


def test_epoch_draws_the_same_photos_as_without_proportions_and_has_as_many_steps():
    own, plain = pool(300, 16), pool(300, 16, proportion=None)
    assert (own.steps, own.windows, own.window) == (18, 1, 1024)
    assert own.steps == plain.steps
    assert (own.sample(1) == own.sample(1)).all() and (own.sample(1) != own.sample(2)).any()
    for epoch in (1, 2):
        assert sorted(own.sample(epoch)) == sorted(plain.sample(epoch))
    batches = own.proportion[own.sample(1)[:288]].reshape(18, 16)
    assert (batches.min(axis=1) == batches.max(axis=1)).sum() >= 9, "half are of one proportion"
    large = pool(9000, 256)
    assert (large.window, large.steps, large.windows) == (4096, 35, 3)


def test_few_photos_are_one_batch():
    own = pool(5, 32)
    assert (own.batch, own.steps, own.windows) == (5, 1, 1)
    assert sorted(own.sample(0)) == sorted(dataclasses.replace(own, proportion=None).sample(0))


def test_proportions_come_from_the_sizes_of_the_stored_photos(tmp_path):
    root, sizes = Root(str(tmp_path)), [(400, 300), (300, 400), (300, 310), (800, 300)]
    rows = [
        {"image_id": f"photo-{i}", "landmark_id": 7, "jpeg": b"", "width": wide, "height": high}
        | {"group": 1, "split": "train"}
        for i, (wide, high) in enumerate(sizes)
    ]
    drawn = [{"image_id": "synthetic-0", "landmark_id": -1, "jpeg": b""}]
    root.commit("examples", 0, 0, pa.Table.from_pylist(rows[::-1], schemas.EXAMPLES), "{}")
    root.commit("background", 0, 0, pa.Table.from_pylist(drawn, schemas.BACKGROUND), "{}")
    with pytest.raises(UserError, match=r"images is missing, .*: leave --train.metric_prop.* out"):
        read_index(root, 0, proportions=True)
    root.commit("images", 0, 0, pa.Table.from_pylist(rows, schemas.IMAGES), "{}")
    index = read_index(root, 0, proportions=True)
    assert index.proportion.tolist() == [WIDE + 1, SQUARE, TALL, WIDE, SQUARE]
    found = pool_of(index, np.array([7]), "train", Config(), other=False)
    assert found.proportion.tolist() == [WIDE + 1, SQUARE, TALL, WIDE]
    index = read_index(root, 0)
    assert pool_of(index, np.array([7]), "train", Config(), other=False).proportion is None


NOISE = np.random.default_rng(0).integers(0, 256, (12, 3, 4, 3), np.uint8)
SHOWN = np.stack([Image.fromarray(n).resize((64, 48), Image.Resampling.BICUBIC) for n in NOISE])
PHOTOS = np.pad(SHOWN, [(0, 0), (8, 8), (0, 0), (0, 0)], mode="symmetric")
"""The same photos, smooth and wide, without and with their mirror images."""
Y = np.repeat(np.arange(3, dtype=np.int32), 4)
MARGINS = np.full(3, 0.2, np.float32)


@pytest.fixture
def tiny(monkeypatch):
    """One block of `small`, which traces in a third of the time."""
    monkeypatch.setattr(small, "WIDTHS", (8, 16))
    keras.utils.set_random_seed(1)


@pytest.mark.parametrize("size", [64, 32, 48])  # as they are, by means, and bilinearly
def test_network_of_rectangles_is_that_of_squares_and_sees_the_photo_alone(tiny, size):
    trunk = networks.build_trunk("small", weights=None, size=size, input_size=64)
    both = for_rectangles(trunk)
    assert networks.describe(both) == networks.describe(trunk)
    of_squares = Embedder(trunk).embed(PHOTOS)
    np.testing.assert_allclose(Embedder(both).embed(PHOTOS), of_squares, atol=1e-5)
    assert both.compute_output_shape((12, 48, 64, 3)) == both.compute_output_shape((12, 64, 64, 3))
    resized = keras.Model(both.input, both.get_layer("rescale").output)
    high = size * 48 // 64
    whole, shown = (
        keras.ops.convert_to_numpy(resized(p.astype(np.float32))) for p in (PHOTOS, SHOWN)
    )
    assert shown.shape == (12, high, size, 3)
    border = (size - high) // 2  # whose first row equals the last of the photo
    np.testing.assert_allclose(shown, whole[:, border : border + high], atol=1e-3)
    again = for_squares(both)
    assert (again.input_shape, networks.describe(again)) == (
        (None, 64, 64, 3),
        networks.describe(trunk),
    )
    for one, other in zip(trunk.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def arrays(variables):
    return [keras.ops.convert_to_numpy(v) for v in variables]


def steps(first):
    """Three of each epoch; Keras would take the shape of all from the first two, which is one."""
    for epoch in range(first, 2):
        for step, proportion in enumerate((WIDE, WIDE, TALL)):
            rows = np.random.default_rng([epoch, step]).integers(0, 12, 2)
            yield cut(PHOTOS[rows], np.full(2, proportion)), Y[rows], np.ones(2, np.float32)


def test_training_goes_on_from_a_checkpoint_and_at_another_size_and_ends_in_squares(tiny, tmp_path):
    def trained(model, done):
        return fit_loop.fit(
            model,
            fit_loop.Stream(arcface.with_margins(steps(done), MARGINS), 3),
            rate=1e-3,
            epochs=2,
            done=done,
            warmup=0.1,
            options=TrainConfig(),
            on_progress=lambda epoch, logs, model: epoch == 1 and fit_loop.save(model, tmp_path),
            loss=arcface.ArcFace(10.0),
            average=0.9,
        )

    trunk = for_rectangles(networks.build_trunk("small", weights=None, size=48, input_size=64))
    vary = build_augmentation(AugmentationOptions(), 3)
    options = {"classes": 3, "features": 8, "scale": 10.0, "augmentation": vary}
    whole = trained(metric.build(trunk, PHOTOS, Y, **options)[0], 0)
    parts = trained(fit_loop.load(str(tmp_path)), 1)
    for one, other in zip(arrays(whole.variables), arrays(parts.variables), strict=True):
        np.testing.assert_allclose(one, other, atol=2e-4)
    former = fit_loop.load(str(tmp_path))
    larger = growth.grown(former, 64)
    assert networks.describe(split_classifier(larger)[0]).size == 64
    assert larger.input_shape == (None, None, None, 3)
    for one, other in zip(arrays(former.variables), arrays(larger.variables), strict=True):
        np.testing.assert_array_equal(one, other)
    assert int(larger.optimizer.iterations) == 3
    learned, folder = split_classifier(parts)[0], Store(str(tmp_path))
    write_trunk(folder, "trunk", for_squares(learned))
    info = trunk_info(folder)
    assert (info.input_size, info.size, info.features, info.embedding) == (64, 48, 8, True)
    read = read_trunk(folder)
    assert read.input_shape == (None, 64, 64, 3)
    np.testing.assert_allclose(
        Embedder(read).embed(PHOTOS), Embedder(learned).embed(PHOTOS), atol=1e-5
    )


def test_weights_that_a_layer_has_copies_of_are_copied_too():
    def normaliser():
        pixels = keras.Input((8, 8, 3))
        return keras.Model(pixels, keras.layers.Normalization()(pixels))

    one, other = normaliser(), normaliser()
    one.layers[1].adapt(PHOTOS[:, :8, :8].astype(np.float32))
    copy_weights(one, other)
    found = (keras.ops.convert_to_numpy(model(PHOTOS[:1, :8, :8])) for model in (one, other))
    np.testing.assert_array_equal(*found)


def test_network_that_cannot_have_a_rectangle_is_refused_by_name(tiny, monkeypatch):
    def large(size):
        pixels = keras.Input((size, size, 3))
        return keras.Model(pixels, keras.layers.Conv2D(4, 25)(pixels), name="large")

    monkeypatch.setattr(networks, "small_network", large)
    trunk = networks.build_trunk("small", weights=None, size=32)
    with pytest.raises(UserError, match=r"^network small can't see 21 x 32 pixels: leave --train"):
        for_rectangles(trunk)


def test_proportions_need_photos_that_are_padded():
    metric = ["--train.metric_proportions", "true", "--train.phases", "metric,head"]
    with pytest.raises(UserError) as error:
        cli.parse(Config, metric, "a job")
    assert "resize.fit is crop; give resize.fit pad" in str(error.value)
    assert "\n" not in str(error.value)
    assert cli.parse(Config, [*metric, "--resize.fit", "pad"], "a job").train.metric_proportions


def test_proportions_count_only_where_they_are_given():
    plain, given = (
        TrainConfig(phases=("metric", "head"), metric_proportions=chosen)
        for chosen in (False, True)
    )
    assert "train.metric_proportions" not in plain.config_key("trunk"), "of roots of older versions"
    assert given.config_key("trunk")["train.metric_proportions"] is True
    assert plain.config_key("embed") == given.config_key("embed")
