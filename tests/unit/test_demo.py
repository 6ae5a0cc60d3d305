"""The drawn dataset: layout, kinds, and the same bytes again."""

import csv
import hashlib
import io
import tarfile
from collections import Counter
from pathlib import Path

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from landmark_ray.demo import __main__ as demo
from landmark_ray.demo import contact_sheet
from landmark_ray.demo.contact_sheet import SIGNATURE, check, sheet
from landmark_ray.demo.dataset import draw
from landmark_ray.demo.layout_plan import FULL, Plan

LITTLE = Plan(sizes=(4, 6), small=(2,), tests=1, strangers=2, noise=3, duplicates=2, oddities=1)
# Training: 4 + 6 photos, 2 of a small class, 3 noise, 2 duplicates, 6 odd and 6 corrupt.
TRAINING = 29
# Test: one view of each landmark of `sizes`, and two of none.
TESTS = 4


def read_csv(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file))


def read_files(dataset: Path, split: str) -> dict[str, bytes]:
    """Contents of all tars of a split, by member name."""
    files = {}
    for path in sorted((dataset / split).glob("*.tar")):
        with tarfile.open(path) as tar:
            for member in tar:
                files[member.name] = tar.extractfile(member).read()
    return files


def snapshot(dataset: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(dataset)): path.read_bytes()
        for path in sorted(dataset.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("demo") / "little"
    draw(out, processes=1, plan=LITTLE)
    return out


@pytest.fixture(scope="module")
def strange(dataset: Path) -> dict[str, bytes]:
    """Odd and corrupt files by what is the matter with them."""
    files = read_files(dataset, "train")
    return {
        row["detail"]: files["/".join(row["id"][:3]) + f"/{row['id']}.jpg"]
        for row in read_csv(dataset / "truth.csv")
        if row["kind"] in ("odd", "corrupt")
    }


def test_the_full_plan_fills_every_size_group_twice():
    groups = [(6, 10), (11, 15), (16, 20), (21, 25), (26, 30), (31, 40)]
    groups += [(41, 50), (51, 60), (61, 75), (76, 99), (101, 999)]
    held = [sum(low <= size <= high for size in FULL.sizes) for low, high in groups]
    assert held == [2] * 11
    assert all(size <= 5 for size in FULL.small)


def test_every_image_of_the_tables_lies_in_one_tar_under_its_first_three_digits(dataset):
    for split, count in (("train", TRAINING), ("test", TESTS)):
        ids = [row["id"] for row in read_csv(dataset / f"{split}.csv")]
        assert len(set(ids)) == len(ids) == count
        assert all(len(name) == 16 and set(name) <= set("0123456789abcdef") for name in ids)
        names = {f"{name[0]}/{name[1]}/{name[2]}/{name}.jpg" for name in ids}
        assert set(read_files(dataset, split)) == names


def test_there_are_at_least_four_training_tars_and_their_sums_are_right(dataset):
    assert len(list((dataset / "train").glob("images_*.tar"))) == 4
    for tar in dataset.glob("t*/images_*.tar"):
        line = (dataset / "md5sum" / tar.parent.name / f"md5.{tar.stem}.txt").read_text()
        assert line == f"{hashlib.md5(tar.read_bytes()).hexdigest()}  {tar.name}\n"


def test_tables_have_the_columns_of_gldv2(dataset):
    headers = {
        "train.csv": "id,url,landmark_id",
        "test.csv": "id",
        "train_label_to_category.csv": "landmark_id,category",
        "recognition_solution.csv": "id,landmarks,Usage",
        "truth.csv": "id,landmark_id,kind,detail",
    }
    for name, header in headers.items():
        assert (dataset / name).read_text().split("\n")[0] == header


def test_landmarks_have_names_of_their_own(dataset):
    rows = read_csv(dataset / "train_label_to_category.csv")
    start = "http://commons.wikimedia.org/wiki/Category:"
    assert all(row["category"].startswith(start) for row in rows)
    assert len({row["category"] for row in rows}) == len({row["landmark_id"] for row in rows}) == 3


def test_truth_agrees_with_the_training_table_and_counts_the_kinds(dataset):
    truth = read_csv(dataset / "truth.csv")
    filed = {row["id"]: row["landmark_id"] for row in read_csv(dataset / "train.csv")}
    assert {row["id"]: row["landmark_id"] for row in truth} == filed
    assert Counter(row["kind"] for row in truth) == {
        "photo": 10,
        "small_class": 2,
        "noise": 3,
        "duplicate": 2,
        "odd": 6,
        "corrupt": 6,
    }


def test_the_solution_names_a_known_landmark_or_none(dataset):
    known = {row["landmark_id"] for row in read_csv(dataset / "train_label_to_category.csv")}
    rows = read_csv(dataset / "recognition_solution.csv")
    answers = [row["landmarks"] for row in rows]
    assert answers.count("") == 2
    assert {answer for answer in answers if answer} < known
    assert {row["Usage"] for row in rows} <= {"Public", "Private"}
    assert [row["id"] for row in rows] == [row["id"] for row in read_csv(dataset / "test.csv")]


def test_photos_are_jpegs_of_a_sensible_size(dataset):
    kinds = {row["id"]: row["kind"] for row in read_csv(dataset / "truth.csv")}
    for name, content in read_files(dataset, "train").items():
        if kinds[Path(name).stem] in ("photo", "noise", "small_class"):
            image = Image.open(io.BytesIO(content))
            assert (image.format, image.mode) == ("JPEG", "RGB")
            assert 320 <= max(image.size) <= 640


def test_a_duplicate_is_three_quarters_of_its_original_and_of_the_same_class(dataset):
    files = read_files(dataset, "train")
    sizes = {Path(name).stem: content for name, content in files.items()}
    train = {row["url"]: row for row in read_csv(dataset / "train.csv")}
    for row in read_csv(dataset / "truth.csv"):
        if row["kind"] == "duplicate":
            original = train[row["detail"]]
            assert original["landmark_id"] == row["landmark_id"]
            width, height = Image.open(io.BytesIO(sizes[original["id"]])).size
            smaller = Image.open(io.BytesIO(sizes[row["id"]]))
            assert smaller.size == (width * 3 // 4, height * 3 // 4)


@pytest.mark.parametrize(
    ("detail", "encoding", "mode"),
    [
        ("grey", "JPEG", "L"),
        ("cmyk", "JPEG", "CMYK"),
        ("rgba_png", "PNG", "RGBA"),
        ("palette_png", "PNG", "P"),
        ("webp", "WEBP", "RGB"),
        ("exif_rotated", "JPEG", "RGB"),
    ],
)
def test_odd_files_open_as_what_they_claim(strange, detail, encoding, mode):
    image = Image.open(io.BytesIO(strange[detail]))
    image.load()
    assert (image.format, image.mode) == (encoding, mode)


def test_the_rotated_photo_says_that_it_must_be_turned_a_quarter_clockwise(strange):
    assert Image.open(io.BytesIO(strange["exif_rotated"])).getexif()[0x0112] == 6


def test_corrupt_files_are_what_they_claim(strange):
    assert strange["empty"] == b""
    assert strange["header_only"] == b"\xff\xd8"
    assert strange["text"].startswith(b"<html>")
    assert Image.open(io.BytesIO(strange["one_pixel"])).size == (1, 1)
    with pytest.raises(OSError, match="truncated"):
        Image.open(io.BytesIO(strange["truncated"])).load()


def test_the_pixel_bomb_is_small_on_disk_and_huge_in_memory(strange, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    assert Image.open(io.BytesIO(strange["pixel_bomb"])).size == (30_000, 30_000)
    assert len(strange["pixel_bomb"]) < 120_000


def test_two_processes_draw_the_same_bytes_as_one(dataset, tmp_path):
    draw(tmp_path / "again", processes=2, plan=LITTLE)
    assert snapshot(tmp_path / "again") == snapshot(dataset)


def test_another_seed_draws_other_images(dataset, tmp_path):
    draw(tmp_path / "other", seed=1, processes=1, plan=Plan((1,), (), 0, 1, 0, 0, 0))
    assert not set(read_files(tmp_path / "other", "train")) & set(read_files(dataset, "train"))


def test_a_finished_dataset_is_used_again_and_said_so(dataset, capsys):
    before = {path: path.stat().st_mtime_ns for path in dataset.rglob("*")}
    draw(dataset, processes=1, plan=LITTLE)
    assert "already holds" in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in dataset.rglob("*")} == before


def test_a_dataset_of_another_seed_is_refused_and_left_alone(dataset):
    before = snapshot(dataset)
    with pytest.raises(ValueError, match="holds something else"):
        draw(dataset, seed=1, processes=1, plan=LITTLE)
    assert snapshot(dataset) == before


def test_a_folder_of_other_files_is_refused_and_left_alone(tmp_path):
    (tmp_path / "diary.txt").write_text("dear diary")
    with pytest.raises(ValueError, match="holds something else"):
        draw(tmp_path, processes=1, plan=LITTLE)
    assert [path.name for path in tmp_path.iterdir()] == ["diary.txt"]


@pytest.mark.parametrize("out", ["missing/../full", "full/diary.txt/out"])
def test_a_folder_that_can_not_be_drawn_into_is_a_line(tmp_path, monkeypatch, out):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "full").mkdir()
    (tmp_path / "full/diary.txt").write_text("dear diary")
    monkeypatch.setattr("sys.argv", ["demo", "--out", out])
    with pytest.raises(SystemExit, match=r"^error: .*full"):
        demo.main()
    assert [path.name for path in tmp_path.rglob("*")] == ["full", "diary.txt"]


@pytest.mark.parametrize(("option", "least"), [("seed", 0), ("scale", 1)])
def test_a_seed_or_scale_that_is_too_small_is_a_line(tmp_path, monkeypatch, option, least):
    words = ["demo", "--out", str(tmp_path / "out"), f"--{option}", str(least - 1)]
    monkeypatch.setattr("sys.argv", words)
    says = rf"^error: the {option} must be at least {least}, got {least - 1}$"
    with pytest.raises(SystemExit, match=says):
        demo.main()


def test_a_drawing_that_fails_leaves_nothing_behind(tmp_path, monkeypatch):
    monkeypatch.setattr("landmark_ray.demo.dataset.write_tars", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        draw(tmp_path / "out", processes=1, plan=LITTLE)
    assert list(tmp_path.iterdir()) == []


def test_the_contact_sheet_has_a_row_for_each_landmark_and_one_for_noise(dataset, tmp_path):
    sheet(dataset, tmp_path / "sheet.png", views=2, cell=100)
    # Three landmarks and the noise, two to a line; each has a title and two views.
    assert Image.open(tmp_path / "sheet.png").size == (600, 200)


def test_a_sheet_is_written_over_an_older_one_and_nothing_else(tmp_path):
    signed = PngInfo()
    signed.add_text(*SIGNATURE)
    Image.new("RGB", (2, 2)).save(tmp_path / "older.png", pnginfo=signed)
    Image.new("RGB", (2, 2)).save(tmp_path / "mine.png")
    (tmp_path / "link.png").symlink_to("older.png")
    check(tmp_path / "older.png")
    check(tmp_path / "new.png")
    for name in ("mine.png", "link.png", "."):
        with pytest.raises(ValueError, match="is no sheet of ours"):
            check(tmp_path / name)


def test_a_large_dataset_has_the_first_landmarks_on_its_sheet(dataset, tmp_path, monkeypatch):
    monkeypatch.setattr(contact_sheet, "ROWS", 1)
    read = contact_sheet.read_images
    sides = []

    def noted(*args):
        images = read(*args)
        sides.extend(max(image.shape) for image in images.values())
        return images

    monkeypatch.setattr(contact_sheet, "read_images", noted)
    sheet(dataset, tmp_path / "sheet.png", views=2, cell=100)
    assert Image.open(tmp_path / "sheet.png").size == (600, 100)
    assert sides == [96] * 4, "photos are held as they are shown"
