"""A head and two workers on this machine against a plain local run, of gld-mini.

The cluster is started by `ray start` with a token (tests/cluster.py): the head has no cores, each
worker has one, so that both sides have two. The run is one submitted job, which brings its own code
(`ray job submit --working-dir .`); its start counts, the cluster's does not. A job without the
token must be refused. The stages are those from `sample` to `embed`, with few features and a small
network, to save time.

    python bench/cluster.py [--smoke | --large]

3 minutes. `--large` has all features and stages, and trains mobilenet_v2: 10 minutes.
"""

import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from common import (
    CORES,
    FEW_FEATURES,
    MOBILENET,
    REPO,
    TINY_NETWORK,
    Figure,
    report,
    run,
    source_folder,
)

from landmark_ray.config import STAGES
from landmark_ray.data.root import Root
from landmark_ray.runtime import ledger

sys.path.append(str(REPO))
from tests.cluster import running  # noqa: E402
from tests.tables import TABLES, rows  # noqa: E402

FIGURES = {
    "ratio": Figure(
        "time of a submitted job on a head and two workers", "a plain local run", most=1.25
    ),
    "same": Figure("tables with the same rows", "a plain local run", least=1, quoted=False),
    "refused": Figure("whether a job without the token is refused", least=1, quoted=False),
}


@dataclass(frozen=True)
class Size:
    """How much work there is.

    Attributes:
        smoke: whether the dataset is the toy.
        options: of both runs.
        last: stage that both run to.
    """

    smoke: bool
    options: tuple[str, ...]
    last: str


def timed(run: Callable[[], "subprocess.CompletedProcess[str]"]) -> float:
    """Seconds of a command that must succeed."""
    begun = time.monotonic()
    done = run()
    seconds = time.monotonic() - begun
    if done.returncode:
        sys.exit(done.stdout + done.stderr)
    return seconds


def local(words: list[str]) -> float:
    """Seconds of the pipeline in a process of its own, Ray's start included."""
    size = ["--cluster.cpus", str(CORES)]
    command = [sys.executable, str(REPO / "jobs/pipeline.py"), *words, *size]
    return timed(lambda: subprocess.run(command, capture_output=True, text=True, check=False))


def measure(size: Size, folder: Path) -> dict[str, float]:
    """Both runs, and what they made."""
    words = ["--source", str(source_folder(size.smoke)), *size.options, "--to", size.last]
    roots = [folder / "local", folder / "cluster"]
    sides = [local([*words, "--root", str(roots[0])])]
    with running(folder) as cluster:
        refused = cluster.refuses_strangers()
        job = [sys.executable, "jobs/pipeline.py", *words, "--root", str(roots[1])]
        sides.append(timed(lambda: cluster.submit(*job, timeout=3600)))
    stages = STAGES[: STAGES.index(size.last) + 1]
    taken = [
        {s: float((ledger.read(Root(str(root)), s) or {})["seconds"]) for s in stages}
        for root in roots
    ]
    lines: list[list[str | float]] = [[s, *(side[s] for side in taken)] for s in stages]
    lines += [["stages", *(sum(t.values()) for t in taken)], ["from command to end", *sides]]
    report("All stages", ["stage", "local s", "cluster s"], lines)
    made = [table for table in TABLES if (roots[0] / table).exists()]
    same = [rows(roots[0], table).equals(rows(roots[1], table)) for table in made]
    return {
        "ratio": sides[1] / sides[0],
        "same": sum(same) / len(same),
        "refused": float(refused),
    }


if __name__ == "__main__":
    run(
        measure,
        FIGURES,
        full=Size(False, (*TINY_NETWORK, *FEW_FEATURES), "embed"),
        large=Size(False, MOBILENET, "export"),
        smoke=Size(True, TINY_NETWORK, "ingest"),
    )
