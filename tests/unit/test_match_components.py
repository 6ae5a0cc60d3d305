"""Which images of a landmark are linked, and how the page divides them."""

import pyarrow as pa
import pytest

from landmark_ray.data import schemas
from landmark_ray.data.root import Root
from landmark_ray.reports.match_components import divided_landmarks


@pytest.fixture
def divided(tmp_path):
    """The parts of landmarks: landmark -> the images of each part, as one word."""

    def divide(landmarks: dict[str, int], pairs: list[str], neighbours: dict[str, str]):
        root = Root(str(tmp_path))
        kept = [
            {"image_id": i, "landmark_id": landmark, "keep": i.islower(), "reason": ""}
            | {"partner": "", "inliers": 0, "neighbours": list(neighbours.get(i, ""))}
            for word, landmark in landmarks.items()
            for i in word
        ]
        matched = [
            {"landmark_id": 0, "image_a": a, "image_b": b, "putative": 30, "inliers": int(n)}
            for a, b, n in (pair.split() for pair in pairs)
        ]
        root.commit("kept", 0, 0, pa.Table.from_pylist(kept, schemas.KEPT), "")
        root.commit("pairs", 0, 0, pa.Table.from_pylist(matched, schemas.PAIRS), "")
        found = divided_landmarks(root, 11)
        return {d.landmark_id: ["".join(part.images) for part in d.parts] for d in found}

    return divide


def test_images_that_verify_each_other_are_a_part_even_through_others(divided):
    pairs = ["a b 11", "b c 40", "d e 20", "c d 10", "x y 30"]
    assert divided({"abcdef": 1, "xy": 2}, pairs, {}) == {1: ["abc", "de"]}


def test_mutual_neighbours_of_a_landmark_link_parts(divided):
    pairs = ["a b 20", "c d 20", "e f 20", "x y 20"]
    near = {"b": "cx", "c": "b", "x": "b", "e": "a"}  # a does not resemble e most
    assert divided({"abcdef": 1, "xy": 2}, pairs, near) == {1: ["abcd", "ef"]}


def test_landmarks_with_the_largest_second_part_come_first(divided):
    pairs = ["a b 20", "b c 20", "d e 20", "p q 20", "q r 20", "u v 20", "v w 20"]
    parts = divided({"abcde": 1, "pqruvw": 2}, pairs, {})
    assert list(parts.items()) == [(2, ["pqr", "uvw"]), (1, ["abc", "de"])]


def test_images_that_do_not_stay_link_nothing(divided):
    assert divided({"abCde": 1}, ["a b 20", "b C 20", "C d 20", "d e 20"], {}) == {1: ["ab", "de"]}
    assert divided({"AB": 1}, ["A B 20"], {}) == {}
