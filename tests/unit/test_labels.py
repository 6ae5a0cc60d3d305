"""Labels of csv files and of class folders, in the forms that programs and people write them."""

import random
import unicodedata

import pytest

from landmark_ray.data import labels
from landmark_ray.data.csv_file import CsvFile
from landmark_ray.data.labels import id_of_label, id_of_name, ids_of_folders, read_labels
from landmark_ray.errors import UserError


def read(text: str | bytes):
    data = text if isinstance(text, bytes) else text.encode()
    return read_labels(CsvFile(data, "in/train.csv"))


def landmarks(text: str | bytes) -> list[int | None]:
    return read(text).images["landmark_id"].to_pylist()


NONE = [
    "-1",
    "-1.0",
    "NaN",
    "nan",
    "NA",
    "N/A",
    "n/a",
    "NULL",
    "null",
    "None",
    "none",
    "",
    " ",
    "<NA>",
]


@pytest.mark.parametrize("label", NONE)
def test_what_is_no_landmark(label):
    assert landmarks(f"id,landmark_id\na,{label}\nb, {label} \nc,7\n") == [None, None, 7]


@pytest.mark.parametrize(
    ("label", "number"),
    [("11.0", 11), ("11.", 11), ("+11", 11), ("0011", 11), ("1e+05", 100_000), ("1.5E+1", 15)]
    + [("0", 0), (str(2**63 - 1), 2**63 - 1), ("9007199254740993.0", 9007199254740993)],
)
def test_a_number_is_itself_however_it_is_written(label, number):
    assert id_of_label(label) == number


@pytest.mark.parametrize("label", ["11.5", "-2", str(2**63), "9" * 40, "1e+999", "-1.5"])
def test_a_number_that_is_no_id_is_refused_with_its_line(label):
    with pytest.raises(UserError, match="^in/train.csv, line 5: landmark ids are ") as error:
        read(f'id,note,landmark_id\na,"two\nlines",1\nb,,2\nc,,{label}\n')
    assert str(error.value).endswith(f"not {label}")


def test_names_have_ids_that_dont_move_and_javascript_can_hold():
    names = [f"place {random.Random(3).random()} {i}" for i in range(200)]
    text = "id,landmark_id\n" + "".join(f"{i},{name}\n" for i, name in enumerate(names))
    found = read(text)
    ids = found.images["landmark_id"].to_pylist()
    assert found.names == dict(zip(ids, names, strict=True))
    assert all(0 < i < 2**53 for i in ids) and len(set(ids)) == 200
    assert landmarks(f"id,landmark_id\nx,{names[7]}\n") == [ids[7]]
    assert ids_of_folders(names[5:9], "x") == dict(zip(names[5:9], ids[5:9], strict=True))
    assert id_of_name(unicodedata.normalize("NFD", "Café")) == id_of_name("Café") == 979322354453140


def test_a_column_of_numbers_and_names_is_said():
    found = read("id,landmark_id\na,7\nb,tower\nc,8\n")
    assert found.images["landmark_id"].to_pylist() == [7, id_of_name("tower"), 8]
    assert found.notes == [
        "in/train.csv: 2 labels are numbers and 1 are names, such as 'tower': each name is a "
        "landmark with an id of its own"
    ]
    assert "001 and 1 are the same landmark" in read("id,landmark_id\na,001\nb,1\n").notes[0]
    assert read("id,landmark_id\na,1\nb,1.0\n").notes == []


def test_two_names_that_look_alike_are_refused():
    alike = "Café", unicodedata.normalize("NFD", "Café")
    with pytest.raises(UserError, match=r"'Caf\\xe9' and 'Cafe\\u0301' would be one landmark"):
        read("id,landmark_id\na,{}\nb,{}\n".format(*alike))
    with pytest.raises(UserError, match="would be one landmark"):
        ids_of_folders(alike, "x")


def test_a_name_and_a_number_that_collide_are_refused(monkeypatch):
    monkeypatch.setattr(labels, "id_of_name", lambda name: 7)
    with pytest.raises(UserError, match="'7' and 'tower' would be one landmark, 7"):
        ids_of_folders(["7", "tower"], "x")
    with pytest.raises(UserError, match="'7' and 'tower' would be one landmark, 7"):
        read("id,landmark_id\na,7.0\nb,tower\n")


def test_folders_that_mean_one_number():
    folders = ["1", "01", "001", "2", "007", "٧", "0", "9" * 30, "tower", "08", "-1"]
    ids = ids_of_folders(folders, "x")
    assert (ids["1"], ids["2"], ids["0"], ids["08"]) == (1, 2, 0, 8)
    named = set(folders) - {"1", "2", "0", "08"}  # 007 and the Arabic seven are both 7, neither "7"
    assert {name: ids[name] for name in named} == {name: id_of_name(name) for name in named}


def test_the_clean_set_of_gldv2():
    found = read("landmark_id,images\n1,a b  c\n20, d\n3,\n-1,e\n")
    rows = zip(*found.images.to_pydict().values(), strict=True)
    assert list(rows) == [("a", 1), ("b", 1), ("c", 1), ("d", 20), ("e", None)]


@pytest.mark.parametrize(
    "text",
    [
        b"\xef\xbb\xbfid,landmark_id\r\na,1\r\nb,2\r\n",
        "id,landmark_id\na,1\nb,2\n".encode("utf-16"),
        b'"id";"url";"landmark_id"\n"a";"x;y";"1"\n"b";"";"2"\n',
        b"id\turl\tlandmark_id\na\t\t1\nb\t\t2",
        b"landmark_id|id\n1|a\n2|b\n",
        b"\n\nID, Landmark_ID \n a , 1 \nid,landmark_id\nb,2\n\n",
        b"id,landmark_id\ra,1\rb,2\r",
        b'id,note,landmark_id\na,"two\nlines",1\nb,"say ""x""",2\n',
        "id,note,landmark_id\na,\xe9,1\nb,\xfc,2\n".encode(
            "latin-1"
        ),  # not in a column that counts
    ],
)
def test_csv_files_of_many_programs(text):
    assert read(text).images.to_pydict() == {"image_id": ["a", "b"], "landmark_id": [1, 2]}


def test_an_empty_list_is_one_without_rows():
    assert landmarks("id,landmark_id\n") == landmarks("id,landmark_id") == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"", "must be a csv with the columns id, landmark_id (it begins with '')"),
        (b"id,label\na,1\n", "must be a csv with the columns id, landmark_id"),
        (b"id,id,landmark_id\na,b,1\n", "in/train.csv has the column id twice"),
        (b"id,landmark_id\na,1\nb\n", "in/train.csv, line 3: 1 columns, but the first line has 2"),
        (
            b"id,landmark_id\na,1\nb,2,3\n",
            "in/train.csv, line 3: 3 columns, but the first line has 2",
        ),
        (b"id,landmark_id\na,1\n\xe9,2\n", "in/train.csv, line 3: the file is not UTF-8"),
        (bytes(range(256)), "must be a csv with the columns"),
    ],
)
def test_what_cant_be_read_is_refused_in_our_words(text, said):
    with pytest.raises(UserError) as error:
        read(text)
    message = str(error.value)
    assert said in message and "CSV" not in message and "\n" not in message
