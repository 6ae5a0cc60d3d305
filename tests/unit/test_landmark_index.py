"""An index in a folder: what it finds, and what it refuses."""

import io
import json

import numpy as np
import pyarrow as pa
import pytest

from landmark_ray.bundle import landmark_index
from landmark_ray.bundle.landmark_index import LandmarkIndex, read_fusion, write_fusion
from landmark_ray.data.store import Store
from landmark_ray.errors import UserError
from landmark_ray.kernels.findings import join, merge
from landmark_ray.kernels.fusion import STRANGERS, Fusion, Regression
from landmark_ray.kernels.landmark_similarity import means
from landmark_ray.kernels.photo_index import divide
from landmark_ray.kernels.whitening import fit_learned_whitening
from landmark_ray.stages.index import clusters

LANDMARKS = (7, 8, 9)
EACH = 6
NOBODY = np.full((1, 2), -1), np.zeros((1, 2))


def vectors(seed=0):
    """Three landmarks with six photos each, and four photos of no landmark; and their landmarks."""
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(9).normal(size=(4, 24))
    own = np.repeat([0, 1, 2, 3], [EACH, EACH, EACH, 4])
    x = centres[own] + 0.25 * rng.normal(size=(len(own), 24))
    return x.astype(np.float32), np.array([*LANDMARKS, STRANGERS])[own]


@pytest.fixture(params=[1000, 0], ids=["whole", "lists"])
def folder(request, tmp_path) -> Store:
    """An index of `vectors`, whole or divided; the first two photos are duplicates."""
    store = Store(str(tmp_path / "models"))
    store.write("trunk/network.weights.h5", b"weights")
    x, landmarks = vectors()
    whitening = fit_learned_whitening(x, landmarks)
    ids = [f"photo-{number:02d}" for number in range(len(x))]
    photos = pa.table(
        {
            "image_id": ids,
            "landmark_id": landmarks,
            "cluster": [ids[0], ids[0], *ids[2:]],
            "enrolled": [False] * len(ids),
        }
    )
    info = landmark_index.IndexInfo(
        "trunk", landmark_index.trunk_checksum(store), 24, photos=18, strangers=4
    )
    arrays = divide(whitening(x).astype(np.float16), exact_up_to=request.param)
    assert bool(len(arrays.centres)) == (request.param == 0)
    landmark_index.write_index(store, whitening, arrays, photos, info)
    return store


def npy(array) -> bytes:
    """The file of an array."""
    data = io.BytesIO()
    np.save(data, array)
    return data.getvalue()


def best(found):
    """The landmark of each query to whose mean it is nearest."""
    return found.landmarks[np.arange(len(found.mean)), found.mean.argmax(axis=1)].tolist()


def test_photos_come_and_go_and_the_rest_are_found_as_before(folder, tmp_path):
    x, landmarks = vectors(seed=1)
    old = LandmarkIndex(folder)
    more = old.whiten(x[EACH : 2 * EACH])  # of landmark 8, under another number
    ids = [f"more-{number}" for number in range(EACH)]
    rows = {"image_id": ids, "landmark_id": [70] * EACH, "cluster": ids, "enrolled": [True] * EACH}
    target = Store(str(tmp_path / "other"))
    target.write("trunk/network.weights.h5", b"weights")
    stay = vectors()[1] != LANDMARKS[1]
    landmark_index.rewrite_index(target, folder, stay, more, pa.table(rows))
    new = LandmarkIndex(target)
    queries = x[: 2 * EACH], (np.full((2 * EACH, 1), -1), np.zeros((2 * EACH, 1)))
    before, after = old.candidates(*queries), new.candidates(*queries)
    assert best(after) == [LANDMARKS[0]] * EACH + [70] * EACH
    of_first = [found.nearest[:EACH][found.landmarks[:EACH] == 7] for found in (before, after)]
    np.testing.assert_allclose(*of_first, rtol=1e-6)
    of_new = after.nearest[EACH:][after.landmarks[EACH:] == 70]
    assert (of_new > before.nearest[EACH:][before.landmarks[EACH:] == 8]).all(), "its own photos"


def test_photos_are_most_similar_to_their_landmark(folder):
    x, landmarks = vectors(seed=1)
    found = LandmarkIndex(folder).candidates(x[:18], (np.full((18, 1), -1), np.zeros((18, 1))))
    assert best(found) == landmarks[:18].tolist()
    first = found.nearest.argmax(axis=1)
    assert found.landmarks[np.arange(18), first].tolist() == landmarks[:18].tolist()
    assert (found.nearest.max(axis=1) > found.strangers).mean() > 0.8
    strangers = LandmarkIndex(folder).candidates(x[18:], (np.full((4, 1), -1), np.zeros((4, 1))))
    assert (strangers.nearest.max(axis=1) < strangers.strangers).mean() > 0.7


def test_landmarks_of_the_heads_are_candidates_with_their_confidence(folder):
    x, _ = vectors(seed=1)
    found = LandmarkIndex(folder).candidates(x[:1], (np.array([[9, 8]]), np.array([[0.7, 0.2]])))
    said = dict(zip(found.landmarks[0].tolist(), found.heads[0].tolist(), strict=True))
    assert said == {7: 0.0, 8: 0.2, 9: 0.7}


