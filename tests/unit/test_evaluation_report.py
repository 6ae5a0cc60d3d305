import io
import re
from html.parser import HTMLParser
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
from PIL import Image

from landmark_ray.config import Config
from landmark_ray.data import schemas
from landmark_ray.data.root import Root
from landmark_ray.kernels.evaluation import figures
from landmark_ray.reports.evaluation_page import duration, images_of, page, percent, store
from landmark_ray.reports.thumbnails import short_name
from landmark_ray.stages import evaluate
from landmark_ray.training.evaluation import figures_of

COMMONS = "http://commons.wikimedia.org/wiki/Category:"
NAMES = {10: COMMONS + "Caf%C3%A9_Central", 20: "<script>alert(1)</script>", 30: ""}
HISTORY = [
    {"epoch": 10, "loss": 0.5, "accuracy": 0.9, "top1": 0.75, "other_top1": 1.0},
    {"epoch": 20, "loss": 0.25, "accuracy": 1.0, "top1": 0.8, "other_top1": float("nan")},
]
# image, landmark it shows (None: none, filed under 20), answer, confidence
ANSWERS = [
    ("a1", 10, 10, 0.9),
    ("a2", 10, 20, 0.8),
    ("a3", 10, 20, 0.7),
    ("b1", 20, 20, 0.95),
    ("b2", 20, 20, 0.6),
    ("n1", None, 30, 0.92),
    ("n2", None, 10, 0.1),
]
GROUPS = {10: 1, 20: 1, 30: 2}


def test_another_solution_of_the_test_set_is_another_input():
    def inputs(solution):
        source = SimpleNamespace(test_set=lambda: solution, fingerprint=lambda split: split)
        return evaluate.inputs(Config(), source)

    shown = {"a": frozenset({1, 2}), "b": frozenset()}
    assert inputs(([], shown)) != inputs(([], shown | {"b": frozenset({1})}))
    assert inputs(None) == {"source's test set": "none"}


class Reader(HTMLParser):
    """Words, elements and addresses of a page; fails where elements aren't closed in order."""

    EMPTY = {"meta", "img", "br"}

    def __init__(self, html: str) -> None:
        super().__init__()
        self.words, self.elements, self.open = [], [], []
        self.feed(html)
        assert not self.open
        self.text = re.sub(r"\s+", " ", " ".join(self.words))

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag not in self.EMPTY:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" not in self.open:
            self.words.append(data)

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]


def jpeg() -> bytes:
    out = io.BytesIO()
    Image.fromarray(np.full((224, 224, 3), 127, np.uint8)).save(out, "JPEG")
    return out.getvalue()


def predictions(answers, groups=GROUPS) -> pa.Table:
    rows = [
        {
            "image_id": image,
            "truth": [] if truth is None else [truth],
            "label": 20 if truth is None else truth,
            "group": 0 if truth is None else groups[truth],
            "landmarks": [named],
            "candidates": [named],
            "usual": [0.5],
            "inliers": [float("nan")],
            "strangers": 0.0,
            "closed_landmark": 10,
            "closed_confidence": 1.0,
        }
        | dict.fromkeys(("confidences", "heads", "nearest", "mean"), [sure])
        for image, truth, named, sure in answers
    ]
    return pa.Table.from_pylist(rows, schemas.PREDICTIONS)


def make(folder, answers=ANSWERS, names=NAMES, groups=GROUPS, test=None, trained=(1,)):
    """Tables of a finished run, and its figures."""
    root, photo = Root(str(folder)), jpeg()
    base = {"jpeg": photo}
    landmarks = [
        {"landmark_id": i, "name": name, "images": 9, "chosen": 9} for i, name in names.items()
    ]
    examples = [
        {"image_id": image, "landmark_id": i, "group": groups[i], "split": "validation"} | base
        for image, i, _, _ in answers
        if i is not None
    ]
    examples += [
        {"image_id": f"t{i}", "landmark_id": i, "group": groups[i], "split": "train"} | base
        for i in groups
    ]
    background = [
        {"image_id": image, "landmark_id": 20} | base for image, i, _, _ in answers if i is None
    ]
    for table, rows in (("examples", examples), ("background", background)):
        root.commit(table, 0, 0, pa.Table.from_pylist(rows, schemas.TABLES[table]), "{}")
    rows = pa.Table.from_pylist(landmarks, schemas.LANDMARKS)
    root.write_table("landmarks/landmarks.parquet", rows)
    root.commit("predictions", 0, 0, predictions(answers, groups), "{}")
    root.write_json("_ledger/group.json", {"fingerprint": "feed", "inputs": {}, "seconds": 3.0})
    found = {
        "validation": figures(predictions(answers, groups)),
        "floor": 0.3,
        "warning": "",
        "synthetic": {"images": 19, "accepted": 2},
        "models": [
            {"group": g, "landmarks": 2, "temperature": 0.5, "seconds": 75, "history": HISTORY}
            for g in trained
        ],
    }
    if test is not None:
        root.commit("test_predictions", 0, 0, predictions(test, groups), "{}")
        found["test"] = figures(predictions(test, groups)) | {"notes": []}
        found["test"]["strangers"] = {
            "other_landmarks": {"images": 30, "accepted": 2},
            "anything_else": {"images": 0, "accepted": 0},
        }
    return root, found


