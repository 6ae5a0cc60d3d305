"""What a finished run was: its workload, its images from stage to stage, its files."""

from collections import Counter
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from landmark_ray.bundle.network_files import FINETUNED, GROUPS, head_infos
from landmark_ray.config import STAGES, Config
from landmark_ray.data.root import Root
from landmark_ray.data.sources import Source
from landmark_ray.data.store import Store
from landmark_ray.pipeline import OWNERS
from landmark_ray.plan.fit import Weights
from landmark_ray.plan.machines import Crew
from landmark_ray.plan.shares import Flow, Shares, all_others
from landmark_ray.plan.work import Job, Work, work_of
from landmark_ray.plan.workload import of_catalog
from landmark_ray.runtime import ledger
from landmark_ray.stages.trunk import HISTORY


@dataclass(frozen=True)
class Observed:
    """A run in small.

    Attributes:
        job: what it was.
        seconds: of each finished stage.
        bytes: that each stage's tables hold.
        files: and their number.
        pairs: that were tried.
        paces: of stages that train: [N] seconds that each training takes for an example, besides
            an epoch's waiting for its data; nan where epochs have but one step.
    """

    job: Job
    seconds: dict[str, float]
    bytes: dict[str, int]
    files: dict[str, int]
    pairs: int
    paces: dict[str, Weights]

    def work(self, stage: str) -> Work:
        """The work of a stage; pairs as they were counted."""
        work = work_of(stage, self.job)
        if stage == "match" and work.total:
            return replace(work, weights=work.weights * self.pairs / work.total)
        return work

    def rate(self, stage: str, crew: Crew) -> float | None:
        """Seconds a unit of work of a stage that trains, on what it ran on; None if not known."""
        pace, work = self.paces.get(stage, np.zeros(0)), self.work(stage)
        known = np.isfinite(pace)
        if len(pace) != len(work.weights) or not known.any():
            return None
        return float((pace * work.units)[known].sum() / crew.each(work)[known].sum())


def observe(config: Config) -> Observed:
    """Read what a run left in its root.

    Args:
        config: of the run; stages from some point on may be missing.
    """
    assert config.root and config.source
    tables, source = Root(config.root), Source(config.source)
    records = {str(s): r for s in STAGES if (r := ledger.read(tables, s)) and "funnel" in r}
    sizes: Counter[str] = Counter()
    files: Counter[str] = Counter()
    owner = OWNERS
    for name, size in tables.files().items():
        stage = next((s for table, s in owner.items() if name.startswith(f"{table}/")), "")
        sizes[stage] += size
        files[stage] += 1
    catalog = tables.dataset("catalog").to_table()
    archives = np.array([archive.size for archive in source.archives()], np.int64)
    data = of_catalog(catalog, catalog.num_rows, config, archives)
    classes = _classes(tables, records)
    flow = _flow(tables, records, classes)
    pairs = records.get("match", {}).get("funnel", {}).get("facts", {}).get("pairs", 0)
    features = records.get("trunk", {}).get("funnel", {}).get("facts", {}).get("features", 0)
    shares = _shares(data.images, flow, classes, pairs)
    if features:
        shares = shares.model_copy(update={"features": features})
    seconds = {stage: record["seconds"] for stage, record in records.items()}
    job, paces = Job(config, data, shares, flow), _paces(tables, config)
    return Observed(job, seconds, dict(sizes), dict(files), pairs, paces)


def _paces(tables: Root, config: Config) -> dict[str, Weights]:
    folder, train = Store(f"{tables.uri}/models"), config.train
    batches = {"trunk": train.batch, "train": train.head_batch, "finetune": train.batch}
    histories = {
        "trunk": [folder.read_json(HISTORY) or []],
        "train": [info.report["history"] for info in head_infos(folder, GROUPS)],
        "finetune": [info.report["history"] for info in head_infos(folder, FINETUNED)],
    }
    return {stage: _pace(histories[stage]) / batch for stage, batch in batches.items()}


def _pace(histories: list[list[dict[str, float]]]) -> Weights:
    """[N] seconds of a step of each training; nan where epochs have but one."""
    steps = [[e["step_s"] for e in told if "step_s" in e] for told in histories]
    return np.array([np.median(each) if each else np.nan for each in steps])


def _classes(tables: Root, records: dict[str, ledger.Record]) -> pd.DataFrame:
    """A row of each class of the catalog, in its order: images that came so far."""
    catalog = tables.dataset("catalog").to_table(["landmark_id", "bucket", "shard"]).to_pandas()
    keys = ["bucket", "shard", "landmark_id"]
    classes = catalog.drop_duplicates("landmark_id").sort_values(keys).set_index("landmark_id")
    classes = classes[[]].copy()
    for stage, table in (("ingest", "images"), ("resize", "examples")):
        rows = tables.dataset(table).to_table(["landmark_id"]) if stage in records else None
        found = rows["landmark_id"].to_pandas().value_counts() if rows else {}
        classes[table] = classes.index.map(found).fillna(0) if rows else 0
    names = {"keep": "kept", "unverified": "alone", "over_cap": "over"}
    classes[list(names.values())] = 0
    if "prune" in records:
        rows = tables.dataset("kept").to_table(["landmark_id", "keep", "reason"]).to_pandas()
        rows["over_cap"], rows["unverified"] = (
            rows.reason == "over_cap",
            rows.reason == "unverified",
        )
        counts = rows.groupby("landmark_id")[list(names)].sum().rename(columns=names)
        classes.update(counts)
    if "resize" in records:
        rows = tables.dataset("examples").to_table(["landmark_id", "group"]).to_pandas()
        classes["group"] = classes.index.map(rows.groupby("landmark_id").group.first()).fillna(0)
    else:
        classes["group"] = 0
    return classes.astype(np.int64)


def _flow(tables: Root, records: dict[str, ledger.Record], classes: pd.DataFrame) -> Flow:
    settled = np.maximum(classes.images - classes.over, 1)
    verified = classes.images * (1 - classes.alone / settled)  # beyond the cap as before it
    background = tables.dataset("background").count_rows() if "resize" in records else 0
    return Flow(
        usable=classes.images.to_numpy(),
        verified=verified.round().to_numpy(np.int64),
        kept=classes.kept.to_numpy(),
        examples=classes.examples.to_numpy(),
        group=classes.group.to_numpy(),
        background=background,
    )


def _shares(images: int, flow: Flow, classes: pd.DataFrame, pairs: int) -> Shares:
    usable = (classes.images - classes.over).sum()
    alone = all_others(classes.images.to_numpy(float), classes.alone.to_numpy(float)).sum()
    return Shares(
        usable=flow.usable.sum() / max(images, 1),
        unverified=classes.alone.sum() / max(usable, 1),
        tries=max(pairs - alone, 0) / max(usable - classes.alone.sum(), 1),
        cleaned=flow.examples.sum() / max(flow.kept.sum(), 1),
    )
