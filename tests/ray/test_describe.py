"""Descriptors of photos before they are cleaned, and what prune makes of them."""

import json
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from landmark_ray.bundle.network_files import PRETRAINED, read_trunk
from landmark_ray.data.store import Store
from landmark_ray.kernels.image import square
from tests.conftest import line_of
from tests.tables import assert_same_tables, rows
from tests.vectors import assert_same_descriptors

pytestmark = pytest.mark.ray


@pytest.fixture
def pruned(described_root, small_source, described, run_job, tmp_path):
    """Run prune anew, on descriptors that a test may change before."""

    def run(change=lambda table: table, **options):
        root = tmp_path / "root"
        shutil.copytree(described_root, root)
        for file in (root / "descriptors").rglob("shard-*.parquet"):
            table = pq.read_table(file, partitioning=None)
            pq.write_table(change(table).replace_schema_metadata(table.schema.metadata), file)
        more = [word for name, value in options.items() for word in (f"--prune.{name}", value)]
        args = ("--source", small_source.path, "--root", root, *small_source.options, *described)
        return root, run_job("prune", *args, *more, "--redo", "prune")

    return run


def test_descriptors_are_the_networks_of_the_photos_it_sees_when_it_serves(described_root):
    described, images = rows(described_root, "descriptors"), rows(described_root, "images")
    assert described.image_id.tolist() == images.image_id.tolist()
    vectors = np.stack([np.frombuffer(data, np.float16) for data in described.vector])
    network = read_trunk(Store(str(described_root / "models")), PRETRAINED)
    photos = np.stack([np.asarray(square(jpeg, 32)) for jpeg in images.jpeg])
    wanted = network.predict(photos, verbose=0)
    np.testing.assert_allclose(vectors, wanted, rtol=2e-3, atol=1e-3 * np.abs(wanted).max())


def test_photos_stay_that_are_verified_or_near_their_landmark(described_root):
    kept = rows(described_root, "kept")
    landmark = dict(zip(kept.image_id, kept.landmark_id, strict=True))
    sizes = kept.landmark_id.value_counts()
    small = set(sizes.index[sizes < 6])  # a stranger
    assert len(small) == 1
    for row in kept.itertuples():
        same = [landmark[i] == row.landmark_id for i in row.neighbours]
        assert len(same) == 5 and row.image_id not in row.neighbours
        assert row.agreement == pytest.approx(sum(same) / 5)
        similar = "similar" if row.agreement > 0.39 else "unverified"
        wanted = "verified" if row.inliers >= 11 else similar
        assert row.reason == ("small_class" if row.landmark_id in small else wanted)
        assert row.keep == (row.reason in ("verified", "similar"))
    counts = kept.reason.value_counts()
    assert counts["similar"] and counts["unverified"] and counts["verified"] > 60
    funnel = json.loads((described_root / "reports/funnel.json").read_text())
    assert funnel["prune"]["facts"]["kept as similar"] == counts["similar"]
    assert funnel["describe"]["images_out"] == len(kept)


@pytest.mark.long  # the killed runs of test_killed.py have such options, too
def test_other_cores_and_buckets_give_the_same_tables(
    described_root, small_source, described, run_process, tmp_path
):
    cut = ("--sample.buckets", "7", "--sample.shard_images", "9", "--cluster.cpus", "1")
    args = ("--source", small_source.path, "--root", tmp_path, *small_source.options, *described)
    done = run_process("pipeline", *args, *cut, "--to", "prune")
    assert done.returncode == 0, done.stderr
    assert_same_descriptors(tmp_path, described_root)
    assert_same_tables(tmp_path, described_root, ("kept",))


def test_without_weights_funnel_and_page_say_that_geometry_alone_decides(small_root):
    funnel = json.loads((small_root / "reports/funnel.json").read_text())
    (said,) = funnel["describe"]["facts"]
    assert said == "not described, as --train.weights none gives no network yet"
    assert funnel["describe"]["seconds"] < 1
    page = (small_root / "reports/curation.html").read_text()
    assert "geometry alone decided which photos stay" in page
    kept = rows(small_root, "kept")
    assert kept.agreement.isna().all() and not kept.neighbours.map(len).any()


def test_agreement_0_is_the_rule_of_geometry(pruned, small_root):
    root, done = pruned(agreement="0")
    assert done.returncode == 0, done.stderr
    assert_same_tables(root, small_root, ("kept",))


def test_damaged_descriptor_is_one_line(pruned):
    def damage(table):
        vectors = [data[:4] + b"\x00\x7e" + data[6:] for data in table["vector"].to_pylist()]
        return table.set_column(2, table.schema.field(2), pa.array(vectors, pa.binary()))

    root, done = pruned(damage)
    line = line_of(done)
    assert line.startswith(f"error: {root}/descriptors/bucket=")
    assert "values that are not finite" in line and "--redo describe" in line


def test_geometry_decides_on_a_landmark_without_descriptors(pruned):
    root, done = pruned(lambda table: table.filter(pc.not_equal(table["landmark_id"], 33)))
    assert done.returncode == 0, done.stderr
    kept = rows(root, "kept")
    without = kept[kept.landmark_id == 33]
    assert len(without) == 7 and set(without.reason) == {"verified"}
    assert without.agreement.isna().all()
    assert kept.agreement[kept.landmark_id != 33].notna().all()


def test_geometry_decides_where_nothing_is_described(pruned, small_root):
    root, done = pruned(lambda table: table.slice(0, 0))
    assert done.returncode == 0, done.stderr
    assert_same_tables(root, small_root, ("kept",))


@pytest.mark.parametrize(
    ("weights", "says"),
    [
        ("/nowhere.h5", "there is no file of weights /nowhere.h5"),
        ("imagenet", "small has no imagenet weights"),
    ],
)
def test_wrong_weights_are_one_line(weights, says, described_root, small_source, run_job, tmp_path):
    root = tmp_path / "root"
    shutil.copytree(described_root, root)
    args = ("--source", small_source.path, "--root", root, *small_source.options)
    done = run_job("describe", *args, "--train.weights", weights, "--redo", "describe")
    assert says in line_of(done)
