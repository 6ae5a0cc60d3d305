"""Stages that work shard by shard. A stage gives the rule for one shard; the rest is done here.

That is: which shards are left, what a task or a worker takes of the cluster, reading, rejects,
counts, and the commit that finishes a shard. A shard that is committed is never worked on again.
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
from landmark_ray.runtime.counts import StageCounts
from landmark_ray.runtime.crash_log import CrashLog
from landmark_ray.runtime.progress import ProgressBar
from landmark_ray.runtime.resources import Workers, task_resources
from landmark_ray.runtime.tasks import Row, run_tasks, shard_task

BATCH = 64
"""Images that are Python objects at once."""


@dataclass(frozen=True)
class ShardReader:
    """The tables of one shard, as the rule of a stage reads them.

    Attributes:
        root: of the run.
        stage: whose rule it is.
        bucket: with `shard`, the place of the shard's file in each table.
        shard: its number in the bucket.
        images: images of the shard in the catalog.
        fields: what else was worked out for this shard, see `process_shards`.
    """

    root: Root
    stage: StageName
    bucket: int
    shard: int
    images: int
    fields: Row = field(default_factory=dict)

    @property
    def key(self) -> tuple[int, int]:
        """Bucket and shard."""
        return self.bucket, self.shard

    def read(self, table: str, columns: list[str] | None = None) -> pa.Table:
        """Read the shard's rows of a table."""
        return self.root.read_shard(table, *self.key, columns)

    def crash_log(self) -> CrashLog:
        """Begin an attempt at this shard's images."""
        return CrashLog(self.root, self.stage, f"{self.bucket}-{self.shard}")

    def map_images(
        self, images: pa.Table, work: Callable[[Row], Row]
    ) -> tuple[list[Row], pa.Table]:
        """Apply a function to each image; those that it can't use become rejects.

        An image that kills its worker time and again is a reject, too: see `crash_log`.

        Args:
            images: rows with `image_id`, `landmark_id` and what `work` reads.
            work: row to further columns of the result; raises ImageError.

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
                    log.at(image["image_id"])
                    rows.append(ids | work(image))
                except ImageError as error:
                    rejects.append({**ids, "reason": str(error)})
        log.done()
        return rows, pa.Table.from_pylist(rejects, schemas.REJECTS)


@dataclass(frozen=True)
class ShardResult:
    """What a rule makes of a shard.

    Attributes:
        rows: of the table that the stage writes.
        counts: of what went in and came out.
        rejects: rows of `rejects`.
        tables: rows of other tables that the stage writes beside it.
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
    """Write a table by applying a rule to each shard that isn't committed yet, in tasks.

    Args:
        stage: which a task's resources, rejects and progress belong to.
        table: that is written.
        rule: shard to rows.
        config: all options.
        root: of the run.
        title: of the progress bar; the stage's name by default.
        light: the rule takes well under a second; a task takes several shards.
        fields: works out, for the shards that are left, what their rules need besides tables.

    Returns:
        The counts of all shards, those of earlier runs included.
    """

    def work(units: Dataset) -> Dataset:
        task = _committing(stage, table, rule, root)
        return units.map(task, **task_resources(config, stage))

    return _process(table, work, config, root, title or stage, light=light, fields=fields)


def process_shards_with_model(
    stage: StageName,
    table: str,
    load: Callable[[], Rule],
    workers: Workers,
    config: Config,
    root: Root,
    *,
    prepare: Callable[[Dataset], Dataset] = lambda units: units,
) -> StageCounts:
    """Write a table by a rule that holds a model: workers load it once and then take shards.

    Args:
        stage: which the rejects and the progress belong to.
        table: that is written.
        load: makes the rule in a worker.
        workers: of `plan_workers`.
        config: all options.
        root: of the run.
        prepare: light tasks in front of the workers, such as `pixels.decoded`.

    Returns:
        The counts of all shards, those of earlier runs included.
    """

    class ModelWorker:
        """One for each GPU, or for each core."""

        def __init__(self) -> None:
            self.task = _committing(stage, table, load(), root)

        def __call__(self, unit: Row) -> Row:
            return self.task(unit)

    def work(units: Dataset) -> Dataset:
        worker: Any = ModelWorker
        return prepare(units).map(worker, **workers.pool)

    return _process(table, work, config, root, stage)


def _committing(stage: StageName, table: str, rule: Rule, root: Root) -> Callable[[Row], Row]:
    """A task that applies a rule and commits the result.

    A shard that is committed already is left as it is: Ray repeats the task of a lost worker.
    """

    @shard_task
    def task(unit: Row) -> Row:
        unit = dict(unit)
        key, images = (unit.pop("bucket"), unit.pop("shard")), unit.pop("rows")
        report = root.stats(table, *key)
        if report is None:
            result = rule(ShardReader(root, stage, *key, images, unit))
            report = result.counts.to_json()
            for name, rows in result.tables.items():
                root.commit(name, *key, rows, "")
            root.commit(table, *key, result.rows, report, rejects=result.rejects, stage=stage)
        return {"rows": images, "report": report}

    return task


def _process(
    table: str,
    work: Callable[[Dataset], Dataset],
    config: Config,
    root: Root,
    title: str,
    *,
    light: bool = False,
    fields: Callable[[list[Shard]], Mapping[tuple[int, int], Row]] | None = None,
) -> StageCounts:
    shards = root.shards()
    done = root.committed(table)
    counts = StageCounts.total(done.values())
    todo = [shard for shard in shards if shard.key not in done]
    more = fields(todo) if fields and todo else {}
    total, left = (sum(shard.images for shard in some) for some in (shards, todo))
    with ProgressBar(title, total, done=total - left) as progress:
        units = [
            {"bucket": s.bucket, "shard": s.shard, "rows": s.images, **more.get(s.key, {})}
            for s in todo
        ]
        counts.add(run_tasks(units, work, config, progress, light=light))
    return counts
