"""What a run may delete and write over: its own, wherever the source and the root lie."""

import shutil
from dataclasses import replace

import pytest

from landmark_ray import pipeline
from landmark_ray.config import STAGES
from landmark_ray.data import layout
from landmark_ray.data.root import Root
from landmark_ray.data.store import Store
from landmark_ray.errors import UserError
from landmark_ray.runtime import ledger, ownership
from landmark_ray.runtime.counts import StageCounts
from tests import product


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
    before = product.files(tmp_path)
    with pytest.raises(UserError, match=says) as error:
        product.run(given.format(at=tmp_path), root.format(at=tmp_path), last="sample")
    assert "Nothing was touched" in str(error.value) and product.files(tmp_path) == before


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
            ownership.check_separate(Store(source), Store(root))
        else:
            with pytest.raises(UserError, match="--source"):
                ownership.check_separate(Store(source), Store(root))


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
    before = product.files(tmp_path)
    with pytest.raises(UserError, match="images"):
        product.run(source, root, redo="ingest")
    assert product.files(tmp_path) == before
    (root / "images").unlink()
    product.run(source, root, redo="ingest")
    assert (tmp_path / "disk/images/bucket=0/shard-00000.parquet").exists()


@pytest.mark.parametrize("example", ["root_deletes_source", "redo_deletes_others"])
def test_examples_of_the_field_lose_nothing(example, shared, tmp_path):
    root = tmp_path / "root"
    shutil.copytree(shared / "field" / example / "source", root)
    before = product.files(root)
    inside = "landmarks" if example == "root_deletes_source" else "photos"
    shutil.copytree(root / inside, tmp_path / "beside")
    for source in (root / inside, tmp_path / "beside"):
        for redo in (None, "sample"):
            with pytest.raises(UserError, match="Nothing was touched"):
                product.run(source, root, last="sample", redo=redo)
            assert product.files(root) == before


def test_everything_is_checked_before_the_first_stage_writes(source, root):
    (root / "pairs/bucket=0").mkdir(parents=True)
    (root / "pairs/bucket=0/shard-00000.parquet").write_bytes(b"another's")
    with pytest.raises(UserError, match=r"pairs holds what no run of stage match .* wrote: pairs/"):
        product.run(source, root)
    assert list(product.files(root)) == ["pairs/bucket=0/shard-00000.parquet"]
    product.run(source, root, last="extract")  # these don't write there


def test_redo_deletes_nothing_where_one_table_holds_anothers_file(source, root):
    product.run(source, root)
    (root / "models/trunk/mine.h5").write_bytes(b"another's")
    before = product.files(root)
    with pytest.raises(UserError, match="models/trunk/mine.h5"):
        product.run(source, root, redo="sample", seed=1)
    assert product.files(root) == before
    (root / "models/trunk/mine.h5").unlink()
    product.run(source, root, redo="sample", seed=1)
    assert b"'seed': 1" in (root / "pairs/bucket=0/shard-00000.parquet").read_bytes()


@pytest.mark.parametrize(
    ("first", "changed", "says"),
    [
        ("sample", {"seed": 1}, "stage sample was run with seed = 0, now 1"),
        ("train", {"seed": 1}, "stage sample was run with seed = 0, now 1"),
        ("sample", {"match": {"ratio": 0.7}}, "stage match was run with match.ratio"),
        ("sample", {"source": True}, "stage sample was run with source"),
    ],
    ids=["seed", "job", "option", "source"],
)
def test_redo_deletes_nothing_where_a_stage_before_it_would_be_refused(
    source, root, first, changed, says, tmp_path
):
    product.run(source, root)
    before = product.files(root)
    if changed.pop("source", False):
        source = product.photos(tmp_path / "other")
        (source / "tower/p0.jpg").unlink()
    with pytest.raises(UserError, match=says):
        product.run(source, root, first, redo="train", **changed)
    assert product.files(root) == before


def test_a_redo_of_a_stage_before_the_first_deletes_nothing(source, root):
    product.run(source, root)
    before = product.files(root)
    with pytest.raises(UserError, match="--redo prune: .* begins with the later stage train"):
        product.run(source, root, "train", redo="prune")
    assert product.files(root) == before


def test_redo_runs_stages_before_it_that_are_not_finished(source, root):
    product.run(source, root, last="match")
    product.run(source, root, redo="prune")
    with pytest.raises(UserError, match=r"stage sample is not finished; run jobs/sample.py"):
        product.run(source, root.with_name("new"), "prune", redo="prune")


