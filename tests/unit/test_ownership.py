"""What a run may delete and write over: its own, in every state that a kill can leave it in.

With LANDMARK_RAY_RANDOM_RUNS set, each change of the file system has its kill, else every fifth.
"""

import ast
import json
import os
import shutil
import threading
from pathlib import Path

import fsspec
import pytest

from landmark_ray.bundle import manifest
from landmark_ray.config import STAGES
from landmark_ray.data import deletion, layout
from landmark_ray.data.root import Root
from landmark_ray.data.store import Store
from landmark_ray.errors import UserError
from landmark_ray.pipeline import FOLDERS
from landmark_ray.runtime import ledger, ownership, receipts
from landmark_ray.runtime.predict_output import Submission
from tests import product, store
from tests.conftest import REPO


@pytest.fixture(scope="module", autouse=True)
def quick_product():
    with product.quick():
        yield


@pytest.fixture
def source(tmp_path):
    return product.photos(tmp_path / "source")


@pytest.fixture
def root(tmp_path):
    return tmp_path / "root"


def files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def tables_of(root: Path) -> dict[str, bytes]:
    """All files but those with seconds, which differ, and what the reports' writers left half."""
    other = ("_ledger/", "reports/funnel.json", "reports/.")
    return {name: data for name, data in files(root).items() if not name.startswith(other)}


# --- SOURCE and ROOT


@pytest.mark.parametrize(
    ("given", "root", "says"),
    [
        ("{at}/data", "{at}/data", "is also --root"),
        ("{at}/data/", "{at}/other/../data", "is also --root"),
        ("file://{at}/data", "{at}/data", "is also --root"),
        ("{at}/link", "{at}/data", "is also --root"),
        ("{at}/data/photos", "{at}/data", "lies in --root"),
        ("{at}/link/photos", "file://{at}/data/", "lies in --root"),
        ("{at}/data", "{at}/data/new/root", "holds --root"),
        ("{at}/data", "{at}/link/new/root", "holds --root"),
    ],
)
def test_source_and_root_in_each_other_are_refused(tmp_path, given, root, says):
    product.photos(tmp_path / "data")
    product.photos(tmp_path / "data/photos")
    (tmp_path / "other").mkdir()
    (tmp_path / "link").symlink_to("data")
    before = files(tmp_path)
    with pytest.raises(UserError, match=says) as error:
        product.run(given.format(at=tmp_path), root.format(at=tmp_path), last="sample")
    assert "Nothing was touched" in str(error.value) and files(tmp_path) == before


@pytest.mark.parametrize(
    ("a", "b", "apart"),
    [
        ("s3://bucket/data", "s3://bucket/data/", False),
        ("s3://bucket/data/photos", "s3://bucket/data", False),
        ("s3://bucket", "s3://bucket/data", False),
        ("s3://bucket/data", "s3://bucket/data2", True),
        ("s3://bucket/data", "s3://other/data", True),
        ("memory://data", "/data", True),
        ("/nowhere/a", "/nowhere/ab", True),
        ("/nowhere/a", "/nowhere/a/b", False),
    ],
)
def test_uris_are_compared_by_their_paths(a, b, apart):
    for source, root in ((a, b), (b, a)):
        if apart:
            ownership.apart(Store(source), Store(root))
        else:
            with pytest.raises(UserError, match="--source"):
                ownership.apart(Store(source), Store(root))


def test_root_may_be_a_link_to_a_folder(tmp_path, source):
    (tmp_path / "disk").mkdir()
    (tmp_path / "root").symlink_to("disk")
    product.run(source, tmp_path / "root")
    product.run(source, tmp_path / "root", redo="sample", seed=1)
    assert (tmp_path / "root").is_symlink() and (tmp_path / "disk/bundle/bundle.json").exists()


