"""Run all benchmarks at full size, one after the other, and write their figures.

    python bench/all.py [NAME ...] [--redo] [--dirty]
    python bench/all.py --readme

Each benchmark is a process of its own. One that fails is named at the end, and the others go on.
The figures, with commit, date and machine, are written to `bench/figures.json` after each: the same
command goes on after a stop, and leaves out what is there already for the same code on the same
machine, but for `--redo`. `--readme` writes the README's table anew from that file, as does a run.

Under two hours on two cores; `BENCHMARKS` says what each takes. The machine must have nothing else
to do.
"""

import argparse
import datetime
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil
from common import GIB, REPO, report
from rich.console import Console

BENCHMARKS = {
    "duplicates": 1,
    "matching": 12,
    "stage_rates": 8,
    "memory": 8,
    "scale": 15,
    "train": 6,
    "serving": 12,
    "overload": 4,
    "cluster": 10,
    "plan": 35,
}
"""Name -> minutes that it takes on two cores, about."""

FILE, README = REPO / "bench/figures.json", REPO / "README.md"
BEGIN, END = "<!-- figures: made by bench/all.py -->", "<!-- end of figures -->"
CODE = (
    "bench",
    "jobs",
    "landmark_ray",
    "requirements.txt",
    "tests/cluster.py",
    ":!bench/figures.json",
)
"""What figures depend on."""

MOST_BUSY = 15.0
"""Percent of all cores that others may use before a benchmark begins; above, a warning is given."""

Figures = dict[str, Any]


def git(*words: str) -> str:
    """What git answers."""
    done = subprocess.run(["git", *words], cwd=REPO, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def same_code(commit: str) -> bool:
    """Whether what figures depend on is now as it was in a commit."""
    command = ["git", "diff", "--quiet", commit, "--", *CODE]
    return subprocess.run(command, cwd=REPO, capture_output=True, check=False).returncode == 0


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
    """The figures that hold for this code on this machine, or none."""
    file = stored()
    holds = file and not dirty and "+" not in file["commit"] and same_code(file["commit"])
    return file if holds and file["machine"] == machine() else fresh(dirty)


def measure(name: str) -> tuple[str, Figures]:
    """Run a benchmark; how it ended, and its figures."""
    script = f"bench/{name}.py"
    busy = psutil.cpu_percent(interval=2)
    if busy > MOST_BUSY:
        print(f"warning: the cores are busy ({busy:.0f}%): times will be too long", file=sys.stderr)
    begun = time.monotonic()
    command = [sys.executable, str(REPO / script)]
    done = subprocess.run(command, cwd=REPO, stdout=subprocess.PIPE, text=True, check=False)
    seconds = round(time.monotonic() - begun)
    print(done.stdout, flush=True)
    try:
        rows = dict(json.loads(done.stdout.splitlines()[-1]))
    except (IndexError, ValueError, TypeError):
        return f"failed with status {done.returncode}", {}
    more = {"command": f"python {script}", "seconds": seconds, "busy_percent": busy}
    figures = {f"{name}.{figure}": {**row, **more} for figure, row in rows.items()}
    return "done" if done.returncode == 0 else "missed a bound", figures


def run(names: Sequence[str], redo: bool, dirty: bool) -> bool:
    """Run benchmarks, and store what they find; whether all bounds are met."""
    state = kept(dirty)
    ends = {}
    for number, name in enumerate(names, 1):
        earlier = [key for key in state["figures"] if key.partition(".")[0] == name]
        if earlier and not redo:
            met = all(state["figures"][key]["met"] for key in earlier)
            ends[name] = "kept" if met else "kept; missed a bound"
            continue
        begun = datetime.datetime.now().strftime("%H:%M")
        about = f"about {BENCHMARKS[name]} minutes from {begun}"
        print(f"{number} of {len(names)}: {name}, {about}", file=sys.stderr, flush=True)
        ends[name], figures = measure(name)
        others = {key: row for key, row in state["figures"].items() if key not in earlier}
        state["figures"] = others | figures
        FILE.write_text(json.dumps(state, indent=1) + "\n")
    rows = [
        [key, shown(row), row["bound"], "" if row["met"] else "MISSED"]
        for key, row in state["figures"].items()
    ]
    report(f"Figures of {state['commit'][:12]}", ["figure", "value", "bound", ""], rows)
    report("Benchmarks", ["", "end"], [[name, end] for name, end in ends.items()])
    return set(ends.values()) <= {"done", "kept"}


def shown(row: Figures) -> str:
    """A value with its unit."""
    return f"{row['value']:,g} {row['unit']}".strip()


def table(state: Figures) -> str:
    """The README's block: what was measured, where, and with which command."""
    if not state:
        return f"{BEGIN}\nNothing is measured yet.\n{END}"
    where = state["machine"]
    able = ", ".join(where["instructions"]) or "none of AVX2, AVX-512 and AMX"
    lines = [
        BEGIN,
        f"Measured on {state['date']} at commit {state['commit'][:12]}, each on the same machine: "
        f"{where['processor']}, {where['cores']} cores, {able}, {where['memory_gib']} GiB. "
        "Ratios of kernels depend on the processor.",
        "",
        "| what | figure | bound | command |",
        "|---|---|---|---|",
    ]
    for row in state["figures"].values():
        if row["quoted"]:
            bound = row["bound"] + ("" if row["met"] else " (missed)")
            cells = (row["what"], shown(row), bound, f"`{row['command']}`")
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, END])


def written(readme: str, state: Figures) -> str:
    """The README with the table of figures."""
    before, rest = readme.split(BEGIN)
    return before + table(state) + rest.split(END)[1]


def main() -> None:
    """Run what is asked for, and write the README's table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("names", nargs="*", metavar="NAME", help="benchmarks; all by default")
    parser.add_argument("--redo", action="store_true", help="measure again what is there")
    parser.add_argument("--dirty", action="store_true", help="measure code that isn't committed")
    parser.add_argument("--readme", action="store_true", help="only write the README's table")
    given = parser.parse_args()
    unknown = set(given.names) - set(BENCHMARKS)
    if unknown:
        parser.error(f"there is no benchmark {', '.join(unknown)}; there are {list(BENCHMARKS)}")
    met = True
    if not given.readme:
        dirty = not same_code("HEAD") or bool(
            git("ls-files", "--others", "--exclude-standard", *CODE)
        )
        if dirty and not given.dirty:
            parser.error("the code isn't committed: figures need a commit, or --dirty")
        met = run(given.names or list(BENCHMARKS), given.redo, dirty)
    README.write_text(written(README.read_text(), stored()))
    Console().print(f"{README} has the table of {FILE}")
    sys.exit(0 if met else 1)


if __name__ == "__main__":
    main()
