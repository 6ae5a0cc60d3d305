"""Squares of the images of `groups` and of some discarded ones; what can't be used is a reject."""

import io
import json
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from landmark_ray.config import Config
from landmark_ray.data import schemas
from landmark_ray.data.root import Root
from landmark_ray.kernels.image import Limits, model_input
from landmark_ray.runtime.shards import ShardReader
from landmark_ray.stages.group import group_rows
from landmark_ray.stages.resize import UNTRAINABLE, example, resize, resize_rows
from tests.tables import rows

KEY = 1, 2
CONFIG = Config.model_validate({"resize": {"size": 16, "synthetic": 0}, "group": {"edges": [2, 3]}})


def photo(seed: int) -> bytes:
    out = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 256, (40, 60, 3), np.uint8)
    Image.fromarray(pixels).save(out, "JPEG")
    return out.getvalue()


@pytest.fixture
def root(tmp_path) -> Root:
    return Root(str(tmp_path))


def cleaned_of(classes: dict[int, int], reasons: dict[str, str]) -> pa.Table:
    """Rows of `cleaned`: landmark -> images, called like 7-0; image -> why it goes."""
    ids = [(f"{landmark}-{i}", landmark) for landmark, n in classes.items() for i in range(n)]
    given = [
        {"image_id": image, "landmark_id": landmark, "reason": reasons.get(image, "")}
        | {"keep": image not in reasons, "verdict": "", "note": ""}
        for image, landmark in ids
    ]
    return pa.Table.from_pylist(given, schemas.CLEANED)


def run(root: Root, cleaned: pa.Table, broken: set[str], left_out: Sequence[int] = ()) -> dict:
    """Run `group` and `resize` on a shard; the report of the latter."""
    ids = cleaned["image_id"].to_pylist()
    images = [
        {"image_id": image, "landmark_id": landmark, "width": 60, "height": 40}
        | {"jpeg": b"no photo" if image in broken else photo(number)}
        for number, (image, landmark) in enumerate(
            zip(ids, cleaned["landmark_id"].to_pylist(), strict=True)
        )
    ]
    groups, _ = group_rows(cleaned, schemas.DUPLICATES.empty_table(), CONFIG, left_out)
    kept = cleaned.select(["image_id"]).append_column(
        "agreement", pa.nulls(cleaned.num_rows, pa.float32())
    )
    root.commit("kept", *KEY, kept, "{}")
    root.commit("cleaned", *KEY, cleaned, "{}")
    root.commit("images", *KEY, pa.Table.from_pylist(images, schemas.IMAGES), "{}")
    root.commit("groups", *KEY, groups, "{}")
    result = resize(CONFIG, 1.0, {KEY: 0}, ShardReader(root, "resize", *KEY, cleaned.num_rows))
    for name, more in result.tables.items():
        root.commit(name, *KEY, more, "")
    report = result.counts.to_json()
    root.commit("examples", *KEY, result.rows, report, rejects=result.rejects, stage="resize")
    return json.loads(report)


def sides(root: Root) -> dict[str, str]:
    groups = root.read_shard("groups", *KEY)
    return dict(zip(groups["image_id"].to_pylist(), groups["split"].to_pylist(), strict=True))


def test_examples_are_the_groups_rows_with_their_squares(root, tmp_path):
    report = run(root, cleaned_of({7: 3, 8: 4, 9: 1}, {"8-2": "over_cap"}), set())
    groups = root.read_shard("groups", *KEY)
    examples = root.read_shard("examples", *KEY)
    assert examples.select(groups.column_names).equals(groups)
    assert {tuple(i) for i in rows(tmp_path, "groups")[["landmark_id", "group"]].to_numpy()} == {
        (7, 2),
        (8, 2),
    }
    images = root.read_shard("images", *KEY)
    stored = dict(zip(images["image_id"].to_pylist(), images["jpeg"].to_pylist(), strict=True))
    for row in examples.to_pylist():
        assert row["jpeg"] == example(stored[row["image_id"]], CONFIG.resize)
        assert Image.open(io.BytesIO(row["jpeg"])).size == (16, 16)
    assert (report["images_in"], report["images_out"], report["why"]) == (6, 6, {})
    assert not root.files("rejects")


