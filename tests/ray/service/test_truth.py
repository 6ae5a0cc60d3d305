"""One truth: evaluate, predict, HTTP and the Inference Protocol say the same of 24 photos."""

import asyncio
import io
import os
import re
import shutil
import tarfile

import httpx
import numpy as np
import pytest
import tritonclient.http as triton

from landmark_ray import predict
from landmark_ray.bundle.landmark_index import read_fusion
from landmark_ray.bundle.manifest import Bundle
from landmark_ray.bundle.network_files import GROUPS
from landmark_ray.bundle.scoring import Scorer
from landmark_ray.bundle.witnesses import Witnesses
from landmark_ray.data.photos import Photos
from landmark_ray.data.store import Store
from landmark_ray.errors import UserError
from landmark_ray.kernels.answers import answered, evidence_of
from landmark_ray.kernels.evaluation import figures, ranking
from landmark_ray.kernels.image import Limits
from landmark_ray.serving import service_check
from landmark_ray.serving.client import TOP_K, Client
from landmark_ray.serving.service_check import CheckOptions
from tests import bundles, drawn, serving

pytestmark = pytest.mark.ray

COUNT = 24


@pytest.fixture(scope="module")
def squares():
    """Photos [200, S, S, 3]: as PNG of that size they come to the models as they are."""
    size = (bundles.SIZE, bundles.SIZE)
    return np.stack([np.asarray(drawn.photo(seed, size)) for seed in range(COUNT)])


@pytest.fixture(scope="module")
def evaluated(bundle, squares, tmp_path_factory):
    """Rows of evaluate for the photos; the truth of some is what the models say, of some none."""
    models = tmp_path_factory.mktemp("evaluated") / "models"
    for folder in ("trunk", "groups", "index", "exemplars"):
        shutil.copytree(bundle / folder, models / folder)
    shutil.copytree(bundle / "groups", models / "closed")
    scorer = Scorer(Store(str(models)), GROUPS, TOP_K)
    ids = [f"{number:016x}" for number in range(COUNT)]
    said = scorer.witnesses.predict(squares, 2)[0]
    features = scorer.features([bundles.png(square) for square in squares], Limits(min_side=16))
    truth = {i: {int(said[n, n % 2])} if n % 3 else set() for n, i in enumerate(ids)}
    rows = scorer.rows(ids, squares, truth, [-1] * COUNT, [0] * COUNT, features)
    fusion = read_fusion(Store(str(models)))
    confidences = fusion(evidence_of(rows))
    assert 0.2 < fusion.is_doubtful(confidences).mean() <= 1
    assert np.abs(fusion.confidences(evidence_of(rows)) - confidences).max() > 0.1
    return answered(rows, fusion)


@pytest.fixture(scope="module")
def source(evaluated, squares, tmp_path_factory):
    """A dataset whose test set are the photos, in two tars."""
    place = tmp_path_factory.mktemp("source")
    (place / "test").mkdir()
    (place / "train.csv").write_text("id,url,landmark_id\n")
    rows = evaluated.to_pylist()
    for part in (0, 1):
        with tarfile.open(place / f"test/images_{part:03d}.tar", "w") as tar:
            for row, square in list(zip(rows, squares, strict=True))[part::2]:
                data = bundles.png(square)
                info = tarfile.TarInfo(f"0/0/0/{row['image_id']}.png")
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
    lines = [f"{r['image_id']},{' '.join(map(str, r['truth']))},Public" for r in rows]
    text = "\n".join(["id,landmarks,Usage", *lines])
    (place / "recognition_solution.csv").write_text(text + "\n")
    return place


@pytest.fixture
def known(bundle, evaluated, tmp_path):
    """The bundle, with the figures of evaluate; it is of the same version."""
    place = tmp_path / "bundle"
    shutil.copytree(bundle, place)
    bundles.change(place, metrics={"test": figures(evaluated)["ensemble"]})
    return place


def options(known, source, service, **more) -> CheckOptions:
    return CheckOptions(bundle=str(known), source=str(source), url=service, **more)


