"""POST /predict?explain=true: the photos of the first landmark that are nearest, and why."""

import asyncio
import base64
import io

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient

from landmark_ray.kernels.exemplars import ExemplarMatch, inlier_points
from landmark_ray.kernels.features import ImageFeatures
from landmark_ray.kernels.matching import MatchingRule
from landmark_ray.kernels.sift import extract_sift, root_sift
from landmark_ray.serving import api
from landmark_ray.serving.ingress import Ingress
from landmark_ray.serving.recognition import explanation
from landmark_ray.serving.serve_options import GraphOptions
from tests import bundles, drawn
from tests.serving import RemoteMethod

PHOTO = drawn.photo(size=(300, 200))
LARGE = bundles.png(np.asarray(PHOTO.resize((600, 400))))
NOTHING = bundles.png(np.zeros((200, 300, 3), np.uint8))
RULES = [MatchingRule.sift(), MatchingRule.sift().replace(cell=24.0, share=0.0)]


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    """Bundles of the same networks; "exemplars" has `PHOTO` of the first landmark of `LARGE`."""
    place = tmp_path_factory.mktemp("bundles")
    bundles.write(place / "heads", groups=(1,))
    bundles.write(place / "index", groups=(1,), index=True)
    first = asked(served(place / "index"), LARGE)[0]["landmarks"][0]["landmark_id"]
    photos = {first: np.asarray(PHOTO)}
    bundles.write(place / "exemplars", groups=(1,), index=True, exemplars=photos)
    return place


@pytest.fixture(autouse=True)
def one_decoder(decoder, monkeypatch):
    monkeypatch.setattr("landmark_ray.serving.recogniser.Decoder", lambda *_: decoder)


def served(place, **options):
    """An ingress that holds all parts of a bundle."""
    ingress = Ingress(GraphOptions(packs=0, runtime="tensorflow", **options).model_dump(), False)
    asyncio.run(ingress.reconfigure({"bundle": str(place)}))
    return ingress


def asked(ingress, *photos, **query):
    client = TestClient(api.build_app(ingress), raise_server_exceptions=False)
    answer = client.post("/predict", files=[("photo", photo) for photo in photos], params=query)
    assert answer.status_code == 200, answer.text
    return answer.json()["photos"]


def parted(answers):
    """Answers without their confidences, and these: they differ in rounding between two calls."""
    rows = [row for answer in answers for row in answer.get("landmarks", ())]
    return answers, [row.pop("confidence") for row in rows]


def test_points_lie_alike_on_both_photos_of_whatever_resolution(places):
    (answer,) = asked(served(places / "exemplars"), LARGE, explain=True)
    why, (first, *_) = answer["explanation"], answer["landmarks"]
    (near,) = why["photos"]
    assert why["kind"] == "exemplars" and near["landmark_id"] == first["landmark_id"]
    assert near["image_id"] == f"{first['landmark_id']:016x}" and near["inliers"] >= 50
    assert near["similarity"] is None  # the index lacks this photo
    points = np.array([[point["photo"], point["exemplar"]] for point in near["points"]])
    assert points.shape == (50, 2, 2) and 0 <= points.min() < 0.2 and 0.8 < points.max() <= 1
    assert np.abs(points[:, 0] - points[:, 1]).max() < 0.02
    thumbnail = Image.open(io.BytesIO(base64.b64decode(near["thumbnail"])))
    assert (thumbnail.format, thumbnail.size) == ("JPEG", (256, 171))


def test_nothing_else_of_the_answers_changes(places):
    photos = LARGE, b"no photo", NOTHING
    ingress = served(places / "exemplars")
    plain, explained = asked(ingress, *photos), asked(ingress, *photos, explain=True)
    assert not any("explanation" in answer for answer in plain)
    whys = [answer.pop("explanation", None) for answer in explained]
    (plain, sure), (explained, as_sure) = parted(plain), parted(explained)
    assert plain == explained and as_sure == pytest.approx(sure, abs=1e-5)
    assert whys[1:] == [None, {"kind": "none", "photos": []}]
    client = TestClient(api.build_app(ingress))
    form = {"files": [("photo", LARGE)], "data": {"top_k": "2"}}
    ((both,), _) = parted(client.post("/predict?explain=1", **form).json()["photos"])
    assert both["explanation"] == whys[0] and both["landmarks"] == plain[0]["landmarks"][:2]
    assert "explain: " in client.post("/predict?explain=maybe", **form).json()["error"]


