import mmap

import numpy as np
import pyarrow as pa
import pyarrow.dataset as pads

from landmark_ray.config.curation import IngestConfig
from landmark_ray.data import schemas
from landmark_ray.data.root import Root
from landmark_ray.runtime import gathering

CATALOG = {0: "ab", 1: "cd", 2: "ef"}
"""Shard of bucket 5 -> its images."""


def fragment(root, number, *rows):
    name = f"{gathering.STAGING}/fragments/bucket=5/t-{number:03d}.parquet"
    size = {"width": 40, "height": 30}
    full = [
        {"image_id": image, "landmark_id": 7 + shard, "shard": shard, "jpeg": data, "reason": why}
        | size
        | {"exact": True}
        for shard, image, data, why in rows
    ]
    root.write_table(name, pa.Table.from_pylist(full, schemas.FRAGMENT), rows=1)
    return name


def gathered(folder, buffer_mb, monkeypatch):
    """Shard -> its images, the rejects, and how often a fragment was read."""
    root = Root(str(folder))
    catalog = [
        {"image_id": image, "landmark_id": 7 + shard, "shard": shard}
        for shard, images in CATALOG.items()
        for image in images
    ]
    table = pa.Table.from_pylist(catalog, schemas.CATALOG)
    root.write_table("catalog/bucket=5/catalog.parquet", table)
    files = [
        (fragment(root, 0, (0, "a", b"1" * 999, None), (1, "c", b"bad md5", None)), "wrong md5"),
        (fragment(root, 1, (0, "a", b"2", None), (1, "c", b"3", None), (2, "f", b"4", None)), ""),
        (fragment(root, 2, (0, "b", None, "empty: 0 bytes"), (1, "d", b"5", None)), ""),
    ]
    reads = []
    rows = gathering.fragment_rows
    monkeypatch.setattr(gathering, "fragment_rows", lambda *a: reads.append(a) or rows(*a))
    options = IngestConfig(buffer_mb=buffer_mb)
    counts = gathering.gather(5, [2, 0, 1], files, [], root, options)
    images = {s: root.read_shard("images", 5, s, ["image_id", "jpeg"]) for s in CATALOG}
    rejects = pads.dataset(f"{folder}/rejects", format="parquet").to_table()
    found = {s: list(zip(*table.to_pydict().values(), strict=True)) for s, table in images.items()}
    assert (counts.images_in, counts.images_out) == (6, 4)
    assert not root.files(gathering.STAGING)
    reasons = dict(zip(rejects["image_id"].to_pylist(), rejects["reason"].to_pylist(), strict=True))
    return found, reasons, reads


def test_gather_takes_the_first_usable_copy_and_says_why_there_is_none(tmp_path, monkeypatch):
    found, rejects, reads = gathered(tmp_path, 256, monkeypatch)
    assert found == {0: [("a", b"2")], 1: [("c", b"3"), ("d", b"5")], 2: [("f", b"4")]}
    assert rejects == {"b": "empty: 0 bytes", "e": "missing: in no archive"}
    assert len(reads) == 1


def test_gather_reads_fragments_again_only_where_memory_is_short(tmp_path, monkeypatch):
    much = gathered(tmp_path / "much", 256, monkeypatch)
    little = gathered(tmp_path / "little", 1e-6, monkeypatch)
    assert little[:2] == much[:2]
    assert len(little[2]) == 3


def test_more_photos_than_one_array_holds_are_put_in_order():
    size, count = 1 << 26, 40  # 2.5 GiB; they share memory that is never touched
    data, ends = pa.py_buffer(mmap.mmap(-1, size)), pa.py_buffer(np.array([0, size], np.int32))
    photo = pa.Array.from_buffers(pa.binary(), 1, [None, ends, data])
    ids = [f"{n * 7 % count:02d}" for n in range(count)]
    rows = pa.table(
        {
            "image_id": ids,
            "landmark_id": [7 + int(i) // 10 for i in ids],
            "width": range(count),
            "height": [9] * count,
            "jpeg": pa.chunked_array([photo] * count),
            "shard": [0] * count,
            "exact": [True] * count,
            "reason": [None if i != "05" else "empty" for i in ids],
        },
        schemas.FRAGMENT,
    )
    images, rejects = gathering.deduplicate(rows.select(["image_id", "landmark_id"]), rows, [])
    assert images["image_id"].to_pylist() == sorted(set(ids) - {"05"})
    assert [ids[n] for n in images["width"].to_pylist()] == images["image_id"].to_pylist()
    assert images["jpeg"].nbytes > 1 << 31
    assert rejects["image_id"].to_pylist() == ["05"]