def test_heads_say_nothing_of_landmarks_that_were_enrolled(folder):
    table = folder.read_table("index/photos.parquet")
    enrolled = pa.array([i == 8 for i in table["landmark_id"].to_pylist()])
    folder.write_table("index/photos.parquet", table.set_column(3, "enrolled", enrolled))
    x, _ = vectors(seed=1)
    found = LandmarkIndex(folder).candidates(x[:1], (np.array([[7]]), np.array([[0.7]])))
    said = dict(zip(found.landmarks[0].tolist(), found.heads[0].tolist(), strict=True))
    assert said[7] == 0.7 and np.isnan(said[8]) and said[9] == 0


def test_a_photo_of_the_index_does_not_count_for_itself(folder):
    x, _ = vectors()
    index = LandmarkIndex(folder)
    with_itself = index.candidates(x[:1], NOBODY)
    without = index.candidates(x[:1], NOBODY, ["photo-00"])
    own = [f.landmarks[0].tolist().index(7) for f in (with_itself, without)]
    for name in ("nearest", "mean"):
        values = [getattr(f, name)[0, c] for f, c in zip((with_itself, without), own, strict=True)]
        assert values[0] > values[1]
    # what is left is exactly an index without both duplicates
    z = index.whiten(x)
    others = z[2:EACH].astype(np.float16).astype(np.float32)
    assert without.nearest[0, own[1]] == pytest.approx((others @ z[0]).max(), abs=2e-3)
    (mean,) = means(others.sum(axis=0)[None], np.array([len(others)]))
    assert without.mean[0, own[1]] == pytest.approx(mean @ z[0], abs=2e-3)


def test_what_is_usual_is_how_similar_photos_are_to_the_others_of_their_landmark(folder):
    x, landmarks = vectors()
    index = LandmarkIndex(folder)
    found = index.candidates(x[:1], NOBODY)
    own = index.whiten(x[landmarks == 8]).astype(np.float16).astype(np.float64)
    others = (own.sum(axis=0) - own) / (len(own) - 1)
    alike = (own * others).sum(axis=1).mean()
    usual = found.usual[0, found.landmarks[0].tolist().index(8)]
    assert usual == pytest.approx(np.sqrt(alike), abs=1e-3)


def test_a_landmark_without_another_photo_is_not_similar(folder):
    index = LandmarkIndex(folder)
    index.photos = index.photos.set_column(
        2, "cluster", pa.array(["one"] * EACH + index.photos["cluster"].to_pylist()[EACH:])
    )
    x, _ = vectors()
    found = index.candidates(x[:1], (np.array([[7]]), np.array([[0.9]])), ["one"])
    assert found.mean[0, found.landmarks[0].tolist().index(7)] == -1


def test_clusters_of_several_photos_are_looked_up_by_each(folder):
    rows = LandmarkIndex(folder)._rows_of(["photo-03", "photo-00", "unknown", "photo-03"])
    assert [row.tolist() for row in rows] == [[3], [0, 1], [], [3]]


def test_rows_of_many_clusters_are_those_that_hold_their_names(folder):
    index, rng = LandmarkIndex(folder), np.random.default_rng(3)
    names = [None if n == 0 else f"c{n}" for n in rng.integers(0, 30, 200)]
    index.photos = pa.table({"cluster": pa.chunked_array([names[:70], names[70:]])})
    asked = [f"c{n}" for n in rng.integers(1, 40, 50)]
    found = index._rows_of(asked)
    assert [rows.tolist() for rows in found] == [
        [row for row, name in enumerate(names) if name == cluster] for cluster in asked
    ]
    assert index._rows_of([]) == []


@pytest.mark.parametrize("shards", [2, 3, 30])
@pytest.mark.parametrize("neighbours", [64, 5])
def test_shards_together_answer_as_one(folder, shards, neighbours, monkeypatch):
    monkeypatch.setattr(landmark_index, "NEIGHBOURS", neighbours)  # of 22 photos
    x, _ = vectors(seed=1)
    heads = np.tile([9, -1], (len(x), 1)), np.tile([0.7, 0.0], (len(x), 1))
    whole = LandmarkIndex(folder).candidates(x, heads)
    indexes = [LandmarkIndex(folder, shard, shards) for shard in range(shards)]
    assert sum(len(index.photos) for index in indexes) == len(x)
    merged = merge([index.find(x, heads) for index in indexes], heads)
    assert np.allclose(merged.strangers, whole.strangers, atol=1e-6)
    fusion = Fusion(*2 * [Regression((1.0, 5.0, 10.0), -1.0)])
    ids, confidences = fusion.top_k(whole, 3)
    found = fusion.top_k(merged, 3)
    assert found[0].tolist() == ids.tolist()
    assert np.allclose(found[1], confidences, atol=1e-6)


