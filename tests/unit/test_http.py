"""The HTTP API over made-up models: what it answers, and what it refuses."""

import asyncio
import io
import json

import pytest
from PIL import Image
from ray.exceptions import RayActorError
from starlette.testclient import TestClient

from landmark_ray.errors import UserError
from landmark_ray.serving.serve_options import GraphOptions
from tests import bundles
from tests.serving import JPEG, error, photo

KEY = "a-key-of-some-letters"


def flat(size, colour="black") -> bytes:
    out = io.BytesIO()
    Image.new("RGB", size, colour).save(out, "PNG")
    return out.getvalue()


def test_raw_photo_is_named_with_all_that_is_known_of_its_landmark(make, bundle):
    client, shard = make()
    answer = client.post("/predict?top_k=2", content=photo(), headers=JPEG)
    assert answer.status_code == 200
    value = answer.json()
    assert value["model_version"] == bundle[1].version and value["warning"] == bundles.WARNING
    assert set(value["timings_ms"]) == {"decode", "models", "total"}
    (found,) = value["photos"]
    assert found["file"] is None and found["is_landmark"] and found["error"] is None
    assert found["landmarks"] == [
        {
            "landmark_id": 100,
            "name": "Torre dos Clérigos",
            "category": bundles.NAME,
            "confidence": 0.75,
            "group": 1,
        },
        {"landmark_id": 201, "name": "", "category": None, "confidence": 0.125, "group": 2},
    ]
    assert shard.asked == [(bundle[1].version, (bundles.SIZE, bundles.SIZE, 3))]


@pytest.mark.parametrize("colour", ["black", "white", "teal"])
def test_a_photo_of_nothing_is_not_a_landmark_however_sure_the_models_are(make, colour):
    client, _ = make()
    answer = client.post("/predict", content=flat((200, 150), colour), headers=JPEG)
    (found,) = answer.json()["photos"]
    assert (found["is_landmark"], found["landmarks"], found["error"]) == (False, [], None)


def test_confidence_below_the_threshold_is_no_landmark_but_has_guesses(make):
    client, _ = make(confidences={100: 0.25})
    (found,) = client.post("/predict", content=photo(), headers=JPEG).json()["photos"]
    assert not found["is_landmark"]
    assert [guess["landmark_id"] for guess in found["landmarks"]] == [100]


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "GIF", "BMP", "AVIF", "HEIF"])
def test_usual_formats_are_taken_whatever_they_are_called(make, kind):
    client, _ = make()
    for header in (f"image/{kind.lower()}", "image/x-whatever", "application/octet-stream"):
        answer = client.post("/predict", content=photo(kind), headers={"Content-Type": header})
        assert answer.status_code == 200, answer.text


def test_several_files_have_an_answer_each_and_a_bad_one_its_own_error(make):
    client, _ = make()
    files = [("photo", ("a.jpg", photo())), ("b", ("../b.txt", b"no photo")), ("c", ("", photo()))]
    answer = client.post("/predict", files=files[:2])
    first, second = answer.json()["photos"]
    assert answer.status_code == 200
    assert first["file"] == "a.jpg" and first["is_landmark"]
    assert second["file"] == "../b.txt" and second["landmarks"] == []
    assert second["error"].startswith("The photo can't be used: not an image")


@pytest.mark.parametrize(
    ("request_", "status", "says"),
    [
        ({"content": b"hello", "headers": JPEG}, 415, "not an image: 5 bytes"),
        ({"content": b"", "headers": JPEG}, 422, "empty"),
        ({"content": photo()[:-500], "headers": JPEG}, 422, "truncated"),
        ({"content": photo(size=(64, 8)), "headers": JPEG}, 422, "too small: 64 x 8"),
        ({"content": flat((2000, 1200)), "headers": JPEG}, 413, "2000 x 1200 pixels"),
        ({"content": b"x" * 200_001, "headers": JPEG}, 413, "larger than 0.2 MB"),
        ({"content": (b"x" * 50_001 for _ in range(5)), "headers": JPEG}, 413, "larger than"),
        ({"files": [("p", ("a.jpg", b"hello"))]}, 415, "not an image"),
        ({"files": [("p", ("a.jpg", photo("PNG")))] * 3}, 400, "Too many files"),
        ({"data": {"a": "b"}, "files": []}, 415, "Content-Type must be multipart/form-data"),
        ({"content": b"{}", "headers": {"Content-Type": "application/json"}}, 415, "got 'appl"),
        ({"content": b"hello"}, 415, "not an image: 5 bytes"),
        (
            {"content": b"--b", "headers": {"Content-Type": "multipart/form-data; boundary=b"}},
            400,
            "The form has no file",
        ),
        (
            {"content": b"--b", "headers": {"Content-Type": "multipart/form-data"}},
            400,
            "Missing boundary",
        ),
        ({"content": photo(), "headers": JPEG, "params": {"top_k": 0}}, 422, "top_k: "),
        ({"content": photo(), "headers": JPEG, "params": {"top_k": "x"}}, 422, "top_k: "),
    ],
)
def test_bad_requests_are_one_clear_sentence(make, request_, status, says):
    client, _ = make(max_megabytes=0.2, max_megapixels=2, max_files=2)
    sentence = error(client.post("/predict", **request_), status)
    assert says in sentence and sentence.endswith(".")


