"""The README's figures are those of bench/figures.json, and that file is made by bench/all.py."""

import json
import runpy

import pytest

from tests.conftest import REPO

BENCH = REPO / "bench"


@pytest.fixture(scope="module")
def all_():
    """bench/all.py."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(BENCH))
        return runpy.run_path(str(BENCH / "all.py"))


@pytest.fixture(scope="module")
def common():
    """bench/common.py."""
    return runpy.run_path(str(BENCH / "common.py"))


@pytest.fixture
def state() -> dict:
    row = {"what": "a kernel", "value": 2.5, "unit": "s", "command": "python bench/x.py"}
    row |= {"seconds": 3, "quoted": True}
    machine = {"processor": "Chip 9", "cores": 2, "instructions": ["AVX2"], "memory_gib": 24}
    return {
        "commit": "0123456789abcdef",
        "date": "2026-01-02",
        "machine": machine,
        "figures": {
            "x.good": {**row, "bound": "at most 3", "met": True},
            "x.bad": {**row, "what": "a stage", "bound": "at most 2", "met": False},
            "x.inner": {**row, "what": "nobody asks", "bound": "", "met": True, "quoted": False},
        },
    }


def test_readme_has_the_figures_of_the_file(all_):
    readme = (REPO / "README.md").read_text()
    assert all_["written"](readme, all_["stored"]()) == readme, "run python bench/all.py --readme"


def test_table_names_processor_commit_and_every_missed_bound(all_, state):
    table = all_["table"](state)
    assert "Chip 9, 2 cores, AVX2, 24 GiB" in table and "0123456789ab" in table
    assert "| a kernel | 2.5 s | at most 3 | `python bench/x.py` |" in table
    assert "| a stage | 2.5 s | at most 2 (missed) |" in table
    assert "nobody asks" not in table


def test_figures_of_another_machine_are_not_kept(all_, state, monkeypatch, tmp_path):
    kept = all_["kept"]
    file = tmp_path / "figures.json"
    monkeypatch.setitem(kept.__globals__, "FILE", file)
    monkeypatch.setitem(kept.__globals__, "same_code", lambda commit: True)
    file.write_text(json.dumps(state))
    assert kept(dirty=False)["figures"] == {}
    monkeypatch.setitem(kept.__globals__, "machine", lambda: state["machine"])
    assert kept(dirty=False) == state
    assert kept(dirty=True)["figures"] == {}


def test_figure_of_other_code_is_not_kept(all_, state, monkeypatch, tmp_path):
    kept = all_["kept"]
    monkeypatch.setitem(kept.__globals__, "FILE", tmp_path / "figures.json")
    monkeypatch.setitem(kept.__globals__, "machine", lambda: state["machine"])
    monkeypatch.setitem(kept.__globals__, "same_code", lambda commit: False)
    (tmp_path / "figures.json").write_text(json.dumps(state))
    assert kept(dirty=False)["figures"] == {}


def test_run_goes_on_after_a_failed_benchmark_and_says_so(
    all_, state, monkeypatch, tmp_path, capfd
):
    run = all_["run"]
    found = {"y.good": state["figures"]["x.good"]}
    ends = {"x": ("failed with status 1", {}), "y": ("done", found)}
    for name, value in {
        "FILE": tmp_path / "figures.json",
        "fresh": lambda dirty: {**state, "figures": {}},
        "measure": ends.get,
        "BENCHMARKS": {"x": 1, "y": 1},
    }.items():
        monkeypatch.setitem(run.__globals__, name, value)
    assert not run(["x", "y"], redo=False, dirty=True)
    assert json.loads((tmp_path / "figures.json").read_text())["figures"] == found
    assert "failed with status 1" in capfd.readouterr().out


@pytest.mark.parametrize("values", [{}, {"speed": 1.0, "more": 2.0}, {"speed": float("nan")}])
def test_benchmark_without_a_finite_value_for_each_figure_fails(common, values, monkeypatch):
    monkeypatch.setattr("sys.argv", ["x.py", "--smoke"])
    figures = {"speed": common["Figure"]("how fast it is")}
    with pytest.raises(RuntimeError, match="figures"):
        common["run"](lambda size, folder: values, figures, full=None, smoke=None)


@pytest.mark.parametrize(("value", "met"), [(0.9, False), (1.0, True), (2.0, True), (2.1, False)])
def test_figure_is_met_within_its_bounds(common, value, met):
    row = common["Figure"]("a ratio", least=1, most=2).judged(value)
    assert row["met"] is met
    assert row["bound"] == "at least 1, at most 2"
