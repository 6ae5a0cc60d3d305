"""Run a stage shard by shard: the stage provides the rule for one shard, this module the rest.

The rest is the list of shards that are left, the resources of tasks and workers, reading, rejects,
counts, and the commit that finishes a shard. A committed shard is never worked on again.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
from ray.data import Dataset

from landmark_ray.config import Config, StageName
from landmark_ray.data import schemas
from landmark_ray.data.root import Root, Shard
from landmark_ray.kernels.image import ImageError
from landmark_ray.runtime import ledger
from landmark_ray.runtime.counts import StageCounts
from landmark_ray.runtime.crash_log import CrashLog
from landmark_ray.runtime.progress import ProgressBar
from landmark_ray.runtime.resources import Workers, task_resources
from landmark_ray.runtime.tasks import Row, run_tasks, shard_task

BATCH = 64
"""Number of images that are converted to Python objects at a time."""


@dataclass(frozen=True)
class ShardReader:
    """The tables of one shard, as the rule of a stage reads them.

    Attributes:
        root: The root of the run.
        stage: The stage that reads.
        bucket: The bucket of the shard.
        shard: The number of the shard in its bucket.
        images: Number of images of the shard in the catalog.
        fields: Further inputs of the rule for this shard, see `process_shards`.
        table: The table that the shard is written to.
    """

    root: Root
    stage: StageName
    bucket: int
    shard: int
    images: int
    fields: Row = field(default_factory=dict)
    table: str = ""

    @property
    def key(self) -> tuple[int, int]:
        """Return the bucket and the shard, which locate the shard's file in each table."""
        return self.bucket, self.shard

    def read(self, table: str, columns: list[str] | None = None) -> pa.Table:
        """Read the shard's rows of a table; all columns when None."""
        return self.root.read_shard(table, *self.key, columns)

    def crash_log(self) -> CrashLog:
        """Note that an attempt at this shard begins, see `CrashLog`."""
        return CrashLog(self.root, self.stage, f"{self.bucket}-{self.shard}")

    def map_images(
        self, images: pa.Table, work: Callable[[Row], Row]
    ) -> tuple[list[Row], pa.Table]:
        """Apply a function to each image, and reject the images for which it raises ImageError.

        An image that kills its worker repeatedly is rejected, too, see `runtime/crash_log.py`.

        Args:
            images: Rows with `image_id`, `landmark_id` and the columns that `work` reads.
            work: Returns further columns of the result for a row.

        Returns:
            The results, with both ids, and the rows of `rejects`.
        """
        rows: list[Row] = []
        rejects: list[Row] = []
        log = self.crash_log()
        for batch in images.to_batches(max_chunksize=BATCH):
            for image in batch.to_pylist():
                ids = {name: image[name] for name in ("image_id", "landmark_id")}
                try:
                    log.start_image(image["image_id"])
                    rows.append(ids | work(image))
                except ImageError as error:
                    rejects.append({**ids, "reason": str(error)})
        log.finish_images()
        return rows, pa.Table.from_pylist(rejects, schemas.REJECTS)


@dataclass(frozen=True)
class ShardResult:
    """The result of a rule for a shard.

    Attributes:
        rows: Rows of the table that the stage writes.
        counts: The counts of the shard.
        rejects: Rows of `rejects`.
        tables: Name of another table that the stage writes -> its rows.
    """

    rows: pa.Table
    counts: StageCounts
    rejects: pa.Table = field(default_factory=schemas.REJECTS.empty_table)
    tables: Mapping[str, pa.Table] = field(default_factory=dict)


Rule = Callable[[ShardReader], ShardResult]


def process_shards(
    stage: StageName,
    table: str,
    rule: Rule,
    config: Config,
    root: Root,
    *,
    title: str = "",
    light: bool = False,
    fields: Callable[[list[Shard]], Mapping[tuple[int, int], Row]] | None = None,
) -> StageCounts:
    """Write a table: apply a rule to each shard that is not committed yet, in tasks.

    Args:
        stage: The stage, for resources, rejects and progress.
        table: The table to write.
        rule: Returns the rows of a shard.
        config: All options.
        root: The root of the run.
        title: The title of the progress bar; the name of the stage by default.
        light: Whether the rule takes well under a second; then a task takes several shards.
        fields: Computes what rules need besides tables, for the shards that are left: (bucket,
            shard) -> `ShardReader.fields`.

    Returns:
        The counts of all shards, including those of earlier runs.

    Raises:
        UserError: A rule raised it, or the cluster lacks resources.
    """
    run = ledger.run_of(root, stage)

    def work(units: Dataset) -> Dataset:
        task = _committing(stage, table, rule, root, run)
        return units.map(task, **task_resources(config, stage))

    shards = {table: root.shards()}
    return _process(shards, work, config, root, title or stage, light=light, fields=fields)


