"""The service as a person runs it: jobs/serve.py, its answers, its failures, its updates."""

import asyncio
import os
import time
from collections import Counter

import httpx
import numpy as np
import psutil
import pyarrow.dataset as pads
import pytest
import tritonclient.http as triton

from tests import bundles, drawn, serving
from tests.conftest import line_of
from tests.ray_private import SERVE_RETRIES

pytestmark = pytest.mark.ray

JPEG = serving.JPEG
KEY = {"Authorization": f"Bearer {serving.KEY}"}


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """A folder of photos of all sizes and formats, all different."""
    place = tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(0)
    for i in range(24):
        width, height = rng.integers(40, 500, 2)
        ending = ("jpg", "png", "webp", "heic", "avif", "gif")[i % 6]
        drawn.photo(i, (width, height)).save(place / f"p{i:02d}.{ending}")
    (place / "bad.jpg").write_bytes(b"no photo")
    return place


def first(photos):
    return (photos / "p00.jpg").read_bytes()


@pytest.fixture
def predicted(photos, run_job, tmp_path):
    """A function: what jobs/predict.py says of the photos, by their ids."""

    def by(bundle, *options):
        output = tmp_path / "submission.csv"
        one = ("--cpus", os.cpu_count())  # one worker, which starts TensorFlow once
        done = run_job(
            "predict", "--bundle", bundle, "--source", photos, "--output", output, *one, *options
        )
        assert done.returncode == 0, done.stderr
        rows = pads.dataset(output.with_suffix(".parquet")).to_table().to_pylist()
        assert len(rows) == 25
        return {row["image_id"]: row for row in rows}

    return by


def test_answers_over_http_equal_batch_predictions(bundle, predicted, photos, service):
    assert_same(ask(service, photos), predicted(bundle))


@pytest.mark.long  # tests/unit/test_served_networks.py compares them without the service
def test_packs_of_own_trunks_answer_as_batch_predictions(own_trunks, predicted, photos, replicas):
    answers = ask(replicas, photos)
    assert_same(answers, predicted(own_trunks, "--verify", "always"))


@pytest.mark.long
def test_packs_of_own_trunks_on_tensorflow_answer_as_batch_predictions(
    own_trunks, predicted, photos, tmp_path
):
    options = ("--packs", "2", "--runtime", "tensorflow")
    with serving.running(own_trunks, tmp_path, *options) as url:
        answers = ask(url, photos)
    assert_same(answers, predicted(own_trunks))


def assert_same(answers, rows):
    """Answers of the service, and rows of a batch."""
    assert answers.keys() == rows.keys()
    for image_id, answer in answers.items():
        row = rows[image_id]
        assert bool(row["error"]) == bool(answer["error"])
        guesses = answer["landmarks"]
        assert [g["landmark_id"] for g in guesses] == row["landmarks"]
        assert [g["confidence"] for g in guesses] == pytest.approx(row["confidences"], abs=1e-4)
        assert answer["is_landmark"] == row["is_landmark"]


def ask(url, photos):
    answers = {}
    for path in sorted(photos.iterdir()):
        with path.open("rb") as file:
            files = [("a", file), ("b", ("x", b"bad"))]
            answer = httpx.post(f"{url}/predict", files=files, headers=KEY)
        found = answer.json()["photos"] if answer.status_code == 200 else [{"error": answer.text}]
        answers[path.stem] = {"landmarks": [], "is_landmark": False} | found[0]
    return answers


def test_public_client_of_the_inference_protocol_works(service, photos):
    client = triton.InferenceServerClient(service.removeprefix("http://"))
    assert client.is_server_live() and client.is_server_ready()
    assert client.is_model_ready("landmark")
    metadata = client.get_model_metadata("landmark")
    assert metadata["inputs"] == [{"name": "photo", "datatype": "BYTES", "shape": [-1]}]
    wanted = httpx.post(f"{service}/predict?top_k=3", content=first(photos), headers=JPEG).json()
    for binary in (True, False):
        data = triton.InferInput("photo", [2], "BYTES")
        data.set_data_from_numpy(np.array([first(photos)] * 2, object), binary_data=True)
        outputs = [
            triton.InferRequestedOutput(output["name"], binary_data=binary)
            for output in metadata["outputs"]
        ]
        found = client.infer("landmark", [data], outputs=outputs, parameters={"top_k": 3})
        guesses = wanted["photos"][0]["landmarks"]
        for row in (0, 1):
            ids = found.as_numpy("landmark_id")[row].tolist()
            assert ids == [guess["landmark_id"] for guess in guesses]
            confidences = found.as_numpy("confidence")[row].tolist()
            assert confidences == pytest.approx([guess["confidence"] for guess in guesses])
        names = [
            bytes(n).decode() if isinstance(n, bytes) else n for n in found.as_numpy("name")[0]
        ]
        assert names == [guess["name"] for guess in guesses]
        assert found.as_numpy("is_landmark").tolist() == [wanted["photos"][0]["is_landmark"]] * 2
    with pytest.raises(triton.InferenceServerException, match="not an image"):
        data = triton.InferInput("photo", [1], "BYTES")
        data.set_data_from_numpy(np.array([b"no photo"], object))
        client.infer("landmark", [data])


def names_of(found):
    names = found.as_numpy("name")[0]
    return [name.decode() if isinstance(name, bytes) else name for name in names]


