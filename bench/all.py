"""Measure all figures of the README, and write its table.

    python bench/all.py [NAME ...] [--dirty]
    python bench/all.py --readme

Without names, all benchmarks run whose figures `bench/figures.json` does not have yet for this code
on this machine; named ones run again. Each is a process of its own, and its figures are stored when
it ends, with commit, date and machine: after Ctrl-C, the command without names continues. A
benchmark that fails, or does not meet a bound, does not stop the others.

The exit status is 0 if all figures are there and meet their bounds, 1 if one does not meet its
bound, 3 if one is missing, and 130 after Ctrl-C. `--readme` only writes the table from the file.

About two hours on two cores with nothing else to do.
"""

import argparse
import ast
import contextlib
import datetime
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil
from common import GIB, REPO, report

BENCHMARKS = {
    "duplicates": 1,
    "matching": 6,
    "cleaning": 7,
    "stage_rates": 8,
    "memory": 8,
    "scale": 3,
    "train": 6,
    "embed": 4,
    "heads": 2,
    "recognition": 12,
    "embedding": 15,
    "enrolment": 14,
    "index": 8,
    "verification": 1,
    "noise": 8,
    "serving": 7,
    "served_index": 2,
    "overload": 2,
    "cluster": 3,
    "plan": 5,
}
"""Name -> minutes that it takes on two cores with nothing else to do, about."""

FILE, README = REPO / "bench/figures.json", REPO / "README.md"
BEGIN, END = "<!-- figures: made by bench/all.py -->", "<!-- end of figures -->"
CODE = (
    "bench",
    "jobs",
    "landmark_ray",
    "requirements.txt",
    "tests/cluster.py",
    "tests/tables.py",
    ":!bench/figures.json",
)
"""What figures depend on; those of one benchmark do not depend on the others, or on this file."""

MOST_BUSY = 15.0
"""Percent of all cores that others may use before a benchmark begins; above, a warning is given."""

MET, NOT_MET, MISSING, INTERRUPTED = 0, 1, 3, 130
"""Exit statuses."""

STOP_S = 60
"""A benchmark that is interrupted has this many seconds to stop what it started."""

Figures = dict[str, Any]


