"""Vectors of examples: those of photos as they are come from describe, where it computed them."""

import io

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from landmark_ray.config import Config
from landmark_ray.data import schemas
from landmark_ray.data.examples import pixels
from landmark_ray.stages.embed import embed_rows

CONFIG = Config.model_validate({"resize": {"size": 16}, "train": {"views": 2}})


class Brightness:
    """An embedder whose vector of a photo is its mean and its number of calls."""

    calls = 0

    def embed(self, photos):
        self.calls += len(photos)
        return np.stack([photos.mean((1, 2, 3)), np.ones(len(photos))], axis=1)

    def augmented_views(self, photos, seed):
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
    assert vectors == {("a", 1): (-10, -1), ("c", 1): (-30, -1)}
    unknown = sum(image not in described["image_id"].to_pylist() for image in computed)
    assert embedder.calls == unknown + 2
