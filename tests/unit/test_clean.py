import time

import numpy as np
import pyarrow as pa
import pytest

from landmark_ray.config import Config
from landmark_ray.data import schemas
from landmark_ray.data.verdicts import Verdict, Verdicts
from landmark_ray.stages.clean import clean_rows

PERSON, TREE, TOWER = ("Person", 0.9), ("Tree", 0.9), ("Tower", 0.9)
WHOLE, HALF, CORNER = (0, 0, 1, 1), (0, 0, 1, 0.5), (0, 0, 0.2, 0.2)


def kept(*images, reasons=()):
    """Rows of `kept`: (image_id, landmark_id), with reasons of some."""
    given = dict(reasons)
    rows = [
        {
            **{"image_id": image, "landmark_id": landmark, "partner": "", "inliers": 0},
            **{"keep": image not in given, "reason": given.get(image, "verified")},
        }
        for image, landmark in images
    ]
    return pa.Table.from_pylist(rows, schemas.KEPT)


def detections(**found):
    """Rows of `detections`: image_id -> [((entity, score), box)]."""
    rows = [
        {
            "image_id": image,
            "landmark_id": 1,
            "entities": [entity for (entity, _), _ in objects],
            "scores": [score for (_, score), _ in objects],
            "boxes": [edge for _, box in objects for edge in box],
        }
        for image, objects in found.items()
    ]
    return pa.Table.from_pylist(rows, schemas.DETECTIONS)


def copies(*clusters):
    """Rows of `duplicates`: [(image_id, landmark_id)] of each cluster."""
    rows = [
        {
            **{"image_id": image, "landmark_id": landmark, "cluster": cluster[0][0]},
            **{"partner": cluster[0][0], "exact": False, "difference": 1.0},
            "landmarks": sorted({landmark for _, landmark in cluster}),
        }
        for cluster in clusters
        for image, landmark in cluster
    ]
    return pa.Table.from_pylist(rows, schemas.DUPLICATES)


NOTHING, NO_COPIES = schemas.DETECTIONS.empty_table(), copies()


def cleaned(rows, found=NOTHING, duplicates=NO_COPIES, verdicts=None, **options):
    """image_id -> row of `cleaned`, and the funnel; classes of one image stay."""
    config = Config.model_validate({"clean": options, "prune": {"min_images": 1}})
    table, funnel = clean_rows(rows, duplicates, found, verdicts or Verdicts(), config)
    assert table.schema == schemas.CLEANED
    assert sum(funnel.reject_reasons.values()) == funnel.images_in - funnel.images_out
    return {row["image_id"]: row for row in table.to_pylist()}, funnel


TEN = [(f"i{n}", 1) for n in range(10)]


def test_without_detections_all_stays_as_prune_left_it():
    rows, funnel = cleaned(kept(*TEN, reasons=[("i3", "unverified")]))
    assert [i for i, row in rows.items() if not row["keep"]] == ["i3"]
    assert rows["i3"]["reason"] == "unverified"
    assert (funnel.images_in, funnel.images_out) == (9, 9)


@pytest.mark.parametrize(
    ("objects", "reason"),
    [
        ([(TREE, WHOLE)], "no_building"),
        ([(PERSON, CORNER), (TREE, HALF)], "no_building"),
        ([(TREE, WHOLE), (TOWER, CORNER)], "verified"),
        ([(TREE, CORNER)], "verified"),  # it covers too little to say what the photo shows
        ([(("Boat", 0.9), WHOLE)], "verified"),
        ([(("Tree", 0.2), WHOLE)], "verified"),  # unsure
        ([(TREE, WHOLE), (("Tower", 0.2), WHOLE)], "no_building"),
        ([], "verified"),
    ],
)
def test_people_and_plants_without_a_building_go(objects, reason):
    rows, _ = cleaned(kept(*TEN), detections(i0=objects))
    assert rows["i0"]["reason"] == reason
    assert all(row["keep"] for image, row in rows.items() if image != "i0")


def test_the_note_says_what_was_seen():
    rows, _ = cleaned(kept(*TEN), detections(i0=[(PERSON, CORNER), (TREE, HALF)]))
    assert rows["i0"]["note"] == "Person, Tree on 50% of the image"


def test_a_class_that_is_mostly_people_goes_whole():
    crowd = {f"i{n}": [(PERSON, HALF), (TOWER, HALF)] for n in range(10)}
    rows, funnel = cleaned(kept(*TEN, ("other", 2)), detections(**crowd))
    assert {row["reason"] for i, row in rows.items() if i != "other"} == {"people_class"}
    assert rows["other"]["keep"] and (funnel.classes_in, funnel.classes_out) == (2, 1)
    half = {f"i{n}": [(PERSON, HALF if n < 5 else CORNER), (TOWER, HALF)] for n in range(10)}
    rows, _ = cleaned(kept(*TEN), detections(**half))
    assert all(row["keep"] for row in rows.values())  # not more than the limit