def config() -> Config:
    return Config(source="x", root="y", group={"edges": [6, 11, 16]})


def test_page_shows_the_figures_and_nothing_from_elsewhere(tmp_path):
    root, found = make(tmp_path, test=ANSWERS[:4])
    read = Reader(page(found, root, config()))
    # the surest first: b1+ n1- a1+ a2- a3- b2+ n2-, so GAP = (1/1 + 2/3 + 3/6) / 5 = 0.433;
    # without n1 and n2 (1 + 1 + 3/5) / 5 = 0.52. The rule names 10 for all: a1+ a2+ a3+ b1- ...
    assert "Top-1 60.0% reference 60.0%" in read.text
    assert "GAP 0.433 reference 0.600" in read.text
    assert "GAP, landmarks only 0.520 reference 0.600" in read.text
    assert "Calibration, ECE 0.410 reference 0.571" in read.text
    # the best F1 is between b2 and n2; with only two photos of no landmark, at b2: nearly all of
    # the right answers reach it
    assert "Threshold 0.600: precision 50.0%, recall 60.0%, F1 0.545" in read.text
    assert "2 of 19 synthetic images" in read.text and "are taken for" in read.text
    assert "Floor 0.300: precision 50.0%" in read.text
    assert "7 photos, of which 5 show a landmark" in read.text
    assert "4 photos, of which 4 show a landmark" in read.text
    assert "that the models know: 2 of 30 photos of other landmarks." in read.text
    assert "1 6 to 10 2 2 0.500 1 min 15 s 5 60.0%" in read.text
    addresses = {a for _, e in read.elements for k, a in e.items() if k in ("src", "href")}
    outside = {a for a in addresses if not a.startswith(("#", "data:image/jpeg;base64,"))}
    assert outside == {NAMES[10]}
    assert not read.all("script") and not read.all("link")
    assert all(image["alt"] for image in read.all("img"))
    drawn = [svg for svg in read.all("svg") if "aria-hidden" not in svg]
    assert len(drawn) == 2 + 1 and all(svg["aria-label"] for svg in drawn)


def test_what_no_stranger_measured_is_not_shown_as_perfect(tmp_path, capsys):
    root, found = make(tmp_path, [ANSWERS[0], ANSWERS[3]])
    found["warning"] = "these models can't be trusted"
    html = page(found, root, config())
    text = Reader(html).text
    assert "GAP not measured reference not measured" in text
    assert "Calibration, ECE not measured" in text
    assert "Threshold 0.900: recall 100.0%, precision not measured" in text
    assert "precision 100" not in html and "F1 1" not in html
    assert "Warning : these models can't be trusted." in text
    store(found, root, config())
    lines = [line.split("│") for line in capsys.readouterr().out.splitlines()]
    whole = next([cell.strip() for cell in line] for line in lines if "all witnesses" in str(line))
    assert whole[-3:-1] == ["not measured"] * 2


def test_run_whose_photos_all_show_a_landmark_is_evaluated(tmp_path, capsys):
    root, _ = make(tmp_path, [(f"{image}{i}", *rest) for image, *rest in ANSWERS[:5] for i in "xy"])
    found = figures_of(config(), root, None)
    ensemble = found["validation"]["ensemble"]
    assert ensemble["precision"] <= 1 and "ece" not in ensemble  # the threshold has its own photos
    store(found, root, config())
    text = Reader((tmp_path / "reports/evaluation.html").read_text()).text
    assert "10 photos, of which 10 show a landmark" in text
    assert "Calibration was not measured" in text and "as if its landmark were unknown" in text
    precision = f"precision {100 * ensemble['precision']:.1f}% with each photo counted twice"
    assert precision in text and "Floor 0.110: recall 60.0%, precision not measured" in text


def test_photos_are_those_of_the_mistakes(tmp_path):
    root, found = make(tmp_path)
    read = Reader(page(found, root, config()))
    # a2 and a3 of 10 are taken for 20, a2 more surely; n1 is surer than the threshold, n2 is not
    assert [image["title"] for image in read.all("img")] == ["a2", "t20", "n1"]
    assert "shows Café Central answer <script>alert(1)</script> 2 photos" in read.text
    assert "landmark 30 confidence 0.920" in read.text
    assert "10 Café Central 1 3 33.3%" in read.text


