"""What OpenAPI's document says of the service is what it does."""

import base64
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
import schemathesis
from openapi_spec_validator import OpenAPIV31SpecValidator

from tests import hostile

pytestmark = pytest.mark.ray

GOOD = hostile.saved("jpeg")
INFER = "/v2/models/{model}/infer"
TEXT = base64.b64encode(GOOD).decode()
TENSOR = {"name": "photo", "shape": [1], "datatype": "BYTES", "data": [TEXT]}


@pytest.fixture(scope="module")
def document(service):
    return httpx.get(f"{service}/openapi.json").json()


def test_document_is_openapi_3_1_and_refers_to_nothing_that_is_missing(document):
    assert document["openapi"].startswith("3.1")
    assert not list(OpenAPIV31SpecValidator(document).iter_errors())
    known = {f"#/components/schemas/{name}" for name in document["components"]["schemas"]}
    assert references(document) <= known


def references(value):
    if isinstance(value, list):
        return {found for item in value for found in references(item)}
    if isinstance(value, dict):
        own = {value["$ref"]} if isinstance(value.get("$ref"), str) else set()
        return own | references(list(value.values()))
    return set()


def test_errors_are_documented_as_they_are(document):
    error, seen = {"$ref": "#/components/schemas/Error"}, set()
    for path, methods in document["paths"].items():
        for operation in methods.values():
            for status, answer in operation["responses"].items():
                if int(status) >= 400:
                    content = answer["content"]["application/json"]
                    assert content["schema"] == error, (path, status)
                    seen.add(int(status))
    assert {400, 404, 413, 415, 422, 429, 503} <= seen


def test_made_up_requests_have_only_answers_that_are_documented(service, tmp_path):
    version = httpx.get(f"{service}/version").json()["version"]
    config = tmp_path / "schemathesis.toml"
    config.write_text(
        '[parameters]\n"path.model" = ["landmark", "landmark", "other"]\n'
        f'"path.version" = ["{version}", "0"]\n"path.landmark_id" = [100, 303, 7]\n'
    )
    words = [Path(sys.executable).with_name("schemathesis"), "--config-file", config, "run"]
    words += [f"{service}/openapi.json", "--seed", "1", "--max-examples", "20", "--no-color"]
    words += ["--phases", "coverage,fuzzing", "--continue-on-failure"]
    # what a photo must be, no document can say: it refuses bytes that aren't one
    words += ["--exclude-checks", "positive_data_acceptance", "--warnings", "off"]
    done = subprocess.run(
        list(map(str, words)), capture_output=True, text=True, cwd=tmp_path, timeout=150
    )
    print(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "14 selected / 14 total" in done.stdout and " passed" in done.stdout


@pytest.mark.parametrize(
    ("path", "status", "request_"),
    [
        ("/predict", 200, {"files": [("photo", ("a.jpg", GOOD)), ("b", ("b.jpg", b"bad"))]}),
        ("/predict", 200, {"content": GOOD, "headers": {"Content-Type": "image/jpeg"}}),
        ("/predict", 413, {"content": bytes(2_000_001), "headers": {"Content-Type": "image/png"}}),
        ("/predict", 415, {"content": b"bad", "headers": {"Content-Type": "image/jpeg"}}),
        ("/predict", 422, {"content": GOOD[:999], "headers": {"Content-Type": "image/jpeg"}}),
        ("/predict", 431, {"content": GOOD, "headers": {"Cookie": "a" * 99_999}}),
        (INFER, 200, {"json": {"id": "7", "inputs": [TENSOR]}}),
        (INFER, 200, {"json": {"inputs": [TENSOR], "parameters": {"binary_data_output": True}}}),
        (INFER, 400, {"json": {"inputs": []}}),
        (INFER, 415, {"json": {"inputs": [{**TENSOR, "data": [TEXT[:4]]}]}}),
    ],
)
def test_answers_to_photos_have_the_documented_shape(service, document, path, status, request_):
    answer = httpx.post(service + path.format(model="landmark"), **request_)
    assert answer.status_code == status, answer.text
    answer.request.read()  # what schemathesis looks at
    schema = schemathesis.openapi.from_dict(document)
    schema[path]["POST"].validate_response(answer)