def process_shards_with_model(
    stage: StageName,
    table: str,
    load: Callable[[], Rule],
    workers: Workers,
    config: Config,
    root: Root,
    *,
    prepare: Callable[[Dataset], Dataset] | None = None,
    more: Mapping[str, list[Shard]] | None = None,
) -> StageCounts:
    """Write a table by a rule that holds a model, in workers that load it once.

    Args:
        stage: The stage, for rejects and progress.
        table: The table to write.
        load: Loads the model in a worker, and returns the rule.
        workers: The result of `plan_workers`.
        config: All options.
        root: The root of the run.
        prepare: Adds light tasks before the workers, such as `pixels.decoded`.
        more: Further tables that the same workers write -> their shards, which are none of the
            catalog; the rule tells them by `ShardReader.table`.

    Returns:
        The counts of all shards of `table`, including those of earlier runs.

    Raises:
        UserError: A rule raised it.
    """
    run = ledger.run_of(root, stage)

    class ModelWorker:
        """A worker for each GPU, or for each core."""

        def __init__(self) -> None:
            self.task = _committing(stage, table, load(), root, run)

        def __call__(self, unit: Row) -> Row:
            return self.task(unit)

    def work(units: Dataset) -> Dataset:
        worker: Any = ModelWorker
        prepared = prepare(units) if prepare else units
        return prepared.map(worker, **workers.pool)

    return _process({table: root.shards(), **(more or {})}, work, config, root, stage)


def _committing(
    stage: StageName, table: str, rule: Rule, root: Root, run: str
) -> Callable[[Row], Row]:
    """Return a task that applies a rule to a shard and commits the result, as part of a run.

    The task leaves a committed shard unchanged, because Ray repeats the task of a lost worker. It
    reports the counts of `table` alone.
    """

    @shard_task
    def task(unit: Row) -> Row:
        unit = dict(unit)
        key, images = (unit.pop("bucket"), unit.pop("shard")), unit.pop("rows")
        written = unit.pop("table")
        report = root.stats(written, *key)
        if report is None:
            result = rule(ShardReader(root, stage, *key, images, unit, written))
            report = result.counts.to_json()
            ledger.check_run(root, stage, run)
            for name, rows in result.tables.items():
                root.commit(name, *key, rows, "")
            root.commit(written, *key, result.rows, report, rejects=result.rejects, stage=stage)
        return {"rows": images, "report": report if written == table else StageCounts().to_json()}

    return task


def _process(
    tables: Mapping[str, list[Shard]],
    work: Callable[[Dataset], Dataset],
    config: Config,
    root: Root,
    title: str,
    *,
    light: bool = False,
    fields: Callable[[list[Shard]], Mapping[tuple[int, int], Row]] | None = None,
) -> StageCounts:
    """Process the shards that are not committed, and return all counts of the first table."""
    committed = {table: root.committed(table) for table in tables}
    counts = StageCounts.total(next(iter(committed.values())).values())
    todo = [
        (table, shard)
        for table, shards in tables.items()
        for shard in shards
        if shard.key not in committed[table]
    ]
    todo.sort(key=lambda one: -one[1].images)  # those of a table are sorted already
    extra = fields([shard for _, shard in todo]) if fields and todo else {}
    units = [
        {"table": t, "bucket": s.bucket, "shard": s.shard, "rows": s.images, **extra.get(s.key, {})}
        for t, s in todo
    ]
    total = sum(shard.images for shards in tables.values() for shard in shards)
    done = total - sum(shard.images for _, shard in todo)
    with ProgressBar(title, total, done=done) as progress_bar:
        counts.add(run_tasks(units, work, config, progress_bar, light=light))
    return counts
