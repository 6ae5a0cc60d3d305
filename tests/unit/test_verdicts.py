import pytest

from landmark_ray.data.verdicts import Verdict, read_verdicts
from landmark_ray.errors import UserError

HEAD = "verdict,image_id,landmark_id,reason\n"


def written(tmp_path, *lines, head=HEAD, name="verdicts.csv"):
    path = tmp_path / name
    path.write_text(head + "".join(f"{line}\n" for line in lines))
    return str(path)


def test_images_and_landmarks_with_their_reasons(tmp_path):
    path = written(
        tmp_path,
        'drop,0a1b,,"a drawing, of 1890"',
        "keep,,1234,",
        "keep,tower/a.jpg,,",
        f"drop,,{2**63 - 1},",
    )
    found = read_verdicts([path])
    assert found.images == {
        "0a1b": Verdict("drop", "a drawing, of 1890"),
        "tower/a.jpg": Verdict("keep", ""),
    }
    assert found.landmarks == {1234: Verdict("keep", ""), 2**63 - 1: Verdict("drop", "")}


def test_several_lists_add_up(tmp_path):
    paths = [written(tmp_path, f"keep,{name},,", name=f"{name}.csv") for name in "ab"]
    assert set(read_verdicts(paths).images) == {"a", "b"}


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("remove,a,,", "line 2: verdict must be keep or drop"),
        ("keep,a,1,", "line 2: give either an image_id or a landmark_id"),
        ("keep,,,why", "line 2: give either"),
        ("keep,,tower,", "line 2: landmark_id must be a number of at most .*, got 'tower'"),
        (f"keep,,{2**63},", "line 2: landmark_id must be a number of at most 9223372036854775807"),
        ("keep,a,,why,more", "line 2: verdict must be"),
        ('keep,"a,,', "unexpected end of data"),
    ],
)
def test_a_bad_line_is_named(tmp_path, line, says):
    with pytest.raises(UserError, match=says) as error:
        read_verdicts([written(tmp_path, line)])
    assert str(error.value).startswith("--clean.verdicts: ") and "\n" not in str(error.value)


def test_contradictions_are_named(tmp_path):
    first = written(tmp_path, "keep,a,,", name="first.csv")
    with pytest.raises(UserError, match=r"second.csv, line 3: a has the verdicts keep and drop"):
        read_verdicts([first, written(tmp_path, "keep,b,,", "drop,a,,", name="second.csv")])


def test_another_csv_is_refused(tmp_path):
    with pytest.raises(UserError, match="must begin with the line verdict,.*not 'id,landmark_id'"):
        read_verdicts([written(tmp_path, head="id,landmark_id\n")])


def test_a_missing_list_is_named(tmp_path):
    with pytest.raises(UserError, match="nowhere.csv does not exist"):
        read_verdicts([str(tmp_path / "nowhere.csv")])
