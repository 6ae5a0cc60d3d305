"""What clients and metrics see of requests that fail as a whole, or for some of their photos."""

import difflib
from unittest.mock import Mock, call, create_autospec

import pytest
from ray.exceptions import RayActorError

from landmark_ray.serving.prometheus import Metrics
from tests.serving import JPEG, error, photo

TWO = [("p", ("a.jpg", photo()))] * 2


@pytest.fixture
def counted(monkeypatch):
    """The metrics of the services that `make` makes."""
    metrics = create_autospec(Metrics, instance=True)
    monkeypatch.setattr("landmark_ray.serving.recogniser.Metrics", lambda: metrics)
    return metrics


def test_a_form_waits_until_all_its_photos_have_room(make):
    client, shard = make(queue=3)
    queue = client.app.state.service.queue
    queue.photos = 2
    assert "busy" in error(client.post("/predict", files=TWO), 429)
    assert not shard.asked, "a part of a form is never in work"
    queue.photos = 1
    assert client.post("/predict", files=TWO).status_code == 200
    queue.photos = 0
    assert client.post("/predict", files=TWO * 2).status_code == 200, "nobody else is served"
    assert queue.photos == 0


def test_a_form_fails_where_the_service_does_and_not_its_photos(make):
    client, shard = make()
    shard.errors = [RayActorError(), RayActorError(), RayActorError()]
    answer = client.post("/predict", files=TWO)
    error(answer, 503)
    assert answer.headers["retry-after"]


def test_each_photo_that_cannot_be_used_is_counted(make, counted):
    client, _ = make()
    files = [*TWO, ("p", ("b.txt", b"no photo")), ("p", ("c.jpg", b""))]
    assert client.post("/predict", files=files).status_code == 200
    assert counted.count_rejection.mock_calls == [call("not an image"), call("empty")]
    assert counted.count_prediction.mock_calls == [call("1")] * 2
    counted.reset_mock()
    assert client.post("/predict", files=files[2:]).status_code == 415
    assert counted.count_rejection.mock_calls == [call("not an image")]


def test_an_enrolled_landmark_is_not_counted_as_none(make, counted, monkeypatch):
    client, _ = make()
    landmark = type(client.app.state.service.metadata).landmark

    def enrolled(metadata, landmark_id):
        return landmark(metadata, landmark_id).model_copy(update={"group": 0})

    monkeypatch.setattr(type(client.app.state.service.metadata), "landmark", enrolled)
    client.post("/predict", content=photo(), headers=JPEG)
    assert counted.count_prediction.mock_calls == [call("enrolled")]


def test_an_unexpected_error_is_counted_and_answered_as_any_other(make, counted):
    client, shard = make()
    shard.errors = [ValueError("nobody expected it")]
    answer = client.post("/predict", content=photo(), headers=JPEG)
    assert "its log says why" in error(answer, 500)
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert counted.count_request.mock_calls[0].args[:2] == ("/predict", 500)
    assert counted.count_rejection.mock_calls == [call("failed")]


def test_the_likeliest_name_is_sought_for_the_start_of_a_long_one(make, monkeypatch):
    client, _ = make()
    sought = Mock(return_value=[])
    monkeypatch.setattr(difflib, "get_close_matches", sought)
    text = b'{"%s": 1, "inputs": []}' % (b"a" * 100_000)
    sentence = error(client.post("/v2/models/landmark/infer", content=text), 400)
    assert len(sentence) < 250
    assert len(sought.call_args.args[0]) <= 80, "difflib takes a second for some megabytes"