def test_a_table_may_be_a_link_to_an_empty_folder_and_is_never_deleted(tmp_path, source, root):
    root.mkdir()
    for name in ("images", "pairs", "features"):
        (tmp_path / "disk" / name).mkdir(parents=True)
    (root / "images").symlink_to(tmp_path / "disk/images")
    (root / "pairs").symlink_to(source)
    with pytest.raises(UserError, match=r"pairs holds what no run .* pairs \(a link, or no file\)"):
        product.run(source, root)
    (root / "pairs").unlink()
    product.run(source, root)
    assert (tmp_path / "disk/images/bucket=0/shard-00000.parquet").exists()
    before = files(tmp_path)
    with pytest.raises(UserError, match="images"):
        product.run(source, root, redo="ingest")
    assert files(tmp_path) == before
    (root / "images").unlink()
    product.run(source, root, redo="ingest")
    assert (tmp_path / "disk/images/bucket=0/shard-00000.parquet").exists()


# --- what lies where the tables go


@pytest.mark.parametrize("example", ["root_deletes_source", "redo_deletes_others"])
def test_examples_of_the_field_lose_nothing(example, shared, tmp_path):
    root = tmp_path / "root"
    shutil.copytree(shared / "field" / example / "source", root)
    before = files(root)
    inside = "landmarks" if example == "root_deletes_source" else "photos"
    shutil.copytree(root / inside, tmp_path / "beside")
    for source in (root / inside, tmp_path / "beside"):
        for redo in (None, "sample"):
            with pytest.raises(UserError, match="Nothing was touched"):
                product.run(source, root, last="sample", redo=redo)
            assert files(root) == before


def test_everything_is_checked_before_the_first_stage_writes(source, root):
    (root / "pairs/bucket=0").mkdir(parents=True)
    (root / "pairs/bucket=0/shard-00000.parquet").write_bytes(b"another's")
    with pytest.raises(UserError, match=r"pairs holds what no run of stage match .* wrote: pairs/"):
        product.run(source, root)
    assert list(files(root)) == ["pairs/bucket=0/shard-00000.parquet"]
    product.run(source, root, last="extract")  # these don't write there


def test_redo_deletes_nothing_where_one_table_holds_anothers_file(source, root):
    product.run(source, root)
    (root / "models/trunk/mine.h5").write_bytes(b"another's")
    before = files(root)
    with pytest.raises(UserError, match="models/trunk/mine.h5"):
        product.run(source, root, redo="sample", seed=1)
    assert files(root) == before
    (root / "models/trunk/mine.h5").unlink()
    product.run(source, root, redo="sample", seed=1)
    assert b"'seed': 1" in (root / "pairs/bucket=0/shard-00000.parquet").read_bytes()


def test_tables_of_stages_that_have_not_run_are_none_of_redos_business(source, root):
    product.run(source, root, last="sample")
    (root / "images").mkdir()
    (root / "images/wedding.jpg").write_bytes(b"1")
    product.run(source, root, last="sample", redo="sample")
    assert (root / "images/wedding.jpg").exists()


def test_a_record_that_is_none_is_no_proof(source, root):
    (root / "_ledger").mkdir(parents=True)
    (root / "_ledger/sample.json").write_text("my samples")
    before = files(root)
    with pytest.raises(UserError, match="sample.json is damaged, or no record"):
        product.run(source, root, redo="sample")
    assert files(root) == before


def test_damaged_record_beside_whole_ones_is_made_anew_by_redo(source, root):
    product.run(source, root, last="match")
    (root / "_ledger/ingest.json").write_text("{")
    with pytest.raises(UserError, match="ingest.json is damaged: --redo ingest"):
        product.run(source, root, last="match")
    product.run(source, root, last="match", redo="ingest")
    assert ledger.begun(Root(str(root)))["ingest"]["state"] == "finished"


def as_before_groups(root: Path) -> None:
    """Make a root look as an older version left it: `group` wrote `examples` from `resized`."""
    for stage, inputs in {
        "resize": ("ingest", "clean"),
        "group": ("dedupe", "resize"),
        "trunk": ("group",),
    }.items():
        path = root / f"_ledger/{stage}.json"
        record = json.loads(path.read_text())
        record["inputs"] = {f"tables of {name}": "0123456789abcdef" for name in inputs}
        path.write_text(json.dumps(record))
    (root / "groups").rename(root / "resized")


