"""Which photos stay by what resembles them, and the neighbours of the photos of a root."""

import numpy as np
import pyarrow as pa
import pytest

from landmark_ray.config import Config
from landmark_ray.data import schemas
from landmark_ray.data.descriptors import read_photos, whiten_photos
from landmark_ray.data.root import Root
from landmark_ray.errors import UserError
from landmark_ray.stages.prune import Resemblance, prune_rows

IDS = [f"{landmark}{number}" for landmark in "ab" for number in range(4)]
IMAGES = pa.table({"image_id": IDS, "landmark_id": [1] * 4 + [2] * 4})
PAIRS = pa.table({"landmark_id": [1], "image_a": ["a0"], "image_b": ["a1"], "inliers": [20]})


def kept(shares, resembling=IDS, **options):
    config = Config.model_validate({"prune": {"min_images": 1} | options})
    near = [["a0"]] * len(resembling)
    rows, counts = prune_rows(IMAGES, PAIRS, config, Resemblance(resembling, shares, near))
    return {row["image_id"]: row for row in rows.to_pylist()}, counts


def test_photos_stay_that_are_verified_or_similar():
    rows, counts = kept([0, 0.2, 1, 0.8, 1, 0, 0, 0])
    assert {i: row["reason"] for i, row in rows.items() if row["keep"]} == {
        "a0": "verified",
        "a1": "verified",
        "a2": "similar",
        "b0": "similar",
    }
    assert rows["a3"]["agreement"] == pytest.approx(0.8)
    assert rows["a3"]["neighbours"] == ["a0"]
    assert (counts.images_out, counts.classes_out, counts.counters["kept as similar"]) == (4, 2, 2)


def test_a_lower_share_is_enough_where_it_is_asked_for():
    rows, _ = kept([0, 0, 0.6, 0.4, 0, 0, 0, 0], agreement=0.6)
    assert [i for i, row in rows.items() if row["reason"] == "similar"] == ["a2"]


@pytest.mark.parametrize("of_ten", range(1, 11))
def test_a_share_that_is_just_reached_is_enough(of_ten):
    share = float(np.float32(of_ten / 10))
    rows, _ = kept([0, 0, share, 0, 0, 0, 0, 0], agreement=of_ten / 10, neighbours=10)
    assert [i for i, row in rows.items() if row["reason"] == "similar"] == ["a2"]


def test_a_photo_without_a_descriptor_stays_if_it_is_verified():
    rows, _ = kept([1.0], resembling=["b3"])
    assert [i for i, row in rows.items() if row["keep"]] == ["a0", "a1", "b3"]
    assert rows["a0"]["agreement"] is None
    assert rows["a0"]["neighbours"] == []


def write_root(path, shards, copies):
    """A root with the described images of each shard: (id, landmark, vector)."""
    root = Root(str(path))
    catalog = [(i, landmark, n) for n, rows in enumerate(shards) for i, landmark, _ in rows]
    ids, landmarks, numbers = zip(*catalog, strict=True)
    table = pa.table({"image_id": ids, "landmark_id": landmarks, "shard": numbers})
    root.write_table("catalog/bucket=0/shard-00000.parquet", table.cast(schemas.CATALOG))
    for n, rows in enumerate(shards):
        described = [
            {"image_id": i, "landmark_id": landmark, "vector": x.astype(np.float16).tobytes()}
            for i, landmark, x in rows
        ]
        root.commit("descriptors", 0, n, pa.Table.from_pylist(described, schemas.DESCRIPTORS), "")
    rows = [
        {
            "image_id": i,
            "landmark_id": 0,
            "cluster": min(names),
            "partner": names[0],
            "exact": True,
            "difference": 0.0,
            "landmarks": [0],
        }
        for names in copies
        for i in names
    ]
    root.commit("duplicates", 0, 0, pa.Table.from_pylist(rows, schemas.DUPLICATES), "")
    return root


def described(count):
    rng = np.random.default_rng(0)
    return [(f"{i:02d}", i % 3, rng.normal(size=8)) for i in range(count)]


def test_copies_are_one_photo_with_the_vector_of_the_smallest_id(tmp_path):
    images = described(12)
    shards = [images[4:], images[:4]]
    root = write_root(tmp_path, shards, [["03", "07"], ["05", "06"]])
    photos = read_photos(root)
    assert photos.ids.to_pylist() == [f"{i:02d}" for i in range(12) if i not in (6, 7)]
    of = dict(zip([i for rows in shards for i, _, _ in rows], photos.row.tolist(), strict=True))
    assert of["07"] == of["03"] == 3
    assert of["06"] == of["05"]
    assert photos.places == {(0, 0): slice(0, 8), (0, 1): slice(8, 12)}
    others = [row for row in images if row[0] not in ("06", "07")]
    alone = write_root(tmp_path / "alone", [others], [])
    assert np.array_equal(
        whiten_photos(photos, root, 0), whiten_photos(read_photos(alone), alone, 0)
    )


def test_photo_whose_smallest_copy_is_not_described_has_the_vector_of_the_next(tmp_path):
    root = write_root(tmp_path, [described(6)], [["00a", "03", "05"]])
    photos = read_photos(root)
    assert photos.ids.to_pylist() == ["00", "03", "01", "02", "04"]
    assert photos.row.tolist() == [0, 2, 3, 1, 4, 1]
    assert np.linalg.norm(whiten_photos(photos, root, 0)[1]) == pytest.approx(1, abs=2e-3)


@pytest.mark.parametrize(
    ("vector", "says"),
    [
        (
            np.full(8, np.nan),
            r"shard-00000.parquet: the vector of image 02 has values that are not",
        ),
        (np.full(8, 1e5), r"shard-00000.parquet: the vector of image 02 has values that are not"),
        (None, r"descriptors: all of 6 descriptors are equal: .*; check --train.weights"),
    ],
)
def test_vectors_that_say_nothing_are_one_line(tmp_path, vector, says):
    images = described(6)
    if vector is None:
        images = [(i, landmark, np.ones(8)) for i, landmark, _ in images]
    else:
        images[2] = (*images[2][:2], vector)
    root = write_root(tmp_path, [images], [])
    with pytest.raises(UserError, match=says):
        whiten_photos(read_photos(root), root, 0)


def test_whitened_vectors_do_not_depend_on_the_shards(tmp_path):
    images = described(40)
    whole = write_root(tmp_path / "whole", [images], [])
    cut = write_root(tmp_path / "cut", [images[25:], images[:11], images[11:25]], [])
    vectors = [whiten_photos(read_photos(root), root, 0) for root in (whole, cut)]
    assert np.array_equal(*vectors)
    assert np.allclose(np.linalg.norm(vectors[0].astype(np.float32), axis=1), 1, atol=2e-3)
