"""Drawn images of nothing."""

import io

import numpy as np
import pytest
from PIL import Image

from landmark_ray.config import Config
from landmark_ray.data import schemas
from landmark_ray.kernels import synthetic
from landmark_ray.stages.resize import synthetic_rows


def config(**resize):
    return Config.model_validate({"seed": 3, "resize": {"size": 64} | resize})


@pytest.mark.parametrize("size", [16, 32, 112, 224])
def test_each_number_is_an_image_of_its_own_and_always_the_same(size):
    images = [synthetic.draw(n, size, 3) for n in range(64)]
    assert all(i.shape == (size, size, 3) and i.dtype == np.uint8 for i in images)
    repeated = {i.tobytes() for i in images}
    assert len(repeated) == 64 - 2 * 3, "black and white come back"
    assert all((synthetic.draw(n, size, 3) == images[n]).all() for n in (1, 2, 3))
    assert (synthetic.draw(2, size, 4) != images[2]).any()


def test_kinds_are_what_they_are_called():
    solids, gradients, noises, dots = (
        [synthetic.draw(n, 64, 0) for n in range(k, 64, 4)] for k in range(4)
    )
    assert not solids[0].any() and (solids[1] == 255).all()
    assert all(np.ptp(s, axis=(0, 1)).max() == 0 for s in solids)
    steps = [abs(np.diff(g.astype(int), axis=1)).max() for g in gradients]
    assert max(steps) <= 20 and all(np.ptp(g) > 10 for g in gradients)
    assert all(n.std(axis=(0, 1)).max() > 1 for n in noises)
    assert all({0, 255} <= set(np.unique(d)) for d in dots)


def test_shards_share_the_images_and_none_is_there_twice():
    for shards in (1, 3, 100):
        parts = [synthetic_rows(shard, shards, config(synthetic=10)) for shard in range(shards)]
        assert all(part.schema == schemas.BACKGROUND for part in parts)
        ids = sorted(i for part in parts for i in part["image_id"].to_pylist())
        assert ids == sorted(f"synthetic-{n}" for n in range(10))
    row = parts[2].to_pylist()[0]
    assert row["landmark_id"] == synthetic.LABEL < 0
    stored = np.asarray(Image.open(io.BytesIO(row["jpeg"])), int)
    assert abs(stored - synthetic.draw(2, 64, 3)).mean() < 12
    assert synthetic_rows(0, 1, config(synthetic=0)).num_rows == 0
