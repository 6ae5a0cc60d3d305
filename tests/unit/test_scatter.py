"""Ingest without Ray: which files of an archive become photos, and what is counted of the rest."""

import hashlib
import io
import os
import tarfile

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from landmark_ray.config import Config
from landmark_ray.data.file_kinds import HIDDEN
from landmark_ray.data.root import Root
from landmark_ray.data.sources import Source
from landmark_ray.errors import UserError
from landmark_ray.runtime import gathering
from landmark_ray.runtime.counts import StageCounts
from landmark_ray.stages import ingest, sample
from landmark_ray.stages.evaluate import rows_of_unreadable
from landmark_ray.stages.ingest import CatalogIndex
from landmark_ray.training.evaluation import TEST, notes_of, one_row_per_photo


def photo(seed: int, kind: str = "JPEG") -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 255, (40, 50, 3), np.uint8)
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, kind)
    return out.getvalue()


def tar(path, members: dict[str, bytes]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as out:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            out.addfile(info, io.BytesIO(data))
    md5 = hashlib.md5(path.read_bytes()).hexdigest()
    place = path.parents[1] / "md5sum/train"
    place.mkdir(parents=True, exist_ok=True)
    (place / f"md5.{path.stem}.txt").write_text(f"MD5 ({path.name}) = {md5}\n")


def ingested(folder, monkeypatch, **options) -> tuple[Root, StageCounts, dict[str, str]]:
    """Of the dataset in a folder: the tables, the funnel of ingest, and image -> reason."""
    source = Source(str(folder))
    config = Config(source=str(folder), root=str(folder / "root"), sample=options | {"buckets": 2})
    root = Root(config.root)
    sample.run(config, root, source)
    index = CatalogIndex.read(root, source.index()[0]["image_id"])
    for archive in source.archives():
        ingest.scatter(archive, index, root, config.ingest)

    def gathered(units, _, config, progress_bar):
        found = StageCounts()
        for unit in units:
            files = [(name, "") for name in unit["fragments"]]
            work = (unit["bucket"], unit["shards"], files, [], root, config.ingest)
            found.add(gathering.gather(*work))
        return found

    monkeypatch.setattr(gathering, "run_tasks", gathered)
    counts = ingest.run(config, root, source)
    rejects = (
        root.dataset("rejects/stage=ingest").to_table() if counts.reject_reasons.total() else None
    )
    rows = rejects.to_pylist() if rejects else []
    return root, counts, {row["image_id"]: row["reason"] for row in rows}


def images(root: Root) -> dict[str, bytes]:
    rows = root.dataset("images").to_table(["image_id", "jpeg"]).to_pydict()
    return dict(zip(rows["image_id"], rows["jpeg"], strict=True))


def test_files_are_matched_by_their_names_and_the_others_are_counted(tmp_path, monkeypatch):
    listed = ["a.jpg", "b", "IMG_2021.05.10.11 ", "c", "gone", "small"]
    lines = [f"{i},{8 if i == 'small' else 7}" for i in listed]
    (tmp_path / "train.csv").write_text("\n".join(["id,landmark_id", *lines]) + "\n")
    tar(
        tmp_path / "train/images_000.tar",
        {
            "x/a.png": photo(1, "PNG"),  # comes first, but a.jpg is called just like the image
            "x/a.jpg": photo(2),
            "IMG_2021.05.10.11.jpeg": photo(3),
            "._b.jpg": b"AppleDouble",
            "stray1.jpg": photo(4),
            "small.jpg": photo(5),
        },
    )
    tar(tmp_path / "train/more.tar", {"b.jpg": b"broken", "y/b.jpg": photo(6), "z/b.jpg": photo(7)})
    path = tmp_path / "train/q/c.jpg"
    path.parent.mkdir()
    path.write_bytes(photo(8))
    (tmp_path / "train/q/stray2.jpg").write_bytes(photo(9))
    root, counts, reasons = ingested(tmp_path, monkeypatch, min_images=2)
    assert images(root) == {
        "a.jpg": photo(2),
        "b": photo(6),
        "IMG_2021.05.10.11": photo(3),
        "c": photo(8),
        "small": photo(5),  # a stranger
    }
    assert reasons == {"gone": "missing: in no archive"}
    assert (counts.images_in, counts.images_out) == (6, 5)
    assert counts.counters == {
        gathering.COPIES: 3,
        f"left out: {ingest.UNLISTED}, such as stray1.jpg": 2,
        f"left out: {HIDDEN}, such as ._b.jpg": 1,
    }
    assert counts.notes == []


def test_a_tar_whose_name_is_not_utf8_is_read(tmp_path, monkeypatch):
    (tmp_path / "train.csv").write_text("id,landmark_id\na,7\nb,7\n")
    tar(tmp_path / "train/x.tar", {"a.jpg": photo(1), "b.jpg": photo(2)})
    (tmp_path / "train/x.tar").rename(tmp_path / os.fsdecode(b"train/\xff\n.tar"))
    root, counts, _ = ingested(tmp_path, monkeypatch, min_images=1)
    assert images(root) == {"a": photo(1), "b": photo(2)}
    md5 = r"md5sum/train/md5.\xff\n.txt"
    assert counts.notes == [rf"train/\xff\n.tar was not checked: {md5} is missing"]


def test_archives_whose_names_are_alike_are_both_read(tmp_path, monkeypatch):
    (tmp_path / "train.csv").write_text("id,landmark_id\na,7\nb,7\n")
    tar(tmp_path / "train/part_images_0.tar", {"a.jpg": photo(1)})
    tar(tmp_path / "train/part/images_0.tar", {"b.jpg": photo(2)})
    root, _, _ = ingested(tmp_path, monkeypatch, min_images=1)
    assert images(root) == {"a": photo(1), "b": photo(2)}


def test_names_of_archives_become_short_names_of_files():
    stem = ingest.file_stem
    assert stem("train/images_000.tar") == "train_images_000.tar"  # as in older roots
    assert stem("files-000012") == "files-000012"
    assert stem("train/part/images_0.tar").startswith("train_part_images_0.tar-")
    names = [f"train/{'ü' * 110}{n}.tar" for n in range(2)] + ["train/a/b_c", "train/a_b/c"]
    assert len(set(map(stem, names))) == 4
    assert all(len(stem(name).encode()) <= 200 and "/" not in stem(name) for name in names)


def test_a_list_and_archives_that_have_nothing_in_common_are_shown(tmp_path, monkeypatch):
    (tmp_path / "train.csv").write_text("id,landmark_id\n" + "".join(f"p{i},7\n" for i in range(9)))
    tar(tmp_path / "train/images_000.tar", {f"0/q{i}.jpg": b"" for i in range(9)})
    with pytest.raises(UserError) as error:
        ingested(tmp_path, monkeypatch)
    assert str(error.value) == (
        "none of the 9 ids of train.csv is in the archives: it lists 'p0', and "
        "train/images_000.tar holds '0/q0.jpg'; correct train.csv"
    )


def test_an_unreadable_photo_is_a_reject_and_the_stage_goes_on(tmp_path, monkeypatch):
    for number in range(6):
        path = tmp_path / f"tower/old/{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(photo(number))
    (tmp_path / "tower/self.jpg").symlink_to("self.jpg")
    (tmp_path / "tower/none.jpg").symlink_to("/nowhere.jpg")
    root, counts, reasons = ingested(tmp_path, monkeypatch)
    assert images(root) == {f"tower/old/{n}.jpg": photo(n) for n in range(6)}
    assert reasons == {
        "tower/self.jpg": "can't be read: a link to itself",
        "tower/none.jpg": "can't be read: a link to nowhere",
    }
    assert counts.reject_reasons == {"can't be read": 2}


def test_sample_says_what_is_left_out(tmp_path):
    for name in ("tower/a.jpg", "tower/b.txt", "loose.jpg", ".x/c.jpg", "tower/d.zip"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"any")
    config = Config(source=str(tmp_path), root=str(tmp_path / "r"), sample={"min_images": 1})
    counts = sample.run(config, Root(config.root), Source(str(tmp_path)))
    assert sum(counts.counters.values()) == 4
    assert "left out: archives, such as tower/d.zip" in counts.counters


def test_an_index_over_all_ids_knows_what_the_catalog_has_not(tmp_path):
    root = Root(str(tmp_path))
    catalog = pa.table({"image_id": ["b", "d"], "landmark_id": [7, 8], "shard": [3, 4]})
    root.write_table("catalog/bucket=5/catalog.parquet", catalog)
    index = CatalogIndex.read(root, pa.chunked_array([["d", "c", None], ["b", "d", "a"]]))
    assert [index.ids[i] for i in range(4)] == ["a", "b", "c", "d"]
    assert index.shard.tolist() == [-1, 3, -1, 4]
    assert index.landmark.tolist() == [-1, 7, -1, 8]
    assert index.bucket.tolist() == [-1, 5, -1, 5]


def test_a_test_photo_that_lies_there_twice_counts_once():
    rows = rows_of_unreadable(["a", "b"], {"a": frozenset(), "b": frozenset({7})}, {})
    answer = rows.slice(1).to_pylist()[0] | {"landmarks": [7], "confidences": [0.5]}
    twice = pa.concat_tables([rows, pa.Table.from_pylist([answer], rows.schema), rows])
    found = one_row_per_photo(twice).to_pylist()
    assert [(row["image_id"], row["landmarks"]) for row in found] == [("b", [7]), ("a", [])]


def test_photos_of_the_solution_that_no_archive_has_are_counted(tmp_path):
    root = Root(str(tmp_path))
    for shard, notes in enumerate([[], ["b.tar is damaged"]]):
        report = StageCounts(notes=notes).to_json()
        root.commit(TEST, 0, shard, rows_of_unreadable(["a"], {"a": frozenset()}, {}), report)
    lack, damaged = notes_of(root, 1200, 2)
    assert lack.startswith("1,198 of the 1,200 photos of the test set's solution are in none of")
    assert damaged == "b.tar is damaged"
    assert notes_of(root, 2, 2) == [damaged]


@pytest.mark.parametrize("gone", [0, 2, 5])
def test_a_list_that_lacks_chosen_photos_is_refused(tmp_path, gone):
    ids = pa.array([f"{n:016x}" for n in range(6)])
    root = Root(str(tmp_path))
    columns = {"landmark_id": [1, 1, 2, 2, 3, 3], "shard": pa.array([0] * 6, pa.int32())}
    root.write_table("catalog/bucket=0/catalog.parquet", pa.table({"image_id": ids, **columns}))
    index = CatalogIndex.read(root, pa.chunked_array([ids.take(pa.array([3, 1, 0, 5, 4, 2]))]))
    assert index.landmark.tolist() == columns["landmark_id"]
    left = pa.chunked_array([ids.filter(pa.array(np.arange(6) != gone))])
    with pytest.raises(UserError, match=rf"lacks 1 photos .* such as {gone:016x}; .*redo sample"):
        CatalogIndex.read(root, left)


def test_attempts_that_end_at_no_photo_blame_none(tmp_path, monkeypatch):
    """A disk that is full, or a store that fails, ends them while rows are written."""
    photos = {f"{n:016x}.jpg": photo(n) for n in range(3)}
    tar(tmp_path / "train/images_000.tar", photos)
    rows = "".join(f"{n:016x},u,{n % 2}\n" for n in range(3))
    (tmp_path / "train.csv").write_text("id,url,landmark_id\n" + rows)
    source = Source(str(tmp_path))
    config = Config(source=str(tmp_path), sample={"min_images": 1}, ingest={"buffer_mb": 1e-6})
    root = Root(str(tmp_path / "root"))
    sample.run(config, root, source)
    (archive,) = source.archives()
    index = CatalogIndex.read(root, source.index()[0]["image_id"])
    with monkeypatch.context() as patch:
        patch.setattr(Root, "write_table", lambda *_, **__: 1 / 0)
        for _ in range(9):
            with pytest.raises(ZeroDivisionError):
                ingest.scatter(archive, index, root, config.ingest)
    ingest.scatter(archive, index, root, config.ingest)
    rejected = root.dataset(ingest.STAGING).to_table(["image_id", "reason"]).to_pylist()
    assert len(rejected) == 3 and not any(row["reason"] for row in rejected)
