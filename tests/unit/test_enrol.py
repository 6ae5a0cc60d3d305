"""Landmarks that jobs/enrol.py adds to a bundle, or removes; the bundle's index is made up."""

import shutil
import tarfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from landmark_ray import enrol
from landmark_ray.bundle import enrolment_photos
from landmark_ray.bundle.enrolment_photos import read_photos
from landmark_ray.bundle.exemplars import Exemplars
from landmark_ray.bundle.landmark_index import LandmarkIndex, rewrite_index
from landmark_ray.bundle.manifest import Bundle
from landmark_ray.bundle.witnesses import Witnesses
from landmark_ray.data import bundle_schemas
from landmark_ray.kernels.fusion import STRANGERS
from landmark_ray.kernels.image import model_input
from tests import bundles, drawn
from tests.conftest import line_of

SIZE = 96


def views(folder: Path, seed: int, count: int) -> Path:
    """Photos of one wall."""
    rng = np.random.default_rng(seed)
    wall = drawn.facade(rng)
    folder.mkdir(exist_ok=True)
    for number in range(count):
        (folder / f"{seed}-{number}.jpg").write_bytes(drawn.jpeg(drawn.view(wall, rng)))
    return folder


@pytest.fixture(scope="module")
def given(tmp_path_factory) -> Path:
    """A folder with a bundle, which knows 100 to 103 and 200 to 203, and photos of a wall."""
    folder = tmp_path_factory.mktemp("given")
    bundles.write(folder / "bundle", groups=(1, 2), size=SIZE, index=True)
    bundles.write(folder / "plain", groups=(1,))
    views(folder / "wall", 1, 5)
    views(folder / "two", 1, 2)
    (folder / "empty").mkdir()
    return folder