@pytest.mark.parametrize("last", ["group", "resize", "trunk", "embed"])
def test_root_of_another_order_of_stages_is_refused_and_redo_makes_it_anew(source, root, last):
    product.run(source, root, last="trunk")
    as_before_groups(root)
    before = files(root)
    with pytest.raises(UserError, match="stage group reads the tables of dedupe, resize; here it"):
        product.run(source, root, last=last)
    assert files(root) == before
    product.run(source, root, last="trunk", redo="group")
    assert not (root / "resized").exists() and (root / "groups").exists()


def test_old_squares_are_not_taken_for_examples(source, root):
    product.run(source, root, last="trunk")
    as_before_groups(root)
    for stage in ("group", "trunk"):
        (root / f"_ledger/{stage}.json").unlink()  # it was stopped before `group`
    with pytest.raises(UserError, match="stage resize reads .*; here .*Add --redo resize"):
        product.run(source, root, last="resize")


@pytest.mark.parametrize("name", sorted({n for s in STAGES[1:] for n in product.names(s)}))
def test_all_that_the_stages_write_is_known(name):
    if not name.startswith("bundle/"):
        assert layout.ours(name) and not layout.ours(f"other/{name}")
        assert not layout.ours(f"{name}.bak") or name.startswith("_staging/train/")


def test_what_a_real_run_wrote_is_known(small_root):
    for name in tables_of(small_root):
        assert layout.ours(name) or layout.REPORTS.fullmatch(name)


# --- a root of older code


def test_roots_of_older_code_go_on(source, root):
    product.run(source, root)
    shutil.rmtree(root / "_ledger/written")
    product.run(source, root)  # skips
    shutil.rmtree(root / "_ledger/written")
    product.run(source, root, redo="clean", seed=0)
    shutil.rmtree(root / "_ledger/written")
    product.run(source, root, redo="sample", seed=1)
    assert (root / "reports/curation.html").read_text() == "page 1"


# --- kills


class Killed(BaseException):
    """As SIGKILL: nobody catches it."""


OPERATIONS = ((os, "replace"), (os, "unlink"), (os, "rmdir"), (os, "makedirs"))


class Deaths:
    """Dies before or after the n-th change of the file system."""

    def __init__(self, patch: pytest.MonkeyPatch, at: int, after: bool) -> None:
        self.count = 0
        for module, name in OPERATIONS:
            patch.setattr(module, name, self.wrapped(getattr(module, name), at, after))

    def wrapped(self, work, at, after):
        def operation(*args, **named):
            self.count += 1
            number = self.count
            if number == at and not after:
                raise Killed
            work(*args, **named)
            if number == at:
                raise Killed

        return operation


def dies(work, at: int, after: bool) -> bool:
    with pytest.MonkeyPatch.context() as patch:
        Deaths(patch, at, after)
        try:
            work()
        except Killed:
            return True
    return False


STEP = 1 if "LANDMARK_RAY_RANDOM_RUNS" in os.environ else 5


def deaths(work, prepare, check, step: int = STEP) -> int:
    """Kill `work` at its first change, at a later one and so on; each time it must go on."""
    at = 1
    while True:
        for after in (False, True):
            prepare()
            if not dies(work, at, after):
                return at
            work()
            check()
        at += step


def reset(root: Path, to: Path) -> None:
    shutil.rmtree(root, ignore_errors=True)
    if to.exists():
        shutil.copytree(to, root)


def test_killed_at_any_change_a_run_goes_on(source, root, tmp_path):
    product.run(source, tmp_path / "whole", last="match")
    whole = tables_of(tmp_path / "whole")

    def check():
        assert tables_of(root) == whole

    run = lambda: product.run(source, root, last="match")  # noqa: E731
    assert deaths(run, lambda: reset(root, tmp_path / "none"), check) > 60


