"""A bundle's card says what the run knows, and stays true when the bundle changes."""

from collections import Counter

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from landmark_ray.bundle.manifest import CARD, EVALUATION, LANDMARKS, PROVENANCE, Bundle, version
from landmark_ray.data import bundle_schemas
from landmark_ray.data.store import Store
from landmark_ray.errors import UserError
from landmark_ray.reports.model_card import escaped, provenance, write_card
from tests import bundles, drawn

CC_BY = "https://creativecommons.org/licenses/by/3.0/"
SUMMARY = {
    "images": 1200,
    "landmark_images": 1000,
    "top1": 0.91234,
    "top5": 0.96,
    "gap_landmarks": 0.87,
    "threshold": 0.25,
    "recall": 0.75,
}
VALIDATION = {
    "ensemble": SUMMARY | {"gap": 0.85, "ece": 0.02, "precision": 0.95, "f1": 0.84},
    "strangers": {
        "other_landmarks": {"images": 1500, "accepted": 45},
        "anything_else": {"images": 50, "accepted": 1},
        "landmarks_as_if_unknown": {"images": 1000, "accepted": 99},
    },
}
EVALUATED = {"models": [{"landmarks": 4}, {"landmarks": 4}], "validation": VALIDATION}
STAGES = {
    "ingest": (4900, 4890, 8, 8, {"not an image": 7, "too small": 3}),
    "sample": (5000, 4900, 9, 8, {"small_class": 100}),
    "prune": (4890, 2000, 8, 8, {"over_cap": 0, "unverified": 2890}),
    "group": (2000, 2000, 8, 8, {}),
}
FIELDS = {
    "threshold": 0.25,
    "warning": "",
    "size": 224,
    "min_side": 32,
    "max_megapixels": 100.0,
    "max_megabytes": 64.0,
    "landmarks": 8,
    "configuration": {
        "trunk": {"train.network": "small", "train.weights": "none"},
        "train": {"train.head": "cosine", "train.head_batch": 64},
        "finetune": {"train.phases": ["head", "finetune"]},
    },
    "software": {"landmark_ray": "0.1.0", "python": "3.11.7"},
}


def landmarks(*enrolled: dict) -> list[dict]:
    rows = [{"landmark_id": 100 * g + i, "group": g} for g in (1, 2) for i in range(4)]
    return [row | {"name": "", "images": 250} for row in rows] + list(enrolled)


def write(folder: object, rows=None, licences=None, evaluation=EVALUATED, **fields: object) -> str:
    """Write the files that the card is made from, and the card; return it."""
    store = Store(str(folder))
    keys = ("images_in", "images_out", "classes_in", "classes_out", "why")
    stages = {name: dict(zip(keys, values, strict=True)) for name, values in STAGES.items()}
    store.write_json(PROVENANCE, provenance(stages, licences))
    store.write_json(EVALUATION, evaluation)
    store.write_table(LANDMARKS, pa.Table.from_pylist(rows or landmarks(), bundle_schemas.BUNDLED))
    write_card(store, FIELDS | fields)
    return store.read(CARD).decode()


def test_the_card_has_the_counts_figures_and_options_of_the_run(tmp_path):
    card = write(tmp_path)
    for line in (
        "# Landmark recognition: 8 landmarks",
        'confidence is below 0.25 is answered as "not a landmark".',
        "The source listed 5,000 photos of 9 landmarks.",
        "| sample | 5,000 | 4,900 | 8 | Too few photos of the landmark are left: 100 |",
        "| ingest | 4,900 | 4,890 | 8 | not an image: 7; too small: 3 |",
        "| prune | 4,890 | 2,000 | 8 | No other photo of the landmark confirms it: 2,890 |",
        "| 2 | 4 | 1,000 |",
        "| `train.network` | small |",
        "| `train.phases` | head, finetune |",
        "| top-1 accuracy | 0.912 |",
        "| photos | 1,200 |",
        "Of the 1,500 validation photos of other landmarks, 45 are taken for a known landmark.",
        "Of the 50 validation photos of anything else, 1 is taken for a known landmark.",
        "The dataset names neither authors nor licences of its photos.",
        "The software: landmark_ray 0.1.0, python 3.11.7.",
    ):
        assert line in card
    assert "| group |" not in card and "head_batch" not in card and "Warning" not in card
    assert card.index("| sample |") < card.index("| ingest |") < card.index("| prune |")


