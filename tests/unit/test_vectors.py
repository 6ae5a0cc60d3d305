"""What a group's head learns from, on a table of embeddings that can be counted by hand."""

import numpy as np
import pyarrow as pa
import pytest

from landmark_ray.config import Config
from landmark_ray.data import schemas
from landmark_ray.data.root import Root
from landmark_ray.kernels import synthetic
from landmark_ray.training.vectors import closed_set_baseline, read_group

ROWS = [
    # image, landmark, group, split, view
    ("a1", 7, 1, "train", 0),
    ("a1", 7, 1, "train", 1),
    ("a2", 7, 1, "validation", 0),
    ("b1", 3, 1, "train", 0),
    ("b1", 3, 1, "train", 1),
    ("c1", 5, 2, "train", 0),
    ("c1", 5, 2, "train", 1),
    ("c2", 5, 2, "validation", 0),
    ("d1", 7, 0, "train", 0),  # a discarded photo of one of group 1's landmarks
    ("e1", 9, 0, "train", 0),
    ("e1", 9, 0, "train", 1),
    ("a3", 7, 1, "train", 0),
    ("a3", 7, 1, "train", 1),
]


@pytest.fixture
def root(tmp_path):
    root = Root(str(tmp_path))
    names = ["image_id", "landmark_id", "group", "split", "view"]
    rows = [
        dict(zip(names, row, strict=True)) | {"vector": np.full(2, i, np.float16).tobytes()}
        for i, row in enumerate(ROWS)
    ]
    for shard, part in enumerate((rows[:6], rows[6:])):
        root.commit("embeddings", 0, shard, pa.Table.from_pylist(part, schemas.EMBEDDINGS), "")
    return root


def config(**train):
    return Config.model_validate({"train": train})


def test_other_is_every_photo_of_other_groups_and_of_no_landmark_of_ours(root):
    data = read_group(root, 1, config())
    assert data.landmarks.tolist() == [3, 7] and data.other
    assert data.train.x[:, 0].tolist() == [0, 1, 3, 4, 5, 6, 9, 10, 11, 12]
    assert data.train.y.tolist() == [1, 1, 0, 0, 2, 2, 2, 2, 1, 1]
    assert data.validation.x[:, 0].tolist() == [2, 7]
    assert data.validation.y.tolist() == [1, 2]


@pytest.mark.parametrize(
    ("balance", "wanted"),
    [
        ({}, [0.375, 0.375, 0.25]),
        ({"balance": False}, [0.25, 0.5, 0.25]),  # landmark 7 has 4 samples, 3 has 2
    ],
)
def test_other_has_its_share_of_the_weight_and_landmarks_weigh_alike_if_balanced(
    root, balance, wanted
):
    data = read_group(root, 1, config(other_share=0.25, **balance))
    weights = data.train.weights
    assert weights.sum() == pytest.approx(len(weights))
    shares = [weights[data.train.y == label].sum() / len(weights) for label in range(3)]
    assert shares == pytest.approx(wanted)


def test_no_share_no_class_other(root):
    data = read_group(root, 1, config(other_share=0))
    assert not data.other
    assert data.train.y.tolist() == [1, 1, 0, 0, 1, 1]
    assert data.train.weights.tolist() == [0.75, 0.75, 1.5, 1.5, 0.75, 0.75]


def test_closed_is_what_no_share_gives(root):
    left, wanted = (
        closed_set_baseline(read_group(root, 1, config())),
        read_group(root, 1, config(other_share=0)),
    )
    for side in ("train", "validation"):
        for name in ("x", "y", "weights"):
            got = getattr(getattr(left, side), name)
            np.testing.assert_allclose(got, getattr(getattr(wanted, side), name), rtol=1e-6)


def test_no_more_others_than_asked_for(root):
    data = read_group(root, 1, config(others=1))
    sides = (data.train, data.validation)
    others = {ROWS[int(row)][0] for side in sides for row in side.x[side.y == 2][:, 0]}
    assert len(others) == 1


def test_drawn_images_are_always_learned_from_however_few_others_may_be(tmp_path, root):
    rows = [
        {"image_id": f"synthetic-{i}", "landmark_id": synthetic.LABEL, "group": 0, "view": 0}
        | {"split": split, "vector": np.full(2, 20 + i, np.float16).tobytes()}
        for i, split in enumerate(("train", "validation", "train"))
    ]
    root.commit("embeddings", 0, 2, pa.Table.from_pylist(rows, schemas.EMBEDDINGS), "")
    data = read_group(root, 1, config(others=1))
    assert {20, 22} <= set(data.train.x[:, 0].tolist())
    assert data.train.y[-2:].tolist() == [2, 2], "of the class other"
    assert 21 in data.validation.x[:, 0]
    photos = [x for x in data.train.x[:, 0].tolist() if x in (5, 6, 9, 10)]
    assert len(photos) <= 2, "one image, in all its views"
    assert not {20, 21, 22} & set(closed_set_baseline(data).train.x[:, 0].tolist())
