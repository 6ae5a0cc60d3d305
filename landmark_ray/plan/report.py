"""A plan as a table, and what it rests on."""

from collections.abc import Callable, Sequence

from rich.console import Console
from rich.table import Table

from landmark_ray.plan.calibration import Calibration
from landmark_ray.plan.clusters import Cluster
from landmark_ray.plan.forecast import HOUR, Forecast, Row
from landmark_ray.plan.work import Job

REFERENCE_DAYS = {"extract": 2, "match": 10}
REFERENCE_CORES = 8
"""The reference: 2 days of DELF extraction and 10 days of matching on 8 cores."""

Column = tuple[str, str, Callable[[float], str]]


def clock(seconds: float) -> str:
    """0:00:07, or days and hours."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours / 24:.1f} days" if hours >= 48 else f"{hours}:{minutes:02d}:{rest:02d}"


def number(value: float) -> str:
    """Three digits of it; nothing for nothing."""
    if not value:
        return ""
    if value >= 99.95:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 9.995 else f"{value:.3f}" if value < 0.1 else f"{value:.2f}"


def whole(value: float) -> str:
    """A count; nothing for nothing."""
    return f"{value:,.0f}" if value else ""


COLUMNS: tuple[Column, ...] = (
    ("time", "seconds", clock),
    ("CPU h", "cpu_hours", number),
    ("GPU h", "gpu_hours", number),
    ("GB written", "written_gb", number),
    ("GB kept", "kept_gb", number),
    ("objects", "objects", whole),
    ("GETs", "gets", whole),
    ("PUTs", "puts", whole),
    ("$", "dollars", number),
)
ALWAYS = ("seconds", "cpu_hours", "written_gb", "kept_gb", "objects")


def show(job: Job, found: Forecast, known: Calibration, cluster: Cluster) -> None:
    """Print the table and the lines below it."""
    data = job.data
    table = Table(
        "stage",
        title=f"{data.images:,} of {data.listed:,} images, {len(data.sizes):,} landmarks; "
        f"{cluster.about}",
        title_justify="left",
    )
    columns = [c for c in COLUMNS if c[1] in ALWAYS or found.total(c[1])]
    table.add_column("work", justify="right")
    for name, _, _ in columns:
        table.add_column(name, justify="right")
    for row in found.rows:
        mark = "*" if row.stage in {*known.stored, *known.noisy} else ""
        table.add_row(row.stage + mark, work(row), *(f(getattr(row, n)) for _, n, f in columns))
    table.add_section()
    table.add_row("total", "", *(f(found.total(n)) for _, n, f in columns))
    console = Console()
    if not console.is_terminal:
        console = Console(width=140)
    console.print(table)
    for line in lines(job, found, known, cluster):
        console.print(line, soft_wrap=True, highlight=False, markup=False)


def work(row: Row) -> str:
    """How much a stage has to do."""
    return f"{row.amount:,.0f} {row.unit}" if row.amount else ""


def lines(job: Job, found: Forecast, known: Calibration, cluster: Cluster) -> Sequence[str]:
    """What dominates, the reference, disk, and what all rests on."""
    total, top = found.total("seconds"), found.dominant()
    said = [
        f"{top.stage} dominates, with {top.seconds / max(total, 1e-9):.0%} of {clock(total)}.",
        *reference(found),
        f"Disk: {number(found.peak_gb) or '0'} GB at most."
        + (f" What stays is ${number(found.month_dollars)} a month." * bool(found.month_dollars)),
        "Assumed:",
        *(f"  {line}" for line in assumptions(found.rows, job, known, cluster)),
    ]
    return said


def reference(found: Forecast) -> list[str]:
    """The reference's days beside ours, for the stages that it had."""
    rows = {row.stage: row for row in found.rows if row.stage in REFERENCE_DAYS}
    if set(rows) != set(REFERENCE_DAYS):
        return []
    days = " + ".join(f"{days} of {stage}" for stage, days in REFERENCE_DAYS.items())
    ours = " + ".join(clock(row.seconds) for row in rows.values())
    cores = sum(row.cpu_hours for row in rows.values()) / REFERENCE_CORES
    on = f"; {clock(cores * HOUR)} of its {REFERENCE_CORES} cores, at the speed of these"
    if any(row.gpu_hours for row in rows.values()):
        on = ""
    return [
        f"The reference took {sum(REFERENCE_DAYS.values())} days for extract and match of all of "
        f"Google Landmarks on {REFERENCE_CORES} cores ({days}); here {ours}{on}."
    ]


def assumptions(rows: list[Row], job: Job, known: Calibration, cluster: Cluster) -> list[str]:
    """What the figures rest on."""
    shares, config = known.shares, job.config
    found = [
        f"{shares.usable:.1%} of the photos are usable, {1 - shares.unverified:.1%} of these are "
        f"verified by another one, after {shares.tries:.1f} pairs each"
    ]
    if known.photos:
        photos = " and ".join(f"{n:,}" for n in known.photos)
        found.append(f"stages take what they took on {photos} photos here ({known.about})")
    if {row.stage for row in rows} & {*known.stored, *known.noisy}:
        found.append(
            f"* is by stored figures, not by this machine and these photos: {known.stored_about}"
        )
    for machines in cluster.machines:
        worth = f"{machines.count} x {machines.cores} cores of {machines.core_speed:g}"
        if machines.gpus:
            worth += f", {machines.gpus} GPUs, each worth {machines.gpu_cores:g} cores for networks"
        if cluster.head_dollars_hour or machines.dollars_hour or machines.core_speed != 1:
            worth += f"; ${machines.dollars_hour:g} a machine and hour"
            found.append(worth)
    if known.read_s:
        found.append(f"each core reads {1e-6 / known.read_s:.0f} MB/s of the source, all at once")
    if "finetune" in config.train.phases:
        found.append("finetune runs through all its epochs; it often stops sooner")
    return found
