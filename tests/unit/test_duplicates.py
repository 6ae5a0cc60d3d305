import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from landmark_ray.kernels import duplicates
from landmark_ray.kernels.perceptual_hash import perceptual_hash


def all_near(hashes, bits):
    """Every pair that is near, by trying all."""
    near = np.bitwise_count(hashes[:, None] ^ hashes[None, :]) <= bits
    return np.argwhere(np.triu(near, 1))


def found(hashes, bits):
    parts = [
        duplicates.near_pairs(hashes, bits, combination)
        for combination in duplicates.block_combinations(bits)
    ]
    pairs = duplicates.merge_pairs(parts)
    assert len(np.unique(pairs, axis=0)) == len(pairs)  # each is found in one way only
    return pairs


def flipped(hashes, rng, most):
    """The hashes with up to `most` bits turned over."""
    turned = hashes.copy()
    for i in range(len(hashes)):
        for bit in rng.choice(64, rng.integers(0, most + 1), replace=False):
            turned[i] ^= np.uint64(1) << np.uint64(bit)
    return turned


@given(st.integers(0, 2**32 - 1), st.integers(0, 8))
def test_every_near_pair_is_found_and_no_other(seed, bits):
    rng = np.random.default_rng(seed)
    base = rng.integers(0, 1 << 64, 40, np.uint64)
    hashes = np.unique(np.concatenate([base, flipped(base, rng, bits + 2)]))
    rng.shuffle(hashes)
    np.testing.assert_array_equal(found(hashes, bits), all_near(hashes, bits))


def test_hashes_that_share_most_blocks_are_all_compared():
    hashes = np.arange(200, dtype=np.uint64)  # equal but for the lowest byte
    np.testing.assert_array_equal(found(hashes, 2), all_near(hashes, 2))


@pytest.mark.parametrize("count", [0, 1])
def test_few_hashes_have_no_pairs(count):
    assert found(np.zeros(count, np.uint64), 4).shape == (0, 2)


def grey(*levels):
    return np.stack([np.full((4, 4), level, np.uint8) for level in levels])


def test_images_of_one_hash_follow_the_first_that_they_look_like():
    group = np.array([7, 7, 8, 7, 7, 8])
    thumbnails = grey(10, 90, 10, 11, 92, 200)
    assert duplicates.representatives(group, thumbnails, 2).tolist() == [0, 1, 2, 0, 1, 5]


def test_clusters_are_linked_through_others():
    pairs = np.array([[0, 3], [3, 4], [1, 5]])
    assert duplicates.clusters(7, pairs).tolist() == [0, 1, 2, 0, 0, 1, 6]
    assert duplicates.clusters(3, np.empty((0, 2), np.int64)).tolist() == [0, 1, 2]


def picture(seed, size=(512, 384), quality=90):
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(0, 256, (12, 16, 3), np.uint8))
    return jpeg(small.resize(size, Image.Resampling.BICUBIC), quality)


def jpeg(image, quality=90):
    out = io.BytesIO()
    image.save(out, "JPEG", quality=quality)
    return out.getvalue()


def apart(a, b):
    one, two = perceptual_hash(a), perceptual_hash(b)
    thumbs = np.stack([np.frombuffer(f.thumbnail, np.uint8).reshape(32, 32) for f in (one, two)])
    rows = np.array([0]), np.array([1])
    return (one.phash ^ two.phash).bit_count(), duplicates.difference(thumbs, *rows)[0]


@pytest.mark.parametrize("seed", range(5))
def test_a_smaller_copy_of_other_quality_is_near_and_another_photo_is_not(seed):
    original = picture(seed)
    with Image.open(io.BytesIO(original)) as image:
        copy = jpeg(image.resize((384, 288)), quality=60)
    bits, difference = apart(original, copy)
    assert bits <= 4 and difference < 4
    bits, difference = apart(original, picture(seed + 100))
    assert bits > 8 and difference > 8


def test_a_fingerprint_tells_equal_bytes():
    assert perceptual_hash(picture(0)) == perceptual_hash(picture(0))
    assert perceptual_hash(picture(0)).digest != perceptual_hash(picture(0, quality=91)).digest