def test_names_of_the_web_are_escaped_and_only_web_addresses_become_links(tmp_path):
    names = {10: 'https://x.org/"onmouseover="alert(1)', 20: "<script>alert(1)</script>"}
    root, found = make(tmp_path, names=names | {30: "javascript:alert(1)"})
    html = page(found, root, config())
    assert "<script" not in html and "&lt;script&gt;alert(1)&lt;/script&gt;" in html
    read = Reader(html)
    assert not any("onmouseover" in attributes for _, attributes in read.elements)
    assert {a["href"] for a in read.all("a")} - {names[10]} == {
        *("#validation", "#groups", "#training", "#confused", "#others", "#how")
    }


def test_groups_without_landmark_and_without_model_say_so(tmp_path):
    root, found = make(tmp_path, trained=())
    read = Reader(page(found, root, config()))
    assert "1 6 to 10 2 2 no model 5 60.0%" in read.text
    assert "2 11 to 15 1 1 no model 0 –" in read.text
    assert "3 16 or more no landmark has this number of images, so there is no model" in read.text
    assert "No group's training has been recorded" in read.text
    assert "Test set" not in read.text


def test_page_without_mistakes_and_page_without_landmarks(tmp_path):
    root, found = make(tmp_path / "right", [ANSWERS[0], ANSWERS[3]])
    read = Reader(page(found, root, config()))
    assert "No photo of a landmark was taken for another landmark." in read.text
    assert "No validation photo without a landmark has an answer" in read.text
    assert "recognised least" not in read.text and not read.all("img")
    root, found = make(tmp_path / "none", ANSWERS[5:], trained=())
    assert "No photo shows a landmark" in Reader(page(found, root, config())).text


def test_trunk_is_drawn_first_where_it_was_trained(tmp_path):
    root, found = make(tmp_path)
    found["trunk"] = {"history": HISTORY}
    labels = [svg["aria-label"] for svg in Reader(page(found, root, config())).all("svg")[-2:]]
    wanted = "Training over 20 epochs; right answers at its end: training 100%, validation, own"
    assert all(label.startswith(wanted) for label in labels)
    found["models"] = []
    assert "Trunk, all landmarks together" in page(found, root, config())


def test_page_stays_small_with_many_landmarks_and_long_names(tmp_path):
    count = 2000
    names = {i: f"{COMMONS}{'x' * 5000}{i}" for i in range(count)}
    answers = [(f"{i}", i, (i + 1) % count, i / count) for i in range(count)]
    answers += [(f"n{i}", None, i, 1.0) for i in range(100, 200)]
    root, found = make(tmp_path, answers, names, dict.fromkeys(range(count), 1))
    found["validation"]["notes"] = ["tar ends too early"] * 1000
    html = page(found, root, config())
    assert len(html) < 500_000
    assert len(Reader(html).all("img")) == 2 * 30 + 24
    assert html.count("tar ends too early") == 20


def test_store_writes_both_files_and_prints_a_line_for_each(tmp_path, capsys):
    root, found = make(tmp_path, test=ANSWERS[:4])
    store(found, root, config())
    assert root.read_json("reports/evaluation.json")["floor"] == 0.3
    assert (tmp_path / "reports/evaluation.html").read_text().startswith("<!doctype html>")
    lines = [re.findall(r"[^│\s]+", line) for line in capsys.readouterr().out.splitlines()]
    assert ["all", "witnesses", "2", "7", "60.0%", "60.0%", "0.433", "0.410"] in lines
    assert ["reference's", "rule", "2", "7", "60.0%", "60.0%", "0.600", "0.571"] in lines
    assert [line[:7] for line in lines if line[:1] == ["group"]] == [
        ["group", "1", "(6", "to", "10)", "2", "5"],
        ["group", "1", "(6", "to", "10)", "2", "4"],
    ]
    assert lines[-1] == ["All", "figures:", f"{tmp_path}/reports/evaluation.html"]


def test_short_names():
    assert short_name(NAMES[10]) == "Café Central"
    assert short_name(COMMONS + "A/B_c") == "A/B c"
    assert short_name("https://x.org/wiki/Tower/") == "Tower"
    assert short_name("some_folder") == "some_folder"
    assert len(short_name("x" * 200)) == 80


def test_numbers_in_words():
    edges = (6, 7, 100)
    assert [images_of(g, edges) for g in (1, 2, 3)] == ["6", "7 to 99", "100 or more"]
    assert [duration(s) for s in (None, 4.4, 59.6, 3660)] == ["–", "4 s", "1 min 0 s", "1 h 1 min"]
    assert [percent(x) for x in (0.1234, 1, None, float("nan"))] == ["12.3%", "100.0%", "–", "–"]
