"""A service with an index answers as predict does, on every route, with any number of shards."""

import asyncio
import base64

import numpy as np
import pytest
from ray.exceptions import RayActorError
from starlette.testclient import TestClient

from landmark_ray.bundle.landmark_index import index_info
from landmark_ray.bundle.manifest import Bundle
from landmark_ray.bundle.witnesses import Witnesses
from landmark_ray.errors import UserError
from landmark_ray.kernels.image import Limits, model_input
from landmark_ray.serving import api
from landmark_ray.serving.index_shards import IndexShard
from landmark_ray.serving.ingress import Ingress
from landmark_ray.serving.local import LocalHandle
from landmark_ray.serving.model_shards import ModelShard
from landmark_ray.serving.serve_options import GraphOptions
from tests import bundles, drawn
from tests.serving import RemoteMethod, error

COUNT = 6
WALLS = [drawn.view(drawn.facade(rng), rng) for rng in map(np.random.default_rng, range(4))]
PHOTOS = np.stack([np.asarray(drawn.photo(seed, 2 * (bundles.SIZE,))) for seed in range(COUNT)])


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    """Bundles with an index, with exemplars, too, and without; the weights of that are others."""
    place = tmp_path_factory.mktemp("bundles")
    exemplars = {landmark: WALLS[landmark % 4] for landmark in (*range(100, 104), 200, 301)}
    bundles.write(place / "index", index=True)
    bundles.write(place / "exemplars", index=True, exemplars=exemplars)
    bundles.write(place / "none", seed=1)
    return {name: str(place / name) for name in ("index", "exemplars", "none")}


@pytest.fixture(scope="module")
def models(places):
    """A model shard that has loaded both bundles, that with the index last."""
    shard = ModelShard(0, GraphOptions(runtime="tensorflow").model_dump())
    for name in ("none", "exemplars", "index"):
        version, networks = shard.load(places[name])
        shard.loaded[version], shard.uris[version] = networks, places[name]
    return LocalHandle(shard)


@pytest.fixture
def serve(places, models, decoder, monkeypatch):
    """A function: an ingress with options over these models, and its index shards."""
    monkeypatch.setattr("landmark_ray.serving.recogniser.Decoder", lambda *_: decoder)

    def service(*loaded, **options):
        made = GraphOptions(**options).model_dump()
        ingress = Ingress(made, False, [models])
        for name in loaded:
            asyncio.run(load(ingress, places[name]))
        return ingress

    return service


async def load(ingress, uri):
    """Roll out a bundle, which the models have loaded already."""
    for shard in (*ingress.index, *ingress.verifier):
        await shard.reconfigure.remote({"bundle": uri})
    ingress.local = []
    await ingress.reconfigure({"bundle": uri})


def asked(ingress, top_k=5):
    """What both routes say of all photos: landmark ids and confidences [COUNT, top_k]."""
    client = TestClient(api.build_app(ingress), raise_server_exceptions=False)
    files = [("a", bundles.png(photo)) for photo in PHOTOS]
    answer = client.post("/predict", files=files, params={"top_k": top_k}).json()
    guesses = [photo["landmarks"] for photo in answer["photos"]]
    by_json = [
        np.array([[guess[name] for guess in row] for row in guesses])
        for name in ("landmark_id", "confidence")
    ]
    data = [base64.b64encode(bundles.png(photo)).decode() for photo in PHOTOS]
    tensor = {"name": "photo", "shape": [COUNT], "datatype": "BYTES", "data": data}
    body = {"inputs": [tensor], "parameters": {"top_k": top_k}}
    answer = client.post("/v2/models/landmark/infer", json=body).json()
    outputs = {output["name"]: output for output in answer["outputs"]}
    for name, values in zip(("landmark_id", "confidence"), by_json, strict=True):
        assert np.allclose(np.reshape(outputs[name]["data"], (COUNT, -1)), values, atol=1e-6)
    return by_json


def assert_as_predict(ingress, uri, use="fused"):
    ids, confidences = Witnesses(Bundle(uri), use=use).predict(PHOTOS, 5)
    found = asked(ingress)
    assert found[0].tolist() == ids.tolist()
    assert np.abs(found[1] - confidences).max() < 1e-4
    return confidences


@pytest.mark.parametrize("shards", [0, 1, 2, 50])
def test_answers_are_those_of_predict_with_any_number_of_shards(serve, places, shards):
    fused = assert_as_predict(serve("index", index_shards=shards), places["index"])
    heads = Witnesses(Bundle(places["index"]), use="heads").predict(PHOTOS, 5)[1]
    assert np.abs(fused - heads).max() > 0.01


def test_heads_alone_answer_as_without_an_index(places, serve):
    assert_as_predict(serve("index", witnesses="heads"), places["index"], "heads")


