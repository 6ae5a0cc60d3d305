import random

import pyarrow as pa
import pytest

from landmark_ray.data.photo_ids import PhotoIds


def found(ids: list[str], name: str, **options: bool) -> tuple[str | None, bool]:
    index = PhotoIds(pa.array(ids, pa.string()), **options)
    place, exact = index.find(name)
    return (index[place] if place >= 0 else None), exact


@pytest.mark.parametrize(
    ("listed", "name"),
    [
        ("0a1b", "0/a/1/0a1b.jpg"),
        ("0a1b.jpg", "0/a/1/0a1b.jpg"),
        ("0a1b", "0a1b"),
        ("IMG_2021.05.10.11", "x/IMG_2021.05.10.11"),
        ("IMG_2021.05.10.11", "x/IMG_2021.05.10.11.JPEG"),
        ("a b", "a b.png"),
        ("ab", "ab .jpg"),
        ("p", "p.jpg.webp"),
        ("p.jpg", "p.jpg.webp"),
        ("p", "p.jpg_large"),
        ("a/b.jpg", "train/a/b.jpg"),
        ("train/a/b", "train/a/b.jpg"),
        ("caf\u00e9", "cafe\u0301.jpg"),
        ("cafe\u0301", "caf\u00e9.jpg"),
    ],
)
def test_a_file_that_is_called_like_an_id(listed, name):
    assert found(["x", listed, "zz"], name) == (listed, True)


@pytest.mark.parametrize(
    ("listed", "name"),
    [("0a1b.jpg", "0/0a1b.png"), ("0a1b.jpg", "0a1b"), ("a/0a1b.jpg", "b/0a1b.jpg")],
)
def test_a_file_that_agrees_but_for_folders_and_ending(listed, name):
    assert found([listed, "zz.jpg"], name) == (listed, False)
    assert found([listed, "zz.jpg"], name, loose=False) == (None, False)
    stem = listed.rpartition("/")[2].partition(".")[0]
    assert found([listed, f"c/{stem}.gif"], name) == (None, False)  # either may be meant


@pytest.mark.parametrize(
    "name",
    ["IMG_2021.jpg", "IMG_2021.05.jpg", "IMG_2021.05.10.12", "img.json", "", "/", "q" * 9999],
)
def test_other_files_are_none(name):
    assert found(["IMG_2021.05.10.11", "img"], name) == (None, False)


def test_the_most_exact_id_is_meant():
    ids = ["p.jpg", "p.png", "p", "a/p.jpg"]
    assert found(ids, "b/p.png") == ("p.png", True)
    assert found(ids, "b/p.gif") == ("p", True)
    assert found(ids, "train/a/p.jpg") == ("a/p.jpg", True)


def test_every_id_finds_its_file_and_its_place():
    rng = random.Random(4)
    ids = list(
        {f"{rng.getrandbits(40):010x}{rng.choice(['', '.jpg', '.b.c'])}" for _ in range(999)}
    )
    rng.shuffle(ids)
    index = PhotoIds(pa.chunked_array([ids[:500], ids[500:]]))
    assert [index[place] for place in index.indices(pa.chunked_array([ids]))] == ids
    for name in ids:
        assert index[index.find(f"t/{name}.jpg")[0]] == name
        assert index[index.find(name)[0]] == name
