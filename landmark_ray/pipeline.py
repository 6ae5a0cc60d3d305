"""The stages in order, and what it means to run some of them."""

import sys
import time
from collections.abc import Sequence
from types import ModuleType
from typing import Any

from pydantic import Field

from landmark_ray.config import STAGES, Config, StageName
from landmark_ray.data import deletion
from landmark_ray.data.root import Root
from landmark_ray.data.sources import Source
from landmark_ray.data.store import Store
from landmark_ray.errors import UserError
from landmark_ray.reports import curation_page, evaluation_page
from landmark_ray.reports import funnel_chart as report
from landmark_ray.runtime import crash_log, ledger, ownership, preflight, receipts
from landmark_ray.runtime.error_log import during
from landmark_ray.stages import (
    clean,
    dedupe,
    detect,
    embed,
    evaluate,
    export,
    extract,
    finetune,
    group,
    ingest,
    match,
    prune,
    resize,
    sample,
    train,
    trunk,
)

MODULES: dict[str, ModuleType] = {
    "sample": sample,
    "ingest": ingest,
    "dedupe": dedupe,
    "extract": extract,
    "match": match,
    "prune": prune,
    "detect": detect,
    "clean": clean,
    "resize": resize,
    "group": group,
    "trunk": trunk,
    "embed": embed,
    "train": train,
    "finetune": finetune,
    "evaluate": evaluate,
    "export": export,
}
assert tuple(MODULES) == STAGES

PLACES = {
    stage: (*module.WRITES, *getattr(module, "SCRATCH", ()), crash_log.place(stage))
    for stage, module in MODULES.items()
}
"""Stage -> the folders of a root that it writes, scratch included."""

REPORTS = {"clean": (curation_page.PAGE,), "evaluate": evaluation_page.FILES}
"""Stage -> the reports that are written when it has run; after all stages the funnel's."""


class PipelineConfig(Config):
    """Options of jobs/pipeline.py."""

    from_: StageName = Field("sample", alias="from", description="first stage to run")
    to: StageName = Field("export", description="last stage to run")

    def chosen(self) -> tuple[str, ...]:
        """The stages between `from` and `to`.

        Raises:
            UserError: `to` comes before `from`.
        """
        first, last = STAGES.index(self.from_), STAGES.index(self.to)
        if first > last:
            raise UserError(f"--from {self.from_} comes after --to {self.to}")
        return STAGES[first : last + 1]


def run(config: Config, stages: Sequence[str]) -> None:
    """Run stages, skip those that are finished, and show what went in and came out.

    Raises:
        UserError: anything that a person can mend.
    """
    if not config.root:
        raise UserError("--root is missing: a folder or URI for all tables")
    if not config.source:
        raise UserError("--source is missing: a folder or URI with the raw dataset")
    preflight.options_fit(config, stages)
    tables = Root(config.root)
    ownership.apart(Store(config.source), tables)
    source = Source(config.source)
    for line in source.lines():
        print(f"  source: {line}", file=sys.stderr)
    _check_owned(tables, stages, config)
    ownership.clear(tables, config.redo, PLACES)
    for stage in stages:
        run_stage(stage, config, tables, source)
        if stage == "sample":  # it took a second, and what follows may take days
            sizes = tables.dataset("landmarks").to_table(["images"])["images"].to_numpy()
            preflight.landmarks_fit(sizes, config, stages)
    records = {s: r for s in STAGES if (r := ledger.read(tables, s)) and "funnel" in r}
    report.store(records, tables)
    report.show(records)
    if "clean" in stages:
        print(f"\nwhat was thrown away, and why: {tables.shown}/{curation_page.PAGE}")
    print(f"\ntables in {tables.shown}, funnel in {tables.shown}/reports/funnel.png and .json")


def run_stage(stage: str, config: Config, tables: Root, source: Source) -> None:
    """Run a stage, or say that it is finished."""
    module = MODULES[stage]
    upstream = {s: ledger.finished(tables, s, config.identity(s)) for s in _upstream(stage)}
    preflight.something_left(stage, upstream, config, tables)
    inputs: dict[str, Any] = module.inputs(config, source)
    inputs |= {f"tables of {s}": upstream[s]["fingerprint"] for s in module.READS}
    if ledger.read(tables, stage) is None:
        ownership.vacant(tables, stage, upstream, PLACES)
        receipts.begin(tables)
    record = ledger.begin(tables, stage, config.identity(stage), inputs)
    if record["state"] == "finished":
        print(f"{stage:>8}: finished already", file=sys.stderr)
        return
    if module in (extract, detect):
        module.check(config)
    begun = time.monotonic()
    with during(stage):
        funnel = module.run(config, tables, source)
    limit = getattr(getattr(config, stage, None), "max_rejected", 1.0)
    preflight.not_too_many_rejected(stage, vars(funnel), limit)
    for table in module.WRITES:
        tables.ensure(table)
    deletion.sweep(tables, *module.WRITES)
    tables.delete(crash_log.place(stage))
    ledger.finish(tables, stage, record, funnel, time.monotonic() - begun)
    for line in funnel.notes:
        print(f"{stage:>8}: warning: {line}", file=sys.stderr)
    if stage == "clean":
        curation_page.store(tables, config)


def _upstream(stage: str) -> tuple[str, ...]:
    """All stages before one, in order."""
    return STAGES[: STAGES.index(stage)]


def forget(tables: Root, stage: str) -> None:
    """Delete the tables of a stage and of all that come after it."""
    ownership.clear(tables, stage, PLACES)


def _check_owned(tables: Root, stages: Sequence[str], config: Config) -> None:
    """Make sure, before anything is touched, that a run writes over nothing but its own."""
    if ledger.begun(tables):
        receipts.begin(tables)
    todo = ownership.check(tables, stages, config.redo, PLACES)
    receipts.check(tables, [*report.FILES, *(name for s in todo for name in REPORTS.get(s, ()))])
    if "export" in todo:
        export.check(config, tables)
