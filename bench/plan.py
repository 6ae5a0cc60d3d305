"""What jobs/plan.py forecasts against what the runs then take, on this machine.

Two datasets, each planned first and then run by jobs/pipeline.py with the same options: gld-mini
with mobilenet_v2, and the drawn demo with four times as many landmarks by jobs/conf/demo.toml.

    python bench/plan.py [--smoke]

35 minutes, 3 GB of disk; without ../shared the demo alone. The machine must have nothing else to
do, or both sides meet different loads. To expect: totals within 25%, before the training and to the
end. `--smoke` plans and runs a few drawn photos as far as `prune`, and judges nothing.
"""

import argparse
import json
import math
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from common import GLD_MINI, finish, gld_mini_options, report

from landmark_ray.config import STAGES
from landmark_ray.data.root import Root
from landmark_ray.demo import dataset
from landmark_ray.demo.layout_plan import FULL, Plan
from landmark_ray.runtime import ledger

REPO = Path(__file__).parents[1]
MOST_OFF = 0.25
TRAINING = "trunk"
"""The first of the stages that belong to the training."""


@dataclass(frozen=True)
class Size:
    """What is planned and run, up to a stage: a drawn dataset, and gld-mini if `real`."""

    to: str
    scale: int
    plan: Plan
    real: bool = False
    options: tuple[str, ...] = ()


FULL_SIZE = Size("export", scale=4, plan=FULL, real=GLD_MINI.exists())
SMOKE = Size(
    "prune",
    scale=1,
    plan=Plan(sizes=(13, 9), small=(3,), tests=1, strangers=2, noise=2, duplicates=2),
    options=("--plan.sample", "20"),
)


def datasets(size: Size, folder: Path) -> dict[str, list[str]]:
    """Name -> options of a run."""
    dataset.draw(folder / "demo", seed=0, scale=size.scale, plan=size.plan)
    conf = str(REPO / "jobs/conf/demo.toml")
    found = {f"demo at {size.scale}x": ["--source", str(folder / "demo"), "--config", conf]}
    return {"gld-mini": gld_mini_options(), **found} if size.real else found


def job(name: str, *words: str) -> None:
    """Run a job to its end."""
    command = [sys.executable, str(REPO / f"jobs/{name}.py"), *words]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def plan_and_run(size: Size, options: list[str], folder: Path) -> dict[str, tuple[float, float]]:
    """Stage -> seconds, as they are planned and as they are."""
    options = [*options, "--to", size.to]
    output, root = str(folder / "plan.json"), str(folder / "root")
    job("plan", *options, *size.options, "--plan.output", output)
    job("pipeline", *options, "--root", root)
    planned = json.loads(Path(output).read_text())["stages"]
    stages = STAGES[: STAGES.index(size.to) + 1]
    taken = {stage: (ledger.read(Root(root), stage) or {})["seconds"] for stage in stages}
    return {stage: (planned[stage]["seconds"], taken[stage]) for stage in stages}


def measure(size: Size, folder: Path) -> dict[str, float]:
    """Forecast divided by measured time, of each dataset's stages before the training, and of all.

    A table of each dataset is printed.
    """
    figures = {}
    for name, options in datasets(size, folder).items():
        print(name, file=sys.stderr)
        (folder / name).mkdir()
        seconds = plan_and_run(size, options, folder / name)
        parts = {stage: (stage,) for stage in seconds}
        parts |= {"before training": STAGES[: STAGES.index(TRAINING)], "all": STAGES}
        rows: list[list[str | float]] = []
        for part, stages in parts.items():
            planned, taken = (sum(seconds[s][i] for s in stages if s in seconds) for i in (0, 1))
            rows.append([part, planned, taken, planned / max(taken, 1e-3)])
        report(name, ["stage", "planned s", "taken s", "ratio"], rows)
        figures |= {f"{name}, {row[0]}": float(row[3]) for row in rows[-2:]}
    return figures


def main() -> None:
    """Plan and run, and judge what was forecast."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--smoke", action="store_true", help="a toy size; no bound is judged")
    smoke = parser.parse_args().smoke
    with tempfile.TemporaryDirectory(prefix="bench-plan-") as folder:
        figures = measure(SMOKE if smoke else FULL_SIZE, Path(folder))
    within = all(abs(value - 1) <= MOST_OFF for value in figures.values())
    finish(figures, all(map(math.isfinite, figures.values())) if smoke else within)


if __name__ == "__main__":
    main()
