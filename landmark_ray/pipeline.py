"""The stages in order, and what it means to run some of them."""

import sys
import time
from collections.abc import Sequence
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
from landmark_ray.runtime.stage import Stage
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

PIPELINE: dict[str, Stage] = {
    module.STAGE.name: module.STAGE
    for module in (
        sample,
        ingest,
        dedupe,
        extract,
        match,
        prune,
        detect,
        clean,
        group,
        resize,
        trunk,
        embed,
        train,
        finetune,
        evaluate,
        export,
    )
}
"""All stages by name, in the order in which they run."""
assert tuple(PIPELINE) == STAGES

OWNERS = {table: stage.name for stage in PIPELINE.values() for table in stage.writes}
"""Table -> the name of the stage that writes it."""

FOLDERS = {name: stage.folders for name, stage in PIPELINE.items()}
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
    ownership.clear(tables, config.redo, FOLDERS)
    for stage in stages:
        run_stage(stage, config, tables, source)
        if stage == "sample":  # it took a second, and what follows may take days
            sizes = tables.dataset("landmarks").to_table(["images"])["images"].to_numpy()
            preflight.landmarks_fit(sizes, config, stages)
    records: dict[str, Any] = {
        s: r for s in STAGES if (r := ledger.read(tables, s)) and "funnel" in r
    }
    report.store(records, tables)
    report.show(records)
    if "clean" in stages:
        print(f"\nwhat was thrown away, and why: {tables.shown}/{curation_page.PAGE}")
    print(f"\ntables in {tables.shown}, funnel in {tables.shown}/reports/funnel.png and .json")


def run_stage(name: str, config: Config, tables: Root, source: Source) -> None:
    """Run a stage, or say that it is finished."""
    stage = PIPELINE[name]
    upstream = {s: ledger.finished(tables, s, config.config_key(s)) for s in _upstream(name)}
    preflight.something_left(name, upstream, config, tables)
    inputs: dict[str, Any] = stage.inputs(config, source)
    inputs |= ledger.table_inputs({s: upstream[s]["fingerprint"] for s in read_by(stage)})
    own = ledger.read(tables, name)
    for begun, record in (upstream | ({name: own} if own else {})).items():
        ledger.same_order(tables, begun, record, read_by(PIPELINE[begun]))
    if own is None:
        ownership.vacant(tables, name, upstream, FOLDERS)
        receipts.begin(tables)
    record = ledger.begin(tables, name, config.config_key(name), inputs)
    if record["state"] == "finished":
        print(f"{name:>8}: finished already", file=sys.stderr)
        return
    stage.check(config)
    start = time.monotonic()
    with during(name):
        counts = stage.run(config, tables, source)
    limit = getattr(getattr(config, name, None), "max_rejected", 1.0)
    preflight.not_too_many_rejected(name, vars(counts), limit)
    for table in stage.writes:
        tables.ensure(table)
    deletion.delete_partial_files(tables, *stage.writes)
    tables.delete(crash_log.folder_of(name))
    ledger.finish(tables, name, record, counts, time.monotonic() - start)
    for line in counts.notes:
        print(f"{name:>8}: warning: {line}", file=sys.stderr)
    if name == "clean":
        curation_page.store(tables, config)


def read_by(stage: Stage) -> list[str]:
    """List the stages whose tables a stage reads, in order."""
    owners = {OWNERS[table] for table in stage.reads}
    return [name for name in PIPELINE if name in owners]


def _upstream(stage: str) -> tuple[str, ...]:
    """All stages before one, in order."""
    return STAGES[: STAGES.index(stage)]


def forget(tables: Root, stage: str) -> None:
    """Delete the tables of a stage and of all that come after it."""
    ownership.clear(tables, stage, FOLDERS)


def _check_owned(tables: Root, stages: Sequence[str], config: Config) -> None:
    """Make sure, before anything is touched, that a run writes over nothing but its own."""
    if ledger.begun(tables):
        receipts.begin(tables)
    todo = ownership.check(tables, stages, config.redo, FOLDERS)
    receipts.check(tables, [*report.FILES, *(name for s in todo for name in REPORTS.get(s, ()))])
    if "export" in todo:
        export.check(config, tables)
