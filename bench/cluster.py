"""A head and two workers on this machine against a plain local run: all stages of gld-mini.

The cluster is started by `ray start` with a token (tests/cluster.py): the head has no cores, each
worker has one, so that both sides have two. The run is one submitted job, which brings its own code
(`ray job submit --working-dir .`). Whoever has no token is refused.

    python bench/cluster.py

10 minutes; without ../shared on the drawn demo. To expect: the same rows, at most 1.25 times the
time of the local run, all of the job's own start included; the cluster's start is not.
"""

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from common import GLD_MINI, finish, gld_mini_options, report

from landmark_ray.config import STAGES
from landmark_ray.data.root import Root
from landmark_ray.demo import dataset
from landmark_ray.runtime import ledger

REPO = Path(__file__).parents[1]
sys.path.append(str(REPO))
from tests.cluster import Running, running  # noqa: E402
from tests.tables import TABLES, rows  # noqa: E402

MOST = 1.25


def options(folder: Path) -> list[str]:
    """Of a run."""
    if GLD_MINI.exists():
        return gld_mini_options()
    dataset.draw(folder / "source", seed=0)
    return ["--source", str(folder / "source"), "--config", str(REPO / "jobs/conf/demo.toml")]


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
    command = [sys.executable, str(REPO / "jobs/pipeline.py"), *words]
    return timed(lambda: subprocess.run(command, capture_output=True, text=True, check=False))


def submitted(cluster: Running, *command: str) -> float:
    """Seconds of a job."""
    return timed(lambda: cluster.submit(*command, timeout=3600))


def main() -> None:
    """Both runs, and what they made."""
    with tempfile.TemporaryDirectory(prefix="bench-cluster-") as place:
        folder = Path(place)
        words, roots = options(folder), [folder / "local", folder / "cluster"]
        sides = [local([*words, "--root", str(roots[0])])]
        with running(folder) as cluster:
            refused = cluster.refuses_strangers()
            nothing = submitted(cluster, "true")
            job = [sys.executable, "jobs/pipeline.py", *words, "--root", str(roots[1])]
            sides.append(submitted(cluster, *job))
        taken = [
            {s: (ledger.read(Root(str(root)), s) or {})["seconds"] for s in STAGES}
            for root in roots
        ]
        same = all(rows(roots[0], table).equals(rows(roots[1], table)) for table in TABLES)
    lines: list[list[str | float]] = [
        [s, *(side[s] for side in taken), taken[1][s] / max(taken[0][s], 1e-3)] for s in STAGES
    ]
    lines.append(["stages", *(sum(t.values()) for t in taken), 0.0])
    lines[-1][-1] = float(lines[-1][2]) / float(lines[-1][1])
    lines.append(["from command to end", *sides, sides[1] / sides[0]])
    report("All stages", ["stage", "local s", "cluster s", "ratio"], lines)
    figures = {
        "ratio": sides[1] / sides[0],
        "local_s": sides[0],
        "cluster_s": sides[1],
        "empty_job_s": nothing,
        "same_rows": float(same),
        "refused": float(refused),
    }
    finish(figures, same and refused and figures["ratio"] <= MOST)


if __name__ == "__main__":
    main()
