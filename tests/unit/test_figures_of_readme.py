"""The README's figures are those of bench/figures.json, and that file is made by bench/all.py."""

import json
import runpy
import signal
import subprocess
import sys
import time

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
    row |= {"seconds": 3, "quoted": True, "baseline": "plain Keras"}
    machine = {"processor": "Chip 9", "cores": 2, "instructions": ["AVX2"], "memory_gib": 24}
    return {
        "commit": "0123456789abcdef",
        "date": "2026-01-02",
        "machine": machine,
        "figures": {
            "x.good": {**row, "bound": "≤ 3", "met": True},
            "x.bad": {**row, "what": "a stage", "bound": "≤ 2", "met": False},
            "x.inner": {**row, "what": "nobody asks", "bound": "", "met": True, "quoted": False},
        },
    }


def test_readme_has_the_figures_of_the_file(all_):
    readme = (REPO / "README.md").read_text()
    assert all_["written"](readme, all_["stored"]()) == readme, "run python bench/all.py --readme"


def test_table_names_commit_and_of_each_figure_bound_baseline_benchmark_and_processor(all_, state):
    table = all_["table"](state)
    assert "0123456789ab" in table and "2 cores, AVX2 and 24 GiB" in table
    rest = "| plain Keras | `x` | Chip 9 |"
    assert f"| a kernel | 2.5 s | ≤ 3 {rest}" in table
    assert f"| a stage | 2.5 s | ≤ 2, **not met** {rest}" in table
    assert "nobody asks" not in table


def test_table_names_benchmarks_without_figures(all_, state, monkeypatch):
    table = all_["table"]
    monkeypatch.setitem(table.__globals__, "BENCHMARKS", {"x": 1, "y": 2})
    assert "Not measured: `y`." in table(state)
    monkeypatch.setitem(table.__globals__, "BENCHMARKS", {"x": 1})
    assert "Not measured" not in table(state)


def test_figures_of_another_machine_are_not_kept(all_, state, monkeypatch, tmp_path):
    kept = all_["kept"]
    file = tmp_path / "figures.json"
    monkeypatch.setitem(kept.__globals__, "FILE", file)
    monkeypatch.setitem(kept.__globals__, "same_code", lambda commit, name="": True)
    file.write_text(json.dumps(state))
    assert kept(dirty=False)["figures"] == {}
    monkeypatch.setitem(kept.__globals__, "machine", lambda: state["machine"])
    monkeypatch.setitem(kept.__globals__, "BENCHMARKS", {"x": 1})
    assert kept(dirty=False)["figures"] == state["figures"]
    assert kept(dirty=False)["commit"] == all_["git"]("rev-parse", "HEAD")
    assert kept(dirty=True)["figures"] == {}


def test_figure_of_other_code_is_not_kept(all_, state, monkeypatch, tmp_path):
    kept = all_["kept"]
    monkeypatch.setitem(kept.__globals__, "FILE", tmp_path / "figures.json")
    monkeypatch.setitem(kept.__globals__, "machine", lambda: state["machine"])
    monkeypatch.setitem(kept.__globals__, "same_code", lambda commit, name="": False)
    (tmp_path / "figures.json").write_text(json.dumps(state))
    assert kept(dirty=False)["figures"] == {}


BEFORE = '"""Before."""\n\n\ndef f():\n    """Before."""\n    return 1\n'


