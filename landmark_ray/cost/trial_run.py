"""A run of the pipeline on a small source: in a process of its own, and what it then took.

It is a whole run, from the start of Ray to the end of each stage, so that its times are those that
a person would wait for.
"""

import contextlib
import multiprocessing
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow.compute as pc

from landmark_ray import pipeline
from landmark_ray.bundle.network_files import FINETUNED, GROUPS, head_infos
from landmark_ray.config import STAGES, Config
from landmark_ray.cost.clusters import WorkerPool
from landmark_ray.cost.sample_source import Sample
from landmark_ray.cost.volumes import Counts, Floats, Rates, StageVolumes, pairs_with, workload_of
from landmark_ray.cost.work import PlannedRun, work_of
from landmark_ray.data.root import Root
from landmark_ray.data.sources import Source
from landmark_ray.data.store import Store
from landmark_ray.errors import UserError
from landmark_ray.kernels.splitting import group_of
from landmark_ray.runtime import ledger
from landmark_ray.stages.trunk import HISTORY

CLEANUP_S = 20.0
"""A run that is interrupted has so long to stop its Ray."""

MOST_EPOCHS = 2
"""Of networks that learn from photos, but for `small`, whose epochs take less than a second."""


def scaled_down(config: Config, sample: Sample, images: int) -> Config:
    """The options of a trial run: as given, but for those that depend on the number of photos.

    Args:
        config: options of the whole run.
        sample: the trial's source.
        images: photos of the whole run.
    """
    epochs = ("trunk_epochs", "epochs") if config.train.network != "small" else ()
    edges = config.group.edges
    changes: dict[str, dict[str, Any]] = {
        "sample": {"buckets": max(round(config.sample.buckets * sample.photos / images), 1)},
        "group": {  # few trainings, and many photos for `evaluate`
            "edges": tuple(sorted({edges[0], edges[len(edges) // 2]})),
            "validation_first": 0.5,
            "validation_last": 0.5,
        },
        "train": {"retries": 0}
        | {name: min(getattr(config.train, name), MOST_EPOCHS) for name in epochs},
        "clean": {"verdicts": () if sample.whole else (_keep_all(sample),)},
        "export": {"to": ""},
        **{stage: {"max_rejected": 1.0} for stage in ("ingest", "extract", "detect", "resize")},
    }
    sections = {n: getattr(config, n).model_copy(update=c) for n, c in changes.items()}
    source = str(sample.folder)
    return config.model_copy(
        update={"source": source, "root": f"{source}-root", "redo": None, **sections}
    )


def _keep_all(sample: Sample) -> str:
    """A list of verdicts that keeps all photos: unrelated ones would not reach later stages."""
    path = sample.folder / "verdicts.csv"
    photos = (sample.folder / "train.csv").read_text().splitlines()[1:]
    rows = [f"keep,{photo.partition(',')[0]},," for photo in photos]
    path.write_text("\n".join(["verdict,image_id,landmark_id,reason", *rows]) + "\n")
    return str(path)


def run(config: Config, stages: Sequence[str]) -> tuple[float, str]:
    """Run stages in a process of their own; its seconds, and the error that ended it, or ""."""
    context = multiprocessing.get_context("spawn")
    errors = context.SimpleQueue()
    process = context.Process(target=_run, args=(config, stages, errors))
    begun = time.monotonic()
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # until `_run` can handle it
    process.start()
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    try:
        process.join()
    except KeyboardInterrupt:
        process.join(CLEANUP_S)  # Ctrl-C reached it, too; a second signal would disturb it
        raise
    finally:
        if process.is_alive():
            process.terminate()
            process.join(CLEANUP_S)
            process.kill()
    return time.monotonic() - begun, "" if errors.empty() else errors.get()


def _run(config: Config, stages: Sequence[str], errors: Any) -> None:
    """In the process: run on a Ray of this machine, even where there is a cluster."""
    os.environ.pop("RAY_ADDRESS", None)
    with open(os.devnull, "w") as nothing, contextlib.redirect_stdout(nothing):
        try:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
            pipeline.run(config, stages)
        except UserError as error:
            errors.put(str(error))
        except KeyboardInterrupt:
            sys.exit(130)


@dataclass(frozen=True)
class Trial:
    """What a trial run took, by stage."""

    run: PlannedRun
    seconds: dict[str, float]  # of the stages that were finished
    bytes: Counter[str]  # of the tables
    files: Counter[str]  # of the tables
    seconds_per_item: dict[str, Floats]
    """Stage that trains -> [N] seconds for an example in each training, without the first step of
    an epoch, which waits for data; nan where epochs have one step."""

    def training_rate(self, stage: str, pool: WorkerPool) -> float | None:
        """Seconds a unit of work of a stage that trains, by its steps; None if not known.

        Short trainings mostly wait, so that their times alone don't say what an example takes.
        """
        work, per_item = work_of(stage, self.run), self.seconds_per_item.get(stage, np.zeros(0))
        known = np.isfinite(per_item)
        if len(per_item) != len(work.weights) or not known.any():
            return None
        return float((per_item * work.units)[known].sum() / pool.each(work)[known].sum())


def read_trial(config: Config) -> Trial:
    """Read what a run left in its root; stages from some point on may be missing."""
    assert config.root and config.source
    root, folder = Root(config.root), Store(f"{config.root}/models")
    records = {str(s): r for s in STAGES if (r := ledger.read(root, s)) and "funnel" in r}
    facts = {stage: record["funnel"]["facts"] for stage, record in records.items()}
    pairs = facts.get("match", {}).get("pairs", 0)
    owners = {f"{table}/": stage for table, stage in pipeline.OWNERS.items()}
    sizes: Counter[str] = Counter()
    files: Counter[str] = Counter()
    for name, size in root.files().items():
        stage = next((s for place, s in owners.items() if name.startswith(place)), "")
        sizes[stage] += size
        files[stage] += 1
    catalog = root.dataset("catalog").to_table()
    data = workload_of(catalog, config, Source(config.source), catalog.num_rows)

    def count(table: str, rows: pc.Expression | None = None) -> Counts:
        """[C] rows of each landmark; none where the table isn't finished."""
        if owners[f"{table}/"] not in records:
            return np.zeros_like(data.sizes)
        ids = root.dataset(table).to_table(["landmark_id"], filter=rows)["landmark_id"]
        return ids.to_pandas().value_counts().reindex(data.landmarks, fill_value=0).to_numpy()

    usable, kept, examples = count("images"), count("kept", pc.field("keep")), count("examples")
    alone, over = (count("kept", pc.field("reason") == r) for r in ("unverified", "over_cap"))
    judged = usable - over  # photos over the cap are taken to match as often as those below it
    verified = usable * (1 - alone / np.maximum(judged, 1))
    volumes = StageVolumes(
        usable,
        verified.round().astype(np.int64),
        kept,
        examples,
        group_of(examples, config.group.edges).astype(np.int64),
        root.dataset("background").count_rows() if owners["background/"] in records else 0,
    )
    lonely_pairs = pairs_with(usable.astype(float), alone.astype(float)).sum()
    rates = Rates(
        usable=usable.sum() / max(data.images, 1),
        unverified=alone.sum() / max(judged.sum(), 1),
        tries=max(pairs - lonely_pairs, 0) / max((judged - alone).sum(), 1),
        cleaned=examples.sum() / max(kept.sum(), 1),
        features=facts.get("trunk", {}).get("features", 0) or Rates().features,
    )
    seconds = {stage: record["seconds"] for stage, record in records.items()}
    run = PlannedRun(config, data, rates, volumes, pairs)
    return Trial(run, seconds, sizes, files, _seconds_per_item(folder, config))


def _seconds_per_item(folder: Store, config: Config) -> dict[str, Floats]:
    train = config.train
    batches = {"trunk": train.batch, "train": train.head_batch, "finetune": train.batch}
    histories: dict[str, list[list[dict[str, float]]]] = {
        "trunk": [folder.read_json(HISTORY) or []],
        "train": [info.report["history"] for info in head_infos(folder, GROUPS)],
        "finetune": [info.report["history"] for info in head_infos(folder, FINETUNED)],
    }
    found = {}
    for stage, batch in batches.items():
        steps = [[e["step_s"] for e in epochs if "step_s" in e] for epochs in histories[stage]]
        found[stage] = np.array([np.median(s) if s else np.nan for s in steps]) / batch
    return found
