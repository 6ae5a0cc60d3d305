"""Pickle bombs in every file of a root or a bundle that is read: none goes off, a line says why."""

import pickle
import shutil
import subprocess
import sys

import h5py
import numpy as np
import pyarrow.parquet as pq
import pytest
import ray.data  # noqa: F401 - its column types are what makes tables dangerous

from landmark_ray.bundle.manifest import LANDMARKS, Bundle, seal
from landmark_ray.bundle.network_files import GROUPS, head_infos, read_head, read_trunk
from landmark_ray.data.photos import Photos
from landmark_ray.data.root import Root
from landmark_ray.data.store import Store
from landmark_ray.errors import UserError
from landmark_ray.models import fit_loop
from landmark_ray.training.checkpoints import Checkpoints
from landmark_ray.training.fit_network import BestWeights
from tests import bombs, bundles
from tests.conftest import REPO
from tests.ray_private import object_extensions, tensor_extensions  # noqa: F401 - the same

KINDS = ("ray.data.arrow_pickled_object", "ray.data.arrow_tensor", "arrow.py_extension_type")


@pytest.fixture
def marker(tmp_path):
    """Isn't there at the end of the test."""
    marker = tmp_path / "marker"
    yield marker
    assert not marker.exists()


def refused(work) -> str:
    with pytest.raises(UserError) as error:
        work()
    assert "\n" not in str(error.value)
    return str(error.value)


def test_the_bomb_goes_off_where_nothing_is_checked(tmp_path):
    marker = tmp_path / "marker"
    bombs.parquet(tmp_path / "t.parquet", marker, "name")
    pq.read_table(tmp_path / "t.parquet")["name"].to_pylist()
    assert marker.exists()


@pytest.mark.parametrize("kind", KINDS[:2])
def test_tables_with_columns_of_code_are_refused(tmp_path, marker, kind):
    root = Root(str(tmp_path / "root"))
    bombs.parquet(tmp_path / "root/kept/bucket=0/shard-00000.parquet", marker, "reason", kind)
    for read in (
        lambda: root.read_shard("kept", 0, 0).to_pylist(),
        lambda: root.open_table(root.name("kept", 0, 0)),
        lambda: root.dataset("kept").to_table().to_pylist(),
    ):
        assert "kept" in (said := refused(read)) and "is damaged" in said


def test_types_that_nobody_knows_are_what_they_are_stored_as(tmp_path, marker):
    bombs.parquet(tmp_path / "x/y.parquet", marker, "reason", KINDS[2])
    assert Store(str(tmp_path)).read_table("x/y.parquet")["reason"].to_pylist() == [[1]]


def test_code_in_a_later_file_of_a_table_stays_bytes(tmp_path, marker):
    root = Root(str(tmp_path / "root"))
    root.ensure("rejects/stage=ingest")
    bombs.parquet(tmp_path / "root/rejects/stage=ingest/bucket=1/x.parquet", marker, "reason")
    try:
        root.dataset("rejects").to_table().to_pylist()
    except ValueError as error:
        assert "UTF8" in str(error)


def test_photos_in_a_table_with_code_are_refused(tmp_path, marker):
    bombs.parquet(tmp_path / "photos/a.parquet", marker, "image_id")
    (part,) = Photos(str(tmp_path / "photos")).parts
    assert "not plain data" in refused(lambda: list(part.members(1e6)))


def test_a_job_that_reads_such_a_table_ends_in_a_line(tmp_path, marker):
    bombs.parquet(tmp_path / "root/kept/bucket=0/shard-00000.parquet", marker, "reason")
    words = [sys.executable, "jobs/rows.py", "--root", str(tmp_path / "root"), "--table", "kept"]
    done = subprocess.run(words, cwd=REPO, capture_output=True, text=True)
    assert done.returncode == 2 and done.stdout == ""
    (line,) = done.stderr.strip().splitlines()
    assert line.startswith("error: ") and "column reason is not plain data" in line


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    place = tmp_path_factory.mktemp("sound") / "bundle"
    bundles.write(place, groups=(1,))
    return place