def test_shards_consider_the_means_that_are_nearest_in_the_whole_index(tmp_path, monkeypatch):
    monkeypatch.setattr(landmark_index, "NEIGHBOURS", 2)
    store = Store(str(tmp_path))
    store.write("trunk/network.weights.h5", b"weights")
    x = np.random.default_rng(0).normal(size=(60, 24)).astype(np.float32)
    ids = [f"{n:02d}" for n in range(60)]
    own = np.arange(60) // 2
    photos = {"image_id": ids, "landmark_id": own, "cluster": ids, "enrolled": [False] * 60}
    info = landmark_index.IndexInfo("trunk", landmark_index.trunk_checksum(store), 24, 60, 0)
    whitening = fit_learned_whitening(x, own)
    arrays = divide(whitening(x).astype(np.float16))
    landmark_index.write_index(store, whitening, arrays, pa.table(photos), info)
    heads = np.array([[28, 29, 99]]), np.array([[0.5, 0.0, 0.2]])
    parts = [LandmarkIndex(store, shard, 3).find(x[:1], heads) for shard in range(3)]
    whole, found = LandmarkIndex(store).candidates(x[:1], heads), merge(parts, heads)
    assert sorted(whole.landmarks[whole.known]) == sorted(found.landmarks[found.known])
    assert 10 < whole.known.sum() <= 14


def test_landmarks_are_joined_once_each():
    heads = np.array([[5, 3, -1]]), np.array([[0.6, 0.3, 0.0]])
    ids, confidences = join(heads, np.array([[3, 3, 8, STRANGERS]]), np.array([[5, 4]]))
    assert ids.tolist() == [[3, 4, 5, 8]]
    assert confidences.tolist() == [[0.3, 0.0, 0.6, 0.0]]


def test_index_of_another_trunk_is_refused(folder):
    folder.write("trunk/network.weights.h5", b"other weights")
    with pytest.raises(UserError, match=r"index is the index of another trunk.*--redo index"):
        LandmarkIndex(folder)


def test_index_of_a_trunk_that_is_not_there_is_refused(folder, tmp_path):
    (tmp_path / "models/trunk/network.weights.h5").unlink()
    with pytest.raises(UserError, match=r"index is the index of another trunk.*models/trunk:"):
        LandmarkIndex(folder)


@pytest.mark.parametrize("shards", [1, 2])
def test_vectors_of_an_index_that_are_not_finite_are_named(folder, shards):
    bad = np.load(io.BytesIO(folder.read("index/vectors.npy")))
    bad[4] = np.nan
    folder.write("index/vectors.npy", npy(bad))
    with pytest.raises(UserError, match="index/vectors.npy is damaged: a value is not finite"):
        LandmarkIndex(folder, 7 % shards, shards)


def test_folder_without_an_index_says_so(tmp_path):
    with pytest.raises(UserError, match=r"index/index\.json is missing: run jobs/index\.py"):
        LandmarkIndex(Store(str(tmp_path)))


@pytest.mark.parametrize(
    ("name", "data", "problem"),
    [
        ("vectors.npy", b"\x93NUMPY", "index/vectors.npy is damaged"),
        ("photos.parquet", b"PAR1", "photos.parquet"),
        ("index.json", json.dumps({"trunk": 1}).encode(), "index/index.json is damaged"),
        ("mean.npy", npy(np.zeros(23)), r"mean.npy is damaged: its shape is \(23,\), not \(24,\)"),
        (
            "centres.npy",
            npy(np.full((1, 24), np.nan)),
            "centres.npy is damaged: a value is not fin",
        ),
        ("lists.npy", npy(np.full(22, 77)), "lists.npy is damaged: it names lists that do not"),
        ("lists.npy", npy(np.array([None] * 22)), "lists.npy is damaged: Object arrays"),
    ],
)
def test_damaged_files_are_named(folder, name, data, problem):
    folder.write(f"index/{name}", data)
    with pytest.raises(UserError, match=problem):
        LandmarkIndex(folder)


def test_numbers_of_photos_and_vectors_must_agree(folder):
    table = folder.read_table("index/photos.parquet")
    folder.write_table("index/photos.parquet", table.slice(1))
    with pytest.raises(
        UserError, match=r"vectors.npy is damaged: its shape is \(22, \d+\), not \(21,"
    ):
        LandmarkIndex(folder)


def test_vectors_that_are_not_finite_are_refused(folder):
    with pytest.raises(ValueError, match="not finite"):
        LandmarkIndex(folder).candidates(np.full((1, 24), np.nan, np.float32), NOBODY)


def test_fusion_is_read_as_it_was_written(folder):
    assert read_fusion(folder) is None
    fusion = Fusion(Regression((1.0, 2.0, 3.0), -4.0), Regression((0.0, 2.0, 3.0), -4.0))
    write_fusion(folder, fusion)
    assert read_fusion(folder) == fusion


def test_photos_of_a_landmark_that_no_model_learns_stand_together():
    rows = pa.table(
        {"image_id": ["a", "b", "c", "d"], "landmark_id": [1, 1, 2, 2], "group": [1, 0, 0, 0]}
    )
    copies = pa.table({"image_id": ["b", "d"], "cluster": ["x", "y"]})
    found = clusters(rows, copies).to_pylist()
    assert found == ["a", "x", "landmark 2", "landmark 2"]