def test_unknown_paths_methods_and_landmarks_are_json(make):
    client, _ = make()
    assert "/nothing" in error(client.get("/nothing"), 404)
    assert "GET" in error(client.get("/predict"), 405)
    assert "no landmark 7" in error(client.get("/landmarks/7"), 404)
    assert error(client.get("/landmarks/x"), 422).startswith("landmark_id: ")
    assert error(client.get(f"/landmarks/{10**30}"), 404)


def test_landmark_and_version_say_what_the_bundle_says(make, bundle):
    client, _ = make()
    assert client.get("/landmarks/100").json() == {
        "landmark_id": 100,
        "name": "Torre dos Clérigos",
        "category": bundles.NAME,
        "group": 1,
        "images": 9,
        "model_version": bundle[1].version,
    }
    version = client.get("/version").json()
    assert version["version"] == bundle[1].version and version["threshold"] == 0.5
    assert version["landmarks"] == 12 and version["groups"] == [1, 2, 3]
    assert version["rejects_strangers"] is False and version["warning"] == bundles.WARNING


def test_key_is_asked_for_everywhere_but_on_the_page_and_health(make):
    client, shard = make(key=KEY)
    for path in ("/version", "/landmarks/100", "/v2", "/v2/models/landmark", "/nothing"):
        assert "key" in error(client.get(path), 401)
        assert client.get(path).headers["www-authenticate"] == "Bearer"
    for token in ("", "Bearer", f"Basic {KEY}", f"Bearer {KEY}x", f"Bearer {KEY[:-1]}", KEY):
        headers = {**JPEG, "Authorization": token}
        error(client.post("/predict", content=photo(), headers=headers), 401)
    assert not shard.asked
    headers = {**JPEG, "Authorization": f"Bearer {KEY}"}
    assert client.post("/predict", content=photo(), headers=headers).status_code == 200
    for path in (
        "/",
        "/page.css",
        "/page.js",
        "/docs",
        "/docs.js",
        "/openapi.json",
        "/healthz",
        "/readyz",
    ):
        assert client.get(path).status_code == 200, path


def test_a_prefix_of_the_route_changes_no_route(make):
    below = TestClient(make(key=KEY)[0].app, root_path="/lm")
    for path in ("/", "/page.css", "/docs", "/docs/swagger-ui.css", "/openapi.json", "/readyz"):
        assert below.get(f"/lm{path}").status_code == 200, path
    error(below.get("/lm/version"), 401)
    headers = {"Authorization": f"Bearer {KEY}"}
    assert below.get("/lm/version", headers=headers).status_code == 200
    assert '"/' not in below.get("/lm/docs").text, "links are relative"


@pytest.mark.parametrize("between", ["\n", "\t", "\x07", " ", "é", "\x7f"])
def test_a_key_that_no_header_can_hold_is_refused(between, tmp_path):
    file = tmp_path / "key"
    options = GraphOptions(key_file=str(file))
    file.write_text(f" {KEY}!\n")
    assert options.key() == f"{KEY}!"
    file.write_text(f"{KEY}{between}{KEY}")
    with pytest.raises(UserError, match=r"ASCII characters, on one line and without spaces"):
        options.key()


def test_every_answer_forbids_scripts_and_frames_from_elsewhere(make):
    client, _ = make(key=KEY)
    for answer in (client.get("/"), client.get("/docs"), client.get("/version")):
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy and "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert answer.headers["x-content-type-options"] == "nosniff"


def test_full_queue_answers_429_and_when_to_come_again(make):
    client, shard = make(queue=1)
    shard.seconds = 0.5
    app = client.app

    async def two():
        import httpx

        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://x") as http_client:
            first = asyncio.create_task(http_client.post("/predict", content=photo(), headers=JPEG))
            while not shard.asked:
                await asyncio.sleep(0.01)
            second = await http_client.post("/predict", content=photo(), headers=JPEG)
            return await first, second

    served, refused = asyncio.run(two())
    assert served.status_code == 200
    assert "busy" in error(refused, 429)
    assert int(refused.headers["retry-after"]) >= 1


def test_slow_sender_is_cut_off(make):
    client, _ = make(upload_seconds=0.2)

    async def slow():
        answers = []

        async def receive():
            await asyncio.sleep(0.15)
            return {"type": "http.request", "body": b"x", "more_body": True}

        async def send(message):
            answers.append(message)

        scope = {
            "type": "http",
            "method": "POST",
            "path": "/predict",
            "query_string": b"",
            "headers": [(b"content-type", b"image/jpeg")],
        }
        await client.app(scope, receive, send)
        return answers

    start, body = asyncio.run(slow())
    assert start["status"] == 408
    assert "longer than 0.2 s" in json.loads(body["body"])["error"]


def test_replica_that_dies_is_asked_once_more_and_then_it_is_503(make):
    client, shard = make()
    shard.errors = [RayActorError()]
    assert client.post("/predict", content=photo(), headers=JPEG).status_code == 200
    shard.errors = [RayActorError(), RayActorError()]
    answer = client.post("/predict", content=photo(), headers=JPEG)
    error(answer, 503)
    assert answer.headers["retry-after"]


def test_openapi_documents_every_route(make):
    client, _ = make()
    document = client.get("/openapi.json").json()
    paths = set(document["paths"])
    assert {"/predict", "/landmarks/{landmark_id}", "/healthz", "/readyz", "/version"} <= paths
    body = document["paths"]["/predict"]["post"]["requestBody"]["content"]
    assert {"multipart/form-data", "image/jpeg"} <= set(body)