def test_padded_example_is_what_a_bundle_shows_to_its_models():
    data, options = photo(5), CONFIG.resize.model_copy(update={"fit": "pad", "quality": 95})
    stored = np.asarray(Image.open(io.BytesIO(example(data, options))), int)
    served = model_input(data, 16, Limits(fit="pad")).astype(int)
    assert np.abs(stored - served).mean() < 6, "more than a JPEG's loss"
    assert np.abs(stored - model_input(data, 16, Limits())).mean() > 12


def test_class_that_loses_an_image_stays_in_its_group(root):
    cleaned = cleaned_of({7: 3, 8: 3}, {})
    run(root, cleaned, set())
    lost = next(image for image, side in sides(root).items() if side == "train")
    report = run(root, cleaned, {lost})
    examples = root.read_shard("examples", *KEY)
    assert lost not in examples["image_id"].to_pylist()
    assert examples.num_rows == 5 and set(examples["group"].to_pylist()) == {2}
    assert report["why"] == {"not an image": 1} and report["classes_out"] == 2
    assert report["images_in"] - report["images_out"] == 1
    rejects = root.read_shard("rejects/stage=resize", *KEY).to_pylist()
    assert [row["image_id"] for row in rejects] == [lost]
    assert rejects[0]["reason"].startswith("not an image: 8 bytes")


def test_class_without_a_photo_to_train_on_is_rejected_whole(root):
    cleaned = cleaned_of({7: 3, 8: 3}, {})
    run(root, cleaned, set())
    trains = {i for i, side in sides(root).items() if i.startswith("7") and side == "train"}
    validates = {i for i in sides(root) if i.startswith("7")} - trains
    assert trains and validates
    report = run(root, cleaned, trains)
    assert set(root.read_shard("examples", *KEY)["landmark_id"].to_pylist()) == {8}
    rejects = root.read_shard("rejects/stage=resize", *KEY).to_pylist()
    reasons = {row["image_id"]: row["reason"] for row in rejects}
    assert set(reasons) == trains | validates
    assert {reasons[image] for image in validates} == {UNTRAINABLE}
    assert report["why"] == {"not an image": len(trains), "untrainable": len(validates)}
    assert (report["classes_in"], report["classes_out"]) == (2, 1)


def test_background_image_that_cannot_be_used_is_a_reject_and_counted(root):
    gone = {"7-0": "unverified", "7-1": "no_building", "7-2": "over_cap"}
    report = run(root, cleaned_of({7: 6}, gone), {"7-0"})
    assert root.read_shard("background", *KEY)["image_id"].to_pylist() == ["7-1"]
    rejects = root.read_shard("rejects/stage=resize", *KEY).to_pylist()
    assert [(row["image_id"], row["landmark_id"]) for row in rejects] == [("7-0", 7)]
    assert report["facts"]["background images"] == 1
    assert report["facts"]["background images rejected"] == 1
    assert report["images_in"] == report["images_out"] == 3 and report["why"] == {}


def test_photos_of_a_landmark_that_is_left_out_are_background(root):
    report = run(root, cleaned_of({7: 3, 8: 4}, {"8-2": "over_cap"}), set(), left_out=[8])
    assert set(root.read_shard("examples", *KEY)["landmark_id"].to_pylist()) == {7}
    background = root.read_shard("background", *KEY)
    assert background["image_id"].to_pylist() == ["8-0", "8-1", "8-3"]
    assert report["images_in"] == report["images_out"] == 3


def test_landmarks_left_out_are_counted_with_their_reason():
    cleaned = cleaned_of({7: 3, 8: 4, 9: 1}, {})
    groups, counts = group_rows(cleaned, schemas.DUPLICATES.empty_table(), CONFIG, [8])
    assert set(groups["landmark_id"].to_pylist()) == {7}
    assert counts.reject_reasons == {"left_out": 4, "small_class": 1}


def test_nothing_chosen_gives_empty_tables(root):
    images = schemas.IMAGES.empty_table()
    squares, rejects = resize_rows(schemas.GROUPS.empty_table(), images, CONFIG.resize, None)
    assert squares.num_rows == rejects.num_rows == 0
    report = run(root, cleaned_of({7: 1}, {}), set())
    assert report["images_in"] == 0 and not root.read_shard("examples", *KEY).num_rows