def test_killed_at_any_change_a_redo_goes_on(source, root, tmp_path):
    """With the same command, and without --redo: a half deleted table is never taken for whole."""
    for seed, name in ((0, "before"), (1, "whole")):
        product.run(source, tmp_path / name, last="match", seed=seed)
    whole = tables_of(tmp_path / "whole")
    before = tables_of(tmp_path / "before")
    again = lambda: product.run(source, root, last="match", redo="ingest")  # noqa: E731
    assert deaths(
        again,
        lambda: reset(root, tmp_path / "before"),
        lambda: tables_equal(root, before),
    )
    for at in range(2, 40, 2 * STEP):
        reset(root, tmp_path / "before")
        if dies(again, at, after=True):
            product.run(source, root, last="match")
            tables_equal(root, before)
    other = lambda: product.run(source, root, last="match", redo="sample", seed=1)  # noqa: E731
    for at in range(3, 60, 2 * STEP):
        reset(root, tmp_path / "before")
        if dies(other, at, after=True):
            other()
            tables_equal(root, whole)


def tables_equal(root: Path, wanted: dict[str, bytes]) -> None:
    assert tables_of(root) == wanted


def test_killed_at_any_change_an_export_elsewhere_goes_on(source, root, tmp_path):
    to = tmp_path / "to"
    product.run(source, root, last="evaluate")
    shutil.copytree(root, tmp_path / "evaluated")
    product.run(source, root, export={"to": str(to)})
    shutil.copytree(to, tmp_path / "older")
    files_of_older = files(to)

    def check():
        assert files(to).keys() == files_of_older.keys()
        manifest.Bundle(str(to))

    def run():
        product.run(source, root, "export", export={"to": str(to)})

    for older in ("none", "older"):

        def prepare(older=older):
            reset(root, tmp_path / "evaluated")
            reset(to, tmp_path / older)

        assert deaths(run, prepare, check, 2 * STEP - 1) > 10


def test_killed_at_any_change_predict_goes_on(tmp_path):
    output = tmp_path / "out/sub.csv"

    def run():
        submission = Submission(str(output), {"bundle": "a", "source": "b", "top_k": 5})
        submission.tables.write(submission.tables.name(submission.answers, 0, 0), b"answers")
        submission.write("id,landmarks\n")

    def check():
        assert output.read_text() == "id,landmarks\n"
        run()

    for first in (lambda: None, run):

        def prepare(first=first):
            shutil.rmtree(output.parent, ignore_errors=True)
            first()

        assert deaths(run, prepare, check, 1) > 3


def test_killed_at_any_change_a_report_goes_on(source, tmp_path):
    root, outside = tmp_path / "root", tmp_path / "outside"
    product.run(source, tmp_path / "made", last="match")
    shutil.rmtree(tmp_path / "made/_ledger/written")  # of older code
    data = {"tune.toml": b"1", "tune.csv": b"2"}

    def run():
        tables = Root(str(root))
        receipts.begin(tables)
        for folder in (Store(str(outside)), Store(str(root / "reports"))):
            receipts.write(tables, data, folder)
        receipts.write(tables, {"reports/funnel.json": b"3"})

    def prepare():
        reset(root, tmp_path / "made")
        shutil.rmtree(outside, ignore_errors=True)

    def check():
        assert {name: files(outside)[name] for name in data} == data
        assert (root / "reports/funnel.json").read_bytes() == b"3"

    assert deaths(run, prepare, check) > 10


# --- single files


def test_a_report_that_was_changed_is_not_written_over(source, root):
    product.run(source, root)
    page = root / "reports/curation.html"
    page.write_text(page.read_text() + " with my remarks")
    before = files(root)
    with pytest.raises(UserError, match="curation.html is there, and is not as landmark_ray wrote"):
        product.run(source, root, redo="clean")
    assert files(root) == before
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
    assert files(tmp_path / "out") == {"best.toml": b"3", "best.csv": b"mine"}


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


# --- object stores


@pytest.fixture(scope="module")
def bucket():
    """An S3 of this process."""
    server, address = store.serve(store.Ill())
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {
            **dict.fromkeys(("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"), "x"),
            **{"AWS_DEFAULT_REGION": "us-east-1", "AWS_ENDPOINT_URL": address},
        }.items():
            patch.setenv(name, value)
        yield store.client()
    server.shutdown()


@pytest.fixture
def memory():
    fsspec.filesystem("memory").store.clear()
    yield
    fsspec.filesystem("memory").store.clear()


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


# --- the one deletion

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