def test_metrics_count_requests_phases_groups_and_rejects(service, metrics_port, photos):
    counters = {
        "ray_landmark_requests_total": 'route="/predict",status="200"',
        "ray_landmark_rejected_total": 'reason="not an image"',
    }

    def counts():
        lines = exported(metrics_port)
        return [sum_of(lines, name, label) for name, label in counters.items()]

    before = None
    while before != (before := counts()):  # what tests before did is not all counted yet
        time.sleep(SENT_S)
    for _ in range(3):
        assert httpx.post(f"{service}/predict", content=first(photos), headers=JPEG).is_success
    for _ in range(2):
        httpx.post(f"{service}/predict", content=b"bad", headers=JPEG)
    wanted = counters | {
        "ray_landmark_seconds_count": 'phase="decode"',
        "ray_landmark_batch_size_count": 'pack="0"',
        "ray_landmark_predictions_total": "group=",
    }
    more = [before[0] + 3, before[1] + 2]
    for _ in range(60):  # Ray sends them every ten seconds
        lines = exported(metrics_port)
        if counts() == more and all(lines_of(lines, name, label) for name, label in wanted.items()):
            break
        time.sleep(1)
    missing = [name for name, label in wanted.items() if not lines_of(lines, name, label)]
    assert not missing
    assert counts() == more, "neither less nor more than was asked"


SENT_S = 20
"""Seconds after which Ray has sent all metrics."""


def exported(metrics_port) -> list[str]:
    return httpx.get(f"http://127.0.0.1:{metrics_port}/metrics").text.splitlines()


def lines_of(lines, name, label) -> list[str]:
    parts = label.split(",")
    return [line for line in lines if line.startswith(name) and all(p in line for p in parts)]


def sum_of(lines, name, label) -> float:
    """Of a counter of all replicas."""
    return sum(float(line.rpartition(" ")[2]) for line in lines_of(lines, name, label))


async def load(url, photo, clients, until, asked):
    """Clients that ask one after the other, until told; the statuses, latencies and versions."""
    found = []

    async def client(session):
        while not until():
            begun = time.monotonic()
            try:
                answer = await session.post(f"{url}/predict", content=photo, headers=JPEG | KEY)
                version = answer.json().get("model_version")
                found.append((answer.status_code, time.monotonic() - begun, version))
            except httpx.HTTPError as error:
                found.append((repr(error), time.monotonic() - begun, None))
            asked.append(1)
            if found[-1][0] == 429:
                await asyncio.sleep(0.05)

    async with httpx.AsyncClient(timeout=90) as session:
        await asyncio.gather(*(client(session) for _ in range(clients)))
    return found


def test_overload_is_shed_with_429_and_the_served_wait_a_bounded_time(replicas, photos):
    end = time.monotonic() + 4
    found = asyncio.run(load(replicas, first(photos), 24, lambda: time.monotonic() > end, []))
    statuses = Counter(status for status, _, _ in found)
    assert set(statuses) == {200, 429}, statuses
    served = sorted(seconds for status, seconds, _ in found if status == 200)
    print(statuses, f"served p50 {np.median(served):.3f} s, most {served[-1]:.3f} s")
    assert served[int(0.99 * len(served))] < 20 * np.median(served) + 0.5


@pytest.mark.parametrize("deployment", ["models-0", "index-1", "verify"])
def test_killed_replicas_cost_no_answer(replicas, photos, deployment):
    asked, killed = [], []

    def until():
        if len(asked) > 15 and not killed:
            killed.append(kill_one(replicas, deployment))
        return len(asked) > 75

    found = asyncio.run(load(replicas, first(photos), 3, until, asked))
    assert killed
    assert {status for status, _, _ in found} == {200}


def kill_one(url, deployment):
    """SIGKILL for a replica of the service at an address; other services have such, too."""
    port = url.rpartition(":")[2]
    for service in psutil.process_iter(["cmdline"]):
        if f"--port {port} " in " ".join(service.info["cmdline"] or ()):
            for process in service.children(recursive=True):
                if f"ServeReplica:landmark_ray:{deployment}" in " ".join(process.cmdline()):
                    process.kill()
                    return process.pid
    raise AssertionError(f"no replica of {deployment}")


@pytest.mark.parametrize(
    ("options", "env", "says"),
    [
        (("--bundle", "nowhere"), {}, "nowhere is no bundle"),
        (("--host", "0.0.0.0"), {}, "--host 0.0.0.0 lets other machines in: set LANDMARK_RAY_KEY"),
        (
            (),
            {"LANDMARK_RAY_KEY": "short"},
            "LANDMARK_RAY_KEY: a key needs at least 16 ASCII characters",
        ),
        (("--key_file", "nowhere"), {}, "--key_file nowhere can't be read"),
        (("--top", "3"), {}, "unknown option --top"),
        (("--port", "0"), {}, "option --port"),
        (("--precision", "f8"), {}, "option --precision"),
    ],
)
def test_wrong_options_are_one_line(bundle, options, env, says, run_job, monkeypatch):
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    assert says in line_of(run_job("serve", "--bundle", bundle, *options))


def test_damaged_bundle_is_one_line(run_process, tmp_path, monkeypatch):
    monkeypatch.setenv(SERVE_RETRIES, "1")  # or each starts three times
    damaged = tmp_path / "bundle"
    bundles.write(damaged, groups=(1, 2))  # without an index, whose replicas would start, too
    weights = damaged / "groups/group=2/head.weights.h5"
    weights.write_bytes(weights.read_bytes()[:-1] + b"?")
    ports = ("--port", serving.free_port(), "--metrics_port", serving.free_port())
    line = line_of(run_process("serve", "--bundle", damaged, *ports))
    assert "group=2/head.weights.h5 is damaged" in line


def test_port_in_use_is_one_line(bundle, service, run_job):
    taken = service.rpartition(":")[2]
    line = line_of(run_job("serve", "--bundle", bundle, "--port", taken))
    assert f"--port {taken}: can't listen at 127.0.0.1:{taken}: Address already in use" in line
