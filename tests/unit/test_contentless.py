"""Photos of nothing, of kinds and sizes that no constant was chosen by."""

import io
import tarfile

import cv2
import numpy as np
import pytest
from PIL import Image

from landmark_ray.kernels.contentless import is_contentless, measure, without_contentless
from landmark_ray.kernels.image import Limits, model_input
from landmark_ray.kernels.metrics import NO_LANDMARK
from tests import drawn

SIZES = [32, 112, 224]
RNG = np.random.default_rng(20261128)
LIMITS = Limits(min_side=16, max_pixels=1e8)


def seen(pixels, size) -> np.ndarray:
    """As models see a file of such pixels."""
    out = io.BytesIO()
    Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(out, "JPEG", quality=90)
    return model_input(out.getvalue(), size, LIMITS)


def normal(shape, blur=0.0):
    noise = RNG.normal(0, 1, shape)
    noise = cv2.GaussianBlur(noise, (0, 0), blur) if blur else noise
    return 128 + 50 * noise / noise.std()


ROWS, COLUMNS = (axis[..., None] * np.ones(3) for axis in np.mgrid[:300, :400])
NOTHING = {
    "black": np.zeros((300, 400, 3)),
    "white": np.full((300, 400, 3), 255),
    "nearly black": RNG.integers(0, 6, (300, 400, 3)),
    "sky": np.full((300, 400, 3), (135, 206, 235)),
    "even noise": RNG.integers(0, 256, (300, 400, 3)),
    "even grey noise": np.repeat(RNG.integers(0, 256, (300, 400, 1)), 3, 2),
    "faint noise": 90 + RNG.normal(0, 4, (300, 400, 3)),
    "strong noise": normal((300, 400, 3)),
    "blurred noise": normal((300, 400, 3), 3),
    "enlarged noise": cv2.resize(normal((75, 100, 3)), (400, 300), interpolation=cv2.INTER_CUBIC),
    "salt": np.where(RNG.random((300, 400, 1)) < 0.05, 255, 70) * np.ones(3),
    "salt and pepper": np.repeat(RNG.choice([0, 128, 255], (300, 400, 1)), 3, 2),
    "level gradient": COLUMNS * (0.6, 0.2, 0.1) + (0, 90, 200),
    "upright gradient": 255 - ROWS * 0.8,
    "slanting gradient": (ROWS + COLUMNS) * (0.3, 0.1, 0.2) + (10, 90, 50),
    "radial gradient": 250 - np.hypot(ROWS - 100, COLUMNS - 150) * (0.3, 0.5, 0.1),
}


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", NOTHING)
def test_nothing_is_told(name, size):
    photo = seen(NOTHING[name], size)
    assert is_contentless(photo), measure(photo)


@pytest.mark.parametrize("size", SIZES)
def test_drawn_landmarks_are_something(size):
    for seed in range(10):
        photo = np.asarray(drawn.photo(seed, (size, size)))
        assert not is_contentless(photo), measure(photo)
        assert not is_contentless(photo // 4 + 100), "in fog"
        assert not is_contentless(photo // 3), "at night"


@pytest.mark.parametrize("size", SIZES)
def test_no_real_photo_is_nothing(gld_mini, size):
    count = 0
    for path in sorted(gld_mini.glob("**/*.tar"))[:2]:
        with tarfile.open(path) as tar:
            for member in [m for m in tar if m.name.endswith(".jpg")][:60]:
                photo = model_input(tar.extractfile(member).read(), size, LIMITS)
                assert not is_contentless(photo), (member.name, measure(photo))
                count += 1
    assert count > 60


def test_measures_by_hand():
    # one edge in the middle: all other steps are 0
    edge = np.zeros((64, 64, 3), np.uint8)
    edge[:, 32:] = 200
    found = measure(edge)
    share = 64 / (2 * 63 * 64)  # of the steps that are 200
    assert found.peakedness == pytest.approx(
        (1 - 3 * share + 3 * share**2) / (share * (1 - share)), rel=1e-3
    )
    assert found.likeness == pytest.approx(1 - share * 200**2 / (2 * 100**2))
    assert measure(np.full((64, 64, 3), 9, np.uint8)).detail == 0


def test_only_answers_for_nothing_are_taken_away():
    photos = np.stack([np.zeros((64, 64, 3), np.uint8), np.asarray(drawn.photo(1, (64, 64)))])
    landmarks, confidences = np.array([[5, 7], [7, 5]]), np.array([[0.9, 0.1], [0.8, 0.2]])
    named, sure = without_contentless((landmarks, confidences), photos)
    assert named.tolist() == [[NO_LANDMARK] * 2, [7, 5]]
    assert sure.tolist() == [[0, 0], [0.8, 0.2]]