def test_a_redo_that_was_stopped_goes_on_with_the_same_command(source, root, monkeypatch, capsys):
    product.run(source, root)
    made = root / "pairs/bucket=0/shard-00000.parquet"

    def stopped(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setitem(pipeline.PIPELINE, "train", replace(pipeline.PIPELINE["train"], run=stopped))
        with pytest.raises(KeyboardInterrupt):
            product.run(source, root, redo="match")
        then = made.stat().st_mtime_ns
        with pytest.raises(KeyboardInterrupt):
            product.run(source, root, redo="match")
        assert made.stat().st_mtime_ns == then
        assert "--redo match: goes on where" in capsys.readouterr().err
        with pytest.raises(KeyboardInterrupt):  # other options are another redo
            product.run(source, root, redo="match", match={"ratio": 0.7})
        assert made.stat().st_mtime_ns != then and b"0.7" in made.read_bytes()
        with pytest.raises(UserError, match="add --redo match"):
            product.run(source, root)
    product.run(source, root, redo="match", match={"ratio": 0.7})
    then = made.stat().st_mtime_ns
    product.run(source, root, redo="match", match={"ratio": 0.7})  # all is finished: once more
    assert made.stat().st_mtime_ns != then


def test_a_redo_is_begun_anew_where_an_error_asks_for_one(source, root, monkeypatch):
    product.run(source, root)
    made, seen = root / "pairs/bucket=0/shard-00000.parquet", []

    def damaged(*_):
        seen.append(made.stat().st_mtime_ns)
        raise UserError("pairs is damaged: run its stage with --redo match")

    with monkeypatch.context() as patch:
        patch.setitem(pipeline.PIPELINE, "prune", replace(pipeline.PIPELINE["prune"], run=damaged))
        for _ in range(2):
            with pytest.raises(UserError, match="pairs is damaged"):
                product.run(source, root, redo="match")
    assert seen[0] != seen[1], "the second run made it anew"
    product.run(source, root, redo="match")
    assert not (root / ledger.REDO).exists()


def test_a_job_between_does_not_end_a_redo(source, root, monkeypatch):
    product.run(source, root)
    made = root / "pairs/bucket=0/shard-00000.parquet"

    def stopped(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setitem(pipeline.PIPELINE, "train", replace(pipeline.PIPELINE["train"], run=stopped))
        with pytest.raises(KeyboardInterrupt):
            product.run(source, root, redo="match")
    then = made.stat().st_mtime_ns
    product.run(source, root, "match", "match")  # finished already
    product.run(source, root, redo="match")
    assert made.stat().st_mtime_ns == then
    assert not (root / ledger.REDO).exists()


def test_a_job_whose_tables_another_job_deleted_writes_none(root):
    store = Root(str(root))
    ledger.begin(store, "dedupe", {}, {})
    run = ledger.run_of(store, "dedupe")
    ledger.check_run(store, "dedupe", run)
    ledger.mark_deleting(store, "dedupe")
    with pytest.raises(UserError, match="another job has deleted the tables of stage dedupe"):
        ledger.check_run(store, "dedupe", run)
    ledger.forget(store, "dedupe")
    record = ledger.begin(store, "dedupe", {}, {})
    with pytest.raises(UserError, match="let one job at a time work on a root"):
        ledger.finish(store, "dedupe", record | {"run": run}, StageCounts(), 1)


def test_tables_of_stages_that_have_not_run_are_none_of_redos_business(source, root):
    product.run(source, root, last="sample")
    (root / "images").mkdir()
    (root / "images/wedding.jpg").write_bytes(b"1")
    product.run(source, root, last="sample", redo="sample")
    assert (root / "images/wedding.jpg").exists()


def test_a_record_that_is_none_is_no_proof(source, root):
    (root / "_ledger").mkdir(parents=True)
    (root / "_ledger/sample.json").write_text("my samples")
    before = product.files(root)
    with pytest.raises(UserError, match="sample.json is damaged, or is not the record"):
        product.run(source, root, redo="sample")
    assert product.files(root) == before


def test_damaged_record_beside_whole_ones_is_made_anew_by_redo(source, root):
    product.run(source, root, last="match")
    (root / "_ledger/ingest.json").write_text("{")
    with pytest.raises(UserError, match="ingest.json is damaged: add --redo ingest"):
        product.run(source, root, last="match")
    product.run(source, root, last="match", redo="ingest")
    assert ledger.read_all(Root(str(root)))["ingest"]["state"] == "finished"


@pytest.mark.parametrize("name", sorted({n for s in STAGES[1:] for n in product.names(s)}))
def test_all_that_the_stages_write_is_known(name):
    if not name.startswith("bundle/"):
        assert layout.ours(name) and not layout.ours(f"other/{name}")
        assert not layout.ours(f"{name}.bak") or name.startswith("_staging/train/")


def test_roots_of_older_code_go_on(source, root):
    product.run(source, root)
    shutil.rmtree(root / "_ledger/written")
    product.run(source, root)  # skips
    shutil.rmtree(root / "_ledger/written")
    product.run(source, root, redo="clean", seed=0)
    shutil.rmtree(root / "_ledger/written")
    product.run(source, root, redo="sample", seed=1)
    assert (root / "reports/curation.html").read_text() == "page 1"
