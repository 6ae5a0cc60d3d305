"""List the stages in order, and run some of them."""

import hashlib
import json
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import Field

from landmark_ray.config import STAGES, Config, StageName
from landmark_ray.data import deletion
from landmark_ray.data.root import Root
from landmark_ray.data.sources import Source
from landmark_ray.data.store import Store
from landmark_ray.errors import UserError
from landmark_ray.reports import curation_page, evaluation_page, funnel_chart
from landmark_ray.runtime import crash_log, ledger, ownership, preflight, receipts
from landmark_ray.runtime.error_log import cause_of, during
from landmark_ray.runtime.stage import Stage
from landmark_ray.stages import (
    clean,
    dedupe,
    describe,
    detect,
    embed,
    evaluate,
    export,
    extract,
    finetune,
    group,
    index,
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
        describe,
        prune,
        detect,
        clean,
        group,
        resize,
        trunk,
        embed,
        index,
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
"""Stage -> the reports that it writes. The funnel's reports are written after all stages."""


class PipelineConfig(Config):
    """Options of jobs/pipeline.py."""

    from_: StageName = Field("sample", alias="from", description="first stage to run")
    to: StageName = Field("export", description="last stage to run")

    def chosen(self) -> tuple[str, ...]:
        """List the stages from `from` to `to`, both included.

        Raises:
            UserError: `to` comes before `from`.
        """
        first, last = STAGES.index(self.from_), STAGES.index(self.to)
        if first > last:
            raise UserError(f"--from {self.from_} comes after --to {self.to}")
        return STAGES[first : last + 1]


def run(config: Config, stages: Sequence[str]) -> None:
    """Run stages, skip those that are finished, and print the funnel.

    Args:
        config: All options.
        stages: The stages to run, in order.

    Raises:
        UserError: Options contradict each other or the root, a stage rejected too much, or a stage
            raised it.
    """
    if not config.root:
        raise UserError("--root is missing: a folder or URI for all tables")
    if not config.source:
        raise UserError("--source is missing: a folder or URI with the raw dataset")
    preflight.check_options(config, stages)
    root = Root(config.root)
    ownership.check_separate(Store(config.source), root)
    source = Source(config.source)
    for line in source.lines():
        print(f"  source: {line}", file=sys.stderr)
    asked = asked_to_redo(config, stages, source)
    if asked and ledger.redo_begun(root) == asked:
        print(
            f"--redo {config.redo}: goes on where this command was stopped; to begin anew, delete "
            f"{root.shown}/{ledger.REDO}",
            file=sys.stderr,
        )
        config = config.model_copy(update={"redo": None})
    for stage in _check_owned(root, stages, config):
        PIPELINE[stage].check(config)
    check_before_redo(config, stages, root, source)
    ownership.delete_stages(root, config.redo, FOLDERS)
    if config.redo:
        ledger.begin_redo(root, asked, made_again(config, stages))
    try:
        for stage in stages:
            run_stage(stage, config, root, source)
            if stage == "sample":  # check early: sample takes a second, the next may take days
                sizes = root.dataset("landmarks").to_table(["images"])["images"].to_numpy()
                preflight.check_landmark_sizes(sizes, config, stages)
    except Exception as error:
        if isinstance(cause_of(error), FileNotFoundError) or "--redo" in str(error):
            ledger.end_redo(root, failed=True)  # the next --redo is another one
        raise
    records: dict[str, Any] = {
        s: r for s in STAGES if (r := ledger.read(root, s)) and "funnel" in r
    }
    funnel_chart.store(records, root)
    funnel_chart.show(records)
    if "clean" in stages:
        print(f"\nwhat was discarded, and why: {root.shown}/{curation_page.PAGE}")
    ledger.end_redo(root)
    print(f"\ntables in {root.shown}, funnel in {root.shown}/reports/funnel.png and .json")


def run_stage(name: str, config: Config, root: Root, source: Source) -> None:
    """Run a stage, or print that it is finished.

    Raises:
        UserError: An earlier stage is not finished, the root holds tables of other options, inputs
            or programs, the stage rejected too much, or the stage raised it.
    """
    stage = PIPELINE[name]
    upstream = {s: ledger.require_finished(root, s, config.config_key(s)) for s in _upstream(name)}
    preflight.check_photos_left(name, upstream, config, root)
    inputs = inputs_of(name, config, source, upstream)
    own = ledger.read(root, name)
    for recorded, record in (upstream | ({name: own} if own else {})).items():
        ledger.check_reads(root, recorded, record, read_by(PIPELINE[recorded]))
    if own is None:
        ownership.check_empty(root, name, upstream, FOLDERS)
        receipts.begin(root)
    record = ledger.begin(root, name, config.config_key(name), inputs)
    if record["state"] == "finished":
        print(f"{name:>8}: finished already", file=sys.stderr)
        return
    start = time.monotonic()
    with during(name):
        counts = stage.run(config, root, source)
    limit = getattr(getattr(config, name, None), "max_rejected", 1.0)
    preflight.check_reject_share(name, counts, limit)
    for table in stage.writes:
        root.ensure(table)
    deletion.delete_partial_files(root, *stage.writes)
    root.delete(crash_log.folder_of(name))
    ledger.finish(root, name, record, counts, time.monotonic() - start)
    for line in counts.notes:
        print(f"{name:>8}: warning: {line}", file=sys.stderr)
    if name == "clean":
        curation_page.store(root, config)


def asked_to_redo(config: Config, stages: Sequence[str], source: Source) -> str:
    """Return a hash of all that a run with `redo` will make anew; empty without `redo`.

    The same command has the same hash as long as no option and no input of these stages changes.
    """
    if config.redo is None:
        return ""
    again = made_again(config, stages)
    made = [[s, config.config_key(s), PIPELINE[s].inputs(config, source)] for s in again]
    return hashlib.sha256(json.dumps([config.redo, made], sort_keys=True).encode()).hexdigest()


def made_again(config: Config, stages: Sequence[str]) -> list[str]:
    """List those of some stages that `redo` makes anew."""
    return [s for s in stages if config.redo and s not in _upstream(config.redo)]


def check_before_redo(config: Config, stages: Sequence[str], root: Root, source: Source) -> None:
    """Compare the stages before `redo` with their records, before anything is deleted.

    Raises:
        UserError: One of them is not finished, or has other options or inputs now; or no stage
            would make the tables of `redo` again before others need them.
    """
    if config.redo in _upstream(stages[0]):
        raise UserError(
            f"--redo {config.redo}: this command begins with the later stage {stages[0]}, which "
            f"needs the tables that this would delete; run jobs/pipeline.py --redo {config.redo}"
        )
    upstream: dict[str, ledger.Record] = {}
    for name in _upstream(config.redo or STAGES[0]):
        record = ledger.read(root, name)
        if name in stages and (record is None or record["state"] == ledger.DELETING):
            return  # it will run, and so will all after it
        if name in stages:
            inputs = inputs_of(name, config, source, upstream)
            upstream[name] = ledger.begin(root, name, config.config_key(name), inputs)
        else:
            upstream[name] = ledger.require_finished(root, name, config.config_key(name))


def inputs_of(
    name: str, config: Config, source: Source, upstream: Mapping[str, ledger.Record]
) -> dict[str, Any]:
    """Return what a stage reads, by name, as checksums and fingerprints.

    Args:
        name: The stage.
        config: All options.
        source: The source.
        upstream: The record of each stage before it.
    """
    stage = PIPELINE[name]
    inputs: dict[str, Any] = stage.inputs(config, source)
    return inputs | ledger.table_inputs({s: upstream[s]["fingerprint"] for s in read_by(stage)})


def read_by(stage: Stage) -> list[str]:
    """List the stages whose tables a stage reads, in order."""
    owners = {OWNERS[table] for table in stage.reads}
    return [name for name in PIPELINE if name in owners]


def _upstream(stage: str) -> tuple[str, ...]:
    """List all stages before a stage, in order."""
    return STAGES[: STAGES.index(stage)]


def _check_owned(root: Root, stages: Sequence[str], config: Config) -> list[str]:
    """Make sure, before anything is changed, that a run overwrites only files of this root.

    Returns:
        The stages that will run, because they are not finished.
    """
    if ledger.read_all(root):
        receipts.begin(root)
    todo = ownership.check(root, stages, config.redo, FOLDERS)
    receipts.check(
        root, [*funnel_chart.FILES, *(name for s in todo for name in REPORTS.get(s, ()))]
    )
    if "export" in todo:
        export.check(config, root)
    return todo
