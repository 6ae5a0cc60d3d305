from types import SimpleNamespace

import numpy as np
import pytest

from landmark_ray.config import STAGES, Config
from landmark_ray.errors import UserError
from landmark_ray.training.tune_trial import score
from landmark_ray.training.vectors import GroupVectors, Vectors
from landmark_ray.tune import TuneConfig, as_toml, options_of, rows_of, space


def group(y, classes, other=True):
    n = len(y)
    side = Vectors(
        np.zeros((n, 2), np.float16), np.array(y, np.int32), np.ones(n, np.float32), np.zeros(n)
    )
    return GroupVectors(np.arange(classes), other, side, side)


def test_score_counts_a_sure_answer_to_a_photo_of_others_as_wrong():
    data = group([0, 1, 2], classes=2)
    right = np.array([[9, 0, 0], [0, 5, 0], [0, 0, 9]], np.float32)
    assert score([right], data) == 1.0
    fooled = np.array([[3, 0, 0], [0, 5, 0], [9, 0, 0]], np.float32)
    assert score([fooled], data) == pytest.approx((1 / 2 + 2 / 3) / 2)
    assert score([fooled[:1], fooled[1:]], data) == score([fooled], data)


def test_score_of_a_training_that_burst_is_nothing():
    burst = np.full((1, 3), np.nan, np.float32)
    assert score([np.eye(1, 3, dtype=np.float32), burst], group([0, 1], classes=2)) == 0.0


def test_a_linear_head_has_no_scale_to_search():
    assert "scale" in space(TuneConfig())
    assert "scale" not in space(TuneConfig(train={"head": "linear"}))


@pytest.mark.parametrize(
    "train",
    [{}, {"weights": "none"}, {"phases": ("metric", "head")}],
    ids=["given", "own", "metric"],
)
def test_no_option_is_searched_on_which_a_stage_before_embed_depends(train):
    searched = {name: 0.123 if name != "views" else 2 for name in space(TuneConfig(train=train))}
    assert {"head_rate", "views", "scale"} <= set(searched)
    before, after = (Config(train=train | more) for more in ({}, searched))
    for stage in STAGES[: STAGES.index("embed")]:
        assert before.config_key(stage) == after.config_key(stage)


def test_file_says_what_the_search_gained():
    best = {"head_rate": 0.00312345, "views": 3, "score": 0.9, "steps": 6, "present": False}
    own = {"head_rate": 0.003, "views": 6, "score": 0.85, "steps": 6, "present": True}
    text = as_toml([best, own], TuneConfig(tune={"group": 4}), [4])
    assert "best of 2 trials for group 4" in text
    assert "0.9000; the run's own options: 0.8500" in text
    assert "head_rate = 0.003123\nviews = 3\n" in text
    assert options_of(own) == {"head_rate": 0.003, "views": 6}
    assert "0.8500; these are the run's own options" in as_toml([own, best], TuneConfig(), [1, 2])


def result(views, score, error=None):
    metrics = {"score": score, "training_iteration": 2} if score is not None else None
    return SimpleNamespace(config={"views": views}, metrics=metrics, error=error)


def test_trials_that_failed_are_counted_and_have_no_row(capsys):
    lost = RuntimeError("the worker died\nwhile it trained")
    results = [result(1, 0.9, lost), result(2, 0.7), result(3, None, lost), result(4, 0.8)]
    rows = rows_of(results, {"views": 2})
    assert [(row["views"], row["present"]) for row in rows] == [(4, False), (2, True)]
    warned = "warning: 2 of 4 trials failed: the worker died while it trained\n"
    assert capsys.readouterr().err == warned
    assert rows_of(results[1::2], {"views": 2}) == rows
    assert not capsys.readouterr().err


def test_the_error_is_raised_if_all_trials_fail():
    with pytest.raises(UserError, match="no space"):
        rows_of([result(1, None, UserError("no space")), result(2, 0.5, UserError("x"))], {})