def test_evaluate_predict_http_and_the_protocol_agree(bundle, source, evaluated, squares, service):
    ids, sure = ranking(evaluated)
    assert len({landmark // 100 for landmark in ids.ravel().tolist()}) > 3  # of several groups
    answers = {"predict": predicted(bundle, source, evaluated)}
    data = [bundles.png(square) for square in squares]
    for files in (1, 7):
        answers[f"HTTP, {files} per request"] = asyncio.run(over_http(service, data, files))
    answers["Inference Protocol"] = by_protocol(service, data)
    for way, (landmarks, confidences) in answers.items():
        assert np.abs(confidences - sure).max() < 1e-5, way
        assert landmarks.tolist() == ids.tolist(), way


def predicted(bundle, source, evaluated):
    """By what jobs/predict.py's workers run."""
    photos, made = Photos(str(source)), Bundle(str(bundle))
    given = predict.PredictOptions(bundle=str(bundle), source=str(source), output="x.csv")
    rows = {}
    for part in photos.parts:
        table, _ = predict.answer_part(part, Witnesses(made), made, given)
        rows |= {row["image_id"]: row for row in table.to_pylist()}
    ordered = [rows[image_id] for image_id in evaluated["image_id"].to_pylist()]
    return tuple(np.array([r[name] for r in ordered]) for name in ("landmarks", "confidences"))


async def over_http(service, data, files):
    async with Client(service) as client:
        found = np.array(await client.predict(data, files))
    return found[..., 0].astype(np.int64), found[..., 1]


def by_protocol(service, data):
    client = triton.InferenceServerClient(service.removeprefix("http://"))
    found = []
    for start in range(0, COUNT, 8):
        photos = triton.InferInput("photo", [8], "BYTES")
        photos.set_data_from_numpy(np.array(data[start : start + 8], object))
        found.append(client.infer("landmark", [photos], parameters={"top_k": TOP_K}))
    return tuple(
        np.concatenate([one.as_numpy(name) for one in found])
        for name in ("landmark_id", "confidence")
    )


def test_check_prints_the_figures_of_evaluate_and_of_the_service(
    known, source, service, evaluated, capsys
):
    service_check.run(options(known, source, service))
    wanted = figures(evaluated)["ensemble"]
    assert 0.2 < wanted["top1"] < 0.8
    lines = [
        line for line in capsys.readouterr().out.splitlines() if f"{wanted['top1']:.4f}" in line
    ]
    assert [f"{wanted['gap']:.4f}" in line for line in lines] == [True] * 3
    assert "evaluate" in lines[0] and "one per request" in lines[1] and "8 per request" in lines[2]


def test_test_set_of_landmarks_alone_is_compared_by_what_was_measured(
    known, source, service, evaluated, capsys
):
    test = figures(evaluated)["ensemble"]
    test = {name: test[name] for name in ("images", "landmark_images", "top1", "gap_landmarks")}
    bundles.change(known, metrics={"test": test})
    service_check.run(options(known, source, service))
    assert f"{test['gap_landmarks']:.4f}" in capsys.readouterr().out
    bundles.change(known, metrics={"test": test | {"gap_landmarks": 2.0}})
    with pytest.raises(UserError, match="the models do: gap_landmarks"):
        service_check.run(options(known, source, service))


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"top1": 0.03}, "the service doesn't answer as the models do: top1"),
        ({"gap": -0.03}, "the service doesn't answer as the models do: gap"),
        ({"images": 1}, "isn't the test set that evaluate saw: 24 images, evaluate had 25"),
    ],
)
def test_check_fails_where_figures_differ(known, source, service, evaluated, changed, says):
    wanted = figures(evaluated)["ensemble"]
    test = wanted | {name: wanted[name] + by for name, by in changed.items()}
    bundles.change(known, metrics={"test": test})
    with pytest.raises(UserError, match=says):
        service_check.run(options(known, source, service))


def test_check_needs_figures_a_test_set_and_the_same_bundle(
    known, source, service, bundle, tmp_path
):
    with pytest.raises(UserError, match="bundle has no test set with landmarks"):
        service_check.run(options(bundle, source, service))
    (tmp_path / "folders/a").mkdir(parents=True)
    (tmp_path / "folders/a/x.png").write_bytes(b"")
    with pytest.raises(UserError, match="folders has no test set"):
        service_check.run(options(known, tmp_path / "folders", service))
    with pytest.raises(UserError, match="can't be reached"):
        service_check.run(options(known, source, "http://127.0.0.1:9"))
    bundles.change(known, threshold=0.25)
    with pytest.raises(UserError, match="serves bundle"):
        service_check.run(options(known, source, service))


def test_a_service_that_does_not_start_is_a_line(known, source):
    with pytest.raises(UserError, match="--key_file nowhere can't be read"):
        service_check.run(options(known, source, "", key_file="nowhere"))


def test_job_starts_a_service_of_its_own_and_leaves_nothing_behind(
    known, source, run_process, evaluated
):
    env = os.environ | {"XDG_CACHE_HOME": serving.CACHE.name}
    done = run_process("check_service", "--bundle", known, "--source", source, env=env)
    assert done.returncode == 0, done.stderr
    top1 = f"{figures(evaluated)['ensemble']['top1']:.4f}"
    assert sum(top1 in line for line in done.stdout.splitlines()) == 3
    url = re.search(r"at (http://127.0.0.1:\d+) ", done.stderr)[1]
    with pytest.raises(httpx.ConnectError):
        httpx.get(url)
