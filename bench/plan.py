"""What jobs/plan.py forecasts against what the runs then take, on this machine.

Two datasets, each planned first and then run by jobs/pipeline.py with the same options: gld-mini
with mobilenet_v2, and the drawn demo with four times as many landmarks by jobs/conf/demo.toml.

    python bench/plan.py [--rounds 1]

35 minutes, 3 GB of disk; without ../shared the demo alone. The machine must have nothing else to
do, or both sides meet different loads. To expect: totals within 25%, to `resize` and to the end.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from common import GLD_MINI, finish, gld_mini_options, report

from landmark_ray.config import STAGES
from landmark_ray.data.root import Root
from landmark_ray.demo import dataset
from landmark_ray.runtime import ledger

REPO = Path(__file__).parents[1]
SCALE = 4
MOST_OFF = 0.25
PARTS = {"to resize": STAGES[: STAGES.index("resize") + 1], "all": STAGES}


def datasets(folder: Path) -> dict[str, list[str]]:
    """Name -> options of a run."""
    dataset.draw(folder / "demo", seed=0, scale=SCALE)
    found = {}
    if GLD_MINI.exists():
        found["gld-mini"] = gld_mini_options()
    conf = str(REPO / "jobs/conf/demo.toml")
    found[f"demo at {SCALE}x"] = ["--source", str(folder / "demo"), "--config", conf]
    return found


def job(name: str, *words: str) -> None:
    """Run a job to its end."""
    command = [sys.executable, str(REPO / f"jobs/{name}.py"), *words]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def measure(options: list[str], folder: Path) -> tuple[dict[str, float], dict[str, float]]:
    """Seconds of each stage, as they are planned and as they are."""
    output = folder / "plan.json"
    job("plan", *options, "--plan.output", str(output))
    planned = json.loads(output.read_text())["stages"]
    root = str(folder / "root")
    job("pipeline", *options, "--root", root)
    taken = {stage: (ledger.read(Root(root), stage) or {})["seconds"] for stage in STAGES}
    return {stage: planned[stage]["seconds"] for stage in STAGES}, taken


def compared(name: str, planned: dict[str, float], taken: dict[str, float]) -> dict[str, float]:
    """Print a dataset's table; forecast divided by measured, of each part."""
    rows: list[list[str | float]] = [
        [s, planned[s], taken[s], ratio(planned, taken, (s,))] for s in STAGES
    ]
    found = {part: ratio(planned, taken, stages) for part, stages in PARTS.items()}
    for part, stages in PARTS.items():
        sums = [sum(side[s] for s in stages) for side in (planned, taken)]
        rows.append([part, *sums, found[part]])
    report(name, ["stage", "planned s", "taken s", "ratio"], rows)
    return {f"{name}, {part}": value for part, value in found.items()}


def ratio(planned: dict[str, float], taken: dict[str, float], stages: tuple[str, ...]) -> float:
    """Forecast divided by measured."""
    return sum(planned[s] for s in stages) / max(sum(taken[s] for s in stages), 1e-3)


def main() -> None:
    """Plan and run both."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=1)
    rounds = parser.parse_args().rounds
    figures: dict[str, float] = {}
    with tempfile.TemporaryDirectory(prefix="bench-plan-") as place:
        for name, options in datasets(Path(place)).items():
            for number in range(rounds):
                print(f"{name}, round {number + 1}", file=sys.stderr)
                folder = Path(place) / f"{name}-{number}"
                folder.mkdir()
                title = f"{name}, round {number + 1}" if rounds > 1 else name
                figures |= compared(title, *measure(options, folder))
    finish(figures, all(abs(value - 1) <= MOST_OFF for value in figures.values()))


if __name__ == "__main__":
    main()
