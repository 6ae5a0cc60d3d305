"""What jobs/plan.py forecasts against what the run then takes, on this machine.

The drawn demo is planned first (two trial runs on some of its photos), and then run by
jobs/pipeline.py with the same options, from `sample` to `export`. The trunk learns for few epochs.

    python bench/plan.py [--smoke | --large]

5 minutes. The machine must have nothing else to do, or both sides meet different loads. `--large`
has four times as many landmarks: 20 minutes, 3 GB of disk. `--smoke` plans and runs `sample` alone.
"""

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from common import REPO, TOY, Figure, report, run

from landmark_ray.config import STAGES
from landmark_ray.data.root import Root
from landmark_ray.demo import dataset
from landmark_ray.demo.layout_plan import FULL, Plan
from landmark_ray.runtime import ledger

BASELINE = "the time that the run then takes"
TRAINING = STAGES[STAGES.index("trunk") :]

FIGURES = {
    "all": Figure(
        "time that `jobs/plan.py` forecasts, all stages", BASELINE, least=0.75, most=1.25
    ),
    "before_training": Figure(
        "time that `jobs/plan.py` forecasts, the stages before the training",
        BASELINE,
        least=0.75,
        most=1.25,
    ),
}


@dataclass(frozen=True)
class Size:
    """How much work there is.

    Attributes:
        last: stage that is planned and run to.
        scale: times as many landmarks as the demo has.
        plan: of the drawn dataset.
        options: of the plan and of the run.
        sample: photos of the larger trial run.
    """

    last: str
    scale: int
    plan: Plan
    options: tuple[str, ...]
    sample: int


def job(name: str, *words: str) -> None:
    """Run a job to its end."""
    command = [sys.executable, str(REPO / f"jobs/{name}.py"), *words]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def measure(size: Size, folder: Path) -> dict[str, float]:
    """Plan and run; the forecast of a part divided by the time that the part took."""
    source, output, root = (str(folder / name) for name in ("source", "plan.json", "root"))
    dataset.draw(Path(source), seed=0, scale=size.scale, plan=size.plan)
    words = ["--source", source, "--to", size.last, *size.options]
    job("plan", *words, "--plan.output", output, "--plan.sample", str(size.sample))
    job("pipeline", *words, "--root", root)
    planned = json.loads(Path(output).read_text())["stages"]
    stages = STAGES[: STAGES.index(size.last) + 1]
    seconds = {
        stage: (planned[stage]["seconds"], (ledger.read(Root(root), stage) or {})["seconds"])
        for stage in stages
    }
    parts = {stage: [stage] for stage in stages}
    parts["before_training"] = [stage for stage in stages if stage not in TRAINING]
    parts["all"] = list(stages)
    rows: list[list[str | float]] = []
    for part, of in parts.items():
        forecast, taken = (sum(seconds[stage][i] for stage in of) for i in (0, 1))
        rows.append([part, forecast, taken, forecast / max(taken, 1e-3)])
    report("Forecast and run", ["stage", "planned s", "taken s", "ratio"], rows)
    return {str(row[0]): float(row[3]) for row in rows[-2:]}


DEMO = ("--config", str(REPO / "jobs/conf/demo.toml"))
QUICK = ("--train.trunk_epochs", "5")

if __name__ == "__main__":
    run(
        measure,
        FIGURES,
        full=Size("export", 1, FULL, (*DEMO, *QUICK), sample=256),
        large=Size("export", 4, FULL, DEMO, sample=384),
        smoke=Size("sample", 1, TOY, (), sample=20),
    )
