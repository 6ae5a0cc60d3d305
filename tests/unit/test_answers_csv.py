import csv
import io

import numpy as np
import pyarrow as pa
import pytest

from landmark_ray.data import schemas
from landmark_ray.data.root import Root
from landmark_ray.data.submission_csv import AnswersCsv, check_count, distinct_ids, make_csv
from landmark_ray.errors import UserError


def ids(*places: tuple[str, str]) -> list[str]:
    return distinct_ids(list(places))[0]


def test_ids_end_where_the_ending_begins():
    places = ("", "a.b.jpg"), ("x.tar", "deep/St. Mary.v2.JPEG"), ("x.tar", "0/0/0/000b.jpg")
    assert distinct_ids(list(places)) == (["a.b", "St. Mary.v2", "000b"], [])


def test_ids_of_a_table_are_as_they_are():
    assert ids(("a.parquet", "x/1.jpg"), ("a.parquet", "2.5"), ("", "x/2.jpg")) == [
        "x/1.jpg",
        "2.5",
        "2",
    ]


@pytest.mark.parametrize(
    ("places", "wanted"),
    [
        ([("t.tar", "tower/1.jpg"), ("t.tar", "arch/1.jpg")], ["tower/1", "arch/1"]),
        ([("", "a/one.jpg"), ("", "one.png"), ("", "two.PNG")], ["a/one", "one", "two"]),
        ([("", "one.jpg"), ("", "one.png"), ("", "b/2.gif")], ["one.jpg", "one.png", "b/2.gif"]),
        ([("a.tar", "I.jpg"), ("b.tar", "I.jpg"), ("", "J.jpg")], ["a.tar/I", "b.tar/I", "J"]),
        (
            [("a.tar", "I.jpg"), ("a.tar", "I.png"), ("b.tar", "I.jpg")],
            ["a.tar/I.jpg", "a.tar/I.png", "b.tar/I.jpg"],
        ),
        ([("a.parquet", "7"), ("b.parquet", "7")], ["a.parquet/7", "b.parquet/7"]),
    ],
)
def test_ids_are_longer_where_names_are_alike(places, wanted):
    found, notes = distinct_ids(places)
    assert found == wanted
    assert len(notes) == 1 and "have the same name" in notes[0]
    assert distinct_ids(places[::-1])[0] == wanted[::-1]


def test_photos_at_the_same_place_are_numbered_past_ids_that_are_taken():
    places = [("t.tar", n) for n in ("x.jpg", "x.jpg", "x#2.jpg", "x.jpg", "y.jpg")]
    found, notes = distinct_ids(places)
    assert found == ["x", "x#3", "x#2", "x#4", "y"]
    assert len(notes) == 1 and "t.tar/x.jpg" in notes[0] and notes[0].startswith("2 photos")


def test_any_places_have_as_many_ids():
    rng = np.random.default_rng(3)
    for _ in range(300):
        names = ["a/x.jpg", "a/x.png", "b/x.jpg", "x.jpg", "a.tar/x.jpg", "x#2.jpg", "x", "y.jpg"]
        files = ["", "a.tar", "b.tar", "t.parquet"]
        places = [(str(rng.choice(files)), str(rng.choice(names))) for _ in range(rng.integers(9))]
        assert len(set(ids(*places))) == len(places)


def row(file, name, first_id, confidence=0.5, error=""):
    answer = {"landmarks": [3], "confidences": [confidence]}
    if error:
        answer = {"landmarks": [], "confidences": []}
    place = {"image_id": first_id, "file": file, "name": name}
    return {**place, **answer, "is_landmark": confidence > 0.6, "error": error}


def test_the_csv_and_the_table_have_the_same_ids_and_any_name_survives(tmp_path):
    root = Root(str(tmp_path))
    names = ['a,"b"', "new\nline", "lone\rreturn", " blank ", "caf\\xe9", "日本"]
    first = [row("", f"{n}.jpg", n) for n in names] + [row("", "tower/1.jpg", "1", 0.75)]
    second = [row("t.tar", "arch/1.jpg", "1", error="not an image"), row("t.tar", "2.jpg", "2")]
    for shard, rows in enumerate((first, second)):
        table = pa.Table.from_pylist(rows, schemas.ANSWERS)
        root.commit("s.parquet", 0, shard, table, f"report {shard}")
    made = make_csv(root, "s.parquet", 2, 0.6)
    lines = list(csv.reader(io.StringIO(made.text, newline="")))
    wanted = [*names, "tower/1", "arch/1", "2"]
    assert lines == [
        ["id", "landmarks"],
        *([i, "3 0.75" if i == "tower/1" else ""] for i in wanted),
    ]
    stored = [r for n in (0, 1) for r in root.read_shard("s.parquet", 0, n).to_pylist()]
    assert [r["image_id"] for r in stored] == wanted
    assert [(r["file"], r["name"]) for r in stored[-2:]] == [
        ("t.tar", "arch/1.jpg"),
        ("t.tar", "2.jpg"),
    ]
    assert root.stats("s.parquet", 0, 1) == "report 1"
    assert (made.rows, made.files, made.landmarks) == (9, 7, 1)
    check_count(made, 9, 7)
    assert make_csv(root, "s.parquet", 2, 0.6) == made


def test_a_photo_without_its_line_is_an_error():
    text = "id,landmarks\na,\nb,\n"
    check_count(AnswersCsv(text, 2, 1, 0, []), 2, 1)
    for made, read, files in (
        (AnswersCsv(text, 2, 1, 0, []), 3, 1),
        (AnswersCsv(text, 2, 1, 0, []), 2, 2),
        (AnswersCsv(text, 3, 1, 0, []), 3, 1),
        (AnswersCsv(text.replace("b", "a"), 2, 1, 0, []), 2, 1),
    ):
        with pytest.raises(UserError, match="photos were read"):
            check_count(made, read, files)
