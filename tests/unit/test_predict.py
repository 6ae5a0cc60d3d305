"""jobs/predict.py without Ray: parts are answered here, by an ensemble that knows colours."""

import csv
import hashlib
import io
import os
import tarfile
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.dataset as pads
import pyarrow.parquet as pq
import pytest
from PIL import Image

from landmark_ray import predict
from landmark_ray.bundle.manifest import Manifest
from landmark_ray.errors import UserError
from landmark_ray.runtime.counts import StageCounts

RED, GREEN, BLUE = (250, 0, 0), (0, 250, 0), (0, 0, 250)


def photo(colour=RED, size=40) -> bytes:
    """A square on a ground of half its brightness."""
    out, half = io.BytesIO(), size // 2
    ground = Image.new("RGB", (size, size), tuple(c // 2 for c in colour))
    ground.paste(colour, (half // 2, half // 2, half, half))
    ground.save(out, "JPEG")
    return out.getvalue()


class Colours:
    """A photo shows the landmark 1, 2 or 3: it is red, green or blue."""

    def predict(self, photos, k, files, limits):
        landmarks = photos.mean((1, 2)).argmax(-1) + 1
        return landmarks[:, None], np.full((len(photos), 1), 0.9)


MANIFEST = Manifest.model_construct(
    version="v",
    warning="",
    size=32,
    max_megabytes=1,
    min_side=32,
    max_megapixels=100,
    threshold=0.5,
    rejection_floor=0.1,
)


@pytest.fixture
def named(monkeypatch, tmp_path):
    """Run the job on a source; gives the lines of the csv, id -> landmark or ""."""

    def plan(units, bundle, source, root, answers, options):
        for unit in units:
            rows, funnel = predict.answer_part(
                source.parts[unit["shard"]], Colours(), bundle, options
            )
            root.commit(answers, 0, unit["shard"], rows, funnel.to_json())
            yield funnel.to_json()

    def drive(units, plan, options, progress_bar):
        return StageCounts.total(plan(units))

    monkeypatch.setattr(predict, "answer_units", plan)
    monkeypatch.setattr(predict, "run_tasks", drive)
    monkeypatch.setattr(
        predict, "Bundle", lambda uri, read: SimpleNamespace(uri=uri, manifest=MANIFEST)
    )

    def run(source, output=tmp_path / "out/s.csv", **options):
        predict.run(
            predict.PredictOptions(bundle="b", source=str(source), output=str(output), **options)
        )
        return lines_of(output)

    return run


def lines_of(output) -> dict[str, str]:
    with output.open(newline="") as file:
        header, *lines = csv.reader(file)
    assert header == ["id", "landmarks"]
    table = pads.dataset(output.with_suffix(".parquet")).to_table()
    assert sorted(table["image_id"].to_pylist()) == sorted(line[0] for line in lines)
    assert len(dict(lines)) == len(lines)
    return {image_id: answer.partition(" ")[0] for image_id, answer in lines}


def tar_of(path, *members: tuple[str, bytes], mode="w") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, mode) as tar:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))


def test_what_lies_beside_photos_in_a_tar_takes_no_answer_from_them(named, tmp_path, capsys):
    members = []
    for number, colour in enumerate((RED, GREEN, BLUE)):
        key = f"./00{number}"
        members += [(f"{key}.json", b"{}"), (f"{key}.jpg", photo(colour)), (f"{key}.cls", b"4")]
        members += [(f"./._00{number}.jpg", b"\0\5\x16\7"), (f"{key}.txt", b"a caption")]
    tar_of(tmp_path / "in/x.tar", *members, ("./.DS_Store", b"x"), ("./broken.jpg", b"<html>"))
    (tmp_path / "in/README.md").write_text("words")
    assert named(tmp_path / "in") == {"000": "1", "001": "2", "002": "3", "broken": ""}
    out = capsys.readouterr().out.splitlines()
    assert out[0].startswith("photos of 1 tar in ")
    assert out[1] == "left out: files that are no photos, such as README.md: 1"
    assert any(
        line.startswith("left out: hidden or system files") and line.endswith(": 4") for line in out
    )
    assert any(
        line.startswith("left out: files that are no photos") and line.endswith(": 10")
        for line in out
    )


def test_photos_with_the_same_name_and_at_the_same_place_have_rows_of_their_own(
    named, tmp_path, capsys
):
    tar_of(tmp_path / "in/a.tar", ("IMG.1.jpg", photo(RED)), ("bad.jpg", b"?"), ("bad.jpg", b"?"))
    tar_of(tmp_path / "in/b.tar", ("IMG.1.jpg", photo(GREEN)))
    tar_of(tmp_path / "in/b.tar", ("IMG.1.jpg", photo(BLUE)), mode="a")
    assert named(tmp_path / "in") == {
        "a.tar/IMG.1": "1",
        "a.tar/bad": "",
        "a.tar/bad#2": "",
        "b.tar/IMG.1": "2",
        "b.tar/IMG.1#2": "3",
    }
    assert "have the same name, so ids are longer" in capsys.readouterr().err


def test_tars_tables_and_files_are_all_answered(named, tmp_path):
    tar_of(tmp_path / "in/t.tar", ("deep/tar.jpg", photo(RED)))
    (tmp_path / "in/sub").mkdir()
    (tmp_path / "in/sub/a.b.jfif").write_bytes(photo(GREEN))
    (tmp_path / "in/sub/bare").write_bytes(photo(BLUE))
    (tmp_path / "in/empty.png").write_bytes(b"")
    rows = {"id": ['k,"1"', "line\nend", None], "image": [photo(BLUE), photo(RED), None]}
    pq.write_table(pa.table(rows), tmp_path / "in/p.parquet")
    assert named(tmp_path / "in") == {
        "tar": "1",
        "a.b": "2",
        "bare": "3",
        "empty": "",
        'k,"1"': "3",
        "line\nend": "1",
        "2": "",
    }


def test_names_that_are_no_utf_8_are_answered(named, tmp_path):
    (tmp_path / "in").mkdir()
    with open(os.fsencode(tmp_path / "in") + b"/caf\xe9.jpg", "wb") as file:
        file.write(photo(GREEN))
    latin = {"encoding": "latin-1", "format": tarfile.GNU_FORMAT}
    with tarfile.open(tmp_path / "in/t.tar", "w", **latin) as tar:
        info = tarfile.TarInfo("thé.jpg")
        info.size = len(photo(BLUE))
        tar.addfile(info, io.BytesIO(photo(BLUE)))
    from_tar, from_file = sorted(named(tmp_path / "in").items(), reverse=True)
    assert from_tar[0].startswith("th\\xe9 [") and from_tar[0].endswith("]")
    assert from_file[0].startswith("caf\\xe9 [") and from_file[0].endswith("]")
    assert (from_tar[1], from_file[1]) == ("3", "2")


def test_packed_tars_are_answered_and_links_in_them_are_named(named, tmp_path, capsys):
    tar_of(tmp_path / "in/a.tar.gz", ("0.jpg", photo(GREEN)), mode="w:gz")
    tar_of(tmp_path / "in/b.tgz", ("1.jpg", photo(BLUE)), mode="w:gz")
    with tarfile.open(tmp_path / "in/c.tar", "w") as tar:
        info = tarfile.TarInfo("2.jpg")
        info.type, info.linkname = tarfile.LNKTYPE, "1.jpg"
        tar.addfile(info)
    assert named(tmp_path / "in") == {"0": "2", "1": "3"}
    assert "left out: links and devices in tars, such as 2.jpg: 1" in capsys.readouterr().out


def test_a_photo_that_cannot_be_opened_has_a_row(named, tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in/good.jpg").write_bytes(photo(BLUE))
    os.symlink(tmp_path / "gone", tmp_path / "in/nowhere.jpg")
    os.symlink(tmp_path / "in/itself.jpg", tmp_path / "in/itself.jpg")
    assert named(tmp_path / "in") == {"good": "3", "itself": "", "nowhere": ""}
    errors = set(pads.dataset(tmp_path / "out/s.parquet").to_table()["error"].to_pylist())
    assert sorted(errors) == [
        "",
        "can't be read: a link to itself",
        "can't be read: a link to nowhere",
    ]


def test_stopped_the_same_command_goes_on_though_its_output_lies_in_the_source(
    named, tmp_path, monkeypatch
):
    source, output = tmp_path / "in", tmp_path / "in/out/s.csv"
    for number, colour in enumerate((RED, GREEN, BLUE)):
        tar_of(source / f"{number}.tar", (f"{number % 2}.jpg", photo(colour)))
    whole = named(source, tmp_path / "whole/s.csv")
    assert whole == {"0.tar/0": "1", "1.tar/1": "2", "2.tar/0": "3"}
    with monkeypatch.context() as patch:
        patch.setattr(
            predict, "run_tasks", lambda units, plan, *_: [next(iter(plan(units))), 1 / 0]
        )
        with pytest.raises(ZeroDivisionError):
            named(source, output)
    (first,) = output.with_suffix(".parquet").rglob("*.parquet")
    asked = []
    original = predict.answer_part
    monkeypatch.setattr(
        predict, "answer_part", lambda part, *rest: asked.append(part) or original(part, *rest)
    )
    assert named(source, output) == whole
    assert len(asked) == 2
    assert output.read_bytes() == (tmp_path / "whole/s.csv").read_bytes()
    stamp = first.stat().st_mtime_ns
    assert named(source, output) == whole
    assert len(asked) == 2 and first.stat().st_mtime_ns == stamp


def test_answers_for_other_photos_and_of_earlier_code_are_not_mixed_in(named, tmp_path):
    source = tmp_path / "in"
    tar_of(source / "a.tar", ("x.jpg", photo()))
    named(source)
    (source / "README.txt").write_text("no photo")
    named(source)
    (source / "y.jpg").write_bytes(photo())
    with pytest.raises(UserError, match="answers to something else"):
        named(source)
    (source / "y.jpg").unlink()
    identity = tmp_path / "out/s.parquet/_identity.json"
    identity.write_text(identity.read_text().replace('"format": 2,', ""))
    with pytest.raises(UserError, match="format None, now 2"):
        named(source)


def test_a_tar_with_a_wrong_md5_is_answered_again_when_it_is_another_one(named, tmp_path):
    test, sums = tmp_path / "in/test", tmp_path / "in/md5sum/test"
    tar_of(test / "images_000.tar", ("x.jpg", photo(RED)))
    sums.mkdir(parents=True)
    wrong = photo(BLUE).ljust(len(photo(RED)), b"\0")[: len(photo(RED))]
    tar_of(tmp_path / "right.tar", ("x.jpg", wrong))
    right = (tmp_path / "right.tar").read_bytes()
    (sums / "md5.images_000.txt").write_text(hashlib.md5(right).hexdigest())
    assert named(tmp_path / "in") == {"x": "1"}
    (test / "images_000.tar").write_bytes(right)
    assert named(tmp_path / "in") == {"x": "3"}


def test_what_is_damaged_is_answered_up_to_there_and_again_when_it_is_mended(
    named, tmp_path, capsys
):
    tar_of(tmp_path / "in/a.tar", ("x.jpg", photo(RED)), ("y.jpg", photo(GREEN)))
    tar_of(tmp_path / "in/b.tar", ("z.jpg", photo(BLUE)))
    whole = (tmp_path / "in/a.tar").read_bytes()
    damaged = bytearray(whole)
    header = 512 + -(-len(photo(RED)) // 512) * 512
    damaged[header : header + 512] = b"?" * 512
    (tmp_path / "in/a.tar").write_bytes(damaged)
    with pytest.raises(UserError, match="1 of 2 .* can't be read to the end"):
        named(tmp_path / "in")
    assert lines_of(tmp_path / "out/s.csv") == {"x": "1", "z": "3"}
    assert capsys.readouterr().err.count("a.tar is damaged") == 1
    (tmp_path / "in/a.tar").write_bytes(whole)
    assert named(tmp_path / "in") == {"x": "1", "y": "2", "z": "3"}


@pytest.mark.parametrize(
    ("example", "ids"),
    [
        ("pred_hidden", {"p0", "p1", "p2"}),
        ("pred_mac_tar", {"p0", "p1", "p2"}),
        ("pred_same_names", {"tower/1", "bridge/1", "arch/1"}),
        ("pred_webdataset", {"000000000", "000000001", "000000002"}),
    ],
)
def test_examples_of_the_field_have_a_row_and_an_answer_for_each_photo(named, shared, example, ids):
    found = named(shared / "field" / example)
    assert set(found) == ids and all(found.values())


@pytest.mark.parametrize(
    ("options", "index", "exemplars"),
    [
        ({}, True, True),
        ({"verify": "off"}, True, False),
        ({"witnesses": "heads"}, False, False),
    ],
)
def test_only_files_that_answer_are_compared_with_the_manifest(options, index, exemplars):
    asked = predict.is_asked(predict.PredictOptions(bundle="b", source="s", output="o", **options))
    assert asked("trunk/model.weights.h5") and asked("landmarks.parquet")
    assert asked("index/vectors.npy") == index
    assert asked("exemplars/bucket-00000.arrow") == exemplars