def state(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def answers(bundle: Path, photos: Path, use="fused") -> tuple[np.ndarray, np.ndarray]:
    """Landmarks and confidences [N, 8] of the photos in a folder."""
    limits = Bundle(str(bundle)).manifest.limits
    squares = [model_input(p.read_bytes(), SIZE, limits) for p in sorted(photos.glob("*.jpg"))]
    return Witnesses(Bundle(str(bundle)), use=use).predict(np.stack(squares), 8)


def test_a_landmark_is_added_and_answered_and_forgotten(given, run_job, tmp_path):
    before = state(given / "bundle")
    words = ("--landmark_id", 7, "--name", "Wall", "--photos", given / "wall")
    done = run_job("enrol", "--bundle", given / "bundle", *words, "--to", tmp_path / "new")
    assert done.returncode == 0, done.stderr
    assert "landmark 7: 5 of 5 photos" in done.stdout and not done.stderr
    assert state(given / "bundle") == before
    names = Bundle(str(tmp_path / "new")).names().to_pylist()
    assert names[0] == {"landmark_id": 7, "name": "Wall", "group": 0, "images": 5}
    assert [row["landmark_id"] for row in names[1:]] == [*range(100, 104), *range(200, 204)]
    assert Bundle(str(tmp_path / "new")).manifest.landmarks == 9
    assert set(answers(tmp_path / "new", views(tmp_path / "more", 1, 4))[0][:, 0]) == {7}
    assert 7 not in answers(tmp_path / "new", given / "wall", "heads")[0]
    done = run_job(
        "enrol", "--bundle", tmp_path / "new", "--forget", 7, "--to", tmp_path / "without"
    )
    assert done.returncode == 0 and "forgotten, with 5 photos" in done.stdout
    found, wanted = (answers(f, given / "wall") for f in (tmp_path / "without", given / "bundle"))
    assert found[0].tolist() == wanted[0].tolist()
    np.testing.assert_allclose(found[1], wanted[1], atol=1e-6)


def test_an_enrolled_landmark_has_exemplars_and_a_forgotten_one_has_none(run_job, tmp_path):
    rng = np.random.default_rng(2)
    photos = {landmark: drawn.view(drawn.facade(rng), rng) for landmark in (100, 101)}
    bundles.write(tmp_path / "bundle", groups=(1,), size=SIZE, index=True, exemplars=photos)
    words = ("--landmark_id", 7, "--photos", views(tmp_path / "wall", 1, 6))
    done = run_job("enrol", "--bundle", tmp_path / "bundle", *words, "--to", tmp_path / "new")
    assert done.returncode == 0, done.stderr
    exemplars = Exemplars(Bundle(str(tmp_path / "new")))
    assert len(exemplars.rows(7)) == 5 and exemplars.info.photos == 7
    (query,) = views(tmp_path / "more", 1, 1).iterdir()
    features = exemplars.features_of(query.read_bytes(), None)
    found = exemplars.inliers(features, [7, 100, 101])
    assert found[7] >= 11 > max(found[100], found[101])
    words = ("--bundle", tmp_path / "new", "--forget", 7, "--to", tmp_path / "without")
    assert run_job("enrol", *words).returncode == 0
    left = Exemplars(Bundle(str(tmp_path / "without")))
    assert set(left.inliers(features, [7, 100, 101])) == {100, 101}


def test_neither_heads_nor_index_answer_a_landmark_that_is_forgotten(given, run_job, tmp_path):
    to = tmp_path / "new"
    done = run_job("enrol", "--bundle", given / "bundle", "--forget", 101, "--to", to)
    assert done.returncode == 0, done.stderr
    assert 101 not in LandmarkIndex(Bundle(str(to))).photos["landmark_id"].to_pylist()
    assert 101 not in Bundle(str(to)).names()["landmark_id"].to_pylist()
    before, after = (answers(b, given / "wall", "heads") for b in (given / "bundle", to))
    assert 101 in before[0] and 101 not in after[0] and 101 not in answers(to, given / "wall")[0]
    for ids, sure, others, less in zip(*before, *after, strict=True):
        assert [i for i in ids if i != 101] == [i for i in others if i >= 0]
        np.testing.assert_allclose(sure[ids != 101], less[others >= 0], atol=1e-6)


def test_photos_of_a_landmark_that_was_left_out_are_no_strangers_any_more(given, run_job, tmp_path):
    source, target = Bundle(str(given / "bundle")), tmp_path / "old"
    shutil.copytree(given / "bundle", target)
    old, index = Bundle(str(target)), LandmarkIndex(source)
    ids = [f"{i:016x}" for i in range(100, 103)]
    clusters = ["landmark 7", "landmark 7", "landmark 77"]
    own = {"image_id": ids, "landmark_id": [STRANGERS] * 3, "cluster": clusters}
    rows = pa.table(own | {"enrolled": [False] * 3}).cast(bundle_schemas.INDEXED)
    rewrite_index(old, source, np.ones(len(index.photos), bool), index.means[:3], rows)
    bundles.change(target)
    words = ("--landmark_id", 7, "--photos", given / "wall", "--to", tmp_path / "new")
    done = run_job("enrol", "--bundle", target, *words)
    assert done.returncode == 0, done.stderr
    found = LandmarkIndex(Bundle(str(tmp_path / "new"))).photos["image_id"].to_pylist()
    assert ids[2] in found and not set(ids[:2]) & set(found)


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        ("--landmark_id 7", "give --landmark_id and --photos to add a landmark, or --forget"),
        ("--landmark_id 7 --photos wall --forget 100", "give --landmark_id and --photos"),
        ("--landmark_id 7 --forget 100", "give --landmark_id and --photos"),
        ("--landmark_id -7 --photos wall", "--landmark_id: Input should be greater than or equal"),
        ("--landmark_id 101 --photos wall", "101 is in BUNDLE already: --forget it first"),
        ("--landmark_id 7 --photos nowhere", "--photos: there is nothing at"),
        ("--landmark_id 7 --photos empty", "--photos: DIR/empty has no photos"),
        ("--landmark_id 7 --photos two", "photos that can be used: 2; a landmark needs 3"),
        ("--forget 999", "--forget 999: BUNDLE does not know this landmark"),
        ("--forget 101 --to bundle", "is the bundle's folder, in it, or holds it"),
        ("--forget 101 --to bundle/new", "is the bundle's folder, in it, or holds it"),
        ("--forget 101 --to .", "is the bundle's folder, in it, or holds it"),
        ("--forget 101 --to wall", "DIR/wall holds what landmark_ray did not write: 1-0.jpg"),
        ("--forget 101 --bundle plain", "DIR/plain has no index"),
        ("--forget 101 --bundle wall", "DIR/wall is no bundle"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line_and_leaves_nothing(given, run_job, words, problem):
    before = state(given)
    given_words = words.split()
    paths = {"--photos", "--to", "--bundle"}
    pairs = zip(["", *given_words], given_words, strict=False)
    args = [given / word if option in paths else word for option, word in pairs]
    args += [] if "--bundle" in words else ["--bundle", given / "bundle"]
    args += [] if "--to" in words else ["--to", given / "new"]
    line = line_of(run_job("enrol", *args))
    assert problem.replace("BUNDLE", str(given / "bundle")).replace("DIR", str(given)) in line
    assert state(given) == before


def test_photos_that_cannot_be_used_are_named(given, run_job, tmp_path):
    photos = shutil.copytree(given / "wall", tmp_path / "photos")
    shutil.copy(photos / "1-0.jpg", photos / "copy.jpg")
    (photos / "page.jpg").write_bytes(b"<html>404</html>")
    (photos / "black.png").write_bytes(bundles.png(np.zeros((200, 200, 3), np.uint8)))
    words = ("--landmark_id", 7, "--photos", photos, "--to", tmp_path / "new")
    done = run_job("enrol", "--bundle", given / "bundle", *words)
    assert done.returncode == 0 and "landmark 7: 5 of 5 photos" in done.stdout
    lines = sorted(line.removeprefix("left out: ") for line in done.stderr.splitlines())
    assert [line.split(": ")[0] for line in lines] == ["black.png", "copy.jpg", "page.jpg"]
    assert "a copy of 1-0.jpg" in lines[1] and "not an image" in lines[2]


def test_what_is_no_photo_too_large_or_damaged_is_said(given, tmp_path, capsys):
    photos = tmp_path / "photos"
    shutil.copytree(given / "wall", photos)
    (photos / "raw.CR2").write_bytes(b"II*")
    (photos / "large.tif").write_bytes(b"x" * 70_000_000)
    with tarfile.open(photos / "cut.tar", "w") as tar:
        for file in views(tmp_path / "more", 1, 6).iterdir():
            tar.add(file, file.name)
    whole = (photos / "cut.tar").read_bytes()
    (photos / "cut.tar").write_bytes(whole[: len(whole) // 2])
    bundle = Bundle(str(given / "bundle"), read=lambda name: False)
    read = read_photos(str(photos), bundle, None)
    said = capsys.readouterr().err
    assert len(read) >= 5
    assert "left out: large.tif: too large: a file of 70000000 bytes" in said
    assert "raw.CR2" in said
    assert "warning: cut.tar is damaged" in said and "photos before that place are used" in said


def test_no_features_of_copies_and_of_more_photos_than_are_used(given, monkeypatch, capsys):
    found = []

    class Counting:
        def __init__(self, *_, **__):
            pass

        def __call__(self, image):
            found.append(image.shape)

    monkeypatch.setattr(enrolment_photos, "LocalFeatures", Counting)
    monkeypatch.setattr(enrolment_photos, "MOST", 3)
    bundle = Bundle(str(given / "bundle"), read=lambda name: False)
    assert len(read_photos(str(given / "wall"), bundle, None)) == len(found) == 3
    assert "left out: 2 more photos: 3 are enough" in capsys.readouterr().err


def test_photos_that_resemble_another_landmark_are_named(given, tmp_path, monkeypatch, capsys):
    leads = np.array([-0.5, 0.1, -2, 0.3, -0.1])
    monkeypatch.setattr(enrol, "leads_of_others", lambda *_: leads)
    to = tmp_path / "new"
    words = {"bundle": str(given / "bundle"), "photos": str(given / "wall"), "to": str(to)}
    enrol.run(enrol.EnrolOptions(**words, landmark_id=7))
    printed = capsys.readouterr()
    assert "landmark 7: 4 of 5 photos" in printed.out
    lines = [line for line in printed.err.splitlines() if ".jpg" in line]
    assert [line.split(": ")[:2] for line in lines] == [
        ["kept", "1-1.jpg"],
        ["left out", "1-3.jpg"],
    ]
    index = LandmarkIndex(Bundle(str(to)))
    assert (index.photos["landmark_id"].to_numpy() == 7).sum() == 4
