"""The index of photos, and the similarity of landmarks."""

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from landmark_ray.kernels.landmark_similarity import (
    means,
    nearest_of,
    sums_by_landmark,
    to_nearest_photos,
    without_photos,
)
from landmark_ray.kernels.photo_index import PhotoIndex, divide
from landmark_ray.kernels.whitening import unit_length


def vectors(count, length=16, centres=40, seed=0):
    rng = np.random.default_rng(seed)
    near = np.random.default_rng(9).normal(size=(centres, length))[
        rng.integers(centres, size=count)
    ]
    made = near + 0.3 * rng.normal(size=(count, length))
    return (made / np.linalg.norm(made, axis=1, keepdims=True)).astype(np.float32)


def exact(x, queries, k):
    return np.argsort(-(queries @ x.astype(np.float32).T), axis=1, kind="stable")[:, :k]


def test_a_small_index_is_exact():
    x, queries = vectors(500).astype(np.float16), vectors(20, seed=1)
    cosines, rows = PhotoIndex(divide(x)).search(queries, 5)
    assert (rows == exact(x, queries, 5)).all()
    expected = np.take_along_axis(queries @ x.astype(np.float32).T, rows, axis=1)
    assert np.allclose(cosines, expected, atol=1e-3)


def test_an_inverted_file_finds_nearly_all():
    x, queries = vectors(6000).astype(np.float16), vectors(50, seed=1)
    arrays = divide(x, exact_up_to=100)
    assert arrays.centres.shape == (256, 16)
    _, rows = PhotoIndex(arrays).search(queries, 10)
    wanted = exact(x, queries, 10)
    hits = [len({*a} & {*b}) for a, b in zip(rows.tolist(), wanted.tolist(), strict=True)]
    assert np.mean(hits) > 9.5


def test_lists_do_not_depend_on_the_number_of_cores():
    x, found = vectors(6000).astype(np.float16), []
    for threads in (1, 2):
        with threadpool_limits(threads):
            found.append(divide(x, exact_up_to=100))
    assert np.array_equal(found[0].lists, found[1].lists)
    assert np.array_equal(found[0].centres, found[1].centres)


def test_where_there_are_fewer_photos_the_rest_is_missing():
    x = vectors(3).astype(np.float16)
    cosines, rows = PhotoIndex(divide(x)).search(vectors(2, seed=1), 5)
    assert (rows[:, 3:] == -1).all() and (cosines[:, 3:] == -1).all()


@pytest.mark.parametrize("queries", [np.zeros((1, 15), np.float32), np.zeros(16, np.float32)])
def test_queries_of_another_length_are_refused(queries):
    with pytest.raises(ValueError, match="needed, got"):
        PhotoIndex(divide(vectors(9).astype(np.float16))).search(queries, 1)


def test_queries_with_nan_are_refused():
    queries = np.full((1, 16), np.nan, np.float32)
    with pytest.raises(ValueError, match="finite"):
        PhotoIndex(divide(vectors(9).astype(np.float16))).search(queries, 1)


def test_similarity_is_the_mean_of_the_nearest_photos_of_a_landmark():
    cosines = np.array([[0.9, 0.8, 0.7, 0.6, 0.5]], np.float32)
    landmarks = np.array([[7, 8, 8, 8, 8]])
    wanted, photos = np.array([[8, 7, 6, 8]]), np.array([[3, 3, 3, 1]])
    found = to_nearest_photos(wanted, cosines, landmarks, photos)
    assert found[0].tolist() == pytest.approx([(0.8 + 0.7 + 0.6) / 3, (0.9 + 1) / 3, 0.5, 0.8])


def test_photos_that_an_index_lacks_count_as_its_last_neighbour():
    """Or an index that grows beyond the number of neighbours would change all confidences."""
    cosines = np.array([[0.9, 0.5, 0.4], [0.9, 0.5, -1], [-1, -1, -1]], np.float32)
    landmarks = np.array([[7, 7, 8], [7, 7, -1], [-1, -1, -1]])
    wanted, photos = np.full((3, 2), [7, 6]), np.full((3, 2), 3)
    found = to_nearest_photos(wanted, cosines, landmarks, photos)
    expected = [[1.8 / 3, 0.4], [1.9 / 3, 0.5], [-1, -1]]
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_sums_are_those_of_each_landmarks_vectors():
    x = np.array([[1, 0], [0, 1], [1, 0]], np.float16)
    ids, sums, photos = sums_by_landmark(x, np.array([9, 7, 9]))
    assert ids.tolist() == [7, 9] and photos.tolist() == [1, 2]
    assert sums.tolist() == [[0, 1], [2, 0]]
    assert without_photos(sums[1], photos[1], x[:1]).tolist() == [1, 0]
    assert without_photos(sums[1], photos[1], x[[0, 2]]) is None


def test_of_few_photos_fewer_count():
    assert nearest_of(np.array([0, 1, 10, 11, 20, 21, 1000])).tolist() == [1, 1, 1, 2, 2, 3, 3]


@pytest.mark.parametrize("photos", [2, 5, 50])
def test_similarity_to_a_mean_does_not_depend_on_the_number_of_photos(photos):
    rng = np.random.default_rng(photos)
    found = []
    for _ in range(300):
        centre = unit_length(rng.normal(size=(1, 32)))
        x = unit_length(centre + 0.25 * rng.normal(size=(photos + 1, 32)))
        _, sums, counts = sums_by_landmark(x[1:].astype(np.float16), np.zeros(photos, int))
        found.append(x[0] @ means(sums, counts)[0])
    alike = np.sqrt(1 / (1 + 32 * 0.25**2))  # the cosine of a photo and its centre
    assert np.mean(found) == pytest.approx(alike, abs=0.04)
