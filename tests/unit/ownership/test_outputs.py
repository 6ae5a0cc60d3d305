"""Single files and object stores: only its own is written over or deleted, by one module."""

import ast
import json
import shutil
import threading
from pathlib import Path

import fsspec
import pytest

from landmark_ray.config import STAGES
from landmark_ray.data import deletion
from landmark_ray.data.root import Root
from landmark_ray.data.store import Store
from landmark_ray.errors import UserError
from landmark_ray.pipeline import FOLDERS
from landmark_ray.runtime import receipts
from landmark_ray.runtime.predict_output import Submission
from tests import product, store
from tests.conftest import REPO


def test_a_report_that_was_changed_is_not_written_over(source, root):
    product.run(source, root)
    page = root / "reports/curation.html"
    page.write_text(page.read_text() + " with my remarks")
    before = product.files(root)
    with pytest.raises(UserError, match="curation.html is there, and is not as landmark_ray wrote"):
        product.run(source, root, redo="clean")
    assert product.files(root) == before
    shutil.move(page, root / "reports/mine.html")
    product.run(source, root, redo="clean")
    assert page.exists() and "remarks" in (root / "reports/mine.html").read_text()


def test_reports_of_a_root_that_was_moved_are_still_its_own(source, root, tmp_path):
    product.run(source, root)
    shutil.move(root, tmp_path / "moved")
    product.run(source, tmp_path / "moved", redo="evaluate")


def test_outputs_by_name_are_written_again_but_never_over_anothers(source, root, tmp_path):
    product.run(source, root, last="sample")
    tables, out = Root(str(root)), Store(str(tmp_path / "out"))
    for data in (b"1", b"2", b"2", b"3"):
        receipts.write(tables, {"best.toml": data, "best.csv": data}, out)
    (tmp_path / "out/best.csv").write_bytes(b"mine")
    with pytest.raises(UserError, match=r"best.csv is there.*choose another name"):
        receipts.write(tables, {"best.toml": b"4", "best.csv": b"4"}, out)
    assert product.files(tmp_path / "out") == {"best.toml": b"3", "best.csv": b"mine"}


def test_a_submission_of_older_code_is_known_by_its_folder(tmp_path):
    identity = {"bundle": "a", "source": "b", "top_k": 5}
    (tmp_path / "sub.parquet").mkdir()
    (tmp_path / "sub.parquet/_identity.json").write_text(json.dumps(identity))
    (tmp_path / "sub.csv").write_text("id,landmarks\n")
    Submission(str(tmp_path / "sub.csv"), identity).write("id,landmarks\na,\n")
    (tmp_path / "sub.csv").write_text("mine")
    with pytest.raises(UserError, match=r"--output: .*sub.csv is there"):
        Submission(str(tmp_path / "sub.csv"), identity)
    with pytest.raises(UserError, match="holds answers to something else .bundle a, now b"):
        Submission(str(tmp_path / "sub.csv"), identity | {"bundle": "b"})


def test_on_s3_only_its_own_is_deleted(bucket, source):
    put = lambda key, data=b"1": bucket.put_object(  # noqa: E731
        Bucket=store.BUCKET, Key=f"own/{key}", Body=data
    )
    put("images/")  # as a console makes a folder
    put("images2/bucket=0/shard-00000.parquet")
    put("notes.txt")
    root = f"s3://{store.BUCKET}/own"
    put("images/.hidden")
    with pytest.raises(UserError, match="images/.hidden"):
        product.run(source, root, last="ingest")
    bucket.delete_object(Bucket=store.BUCKET, Key="own/images/.hidden")
    product.run(source, root, last="ingest")
    product.run(source, root, last="ingest", redo="sample", seed=1)
    put("images/bucket=0/wedding[1].jpg")
    before = set(store.files(bucket, "own/"))
    with pytest.raises(UserError, match=r"wedding\[1\].jpg"):
        product.run(source, root, last="ingest", redo="sample")
    assert set(store.files(bucket, "own/")) == before
    tables = Root(root)
    deletion.delete(tables, "images/bucket=0/wedding[1].jpg", ours=lambda _: True)
    product.run(source, root, last="ingest", redo="sample")
    assert {"own/images2/bucket=0/shard-00000.parquet", "own/notes.txt", "own/images/"} <= set(
        store.files(bucket, "own/")
    )
    with pytest.raises(UserError, match="lies in --root"):
        product.run(f"{root}/photos", root)


def test_on_other_stores_only_its_own_is_deleted(memory, source):
    stored = fsspec.filesystem("memory")
    stored.pipe({"/own/images2/a.jpg": b"1", "/own/images/wedding.jpg": b"2", "/own/a?.txt": b"3"})
    with pytest.raises(UserError, match="images/wedding.jpg"):
        product.run(source, "memory://own")
    assert set(stored.find("/own")) == {
        "/own/images2/a.jpg",
        "/own/images/wedding.jpg",
        "/own/a?.txt",
    }
    stored.rm_file("/own/images/wedding.jpg")
    product.run(source, "memory://own", export={"to": "memory://to"})
    product.run(source, "memory://own", export={"to": "memory://to"}, redo="sample", seed=1)
    assert stored.exists("/to/bundle.json") and not stored.exists("/to/.export.json")
    stored.pipe("/to/thesis.txt", b"4")
    with pytest.raises(UserError, match="thesis.txt"):
        product.run(source, "memory://own", export={"to": "memory://to"}, redo="export")
    assert stored.exists("/own/images2/a.jpg") and stored.exists("/own/a?.txt")


REMOVES = {"rm", "rm_file", "_rm", "rmtree", "rmdir", "removedirs", "unlink", "remove", "truncate"}


def calls(path: Path) -> set[str]:
    """Names of what a module uses that deletes files."""
    tree = ast.parse(path.read_text())
    lists = {"remove"}  # of a list, which has no module before it
    return {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and node.attr in REMOVES
        and not (
            node.attr in lists and not (isinstance(node.value, ast.Name) and node.value.id == "os")
        )
    }


def test_only_one_module_deletes():
    """Beside it: a file that could not be written goes with the error that says so."""
    found = {
        str(path.relative_to(REPO)): used
        for folder in ("landmark_ray", "jobs")
        for path in sorted((REPO / folder).rglob("*.py"))
        if (used := calls(path))
    }
    assert found == {
        "landmark_ray/data/deletion.py": {"unlink", "rmdir", "rm_file"},
        "landmark_ray/data/store.py": {"unlink"},
    }


def test_every_stage_says_where_it_writes():
    assert set(FOLDERS) == set(STAGES)
    for stage, names in FOLDERS.items():
        assert f"_staging/attempts/{stage}" in names


def test_workers_that_delete_the_same_folder_do_not_disturb_each_other(tmp_path):
    tables = Root(str(tmp_path))
    for number in range(200):
        tables.write(f"images/bucket=0/shard-{number:05d}.parquet", b"1", durable=False)
    problems = []

    def work():
        try:
            tables.delete("images")
        except BaseException as error:
            problems.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert problems == [] and not (tmp_path / "images").exists()
