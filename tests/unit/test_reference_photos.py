"""Which examples export takes for its reference answers."""

import io

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from landmark_ray.config import Config
from landmark_ray.data import schemas
from landmark_ray.data.root import Root
from landmark_ray.errors import UserError
from landmark_ray.stages.export import PHOTOS, reference_photos

SIZE = 16


def jpeg(shade: int, size: int = SIZE) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (size, size), (shade, shade, shade)).save(out, "JPEG", quality=95)
    return out.getvalue()


@pytest.fixture
def root(tmp_path):
    return Root(str(tmp_path))


def shard(root, number: int, groups: list[int], background: int = 0, size: int = SIZE) -> None:
    """A shard whose examples of group g are grey, of 10 g + the shard's number."""
    rows = [
        {"image_id": f"{number}-{i:03d}", "landmark_id": g, "jpeg": jpeg(10 * g + number, size)}
        | {"group": g, "split": "train"}
        for i, g in enumerate(groups)
    ]
    others = [
        {"image_id": f"{number}-b{i}", "landmark_id": 1, "jpeg": jpeg(250)}
        for i in range(background)
    ]
    root.commit("examples", 0, number, pa.Table.from_pylist(rows, schemas.EXAMPLES), "{}")
    root.commit("background", 0, number, pa.Table.from_pylist(others, schemas.BACKGROUND), "{}")


def shades(root, groups: list[int]) -> list[int]:
    config = Config.model_validate({"resize": {"size": SIZE}})
    photos = reference_photos(config, root, groups)
    assert photos.dtype == np.uint8 and photos.shape[1:] == (SIZE, SIZE, 3)
    return [int(photo.mean().round()) for photo in photos]


def test_every_group_and_the_background_have_photos(root):
    shard(root, 0, [1, 1, 1, 2, 2, 3], background=9)
    shard(root, 1, [2, 3, 3, 3, 3])
    assert shades(root, [1, 2, 3]) == [10, 10, 10, 20, 20, 21, 30, 31, 31, 31, *4 * [250]]


def test_no_more_shards_are_read_than_needed(root, tmp_path):
    groups = list(range(1, 12))
    shard(root, 0, groups[:-1])
    shard(root, 1, [1])  # none that is missing
    shard(root, 2, groups)
    shard(root, 3, groups)
    for number in (1, 3):
        (tmp_path / f"background/bucket=0/shard-{number:05d}.parquet").unlink()
    assert shades(root, groups) == [*range(10, 110, 10), 112]


def test_of_very_many_groups_some_have_none(root):
    groups = list(range(1, 25))
    shard(root, 0, groups, background=1)
    assert shades(root, groups) == [10 * g for g in groups[:PHOTOS]]


def test_examples_of_another_size_are_a_line(root):
    shard(root, 0, [1], size=20)
    with pytest.raises(UserError, match="an example has 20 x 20 pixels"):
        shades(root, [1])
