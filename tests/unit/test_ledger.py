import pytest

from landmark_ray.data.root import Root
from landmark_ray.errors import UserError
from landmark_ray.runtime import ledger
from landmark_ray.runtime.counts import StageCounts


@pytest.fixture
def root(tmp_path):
    return Root(str(tmp_path))


def test_same_options_go_on_with_the_same_record(root):
    first = ledger.begin(root, "match", {"match.ratio": 0.8}, {"tables of extract": "aa"})
    assert ledger.begin(root, "match", {"match.ratio": 0.8}, {"tables of extract": "aa"}) == first


def test_other_options_are_refused_with_the_difference_and_the_way_out(root):
    ledger.begin(root, "match", {"match.ratio": 0.8, "seed": 0}, {})
    with pytest.raises(UserError) as error:
        ledger.begin(root, "match", {"match.ratio": 0.9, "seed": 0}, {})
    text = str(error.value)
    assert "match.ratio = 0.8, now 0.9" in text and "--redo match" in text and "seed" not in text


def test_other_input_is_refused(root):
    ledger.begin(root, "match", {}, {"tables of extract": "aa"})
    with pytest.raises(UserError, match='tables of extract = "aa", now "bb"'):
        ledger.begin(root, "match", {}, {"tables of extract": "bb"})


def test_stage_can_only_read_a_finished_one_with_the_same_options(root):
    with pytest.raises(UserError, match="stage extract is not finished; run jobs/extract.py"):
        ledger.require_finished(root, "extract", {})
    record = ledger.begin(root, "extract", {"extract.max_side": 512}, {})
    with pytest.raises(UserError, match="not finished"):
        ledger.require_finished(root, "extract", {"extract.max_side": 512})
    ledger.finish(root, "extract", record, StageCounts(3, 2), 1.5)
    found = ledger.require_finished(root, "extract", {"extract.max_side": 512})
    assert found["funnel"]["images_out"] == 2 and found["seconds"] == 1.5
    with pytest.raises(UserError, match="extract.max_side = 512, now 640"):
        ledger.require_finished(root, "extract", {"extract.max_side": 640})


@pytest.mark.parametrize("text", [b"{", b"[]", b"null!", b'{"state": "finished"}', b"17", b'""'])
def test_a_ledger_that_is_garbage_is_named_with_the_way_out(root, text):
    root.write("_ledger/match.json", text)
    for work in (
        lambda: ledger.begin(root, "match", {}, {}),
        lambda: ledger.read(root, "match"),
    ):
        with pytest.raises(UserError, match=r"_ledger/match.json is damaged.*--redo") as error:
            work()
        assert "\n" not in str(error.value)
    ledger.forget(root, "match")
    assert ledger.begin(root, "match", {}, {})["state"] == "running"
