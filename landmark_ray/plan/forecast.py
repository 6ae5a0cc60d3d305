"""What all of a workload takes on a cluster."""

from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from landmark_ray.plan.calibration import Calibration
from landmark_ray.plan.clusters import Cluster
from landmark_ray.plan.machines import crew_of
from landmark_ray.plan.requests import requests_of
from landmark_ray.plan.work import Job, amount_of, pieces_of, work_of

HOUR, GB = 3600.0, 1e9
START = "start"


@dataclass(frozen=True)
class Row:
    """What a stage takes.

    Attributes:
        stage: its name; `start` for what is none.
        amount: its work, in units of `unit`.
        unit: of the work.
        seconds: from its begin to its end.
        cpu_hours: of busy cores.
        gpu_hours: of busy GPUs.
        written_gb: to disk, with what is deleted on the way.
        kept_gb: that stay.
        objects: that stay.
        gets: requests that read; none where tables lie on a disk.
        puts: requests that write or list.
        dollars: machines and requests.
    """

    stage: str
    amount: float = 0.0
    unit: str = ""
    seconds: float = 0.0
    cpu_hours: float = 0.0
    gpu_hours: float = 0.0
    written_gb: float = 0.0
    kept_gb: float = 0.0
    objects: float = 0.0
    gets: float = 0.0
    puts: float = 0.0
    dollars: float = 0.0


@dataclass(frozen=True)
class Forecast:
    """A plan.

    Attributes:
        rows: of the stages, in order.
        peak_gb: most that is on disk at once.
        month_dollars: for a month of what stays.
    """

    rows: list[Row] = field(default_factory=list)
    peak_gb: float = 0.0
    month_dollars: float = 0.0

    def total(self, name: str) -> float:
        """Of all rows."""
        return float(sum(getattr(row, name) for row in self.rows))

    def dominant(self) -> Row:
        """The longest row."""
        return max(self.rows, key=lambda row: row.seconds)

    def to_json(self) -> dict[str, Any]:
        """All of it."""
        names = [name for name in asdict(self.rows[0]) if name not in ("stage", "amount", "unit")]
        return {
            "stages": {row.stage: asdict(row) for row in self.rows},
            "total": {name: self.total(name) for name in names},
            "dominant": self.dominant().stage,
            "peak_gb": self.peak_gb,
            "month_dollars": self.month_dollars,
        }


def forecast(job: Job, known: Calibration, cluster: Cluster, stages: tuple[str, ...]) -> Forecast:
    """What some stages take of a run."""
    rows = [row_of(stage, job, known, cluster) for stage in stages]
    store = cluster.object_store
    kept = np.cumsum([0.0] + [row.kept_gb for row in rows])
    peak = max(before + row.written_gb for before, row in zip(kept, rows, strict=False))
    kinds = {crew_of(s, work_of(s, job), job.config, cluster).machines for s in stages}
    seconds = known.start + 60 * cluster.start_minutes * len(kinds)
    start = Row(START, seconds=seconds, dollars=cluster.head_dollars_hour * seconds / HOUR)
    if cluster.start_minutes:
        waiting = sum(m.count * m.dollars_hour for m in kinds) * cluster.start_minutes / 60
        start = Row(START, seconds=seconds, dollars=start.dollars + waiting)
    month = float(kept[-1]) * cluster.gb_month_dollars if store else 0.0
    return Forecast([start, *rows], float(peak), month)


def row_of(stage: str, job: Job, known: Calibration, cluster: Cluster) -> Row:
    """What a stage takes."""
    work, fit = work_of(stage, job), known.fits[stage]
    crew = crew_of(stage, work, job.config, cluster)
    fixed = fit.fixed * crew.rounds(work) / crew.machines.core_speed
    seconds = fixed + fit.rate * crew.busiest(work)
    busy = fit.rate * crew.all(work)
    if stage == "sample":
        seconds, fixed, busy = job.data.seconds, job.data.seconds, 0.0
    elif stage == "ingest" and known.read_s:
        streams = min(crew.count, len(job.data.archives))
        seconds += known.read_s * float(job.data.archives.sum()) / streams
    elif stage == "evaluate" and job.data.tests:
        seconds += fixed  # the models are loaded again for the test set
    kept = known.bytes[stage]
    size = (kept.fixed + kept.rate * amount_of(stage, job)) / GB
    temporary = size if stage == "ingest" else 0.0  # fragments, until they are in shards
    gets, puts = requests_of(stage, job) if cluster.object_store else (0.0, 0.0)
    an_hour = crew.machines.count * crew.machines.dollars_hour + cluster.head_dollars_hour
    requests = (gets * cluster.get_dollars + puts * cluster.put_dollars) / 1000
    return Row(
        stage,
        float(work.units.sum()),
        work.unit,
        seconds,
        (fixed + (0.0 if crew.gpus else busy)) / HOUR,
        busy * crew.gpus / HOUR,
        size + temporary,
        size,
        known.files[stage] * pieces_of(stage, job),
        gets,
        puts,
        an_hour * seconds / HOUR + requests,
    )
