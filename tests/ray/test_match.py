"""Matching on Ray: classes cut into parts, damaged features, images without features."""

import os
import shutil

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import ray

from tests.tables import assert_same_tables, rows

pytestmark = pytest.mark.ray

PARTS = ("--match.task_pairs", "12")
WHOLE = ("--match.task_pairs", "10000")


@pytest.fixture
def match(small_source, small_root, run_job, tmp_path):
    """Repeats the stages match and prune on a copy of the small root; `change` changes it first."""

    def repeat(name, *options, change=None):
        root = tmp_path / name
        shutil.copytree(small_root, root)
        if change:
            change(root)
        args = ("--source", small_source.path, "--root", root, *small_source.options, *options)
        done = run_job("pipeline", *args, "--redo", "match", "--from", "match", "--to", "prune")
        return root, done

    return repeat


def test_classes_cut_into_parts_are_matched_alike(match):
    whole, done = match("whole", *WHOLE)
    assert done.returncode == 0, done.stderr
    root, done = match("parts", *PARTS)
    assert done.returncode == 0, done.stderr
    columns = ["image_id", "keep", "reason"]
    pd.testing.assert_frame_equal(rows(root, "kept")[columns], rows(whole, "kept")[columns])
    pairs = rows(root, "pairs")
    assert not pairs.duplicated(["image_a", "image_b"]).any()
    assert not list((root / "_staging").rglob("*.parquet"))


def test_every_pair_is_the_same_in_parts(match):
    whole, done = match("whole", "--match.mode", "exhaustive", *WHOLE)
    assert done.returncode == 0, done.stderr
    parts, done = match("parts", "--match.mode", "exhaustive", *PARTS)
    assert done.returncode == 0, done.stderr
    pd.testing.assert_frame_equal(rows(whole, "pairs"), rows(parts, "pairs"))


def test_a_task_has_as_many_threads_as_cores(small_root):
    assert ray.is_initialized(), "the Ray of the job that made the root"

    def threads():
        import cv2

        from landmark_ray.runtime.resources import pin_threads

        return pin_threads(), cv2.getNumThreads()

    for cores in (min(2, os.cpu_count()), 1):
        task = ray.remote(threads).options(num_cpus=cores)
        assert ray.get(task.remote(), timeout=120) == (cores, cores)


def a_shard(root):
    return max((root / "features").rglob("*.parquet"), key=lambda path: path.stat().st_size)


def flip_a_byte(root):
    path = a_shard(root)
    column = pq.read_metadata(path).row_group(0).column(6)
    assert column.path_in_schema == "descriptors"
    data = bytearray(path.read_bytes())
    data[column.data_page_offset + column.total_compressed_size - 1] ^= 1
    path.write_bytes(data)


def cut_short(root):
    path = a_shard(root)
    path.write_bytes(path.read_bytes()[:-100])


@pytest.mark.parametrize("damage", [flip_a_byte, cut_short])
@pytest.mark.parametrize("options", [WHOLE, PARTS])
def test_damaged_features_fail_by_the_name_of_their_class(match, small_root, damage, options):
    landmarks = pq.read_table(a_shard(small_root), columns=["landmark_id"])["landmark_id"]
    _, done = match("damaged", *options, change=damage)
    line = done.stderr.strip().splitlines()[-1]
    assert done.returncode == 2, done.stderr
    assert line.startswith("error: features of landmark")
    assert any(str(name) in line for name in landmarks.to_pylist())
    assert "features/bucket=" in line and "damaged" in line and "--redo" in line


def test_images_with_no_or_one_feature_are_unverified_and_nothing_else_changes(match, small_root):
    changed = {}

    def take_features_away(root):
        path = a_shard(root)
        file = pq.ParquetFile(path)
        table = file.read()
        for row, count in ((0, 0), (1, 1)):
            image = table.slice(row, 1).to_pylist()[0]
            changed[image["image_id"]] = image["landmark_id"]
            image |= {
                "count": count,
                "keypoints": image["keypoints"][: 16 * count],
                "descriptors": image["descriptors"][: 128 * count],
            }
            new = pa.Table.from_pylist([image], table.schema)
            table = pa.concat_tables([table.slice(0, row), new, table.slice(row + 1)])
        pq.write_table(table, path, row_group_size=64)

    root, done = match("few", "--match.mode", "exhaustive", change=take_features_away)
    assert done.returncode == 0, done.stderr
    kept = rows(root, "kept").set_index("image_id")
    assert (kept.reason[list(changed)] == "unverified").all()
    assert (kept.inliers[list(changed)] == 0).all()
    others = ~kept.landmark_id.isin(changed.values())
    before = rows(small_root, "kept").set_index("image_id")
    assert (kept.reason[others] == before.reason[others]).all()


def test_an_uninterrupted_repetition_gives_equal_tables(match, small_root):
    root, done = match("again")
    assert done.returncode == 0, done.stderr
    for table in ("cleaned", "groups", "examples", "background"):
        shutil.copytree(small_root / table, root / table, dirs_exist_ok=True)
    assert_same_tables(root, small_root)