@pytest.mark.parametrize("verify", ["off", "doubtful", "always"])
def test_answers_are_those_of_predict_with_exemplars(serve, places, verify):
    files = [bundles.png(wall) for wall in WALLS]
    squares = np.stack([model_input(file, bundles.SIZE, Limits(min_side=16)) for file in files])
    witnesses = Witnesses(Bundle(places["exemplars"]), verify=verify)
    ids, confidences = witnesses.predict(squares, 5, files)
    client = TestClient(api.build_app(serve("exemplars", verify=verify)))
    answer = client.post("/predict", files=[("a", file) for file in files]).json()
    guesses = [photo["landmarks"] for photo in answer["photos"]]
    assert [[guess["landmark_id"] for guess in row] for row in guesses] == ids.tolist()
    found = [[guess["confidence"] for guess in row] for row in guesses]
    assert np.abs(np.array(found) - confidences).max() < 1e-4
    unverified = Witnesses(Bundle(places["exemplars"]), verify="off").predict(squares, 5)[1]
    assert (np.abs(confidences - unverified).max() > 0.01) == (verify != "off")


def test_a_photo_is_answered_alike_alone_and_beside_others(places, models):
    shard = IndexShard(0, GraphOptions().model_dump())
    version, shard.loaded = load_one(shard, places["index"])
    (ids, confidences), vectors = list(models.replica.loaded.values())[-1].answer(PHOTOS)
    queries = list(zip(vectors, zip(ids, confidences, strict=True), strict=True))

    async def together():
        return await asyncio.gather(*(shard.find(version, *query) for query in queries))

    for query, beside in zip(queries, asyncio.run(together()), strict=True):
        alone = asyncio.run(shard.find(version, *query))
        for name in ("cosines", "neighbours", "landmarks", "mean"):
            assert getattr(alone, name).tobytes() == getattr(beside, name).tobytes()


def load_one(shard, uri):
    version, part = shard.load(uri)
    return version, {version: part}


@pytest.mark.parametrize(
    ("witnesses", "given", "shards"), [("fused", 3, 3), ("fused", 0, 1), ("heads", 3, 0)]
)
def test_one_process_holds_all_shards_of_the_index(decoder, monkeypatch, witnesses, given, shards):
    monkeypatch.setattr("landmark_ray.serving.recogniser.Decoder", lambda *_: decoder)
    options = GraphOptions(packs=0, index_shards=given, witnesses=witnesses).model_dump()
    ingress = Ingress(options, False)
    assert [part.replica.shard for part in ingress.index] == list(range(shards))
    assert len(ingress.local) == 1 + shards + (witnesses == "fused")


def test_a_bundle_with_an_index_is_rolled_out_over_one_without_and_back(serve, places):
    ingress = serve("none")
    assert_as_predict(ingress, places["none"])
    asyncio.run(ingress.reconfigure({"bundle": places["index"]}))
    assert_as_predict(ingress, places["none"])  # until the index is loaded
    (verifier,) = ingress.verifier
    asyncio.run(verifier.reconfigure.remote({"bundle": places["index"]}))
    (index,) = ingress.index
    asyncio.run(index.reconfigure.remote({"bundle": places["index"]}))
    assert_as_predict(ingress, places["index"])
    asyncio.run(ingress.serving())
    asyncio.run(load(ingress, places["none"]))
    assert_as_predict(ingress, places["none"])


class DyingIndex:
    """A handle of an index shard whose replica dies over some requests."""

    def __init__(self, handle, deaths):
        self.handle, self.deaths = handle, deaths
        self.find = RemoteMethod(self._find)

    async def _find(self, *args):
        self.deaths -= 1
        if self.deaths >= 0:
            raise RayActorError
        return await self.handle.find.remote(*args)


def test_a_replica_of_the_index_that_dies_costs_no_answer(serve, places):
    ingress = serve("index")
    ingress.index = [DyingIndex(ingress.index[0], 1)]
    assert_as_predict(ingress, places["index"])
    ingress.index[0].deaths = 2
    client = TestClient(api.build_app(ingress), raise_server_exceptions=False)
    photo = {"content": bundles.png(PHOTOS[0]), "headers": {"Content-Type": "image/png"}}
    assert "aren't ready" in error(client.post("/predict", **photo), 503)
    assert client.post("/predict", **photo).status_code == 200


def test_a_vector_that_is_not_finite_is_one_sentence(serve, monkeypatch):
    ingress = serve("index")
    networks = list(ingress.shards[0].replica.loaded.values())[-1]
    vectors = np.full((1, networks.answer(PHOTOS[:1])[1].shape[1]), np.nan, np.float32)
    answer = (np.full((1, 20), -1), np.zeros((1, 20))), vectors
    monkeypatch.setattr(networks, "answer", lambda photos: answer)
    client = TestClient(api.build_app(ingress), raise_server_exceptions=False)
    photo = {"content": bundles.png(PHOTOS[0]), "headers": {"Content-Type": "image/png"}}
    assert "its log says why" in error(client.post("/predict", **photo), 500)


def test_an_index_of_another_trunk_is_refused_by_name(tmp_path):
    bundles.write(tmp_path / "bundle", index=True)
    other = index_info(Bundle(str(tmp_path / "bundle")))
    path = tmp_path / "bundle/index/index.json"
    path.write_text(path.read_text().replace(other.trunk_sha256, "0" * 64))
    bundle = bundles.change(tmp_path / "bundle")
    with pytest.raises(UserError, match=r"bundle/index is the index of another trunk.*/trunk") as e:
        IndexShard(0, GraphOptions().model_dump()).load(bundle.uri)
    assert "\n" not in str(e.value)