def planted(sound, tmp_path, name: str, make) -> Store:
    """A bundle of which one file is another one, with a manifest that agrees with it."""
    folder = Store(str(tmp_path / "bundle"))
    for file in Store(str(sound)).files():
        folder.write(file, (sound / file).read_bytes())
    make(tmp_path / "bundle" / name)
    fields = Bundle(str(sound)).manifest.model_dump(
        exclude={"format", "version", "created", "files"}
    )
    (tmp_path / "bundle/bundle.json").unlink()
    seal(folder, **fields)
    return Bundle(folder.uri)


def lambda_h5(marker):
    def make(path):
        bombs.lambda_model(marker, path.with_name("model.h5"))
        path.with_name("model.h5").replace(path)

    return make


def linked(path):
    """Weights that lie in another file of this machine."""
    with h5py.File(path.parent / "other", "w") as other:
        other["layers"] = np.ones(3)
    with h5py.File(path, "w") as file:
        file["layers"] = h5py.ExternalLink(str(path.parent / "other"), "/layers")
    (path.parent / "other").unlink()


def test_weights_that_are_a_program_or_a_link_are_damaged(sound, tmp_path, marker):
    makers = (
        lambda path: path.write_bytes(pickle.dumps(bombs.Bomb(marker))),
        lambda_h5(marker),
        linked,
    )
    for number, make in enumerate(makers):
        place = tmp_path / str(number)
        head = planted(sound, place / "head", "groups/group=1/head.weights.h5", make)
        (info,) = head_infos(head, GROUPS)
        assert "head.weights.h5 is damaged" in refused(lambda: read_head(head, GROUPS, info))  # noqa: B023
        trunk = planted(sound, place / "trunk", "trunk/network.weights.h5", make)
        assert "network small" in refused(lambda: read_trunk(trunk))  # noqa: B023


def test_landmarks_of_a_bundle_are_plain_data(sound, tmp_path, marker):
    bundle = planted(sound, tmp_path, LANDMARKS, lambda path: bombs.parquet(path, marker, "name"))
    assert f"{LANDMARKS} is damaged" in refused(bundle.names)


@pytest.mark.parametrize("ending", ["keras", "h5"])
def test_checkpoints_with_a_function_are_damaged(tmp_path, marker, ending):
    place = tmp_path / "checkpoint"
    bombs.lambda_model(marker, place / f"model.{ending}")
    (place / f"model.{ending}").rename(place / "model.keras")
    (place / "history.json").write_text("[]")
    np.savez(place / "seeds.npz")
    assert "checkpoint" in (said := resumed(place, fit_loop.load))
    assert "is damaged" in said and "--redo" in said


@pytest.mark.parametrize("text", ["", "{", pickle.dumps(1).hex(), "17"])
def test_checkpoints_without_a_history_are_damaged(tmp_path, text):
    (tmp_path / "history.json").write_text(text)
    assert "is damaged" in resumed(tmp_path, lambda place: None)


def test_arrays_of_objects_are_not_read(tmp_path, marker):
    writers = (
        lambda path: np.savez(path, np.array([bombs.Bomb(marker)], object), loss=0, epoch=0),
        lambda path: path.write_bytes(pickle.dumps(bombs.Bomb(marker))),
    )
    for number, write in enumerate(writers):
        here = tmp_path / str(number)
        here.mkdir()
        (here / "history.json").write_text("[]")
        write(here / "best.npz")
        assert "is damaged" in resumed(here, BestWeights().load)


def resumed(place, read) -> str:
    """What a worker says that goes on from a checkpoint."""
    root = place.with_name(f"{place.name}-root")
    shutil.copytree(place, root / "_staging/train/group-1/checkpoint_00001")
    return refused(lambda: Checkpoints(Root(str(root)), "group-1", print).load(read))
