import numpy as np
import pytest

from landmark_ray.data.examples import background_split
from landmark_ray.kernels import sampling


def ids(n: int) -> np.ndarray:
    return np.array([f"{i:016x}" for i in range(n)], object)


def chosen(image_ids, landmarks, **options):
    rule = {"min_images": 3, "max_images": 5, "seed": 0} | options
    rows = sampling.choose_images(image_ids, landmarks, **rule)
    return list(zip(image_ids[rows], landmarks[rows], strict=True))


def test_small_classes_are_dropped_and_large_ones_cut():
    landmarks = np.array([7] * 2 + [8] * 3 + [9] * 9)
    counts = {lm: sum(1 for _, x in chosen(ids(14), landmarks) if x == lm) for lm in (7, 8, 9)}
    assert counts == {7: 0, 8: 3, 9: 5}


def test_choice_does_not_depend_on_the_order_of_rows():
    landmarks = np.repeat([1, 2], 20)
    order = np.random.default_rng(1).permutation(40)
    assert chosen(ids(40), landmarks) == chosen(ids(40)[order], landmarks[order])


def test_another_seed_chooses_other_images():
    landmarks = np.zeros(100, int)
    assert set(chosen(ids(100), landmarks)) != set(chosen(ids(100), landmarks, seed=1))


def test_every_image_is_equally_likely():
    hits = np.zeros(20)
    for seed in range(400):
        rows = sampling.choose_images(
            ids(20), np.zeros(20, int), min_images=1, max_images=5, seed=seed
        )
        hits[rows] += 1
    assert hits.min() > 60 and hits.max() < 140  # 100 expected, sigma 8.7


@pytest.mark.parametrize("seed", [-1, 0, 2**63, 2**70])
def test_rank_key_takes_any_seed(seed):
    assert len(np.unique(sampling.rank_key(ids(10), seed))) == 10


def test_buckets_are_evenly_filled():
    counts = np.bincount(sampling.bucket_of(np.arange(100_000), 16), minlength=16)
    assert counts.min() > 5_900 and counts.max() < 6_600


def test_shards_hold_whole_classes_and_fill_up_in_order():
    sizes = np.array([60, 60, 60, 500, 10, 20])
    assert sampling.shard_of(sizes, 128).tolist() == [0, 0, 1, 2, 3, 3]


def test_strangers_are_on_both_sides_however_few_are_chosen():
    landmarks = np.repeat(np.arange(4000), 4)
    rows = sampling.choose_strangers(ids(16000), landmarks, min_images=6, most=600, seed=0)
    assert len(rows) == 600 and np.unique(landmarks[rows], return_counts=True)[1].max() == 3
    split = background_split(ids(16000)[rows], landmarks[rows], np.array([-1]), 0)
    assert 0.4 < np.mean(split == "validation") < 0.6


def test_landmarks_left_out_are_never_more_than_the_share_and_all_validate():
    landmarks = np.arange(60)
    chosen = sampling.choose_left_out(landmarks, 0.05, 0)
    assert len(chosen) == 3 and len(set(chosen.tolist())) == 3
    assert set(chosen) == set(sampling.choose_left_out(landmarks[::-1], 0.05, 0))
    assert set(chosen) != set(sampling.choose_left_out(landmarks, 0.05, 1))
    assert not len(sampling.choose_left_out(landmarks[:19], 0.05, 0))
    assert set(background_split(ids(3), chosen, np.array([-1]), 0)) == {"validation"}
