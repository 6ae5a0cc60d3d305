"""Vectors of examples: those of photos as they are come from describe, where it computed them."""

import io

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from landmark_ray.config import Config
from landmark_ray.data import schemas
from landmark_ray.data.examples import pixels
from landmark_ray.models import embedding
from landmark_ray.models.augmentation import build_augmentation
from landmark_ray.models.backend import xla
from landmark_ray.models.networks import build_trunk
from landmark_ray.models.specs import AugmentationOptions
from landmark_ray.stages.embed import embed_rows

CONFIG = Config.model_validate({"resize": {"size": 16}, "train": {"views": 3}})


class Brightness:
    """An embedder whose vector of a photo is its mean and its number of calls."""

    calls = 0

    def __init__(self):
        self.seeds = []

    def embed(self, photos):
        self.calls += len(photos)
        return np.stack([photos.mean((1, 2, 3)), np.ones(len(photos))], axis=1)

    def augmented_views(self, photos, seed):
        self.seeds.append(seed)
        return -self.embed(photos)


def example(image_id: str, split: str, brightness: int) -> dict[str, object]:
    out = io.BytesIO()
    Image.new("RGB", (16, 16), (brightness,) * 3).save(out, "JPEG")
    return {"image_id": image_id, "landmark_id": 1, "group": 1, "split": split} | {
        "jpeg": out.getvalue()
    }


def known(**vectors: list[float]) -> pa.Table:
    rows = [
        {"image_id": i, "landmark_id": 1, "vector": np.array(v, np.float16).tobytes()}
        for i, v in vectors.items()
    ]
    return pa.Table.from_pylist(rows, schemas.DESCRIPTORS)


EXAMPLES = [example("a", "train", 10), example("b", "validation", 20), example("c", "train", 30)]


@pytest.mark.parametrize(
    ("described", "computed"),
    [
        (known(), {"a": (10, 1), "b": (20, 1), "c": (30, 1)}),
        (known(c=[7, 8], x=[5, 5], a=[3, 4]), {"a": (3, 4), "b": (20, 1), "c": (7, 8)}),
        (known(a=[1, 2], b=[3, 4], c=[5, 6]), {"a": (1, 2), "b": (3, 4), "c": (5, 6)}),
    ],
)
def test_photo_as_it_is_has_the_vector_of_describe_or_a_new_one(described, computed):
    embedder = Brightness()
    examples = pa.Table.from_pylist(EXAMPLES, schemas.EXAMPLES)
    photos = {row["image_id"]: pixels(row["jpeg"], 16) for row in EXAMPLES}
    rows = embed_rows(
        examples.drop_columns(["jpeg"]), photos, described, embedder, CONFIG
    ).to_pylist()
    vectors = {
        (row["image_id"], row["view"]): tuple(np.frombuffer(row["vector"], np.float16))
        for row in rows
    }
    assert {i: vectors.pop((i, 0)) for i in computed} == computed
    views = (1, 2)
    assert vectors == {(i, view): (-x, -1) for i, x in (("a", 10), ("c", 30)) for view in views}
    assert len(embedder.seeds) == len(set(embedder.seeds)) == 2, "each view is another one"
    unknown = sum(image not in described["image_id"].to_pylist() for image in computed)
    assert embedder.calls == unknown + 4


def test_views_of_a_seed_are_those_of_its_augmentation_batch_by_batch(monkeypatch):
    monkeypatch.setattr(embedding, "BATCH", 4)
    monkeypatch.setattr(embedding, "on_gpu", lambda: False)
    photos = np.random.default_rng(0).integers(0, 256, (6, 8, 8, 3), np.uint8).repeat(4, 1)
    photos = photos.repeat(4, 2)
    options = AugmentationOptions()
    embedder = embedding.Embedder(build_trunk("small", weights=None, input_size=32), options)
    first = embedder.augmented_views(photos, 1)
    np.testing.assert_array_equal(embedder.augmented_views(photos, 1), first)
    spread = embedder.embed(photos).std(axis=0).mean()
    for other in (embedder.augmented_views(photos, 2), embedder.embed(photos)):
        assert (np.abs(first - other).mean(axis=1) > 0.1 * spread).all()
    augmentation = build_augmentation(options, 1)
    # compiled as there: XLA draws other numbers than TensorFlow's own kernels
    vary = xla(lambda batch: augmentation(batch, training=True))
    filled = np.concatenate([photos, np.zeros_like(photos[:2])]).astype(np.float32)
    views = np.concatenate([np.asarray(vary(filled[i : i + 4])) for i in (0, 4)])
    wanted = np.asarray(embedder.network(views, training=False))[: len(photos)]
    np.testing.assert_allclose(first, wanted, atol=0.01 * spread)
