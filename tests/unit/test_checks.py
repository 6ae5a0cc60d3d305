import json

import numpy as np
import pytest

from landmark_ray.config import STAGES, Config
from landmark_ray.data.root import Root
from landmark_ray.errors import UserError
from landmark_ray.runtime import preflight
from landmark_ray.runtime.counts import StageCounts


def refusal(ask, *args) -> str:
    with pytest.raises(UserError) as error:
        ask(*args)
    line = str(error.value)
    assert "\n" not in line
    return line


def mended(line: str) -> Config:
    """The configuration that a line proposes, as the command line reads it."""
    from landmark_ray.cli import parse

    words = line.partition(" or give ")[2].removesuffix(" together").split()
    return parse(Config, words, "x")


@pytest.mark.parametrize("sizes", [[3, 3], [5, 4, 2, 1], [2, 2, 2]])
@pytest.mark.parametrize("given", [{}, {"sample": {"min_images": 2}}])
def test_line_about_small_landmarks_proposes_what_works(sizes, given):
    line = refusal(preflight.check_landmark_sizes, np.array(sizes), Config(**given), STAGES)
    for option in ("--sample.min_images", "--prune.min_images", "--group.edges"):
        assert option in line
    preflight.check_landmark_sizes(np.array(sizes), mended(line), STAGES)
    preflight.check_options(mended(line), STAGES)


def test_only_stages_that_run_ask_for_photos():
    few, config = np.array([3, 3]), Config(sample={"min_images": 3})
    preflight.check_landmark_sizes(few, config, ["sample", "ingest", "dedupe", "extract", "match"])
    refusal(preflight.check_landmark_sizes, few, config, ["sample", "prune"])
    preflight.check_landmark_sizes(few, config, ["evaluate", "export"])


@pytest.mark.parametrize("sizes", [[], [1], [1, 1, 1]])
def test_single_photos_are_no_landmarks(sizes):
    line = refusal(preflight.check_landmark_sizes, np.array(sizes, int), Config(), STAGES)
    assert "add photos" in line and "--sample" not in line


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"prune": {"max_images": 5}}, ("--prune.max_images 5", "--prune.min_images")),
        ({"sample": {"max_images": 4}}, ("--sample.max_images 4", "6 photos")),
        ({"group": {"edges": (101, 200)}}, ("--prune.max_images 100", "--group.edges")),
        ({"group": {"validation_last": 1}}, ("--group.validation_last 1", "100 photos (group 11)")),
        ({"group": {"validation_first": 0.95}}, ("--group.validation_first 0.95", "(group 1)")),
        (
            {"group": {"validation_first": 0, "validation_last": 0}},
            ("--group.validation_first 0", "the threshold"),
        ),
        ({"match": {"min_partners": 600}}, ("--sample.max_images 500", "--match.min_partners")),
    ],
)
def test_options_that_contradict_each_other_are_named_before_any_work(options, named):
    line = refusal(preflight.check_options, Config(**options), STAGES)
    assert all(name in line for name in named)
    preflight.check_options(Config(**options), ["sample", "ingest"])


def records(**funnels: StageCounts) -> preflight.Records:
    return {stage: {"funnel": json.loads(counts.to_json())} for stage, counts in funnels.items()}


def pruned(**why: int) -> preflight.Records:
    from collections import Counter

    gone = StageCounts(12, 0, 2, 0, Counter(why))
    return records(
        ingest=StageCounts(12, 12), extract=StageCounts(12, 12), prune=gone, clean=StageCounts()
    )


@pytest.mark.parametrize(
    ("before", "stage", "named"),
    [
        (
            pruned(unverified=12),
            "group",
            ("no photo is verified", "curation.html", "--match.min_"),
        ),
        (pruned(unverified=7, small_class=5), "group", ("5 of 12 photos", "--prune.min_images 6")),
        (pruned(unverified=12), "export", ("no photo is verified",)),
        (records(ingest=StageCounts(9, 0)), "dedupe", ("ingest rejected all 9 photos",)),
        (records(extract=StageCounts(9, 0)), "match", ("extract rejected all 9 photos",)),
        (
            records(prune=StageCounts(9, 8), clean=StageCounts(8, 0)),
            "group",
            ("clean dropped all 8",),
        ),
        (records(resize=StageCounts(9, 0)), "trunk", ("resize rejected all 9 photos",)),
        (records(group=StageCounts(9, 0)), "resize", ("--group.edges", "6 photos")),
    ],
)
def test_stage_without_photos_says_why_there_are_none(before, stage, named, tmp_path):
    line = refusal(preflight.check_photos_left, stage, before, Config(), Root(str(tmp_path)))
    assert line.startswith("nothing is left to train on")
    assert all(name in line for name in named)


def test_verdicts_may_bring_back_what_prune_dropped(tmp_path):
    root = Root(str(tmp_path))
    before = pruned(unverified=12)
    preflight.check_photos_left("clean", before, Config(), root)  # and there is a page to look at
    before["clean"]["funnel"]["images_out"] = 3
    preflight.check_photos_left("group", before, Config(), root)


def test_share_of_rejects_is_of_what_came_in():
    limited = preflight.check_reject_share
    limited("resize", StageCounts(0, 0), 0.1)
    limited("ingest", StageCounts(10, 5), 0.5)
    counts = StageCounts(10, 4)
    counts.reject_reasons["truncated"] = 6
    line = refusal(limited, "ingest", counts, 0.5)
    assert "60.0% of 10 images" in line and "6 of them: truncated" in line
    assert "--ingest.max_rejected" in line
