"""The stages in order, and what it means to run some of them."""

import sys
import time
from collections.abc import Sequence
from types import ModuleType
from typing import Any

from pydantic import Field

from landmark_ray import deletion, ledger, ownership, receipts
from landmark_ray.config import STAGES, Config, StageName
from landmark_ray.errors import UserError
from landmark_ray.funnel import Funnel
from landmark_ray.reports import curation, evaluation
from landmark_ray.reports import funnel as report
from landmark_ray.sources import Source
from landmark_ray.stages import (
    attempts,
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
from landmark_ray.storage import Folder, Tables

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
    stage: (*module.WRITES, *getattr(module, "SCRATCH", ()), attempts.place(stage))
    for stage, module in MODULES.items()
}
"""Stage -> the folders of a root that it writes, scratch included."""

REPORTS = {"clean": (curation.PAGE,), "evaluate": evaluation.FILES}
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
    tables = Tables(config.root)
    ownership.apart(Folder(config.source), tables)
    source = Source(config.source)
    for line in source.lines():
        print(f"  source: {line}", file=sys.stderr)
    _check_owned(tables, stages, config)
    ownership.clear(tables, config.redo, PLACES)
    ran = [stage for stage in stages if run_stage(stage, config, tables, source)]
    records = {s: r for s in STAGES if (r := ledger.read(tables, s)) and "funnel" in r}
    report.show(records)
    report.store(records, tables)
    if "clean" in ran:
        curation.store(tables, config)
        print(f"\nwhat was thrown away, and why: {tables.shown}/{curation.PAGE}")
    print(f"\ntables in {tables.shown}, funnel in {tables.shown}/reports/funnel.png and .json")


def run_stage(stage: str, config: Config, tables: Tables, source: Source) -> bool:
    """Run a stage, or say that it is finished; whether it ran."""
    module = MODULES[stage]
    upstream = {s: ledger.finished(tables, s, config.identity(s)) for s in _upstream(stage)}
    inputs: dict[str, Any] = module.inputs(config, source)
    inputs |= {f"tables of {s}": upstream[s]["fingerprint"] for s in module.READS}
    if ledger.read(tables, stage) is None:
        ownership.vacant(tables, stage, upstream, PLACES)
        receipts.begin(tables)
    record = ledger.begin(tables, stage, config.identity(stage), inputs)
    if record["state"] == "finished":
        print(f"{stage:>8}: finished already", file=sys.stderr)
        return False
    if module in (extract, detect):
        module.check(config)
    begun = time.monotonic()
    funnel = module.run(config, tables, source)
    _check_rejected(stage, funnel, config)
    for table in module.WRITES:
        tables.ensure(table)
    deletion.sweep(tables, *module.WRITES)
    tables.delete(attempts.place(stage))
    ledger.finish(tables, stage, record, funnel, time.monotonic() - begun)
    for line in funnel.notes:
        print(f"{stage:>8}: warning: {line}", file=sys.stderr)
    return True


def _upstream(stage: str) -> tuple[str, ...]:
    """All stages before one, in order."""
    return STAGES[: STAGES.index(stage)]


def forget(tables: Tables, stage: str) -> None:
    """Delete the tables of a stage and of all that come after it."""
    ownership.clear(tables, stage, PLACES)


def _check_owned(tables: Tables, stages: Sequence[str], config: Config) -> None:
    """Make sure, before anything is touched, that a run writes over nothing but its own."""
    if ledger.begun(tables):
        receipts.begin(tables)
    todo = ownership.check(tables, stages, config.redo, PLACES)
    receipts.check(tables, [*report.FILES, *(name for s in todo for name in REPORTS.get(s, ()))])
    if "export" in todo:
        export.check(config, tables)


def _check_rejected(stage: str, funnel: Funnel, config: Config) -> None:
    limit = getattr(getattr(config, stage, None), "max_rejected", 1.0)
    share = 1 - funnel.images_out / max(funnel.images_in, 1)
    if share > limit:
        reason, count = funnel.why.most_common(1)[0]
        notes = f" ({funnel.notes[0]})" if funnel.notes else ""
        raise UserError(
            f"{stage} rejected {share:.1%} of {funnel.images_in:,} images, more than "
            f"{limit:.1%}; {count:,} of them: {reason}{notes}. See the table rejects; mend the "
            f"source and add --redo {stage}, or raise --{stage}.max_rejected"
        )
