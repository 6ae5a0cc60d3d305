"""Pages of other origins: which may ask, and what they may read."""

import pytest
from pydantic import ValidationError

from landmark_ray.serving.serve_options import GraphOptions
from tests.serving import JPEG, error, photo

KEY = "a-key-of-some-letters"
OURS, OTHER = "https://a.example", "https://b.example"
BEARER = {"Authorization": f"Bearer {KEY}"}


def asks(origin, **more):
    return {"Origin": origin, "Access-Control-Request-Method": "POST", **more}


def test_a_page_of_the_list_may_ask_with_the_key_and_read(make):
    client, _ = make(key=KEY, cors_origins=f"{OURS},http://localhost:5173")
    for origin in (OURS, "http://localhost:5173"):
        wishes = "authorization,content-type,content-encoding,inference-header-content-length"
        headers = asks(origin, **{"Access-Control-Request-Headers": wishes})
        headers["Access-Control-Request-Private-Network"] = "true"
        before = client.options("/predict", headers=headers)
        assert before.status_code == 200
        assert before.headers["access-control-allow-origin"] == origin
        assert before.headers["access-control-allow-headers"] == wishes
        assert "POST" in before.headers["access-control-allow-methods"]
        headers = {"Origin": origin, **BEARER, **JPEG}
        answer = client.post("/predict", content=photo(), headers=headers)
        assert answer.status_code == 200
        assert answer.headers["access-control-allow-origin"] == origin
        assert answer.headers["cross-origin-resource-policy"] == "cross-origin"
        assert "Origin" in answer.headers["vary"]


def test_refusals_can_be_read_too(make):
    client, _ = make(key=KEY, cors_origins=OURS, max_megabytes=0.1, queue=1)
    headers = {"Origin": OURS, **BEARER, **JPEG}
    answers = {
        401: client.post("/predict", content=photo(), headers={"Origin": OURS}),
        404: client.get("/nothing", headers=headers),
        413: client.post("/predict", content=bytes(100_001), headers=headers),
        415: client.post("/predict", content=b"no photo", headers=headers),
        422: client.post("/predict?k=1", content=photo(), headers=headers),
        431: client.get("/version", headers={**headers, "Cookie": "a" * 70_000}),
    }
    client.app.state.service.queue.photos = 1
    answers[429] = client.post("/predict", content=photo(), headers=headers)
    for status, answer in answers.items():
        assert error(answer, status)
        assert answer.headers["access-control-allow-origin"] == OURS, status
        assert answer.headers["cross-origin-resource-policy"] == "cross-origin", status
    assert "Retry-After" in answers[429].headers["access-control-expose-headers"]


def test_other_pages_may_not(make):
    client, _ = make(cors_origins=OURS)
    for origin in (OTHER, "null", f"{OURS}.evil.example", "http://a.example", f"{OURS}:8443"):
        before = client.options("/predict", headers=asks(origin))
        assert before.status_code == 400
        answer = client.post("/predict", content=photo(), headers={"Origin": origin, **JPEG})
        for found in (before, answer):
            assert "access-control-allow-origin" not in found.headers
        assert answer.headers["cross-origin-resource-policy"] == "same-origin"


def test_all_may_where_that_is_said(make):
    client, _ = make(cors_origins="*")
    answer = client.post("/predict", content=photo(), headers={"Origin": OTHER, **JPEG})
    assert answer.headers["access-control-allow-origin"] == "*"
    assert client.options("/predict", headers=asks("null")).status_code == 200


def test_none_may_when_nothing_is_said(make):
    client, _ = make()
    assert error(client.options("/predict", headers=asks(OURS)), 405)
    answer = client.get("/version", headers={"Origin": OURS})
    assert not [name for name in answer.headers if name.startswith("access-control")]


def test_origins_are_read_as_browsers_send_them():
    given = "HTTPS://A.Example/, http://b.example:80,https://c.example:8443,capacitor://localhost"
    options = GraphOptions(cors_origins=given)
    assert options.cors_origins == (
        "https://a.example,http://b.example,https://c.example:8443,capacitor://localhost"
    )


@pytest.mark.parametrize(
    "given", ["a.example", "https://a.example/page", "https://", "yes", "://x"]
)
def test_what_is_no_origin_is_refused(given):
    with pytest.raises(ValidationError, match="is not an origin such as https://a.example"):
        GraphOptions(cors_origins=f"https://b.example,{given}")