def test_the_front_matter_is_yaml_and_tables_are_whole(tmp_path):
    yaml = pytest.importorskip("yaml")
    card = write(
        tmp_path,
        licences=Counter({"": 3, CC_BY: 1997}),
        evaluation=EVALUATED | {"test": VALIDATION},
    )
    _, matter, text = card.split("---\n", 2)
    assert yaml.safe_load(matter)["library_name"] == "keras"
    lines = text.splitlines()
    for before, line in zip(lines, lines[1:], strict=False):
        if line.startswith("|") and before.startswith("|"):
            assert line.count("|") == before.count("|"), line
        elif line.startswith("|"):
            assert not before, "a table begins after an empty line"
    assert "| | validation | test |" in text and "\n\n\n" not in text
    assert "{" not in text and "Undefined" not in text


def test_what_was_not_measured_is_not_shown_as_a_figure(tmp_path):
    validation = {"ensemble": SUMMARY, "strangers": {}}
    card = write(tmp_path, evaluation=EVALUATED | {"validation": validation}, warning="few photos")
    assert "| precision at the threshold | not measured |" in card
    assert "taken for a known landmark" not in card
    assert "> **Warning:** few photos." in card


def test_licences_are_counted_the_most_frequent_first(tmp_path):
    many = Counter({f"L{i:02}": 1 for i in range(30)})
    card = write(tmp_path, licences=Counter({"": 3, CC_BY: 1997}) + many)
    assert card.index(f"| {CC_BY.replace('_', chr(92) + '_')} | 1,997 |") < card.index(
        "| not named | 3 |"
    )
    assert "| L17 | 1 |" in card and "| other licences | 12 |" in card and "L18" not in card


def test_names_of_a_dataset_are_text(tmp_path):
    evil = {"landmark_id": 7, "name": "<script>a|b](http://x)\n# Free", "group": 0, "images": 3}
    card = write(tmp_path, rows=landmarks(evil), landmarks=9)
    assert r"- \<script\>a\|b\](http://x) \# Free (3 photos)" in card.splitlines()
    assert escaped("Café `Central` & Co.") == r"Café \`Central\` \& Co."


def test_the_same_bundle_has_the_same_card_and_the_card_changes_no_version(tmp_path):
    assert write(tmp_path / "a") == write(tmp_path / "b")
    files = {"trunk/network.json": "1"}
    assert version(files | {CARD: "2", PROVENANCE: "3"}, 0.5) == version(files, 0.5)


def test_a_damaged_file_is_named(tmp_path):
    with pytest.raises(UserError, match=r"evaluation.json is damaged .*: export it again"):
        write(tmp_path, evaluation={"validation": VALIDATION})
    assert not (tmp_path / CARD).exists()


@pytest.fixture(scope="module")
def sealed(tmp_path_factory):
    """A bundle with a card, and a folder with photos of a wall."""
    folder = tmp_path_factory.mktemp("sealed")
    bundles.write(folder / "bundle", groups=(1, 2), size=96, index=True)
    write(folder / "bundle", rows=Bundle(str(folder / "bundle")).names().to_pylist(), **{})
    bundle = bundles.change(folder / "bundle", configuration={}, software=FIELDS["software"])
    assert {CARD, PROVENANCE} < set(bundle.manifest.files)
    rng = np.random.default_rng(1)
    wall = drawn.facade(rng)
    (folder / "wall").mkdir()
    for number in range(4):
        photo = drawn.jpeg(drawn.view(wall, rng))
        (folder / f"wall/{number}.jpg").write_bytes(photo)
    return folder


def test_the_card_names_landmarks_that_were_added_and_counts_those_that_were_removed(
    sealed, run_job, tmp_path
):
    add = ("--landmark_id", 7, "--name", "Old Wall", "--photos", sealed / "wall")
    done = run_job("enrol", "--bundle", sealed / "bundle", *add, "--to", tmp_path / "more")
    assert done.returncode == 0, done.stderr
    card = (tmp_path / "more" / CARD).read_text()
    assert "# Landmark recognition: 9 landmarks" in card
    assert "1 landmark was added after the training." in card and "- Old Wall (4 photos)" in card
    assert "removed after" not in card
    for landmark, source, target in ((7, "more", "same"), (101, "same", "less")):
        words = ("--forget", landmark, "--to", tmp_path / target)
        done = run_job("enrol", "--bundle", tmp_path / source, *words)
        assert done.returncode == 0, done.stderr
    assert "after the training" not in (tmp_path / "same" / CARD).read_text()
    card = (tmp_path / "less" / CARD).read_text()
    assert "1 landmark was removed after the training." in card and "| 1 | 3 |" in card
    names = Bundle(str(tmp_path / "less")).names()
    assert "# Landmark recognition: 7 landmarks" in card and names.num_rows == 7
    assert not pc.any(pc.equal(names["landmark_id"], 101)).as_py()