def git(*words: str) -> str:
    """What git answers."""
    done = subprocess.run(["git", *words], cwd=REPO, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def what_runs(file: str, text: str) -> str:
    """The text of a file; of a Python module, its syntax without docstrings and comments."""
    if not file.endswith(".py"):
        return text
    tree = ast.parse(text)
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            node.value = ast.Constant(None)
    return ast.dump(tree)


def same_code(commit: str, name: str = "") -> bool:
    """Whether the code of a benchmark, of all if `name` is empty, runs as it did in a commit."""
    others = [f":!bench/{other}.py" for other in ("all", *BENCHMARKS) if name not in ("", other)]
    changed = ["diff", "--name-only", "--no-renames", commit, "--", *CODE, *others]
    try:
        return all(
            what_runs(file, git("show", f"{commit}:{file}"))
            == what_runs(file, (REPO / file).read_text())
            for file in git(*changed).splitlines()
        )
    except (subprocess.CalledProcessError, SyntaxError, FileNotFoundError):
        return False  # The commit is unknown, or a file was added, removed or damaged.


def machine() -> dict[str, Any]:
    """The processor, its cores and what it can, and the memory."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    named = dict(line.split(":", 1) for line in lines if ":" in line)
    cpu = {name.strip(): value.strip() for name, value in named.items()}
    flags = cpu.get("flags", "").split()
    wanted = {"AVX2": "avx2", "AVX-512": "avx512f", "AMX": "amx_tile"}
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return {
        "processor": cpu.get("model name", "unknown"),
        "cores": len(os.sched_getaffinity(0)),
        "instructions": [name for name, flag in wanted.items() if flag in flags],
        "memory_gib": round(pages / GIB),
    }


def stored() -> Figures:
    """The figures that are there."""
    return json.loads(FILE.read_text()) if FILE.exists() else {}


def fresh(dirty: bool) -> Figures:
    """A file of figures without any: of this commit, day and machine."""
    return {
        "commit": git("rev-parse", "HEAD") + ("+changes" if dirty else ""),
        "date": datetime.date.today().isoformat(),
        "machine": machine(),
        "figures": {},
    }


def kept(dirty: bool) -> Figures:
    """The figures that hold for this code on this machine, as figures of this commit."""
    file, state = stored(), fresh(dirty)
    if dirty or not file or "+" in file["commit"] or file["machine"] != state["machine"]:
        return state
    same = {name for name in BENCHMARKS if same_code(file["commit"], name)}
    rows = {k: row for k, row in file["figures"].items() if k.partition(".")[0] in same}
    return {**state, "figures": rows}


def output_of(command: Sequence[str]) -> tuple[int, str]:
    """Run a command in a process group of its own; its exit status, and what it prints on stdout.

    Raises:
        KeyboardInterrupt: Ctrl-C, which is passed on.
    """
    process = subprocess.Popen(
        command, cwd=REPO, stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        out, _ = process.communicate()
    except KeyboardInterrupt:
        os.killpg(process.pid, signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(STOP_S)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        raise
    return process.returncode, out


def measure(name: str) -> Figures:
    """Run a benchmark; its figures, or none if it fails."""
    script = f"bench/{name}.py"
    busy = psutil.cpu_percent(interval=2)
    if busy > MOST_BUSY:
        say(f"warning: other programs use {busy:.0f}% of the cores: times will be too long")
    begun = time.monotonic()
    status, out = output_of([sys.executable, str(REPO / script)])
    seconds = round(time.monotonic() - begun)
    print(out, flush=True)
    try:
        rows = dict(json.loads(out.splitlines()[-1]))
    except (IndexError, ValueError, TypeError):
        say(f"{name} failed with status {status} after {seconds} s: it has no figures")
        return {}
    missed = [figure for figure, row in rows.items() if not row["met"]]
    say(f"{name} took {seconds / 60:.1f} minutes; bounds not met: {', '.join(missed) or 'none'}")
    more = {"command": f"python {script}", "seconds": seconds, "busy_percent": busy}
    return {f"{name}.{figure}": {**row, **more} for figure, row in rows.items()}


def say(line: str) -> None:
    """Print how far the run is."""
    print(line, file=sys.stderr, flush=True)


def of(name: str, state: Figures) -> Figures:
    """The figures of a benchmark."""
    return {key: row for key, row in state["figures"].items() if key.partition(".")[0] == name}


def run(names: Sequence[str], dirty: bool) -> int:
    """Run benchmarks, store what each finds, and show all figures that are there; the exit status.

    Args:
        names: of those that run again; if there is none, those without figures run.
        dirty: the code is not committed, so that no stored figure holds.
    """
    state = kept(dirty)
    todo = list(names) or [name for name in BENCHMARKS if not of(name, state)]
    try:
        for number, name in enumerate(todo):
            left = sum(BENCHMARKS[other] for other in todo[number:])
            about = f"about {BENCHMARKS[name]} min; {left} min left in all"
            say(f"{datetime.datetime.now():%H:%M}, {number + 1} of {len(todo)}: {name}, {about}")
            found = {name: measure(name)}
            parts = [found.get(other, of(other, state)) for other in BENCHMARKS]
            state["figures"] = {key: row for part in parts for key, row in part.items()}
            FILE.write_text(json.dumps(state, indent=1) + "\n")
    except KeyboardInterrupt:
        say("interrupted: python bench/all.py continues with the benchmarks without figures")
        return INTERRUPTED
    rows = state["figures"]
    report(
        f"Figures of {state['commit'][:12]}",
        ["figure", "value", "bound", ""],
        [[k, shown(row), row["bound"], "" if row["met"] else "not met"] for k, row in rows.items()],
    )
    if missing := [name for name in BENCHMARKS if not of(name, state)]:
        say(f"without figures: {', '.join(missing)}")
        return MISSING
    return MET if all(row["met"] for row in rows.values()) else NOT_MET


def shown(row: Figures) -> str:
    """A value with its unit."""
    return f"{row['value']:,g} {row['unit']}".strip()


def table(state: Figures) -> str:
    """The README's block: what was measured, where, against what, and with which benchmark."""
    if not state:
        return f"{BEGIN}\nNothing is measured yet.\n{END}"
    where = state["machine"]
    able = ", ".join(where["instructions"]) or "none of AVX2, AVX-512, AMX"
    lines = [
        BEGIN,
        f"Measured on {state['date']} at commit {state['commit'][:12]}, on a machine with "
        f"{where['cores']} cores, {able} and {where['memory_gib']} GiB. The ratios of kernels "
        "depend on the processor. A value without a unit is a share, or the ratio to the baseline.",
        "",
        "| What is measured | Value | Bound | Baseline | In `bench/` | Processor |",
        "|---|---|---|---|---|---|",
    ]
    for key, row in state["figures"].items():
        if row["quoted"]:
            bound = row["bound"] + ("" if row["met"] else ", **not met**")
            name = f"`{key.partition('.')[0]}`"
            cells = (row["what"], shown(row), bound, row["baseline"], name, where["processor"])
            lines.append(f"| {' | '.join(cells)} |")
    if missing := [f"`{name}`" for name in BENCHMARKS if not of(name, state)]:
        lines += ["", f"Not measured: {', '.join(missing)}."]
    return "\n".join([*lines, END])


def written(readme: str, state: Figures) -> str:
    """The README with the table of figures."""
    before, rest = readme.split(BEGIN)
    return before + table(state) + rest.split(END)[1]


def main() -> int:
    """Run what is asked for, and write the README's table; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("names", nargs="*", metavar="NAME", help="benchmarks that run again")
    parser.add_argument("--dirty", action="store_true", help="measure code that isn't committed")
    parser.add_argument("--readme", action="store_true", help="only write the README's table")
    given = parser.parse_args()
    if unknown := set(given.names) - set(BENCHMARKS):
        parser.error(f"there is no benchmark {', '.join(unknown)}; there are {list(BENCHMARKS)}")
    status = MET
    if not given.readme:
        new = git("ls-files", "--others", "--exclude-standard", *CODE)
        dirty = bool(new) or not same_code("HEAD")
        if dirty and not given.dirty:
            parser.error("the code isn't committed: figures need a commit, or --dirty")
        status = run(given.names, dirty)
    README.write_text(written(README.read_text(), stored()))
    say(f"{README} has the table of {FILE}")
    return status


if __name__ == "__main__":
    sys.exit(main())