@pytest.mark.parametrize(
    ("changed", "text", "same"),
    [
        ("bench/x.py", "f = 1", {"y"}),
        ("bench/common.py", "f = 1", set()),
        ("landmark_ray/match.py", "f = 1", set()),
        ("landmark_ray/match.py", BEFORE.replace("Before", "After") + "# After.", {"x", "y"}),
        ("landmark_ray/match.py", BEFORE.replace("1", '"1"'), set()),
        ("landmark_ray/match.py", "no Python", set()),
        ("landmark_ray/match.py", None, set()),
        ("requirements.txt", "after", set()),
        ("bench/all.py", "f = 1", {"x", "y"}),
        ("README.md", "after", {"x", "y"}),
    ],
)
def test_figures_are_of_the_code_that_they_depend_on(
    all_, monkeypatch, tmp_path, changed, text, same
):
    same_code = all_["same_code"]
    monkeypatch.setitem(same_code.__globals__, "REPO", tmp_path)
    monkeypatch.setitem(same_code.__globals__, "BENCHMARKS", {"x": 1, "y": 1})
    for name in ("bench/x.py", "bench/common.py", "bench/all.py", "landmark_ray/match.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(BEFORE)
    for name in ("README.md", "requirements.txt"):
        (tmp_path / name).write_text("before")
    author = ("-c", "user.name=a", "-c", "user.email=a@example.org")
    for words in (["init", "--quiet"], ["add", "."], [*author, "commit", "--quiet", "-m", "x"]):
        subprocess.run(["git", *words], cwd=tmp_path, check=True)
    (tmp_path / changed).unlink() if text is None else (tmp_path / changed).write_text(text)
    assert {name for name in ("x", "y") if same_code("HEAD", name)} == same
    assert same_code("HEAD") == (same == {"x", "y"} and changed != "bench/all.py")
    assert not same_code("no-commit")


@pytest.fixture
def benchmarks(all_, state, monkeypatch, tmp_path):
    """Replace the benchmarks by x, y and z; returns `run`, the file, and what was measured."""
    run, measured = all_["run"], []
    good, bad = state["figures"]["x.good"], state["figures"]["x.bad"]
    found = {"x": {}, "y": {"y.bad": bad}, "z": {"z.good": good}}

    def measure(name):
        measured.append(name)
        if isinstance(found[name], BaseException):
            raise found[name]
        return found[name]

    for name, value in {
        "FILE": tmp_path / "figures.json",
        "BENCHMARKS": dict.fromkeys(found, 2),
        "machine": lambda: state["machine"],
        "git": lambda *words: "0123",
        "same_code": lambda commit, name="": True,
        "measure": measure,
    }.items():
        monkeypatch.setitem(run.__globals__, name, value)
    return run, tmp_path / "figures.json", found, measured


def test_run_goes_on_after_a_failed_benchmark_and_an_unmet_bound(benchmarks, capfd):
    run, file, found, measured = benchmarks
    assert run([], dirty=False) == 3
    assert json.loads(file.read_text())["figures"] == found["y"] | found["z"]
    out, err = capfd.readouterr()
    assert "without figures: x" in err and "not met" in out
    assert "1 of 3: x, about 2 min; 6 min left in all" in err
    found["x"] = {"x.good": found["z"]["z.good"]}
    assert run([], dirty=False) == 1, "y does not meet its bound"
    assert measured == ["x", "y", "z", "x"], "what is there is not measured again"
    found["y"] = {"y.good": found["z"]["z.good"]}
    assert run(["y"], dirty=False) == 0
    assert list(json.loads(file.read_text())["figures"]) == ["x.good", "y.good", "z.good"]


def test_interrupted_run_keeps_what_it_has_and_continues(benchmarks):
    run, file, found, measured = benchmarks
    found["x"], found["z"] = {"x.good": found["z"]["z.good"]}, KeyboardInterrupt()
    assert run([], dirty=False) == 130
    assert list(json.loads(file.read_text())["figures"]) == ["x.good", "y.bad"]
    found["z"] = {"z.good": found["x"]["x.good"]}
    assert run([], dirty=False) == 1
    assert measured == ["x", "y", "z", "z"]


def test_interrupt_reaches_the_benchmark_which_may_end_in_its_own_time(tmp_path):
    ended, begun = tmp_path / "ended", tmp_path / "begun"
    benchmark = f"""
import pathlib, time
try:
    pathlib.Path({str(begun)!r}).touch()
    time.sleep(60)
finally:
    time.sleep(0.5)
    pathlib.Path({str(ended)!r}).touch()
"""
    script = f"""
import runpy, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.path.insert(0, {str(BENCH)!r})
output_of = runpy.run_path({str(BENCH / "all.py")!r})["output_of"]
try:
    output_of([sys.executable, "-c", {benchmark!r}])
except KeyboardInterrupt:
    sys.exit(130)
"""
    process = subprocess.Popen([sys.executable, "-c", script])
    while not begun.exists():
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 130
    assert ended.exists()


@pytest.mark.parametrize("values", [{}, {"speed": 1.0, "more": 2.0}, {"speed": float("nan")}])
def test_benchmark_without_a_finite_value_for_each_figure_fails(common, values, monkeypatch):
    monkeypatch.setattr("sys.argv", ["x.py", "--smoke"])
    figures = {"speed": common["Figure"]("how fast it is")}
    with pytest.raises(RuntimeError, match="figures"):
        common["run"](lambda size, folder: values, figures, full=None, smoke=None)


def test_larger_size_is_measured_on_request_where_there_is_one(common, monkeypatch, capfd):
    monkeypatch.setattr("sys.argv", ["x.py", "--large"])
    monkeypatch.setitem(common["run"].__globals__, "GLD_MINI", REPO)
    figures = {"speed": common["Figure"]("how fast it is")}
    sizes = {"full": 1.0, "smoke": 2.0}
    with pytest.raises(SystemExit, match="0"):
        common["run"](lambda size, folder: {"speed": size}, figures, **sizes, large=3.0)
    assert json.loads(capfd.readouterr().out.splitlines()[-1])["speed"]["value"] == 3
    with pytest.raises(SystemExit, match="2"):
        common["run"](lambda size, folder: {"speed": size}, figures, **sizes)


@pytest.mark.parametrize(("value", "met"), [(0.9, False), (1.0, True), (2.0, True), (2.1, False)])
def test_figure_is_met_within_its_bounds(common, value, met):
    row = common["Figure"]("a ratio", least=1, most=2).judged(value)
    assert row["met"] is met
    assert row["bound"] == "≥ 1, ≤ 2"


@pytest.mark.parametrize(("value", "stored"), [(0.74964, 0.7496), (0.75, 0.75), (0.81234, 0.812)])
def test_rounding_does_not_hide_a_bound_that_is_not_met(common, value, stored):
    row = common["Figure"]("a ratio", least=0.75).judged(value)
    assert row["value"] == stored
