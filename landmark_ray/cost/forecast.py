"""What each stage of a run takes on a cluster, and the table that shows it."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from rich.table import Table

from landmark_ray.cost.calibration import Calibration, default_calibration
from landmark_ray.cost.clusters import TRAINING, Cluster, worker_pool
from landmark_ray.cost.work import Run, file_pieces, table_rows, work_of
from landmark_ray.runtime.progress import console

HOUR, GB = 3600.0, 1e9
BUNDLED = ("trunk", "index", "train", "finetune")
"""The stages whose files the bundle holds."""

REFERENCE = ("extract", "match")
REFERENCE_TIME = (
    "The reference took 12 days for extract and match of all of Google Landmarks on 8 cores (2 of "
    "extract + 10 of match); here {} + {}."
)


@dataclass(frozen=True)
class Row:
    """What a stage takes."""

    stage: str  # or `start`, for what belongs to no stage
    amount: float = 0.0  # of its work, in units of `unit`
    unit: str = ""
    seconds: float = 0.0  # from its start to its end
    cpu_hours: float = 0.0  # of busy cores
    gpu_hours: float = 0.0  # of busy GPUs
    written_gb: float = 0.0  # to disk, with files that are deleted on the way
    kept_gb: float = 0.0  # that stay
    objects: float = 0.0  # files that stay
    dollars: float = 0.0  # for the machines


@dataclass(frozen=True)
class Forecast:
    """What a run takes."""

    rows: list[Row]  # `start`, and the stages in order
    peak_gb: float  # most that is on disk at once
    month_dollars: float  # for a month of what stays

    def total(self, name: str) -> float:
        """Return the sum of a field of all rows."""
        return float(sum(getattr(row, name) for row in self.rows))

    @property
    def longest(self) -> Row:
        """The row that takes most of the time."""
        return max(self.rows, key=lambda row: row.seconds)

    def to_json(self) -> dict[str, Any]:
        """Return all rows and totals, as values of JSON."""
        return {
            "stages": {row.stage: asdict(row) for row in self.rows},
            "total": {name: self.total(name) for name in COLUMNS},
            "dominant": self.longest.stage,
            "peak_gb": self.peak_gb,
            "month_dollars": self.month_dollars,
        }


def forecast(run: Run, known: Calibration, cluster: Cluster, stages: Sequence[str]) -> Forecast:
    """Return what some stages of a run take."""
    rows = [row_of(stage, run, known, cluster) for stage in stages]
    kept = np.cumsum([0.0] + [row.kept_gb for row in rows])
    peak = max(before + row.written_gb for before, row in zip(kept, rows, strict=False))
    kinds = {worker_pool(s, work_of(s, run), run.config, cluster).machines for s in stages}
    seconds = known.start + 60 * cluster.start_minutes * len(kinds)
    waiting = sum(m.count * m.dollars_hour for m in kinds) * cluster.start_minutes / 60
    dollars = cluster.head_dollars_hour * seconds / HOUR + waiting
    start = Row("start", seconds=seconds, dollars=dollars)
    return Forecast([start, *rows], float(peak), float(kept[-1]) * cluster.gb_month_dollars)


def kept_bytes(stage: str, run: Run, known: Calibration) -> float:
    """Return the bytes that a stage leaves; export copies those of the stages in `BUNDLED`."""
    if stage == "export":
        return sum(kept_bytes(copied, run, known) for copied in BUNDLED)
    size = known.bytes[stage]
    return size.fixed + size.rate * table_rows(stage, run)


def row_of(stage: str, run: Run, known: Calibration, cluster: Cluster) -> Row:
    """Return what a stage takes; its workers start side by side, once, and share the work."""
    work, fit = work_of(stage, run), known.fits[stage]
    pool = worker_pool(stage, work, run.config, cluster)
    starts = stage not in TRAINING or len(work.weights) > 0
    fixed = starts * fit.fixed / pool.machines.core_speed
    training = fit.training / pool.speed
    seconds = fixed + training * pool.rounds(work) + fit.rate * pool.busiest(work)
    busy = training * len(work.weights) + fit.rate * float(pool.each(work).sum())
    if stage == "sample":
        seconds, fixed, busy = run.data.sample_s, run.data.sample_s, 0.0
    elif stage == "ingest" and known.read_s:
        streams = min(pool.count, len(run.data.archives))
        seconds += known.read_s * float(run.data.archives.sum()) / streams
    kept_gb = kept_bytes(stage, run, known) / GB
    machines = pool.machines.count * pool.machines.dollars_hour + cluster.head_dollars_hour
    return Row(
        stage,
        amount=float(work.units.sum()),
        unit=work.unit,
        seconds=seconds,
        cpu_hours=(fixed + (0.0 if pool.gpus else busy)) / HOUR,
        gpu_hours=busy * pool.gpus / HOUR,
        written_gb=kept_gb * (2 if stage == "ingest" else 1),  # fragments first, then shards
        kept_gb=kept_gb,
        objects=known.files[stage] * file_pieces(stage, run),
        dollars=machines * seconds / HOUR,
    )


def clock(seconds: float) -> str:
    """Return seconds as 0:00:07, or as days."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours / 24:.1f} days" if hours >= 48 else f"{hours}:{minutes:02d}:{rest:02d}"