@pytest.mark.parametrize(
    ("bundle", "options"),
    [("index", {}), ("index", {"index_shards": 3}), ("exemplars", {"verify": "off"})],
)
def test_without_exemplars_the_most_similar_photos_explain(places, bundle, options):
    ingress = served(places / bundle, **options)
    (answer,) = asked(ingress, LARGE, explain=True)
    why, (first, *_) = answer["explanation"], answer["landmarks"]
    own = [f"{3 * (first['landmark_id'] - 100) + i:016x}" for i in range(3)]
    assert why["kind"] == "meaning" and sorted(p["image_id"] for p in why["photos"]) == own
    similarities = [photo["similarity"] for photo in why["photos"]]
    assert similarities == sorted(similarities, reverse=True) and min(similarities) >= -1
    for photo in why["photos"]:
        assert (photo["inliers"], photo["points"], photo["thumbnail"]) == (None, [], None)


@pytest.mark.parametrize(
    ("bundle", "options"), [("heads", {}), ("exemplars", {"witnesses": "heads"})]
)
def test_heads_alone_have_no_photos_that_explain(places, bundle, options):
    (answer,) = asked(served(places / bundle, **options), LARGE, explain=True)
    assert answer["landmarks"] and answer["explanation"] == {"kind": "none", "photos": []}


class LateVerifier:
    """A verifier that has not loaded the bundle when it is asked first."""

    def __init__(self, handle):
        self.verify, self.late = handle.verify, 1
        self.handle, self.explain = handle, RemoteMethod(self._explain)

    async def _explain(self, *args):
        self.late -= 1
        return await self.handle.explain.remote("other" if self.late >= 0 else args[0], *args[1:])


def test_a_verifier_that_still_loads_the_bundle_is_asked_again(places):
    ingress = served(places / "exemplars")
    ingress.verifier = [LateVerifier(ingress.verifier[0])]
    (answer,) = asked(ingress, LARGE, explain=True)
    assert answer["explanation"]["kind"] == "exemplars" and ingress.verifier[0].late == -1


def test_photos_come_by_inliers_and_then_by_similarity():
    none = np.zeros((0, 2, 2), np.float32)
    inliers = {"a": 0, "b": 7, "c": 0, "d": 7, "e": 9}
    matches = [ExemplarMatch(i, n, none, b"", i.upper(), None) for i, n in inliers.items()]
    why = explanation(5, matches, {"a": 0.9, "b": -0.1, "d": 0.2, "z": 1.0})
    assert [(photo.image_id, photo.similarity) for photo in why.photos] == [
        *[("e", None), ("d", 0.2), ("b", -0.1)]
    ]
    first = why.photos[0]
    assert (first.thumbnail, first.author, first.licence) == (None, "E", None)


@pytest.mark.parametrize("rule", RULES)
def test_as_many_points_are_located_as_inliers_are_counted(rule):
    def features(photo):
        points, descriptors = extract_sift(np.asarray(photo), max_features=300, side=320)
        return ImageFeatures(points, root_sift(descriptors), max(photo.size))

    inliers, points = inlier_points(features(PHOTO), features(PHOTO.resize((600, 400))), rule)
    assert points.shape == (inliers, 2, 2) and inliers > 20
    assert np.abs(points[:, 0] * 2 - points[:, 1]).max() < 20
    nothing = features(Image.new("RGB", (300, 200)))
    assert inlier_points(features(PHOTO), nothing, rule)[1].shape == (0, 2, 2)