def test_a_class_left_with_too_few_goes():
    config = Config.model_validate({"prune": {"min_images": 10}})
    table, funnel = clean_rows(
        kept(*TEN), copies(), detections(i0=[(TREE, WHOLE)]), Verdicts(), config
    )
    assert funnel.reject_reasons == {"no_building": 1, "small_class": 9} and funnel.classes_out == 0


def test_label_conflicts_are_reported_and_dropped_where_asked_for():
    duplicates = copies([("i0", 1), ("elsewhere", 2)])
    rows, _ = cleaned(kept(*TEN), duplicates=duplicates.slice(0, 1))
    assert rows["i0"]["keep"]
    rows, _ = cleaned(kept(*TEN), duplicates=duplicates.slice(0, 1), conflicts="drop")
    assert (rows["i0"]["reason"], rows["i0"]["note"]) == ("conflict", "also filed under 2")


def test_one_of_a_class_copies_stays_where_asked_for():
    duplicates = copies([("i1", 1), ("i2", 1), ("i3", 1)], [("i7", 1), ("i8", 1)])
    rows, funnel = cleaned(kept(*TEN, reasons=[("i8", "unverified")]), duplicates=duplicates)
    assert funnel.images_out == 9
    rows, funnel = without_copies(duplicates)
    assert sum(rows[f"i{n}"]["keep"] for n in (1, 2, 3)) == 1
    assert rows["i7"]["keep"]  # its copy went already
    assert funnel.reject_reasons["duplicate"] == 2


def without_copies(duplicates):
    config = Config.model_validate({"clean": {"duplicates": "drop"}, "prune": {"min_images": 1}})
    rows = kept(*TEN, reasons=[("i8", "unverified")])
    empty = schemas.DETECTIONS.empty_table()
    table, funnel = clean_rows(rows, duplicates, empty, Verdicts(), config)
    return {row["image_id"]: row for row in table.to_pylist()}, funnel


def test_an_images_verdict_wins_over_every_rule():
    verdicts = Verdicts({"i0": Verdict("keep", "good"), "i1": Verdict("drop", "bad")})
    for reason in ("unverified", "over_cap", "small_class"):
        rows, funnel = cleaned(kept(*TEN, reasons=[("i0", reason)]), verdicts=verdicts)
        i0 = rows["i0"]
        assert (i0["keep"], i0["reason"], i0["note"]) == (True, "verdict", "good")
        assert (rows["i1"]["reason"], rows["i1"]["note"]) == ("dropped", "bad")
        assert funnel.counters["brought back by a verdict"] == 1
    rows, _ = cleaned(kept(*TEN), detections(i0=[(TREE, WHOLE)]), verdicts=verdicts)
    assert (rows["i0"]["keep"], rows["i0"]["reason"]) == (True, "verdict")


def test_a_landmarks_verdict_leaves_the_cap_alone_and_yields_to_an_images():
    verdicts = Verdicts({"i2": Verdict("drop", "")}, {1: Verdict("keep", "few but good")})
    reasons = [("i0", "unverified"), ("i1", "over_cap")]
    rows, _ = cleaned(kept(*TEN, reasons=reasons), verdicts=verdicts)
    assert rows["i0"]["keep"] and rows["i1"]["reason"] == "over_cap"
    assert rows["i2"]["reason"] == "dropped"
    rows, _ = cleaned(kept(*TEN), verdicts=Verdicts({}, {1: Verdict("drop", "people")}))
    assert {row["reason"] for row in rows.values()} == {"dropped"}


def test_verdicts_on_images_that_are_not_there_are_counted():
    verdicts = Verdicts({"i0": Verdict("keep", ""), "nowhere": Verdict("keep", "")})
    _, funnel = cleaned(kept(*TEN), verdicts=verdicts)
    assert funnel.counters["images with a verdict"] == 1


def test_rules_take_well_under_a_minute_for_10_000_images():
    rng = np.random.default_rng(0)
    images = [(f"i{n:05d}", n // 50) for n in range(10_000)]
    boxes = [tuple(rng.random(4).round(2).tolist()) for _ in range(20)]
    objects = {
        i: [((e, 0.9), b) for e, b in zip(2 * ["Person", "Tree"], boxes, strict=False)]
        for i, _ in images
    }
    found, begun = detections(**objects), time.monotonic()
    cleaned(kept(*images), found)
    assert time.monotonic() - begun < 60  # 2 s on a quiet machine; no figure, only its order