def number(value: float) -> str:
    """Return the value with three digits; nothing for 0."""
    if not value:
        return ""
    if value >= 99.95:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 9.995 else f"{value:.3f}" if value < 0.1 else f"{value:.2f}"


COLUMNS: dict[str, tuple[str, Callable[[float], str]]] = {
    "seconds": ("time", clock),
    "cpu_hours": ("CPU h", number),
    "gpu_hours": ("GPU h", number),
    "written_gb": ("GB written", number),
    "kept_gb": ("GB kept", number),
    "objects": ("objects", lambda value: f"{value:,.0f}" if value else ""),
    "dollars": ("$", number),
}


def show(run: Run, found: Forecast, known: Calibration, cluster: Cluster) -> None:
    """Print the table, and what it rests on."""
    data = run.data
    title = f"{data.images:,} of {data.listed:,} images, {len(data.sizes):,} landmarks"
    table = Table("stage", title=f"{title}; {cluster.about}", title_justify="left")
    columns = {n: c for n, c in COLUMNS.items() if found.total(n)}
    for name in ("work", *(title for title, _ in columns.values())):
        table.add_column(name, justify="right")
    for row in found.rows:
        mark = "*" if row.stage in {*known.stored, *known.noisy} else ""
        work = f"{row.amount:,.0f} {row.unit}" if row.amount else ""
        cells = (text(getattr(row, name)) for name, (_, text) in columns.items())
        table.add_row(row.stage + mark, work, *cells)
    table.add_section()
    table.add_row("total", "", *(text(found.total(name)) for name, (_, text) in columns.items()))
    screen = console()
    screen.print(table)
    total, longest = found.total("seconds"), found.longest
    ours = [clock(row.seconds) for row in found.rows if row.stage in REFERENCE]
    month = f" What stays is ${number(found.month_dollars)} a month." if found.month_dollars else ""
    for line in (
        f"{longest.stage} dominates, with {longest.seconds / max(total, 1e-9):.0%} of "
        f"{clock(total)}.",
        *([REFERENCE_TIME.format(*ours)] if len(ours) == len(REFERENCE) else []),
        f"Disk: {number(found.peak_gb) or '0'} GB at most.{month}",
        "Assumed:",
        *(f"  {line}" for line in assumptions(found.rows, run, known, cluster)),
    ):
        screen.print(line, soft_wrap=True, highlight=False, markup=False)


def assumptions(rows: list[Row], run: Run, known: Calibration, cluster: Cluster) -> Iterator[str]:
    """Yield lines that say what the figures rest on."""
    rates = known.rates
    yield (
        f"{rates.usable:.1%} of the photos are usable, {1 - rates.unverified:.1%} of these are "
        f"verified by another one, after {rates.tries:.1f} pairs each"
    )
    if known.photos:
        photos = " and ".join(f"{n:,}" for n in known.photos)
        yield f"stages take what they took on {photos} photos here ({known.about})"
    if {row.stage for row in rows} & {*known.stored, *known.noisy}:
        about = default_calibration().about
        yield f"* is by stored figures, not by this machine and these photos: {about}"
    for machines in cluster.machines:
        worth = f"{machines.count} x {machines.cores} cores of {machines.core_speed:g}"
        if machines.gpus:
            worth += f", {machines.gpus} GPUs, each worth {machines.gpu_cores:g} cores for networks"
        if cluster.head_dollars_hour or machines.dollars_hour or machines.core_speed != 1:
            yield f"{worth}; ${machines.dollars_hour:g} a machine and hour"
    if cluster.gb_month_dollars:
        yield "requests to the object store are not counted; they cost extra"
    if known.read_s:
        yield f"each core reads {1e-6 / known.read_s:.0f} MB/s of the source, all at once"
    if "finetune" in run.config.train.phases:
        yield "finetune runs through all its epochs; it often stops sooner"
