"""Exemplars: which photos they are, and what they say of another photo."""

import asyncio
import io

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from landmark_ray.bundle.exemplar_files import (
    FOLDER,
    INFO,
    ExemplarInfo,
    file_name,
    write_file,
    write_info,
)
from landmark_ray.bundle.exemplars import Exemplars
from landmark_ray.bundle.manifest import Bundle
from landmark_ray.bundle.witnesses import Witnesses
from landmark_ray.data.bundle_schemas import EXEMPLARS
from landmark_ray.data.store import Store
from landmark_ray.errors import UserError
from landmark_ray.kernels.exemplars import LEADING, MAX_BYTES, choose_exemplars, compact, leading
from landmark_ray.kernels.features import Features
from landmark_ray.kernels.fusion import DOUBTFUL, Candidates
from landmark_ray.kernels.image import ImageError, Limits, model_input
from landmark_ray.kernels.matching import MatchingRule
from landmark_ray.serving.serve_options import GraphOptions
from landmark_ray.serving.verifier import Verifier
from tests import bundles, drawn

rng = np.random.default_rng(0)
WALLS = {landmark: drawn.facade(rng) for landmark in (100, 101, 202)}
QUERY = drawn.view(WALLS[101], rng)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A bundle with an exemplar of three landmarks; `QUERY` shows that of 101."""
    place = tmp_path_factory.mktemp("exemplars") / "bundle"
    photos = {landmark: drawn.view(wall, rng) for landmark, wall in WALLS.items()}
    bundles.write(place, index=True, exemplars=photos)
    return place


def test_photos_with_most_verified_partners_are_chosen():
    ids = ["a", "b", "c", "d", "x", "y"]
    photos = pa.table({"image_id": ids, "landmark_id": [1, 1, 1, 1, 2, 2]})
    pairs = pa.table({"image_a": ["b", "c", "c", "x"], "image_b": ["d", "d", "z", "z"]})
    chosen = choose_exemplars(photos, pairs, 3).to_pydict()
    assert chosen == {"image_id": ["c", "d", "b", "x", "y"], "landmark_id": [1, 1, 1, 2, 2]}
    nothing = pa.table({name: pa.array([], pa.string()) for name in ("image_a", "image_b")})
    assert choose_exemplars(photos, nothing, 1)["image_id"].to_pylist() == ["a", "x"]
    assert choose_exemplars(photos.slice(0, 0), nothing, 1).num_rows == 0


@pytest.mark.parametrize(("width", "length"), [(2, 64), (4, 128)])
def test_an_exemplar_keeps_its_first_features_within_64_kb(width, length):
    points = rng.uniform(0, 1000, (2000, width)).astype(np.float32)
    whole = Features(points, rng.integers(-90, 90, (2000, length)).astype(np.int8))
    small = compact(whole)
    n = len(small.keypoints)
    assert (n + 1) * (2 * width + length) > MAX_BYTES >= n * (2 * width + length)
    assert np.abs(small.keypoints - points[:n]).max() <= 0.25
    assert (small.descriptors == whole.descriptors[:n]).all()
    none = Features(np.zeros((0, 2), np.float32), np.zeros((0, 0), np.int8))
    assert len(compact(none).keypoints) == 0


def test_landmarks_that_are_first_by_any_evidence_lead():
    found = Candidates(
        np.array([[1, 2, 3, 4, -1], [5, 6, -1, -1, -1]]),
        np.array([[0.0, 0.1, 0.9, 0.0, 0.0], [np.nan, 0.2, 0, 0, 0]]),
        np.array([[0.9, 0.1, 0.2, 0.3, -1], [0.5, 0.4, -1, -1, -1]], np.float32),
        np.array([[0.1, 0.5, 0.2, 0.1, -1], [0.5, 0.4, -1, -1, -1]], np.float32),
        np.ones((2, 5), np.float32),
        np.zeros(2, np.float32),
    )
    first, second = leading(found, 3)
    assert sorted(first) == [1, 2, 3] and second == [5, 6]
    assert leading(found, 1) == [[1], [5]]


def test_a_photo_has_inliers_with_the_exemplar_of_its_landmark_alone(place):
    exemplars = Exemplars(Store(str(place)))
    features = exemplars.features_of(bundles.png(QUERY), None)
    found = exemplars.inliers(features, [100, 101, 202, 103])
    assert set(found) == {100, 101, 202}  # 103 has no exemplar
    assert found[101] >= 11 > max(found[100], found[202])
    assert set(exemplars.inliers(features, [100, 101], without="101")) == {100}


def test_reading_the_exemplars_of_a_landmark_copies_no_others(tmp_path):
    sizes = dict.fromkeys(("width", "height"), 9)
    row = {"cluster": "", "count": 0, "keypoints": b"", "descriptors": b"", **sizes}
    row |= {"author": None, "licence": None}
    files = [file_name(bucket) for bucket in range(8)]
    for bucket, file in enumerate(files):
        landmarks = [landmark for landmark in range(40) if landmark % 8 == bucket] * 2
        rows = [
            row | {"image_id": f"{n}", "landmark_id": i, "thumbnail": bytes(1 << 20)}
            for n, i in enumerate(sorted(landmarks))
        ]
        write_file(Store(str(tmp_path)), file, [pa.Table.from_pylist(rows, EXEMPLARS)])
    info = ExemplarInfo(True, 9, 64, MatchingRule.sift(), tuple(files), 80)
    write_info(Store(str(tmp_path)), info, None)
    exemplars, pool = Exemplars(Store(str(tmp_path))), pa.default_memory_pool()
    before = pool.max_memory()
    assert [row["landmark_id"] for row in exemplars.rows(21)] == [21, 21]
    assert not exemplars.rows(40) and not exemplars.rows(-1)
    assert pool.max_memory() - before < 8 << 20


def test_a_photo_that_only_the_networks_can_use_is_answered_without_exemplars(place):
    out = io.BytesIO()
    Image.new("RGB", (4000, 400)).save(out, "JPEG")
    wide, limits = out.getvalue(), Limits(max_pixels=1e6)
    model_input(wide, bundles.SIZE, limits)  # it is decoded at an eighth of its size
    witnesses = Witnesses(Bundle(str(place)), verify="always")
    assert witnesses.exemplars.features_of(wide, limits) is None
    squares = bundles.clouds(2)
    found = witnesses.predict(squares, 3, [wide, bundles.png(QUERY)], limits)
    plain = Witnesses(Bundle(str(place)), verify="off").predict(squares, 3)
    assert found[1][0].tolist() == plain[1][0].tolist() and len(found[0]) == 2


def test_features_that_are_malformed_are_no_evidence(place, monkeypatch):
    verifier = Verifier(GraphOptions().model_dump())
    version, exemplars = verifier.load(str(place))
    verifier.loaded[version] = exemplars

    def malformed(photo):
        raise ImageError("bad features: descriptors must be finite numbers, got NaN or infinity")

    monkeypatch.setattr(exemplars, "features", malformed)
    assert asyncio.run(verifier.verify(version, QUERY, [100])) == {}
    assert asyncio.run(verifier.explain(version, QUERY, 100)) == []
    assert exemplars.features_of(bundles.png(QUERY), None) is None


def test_the_verifier_says_what_the_exemplars_say(place):
    verifier = Verifier(GraphOptions().model_dump())
    version, exemplars = verifier.load(str(place))
    assert asyncio.run(verifier.verify(version, QUERY, [100, 101])) is None  # not loaded
    verifier.loaded[version] = exemplars
    found = asyncio.run(verifier.verify(version, QUERY, [100, 101]))
    assert found == exemplars.inliers(exemplars.features(QUERY), [100, 101])


def test_geometry_raises_the_confidence_of_the_landmark_that_it_verifies(place, tmp_path):
    square = bundles.clouds(1)
    plain = Witnesses(Bundle(str(place)), verify="off")
    (asked,) = leading(plain.candidates(plain.vectors(square)), LEADING)
    photos = {asked[1]: drawn.view(WALLS[101], rng), asked[2]: drawn.view(WALLS[100], rng)}
    bundles.write(tmp_path / "bundle", index=True, exemplars=photos)
    answers = {}
    for verify in ("off", "doubtful", "always"):
        witnesses = Witnesses(Bundle(str(tmp_path / "bundle")), verify=verify)
        ids, confidences = witnesses.predict(square, 12, [bundles.png(QUERY)])
        answers[verify] = dict(zip(ids[0].tolist(), confidences[0].tolist(), strict=True))
    first = max(answers["off"].values())
    is_doubtful = DOUBTFUL[0] <= first <= DOUBTFUL[1]
    assert answers["doubtful"] == answers["always" if is_doubtful else "off"]
    assert answers["always"][asked[1]] > answers["off"][asked[1]] + 0.01
    others = set(answers["off"]) - {asked[1]}
    assert all(answers["always"][i] == pytest.approx(answers["off"][i], abs=0.05) for i in others)


@pytest.mark.parametrize("column", ["keypoints", "descriptors"])
def test_a_damaged_exemplar_is_named(place, tmp_path, column):
    bundles.write(tmp_path / "bundle", index=True, exemplars={100: QUERY})
    file = tmp_path / f"bundle/{FOLDER}/bucket-00000.arrow"
    table = pa.ipc.open_file(pa.BufferReader(file.read_bytes())).read_all()
    number = table.schema.get_field_index(column)
    short = pa.array([table[column][0].as_py()[:-3]], pa.binary())
    with pa.ipc.new_file(str(file), table.schema) as out:
        out.write_table(table.set_column(number, table.schema.field(column), short))
    with pytest.raises(UserError, match=f"exemplar 0+64 of landmark 100 is damaged.*{column}") as e:
        Exemplars(Store(str(tmp_path / "bundle")))
    assert "\n" not in str(e.value)


@pytest.mark.parametrize(
    ("name", "content", "line"),
    [
        (f"{FOLDER}/bucket-00000.arrow", b"", "bucket-00000.arrow is damaged"),
        (f"{FOLDER}/bucket-00000.arrow", b"ARROW1 and so on", "bucket-00000.arrow is damaged"),
        (f"{FOLDER}/bucket-00000.arrow", None, "bucket-00000.arrow is missing"),
        (INFO, b'{"sift": true}', "exemplars.json is damaged: max_features"),
        (INFO, None, "exemplars.json is missing"),
    ],
)
def test_damaged_files_are_one_line(tmp_path, name, content, line):
    bundles.write(tmp_path / "bundle", index=True, exemplars={100: QUERY})
    path = tmp_path / "bundle" / name
    path.unlink() if content is None else path.write_bytes(content)
    with pytest.raises(UserError, match=line) as error:
        Exemplars(Store(str(tmp_path / "bundle")))
    assert "\n" not in str(error.value)
