"""Who can tell a landmark from anything else, on tables that can be counted by hand."""

import numpy as np
import pyarrow as pa
import pytest

from landmark_ray.config import Config
from landmark_ray.data import schemas
from landmark_ray.data.examples import background_split
from landmark_ray.data.root import Root
from landmark_ray.kernels import synthetic
from landmark_ray.training.non_landmarks import learned, note, warning


def make(folder, sizes: dict[tuple[int, int], int], background: dict[int, int]) -> Root:
    """(landmark, group) -> photos to learn from, with one each to validate; label -> background."""
    root = Root(str(folder))
    examples = [
        {"image_id": f"{landmark}/{i}", "landmark_id": landmark, "group": group, "jpeg": b""}
        | {"split": "train" if i else "validation"}
        for (landmark, group), size in sizes.items()
        for i in range(size + 1)
    ]
    others = [
        {"image_id": f"b{label}/{i}", "landmark_id": label, "jpeg": b""}
        for label, size in background.items()
        for i in range(size)
    ]
    for table, rows in (("examples", examples), ("background", others)):
        root.commit(table, 0, 0, pa.Table.from_pylist(rows, schemas.TABLES[table]), "{}")
    return root


def trains(label: int, size: int, *landmarks: int) -> int:
    ids = np.array([f"b{label}/{i}" for i in range(size)], object)
    return int(
        (background_split(ids, np.full(size, label), np.array(landmarks), 0) == "train").sum()
    )


def test_photos_of_a_landmark_that_nobody_learns_are_on_one_side():
    sides = [trains(label, 3) for label in range(400)]
    assert set(sides) == {0, 3}
    assert 160 < sum(side == 3 for side in sides) < 240


def test_discarded_photos_of_a_landmark_are_divided():
    assert 120 < trains(5, 200, 5) < 160


def test_one_landmark_has_nothing_to_tell_it_from_whatever_is_drawn(tmp_path):
    found = learned(make(tmp_path, {(1, 1): 8}, {synthetic.LABEL: 64}), Config())
    assert found == {1: 0}
    assert "group 1: fewer than 10 photos of anything but its landmarks" in note(found)[0]


def test_discarded_photos_of_its_own_label_tell_a_model_nothing(tmp_path):
    root = make(tmp_path, {(1, 1): 8, (2, 1): 8}, {1: 40, 2: 40})
    assert learned(root, Config()) == {1: 0}


def test_other_groups_and_discarded_photos_of_other_labels_are_strangers(tmp_path):
    root = make(tmp_path, {(1, 1): 8, (2, 2): 30}, {1: 40, 9: 50})
    found = learned(root, Config())
    ones, nines = trains(1, 40, 1, 2), trains(9, 50, 1, 2)
    assert found == {1: 30 + nines, 2: 8 + ones + nines} and ones and nines
    assert note(found) == []
    assert learned(root, Config.model_validate({"train": {"others": 12}})) == {1: 12, 2: 12}
    closed = Config.model_validate({"train": {"other_share": 0}})
    assert learned(root, closed) == {1: 0, 2: 0}, "there is no class other"


@pytest.mark.parametrize(
    ("learns", "validated", "says"),
    [
        ({1: 0}, 0, ["group 1 learned from 0 photos", "0 validation photos", "the one landmark"]),
        ({1: 9, 2: 500}, 20, ["group 1 learned from 9 photos"]),
        ({1: 500, 2: 500}, 3, ["3 validation photos show none of them", "any of the 7 landmarks"]),
    ],
)
def test_warning_says_what_is_missing(learns, validated, says):
    found = warning(learns, validated, 1 if len(learns) == 1 else 7)
    assert all(words in found for words in says), found
    assert "\n" not in found and "Add photos of other landmarks" in found
    assert ("the threshold is at least" in found) == (validated < 10)


def test_no_warning_where_there_is_enough():
    assert warning({1: 10, 2: 5000}, 10, 7) == ""
