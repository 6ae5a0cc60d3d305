"""Trial runs: copy some photos of a source, run the pipeline on them, and read what it took.

A trial is a whole run, from the start of Ray to the end of each stage, so that its times are those
that a person would wait for.
"""

import contextlib
import itertools
import math
import multiprocessing
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from landmark_ray import pipeline
from landmark_ray.bundle.network_files import FINETUNED, GROUPS, head_infos
from landmark_ray.config import Config
from landmark_ray.cost.work import Rates, Run, pairs_with
from landmark_ray.cost.workload import Counts, Floats, workload_of
from landmark_ray.data.photo_ids import PhotoIds
from landmark_ray.data.root import Root
from landmark_ray.data.sources import Source
from landmark_ray.data.store import Store
from landmark_ray.demo.dataset import write_table, write_tars
from landmark_ray.errors import UserError
from landmark_ray.kernels.sampling import rank_key
from landmark_ray.kernels.splitting import group_of
from landmark_ray.runtime import interrupts, ledger
from landmark_ray.runtime.progress import ProgressBar
from landmark_ray.stages.trunk import HISTORY

MAX_BYTES = 64e6
"""Larger photos are not copied."""

TAR_PHOTOS = 48
"""Photos of a tar on average: few, so that all cores of most machines have a tar to read."""

VERDICTS = "verdicts.csv"
"""Verdicts that keep all photos: few unrelated ones would reach later stages without them."""

CLEANUP_S = 20.0
"""Seconds that an interrupted run has to stop its Ray."""

MOST_EPOCHS = 2
"""Largest number of epochs that learn from photos; `small` has all, as they take no second."""


@dataclass(frozen=True)
class Sample:
    """A small source in GLDv2's layout."""

    folder: Path
    photos: int
    whole: bool  # whether its landmarks are those of the large source, with all their photos
    read_s: float  # seconds that reading the large source took for each byte; 0 if it is local


def draw_samples(
    source: Source, catalog: pa.Table, folder: Path, sizes: Sequence[int], whole: bool, seed: int
) -> list[Sample]:
    """Make a small source for each of `sizes`, its largest number of photos.

    If `whole`, all archives are searched for all photos of some landmarks of the catalog. Otherwise
    the first photos are filed under landmarks of the same sizes, whatever they show.

    Raises:
        UserError: None of the photos is there.
    """
    landmarks = catalog["landmark_id"].to_pandas().value_counts(sort=False)
    landmarks = landmarks.iloc[np.argsort(rank_key(landmarks.index.astype(str), seed))]
    chosen = fitting(landmarks, max(sizes))
    if whole:
        catalog = catalog.filter(pc.is_in(catalog["landmark_id"], pa.array(chosen.index)))
    begun, wanted = time.monotonic(), int(chosen.sum())
    found, size = copy_photos(source, catalog["image_id"], folder, wanted)
    read_s = 0.0 if source.folder.local else (time.monotonic() - begun) / max(size, 1)
    if whole:
        rows = catalog.select(["image_id", "landmark_id"]).to_pandas().set_index("image_id")
        labels = rows["landmark_id"][found].to_numpy()
    else:
        labels = np.repeat(chosen.index.to_numpy(), chosen)[: len(found)]
    samples: list[Sample] = []
    for photos in sizes:
        taken = np.flatnonzero(np.isin(labels, fitting(chosen, photos).index))
        target = folder / f"source-{len(samples)}"
        write_source(target, [folder / str(i) for i in taken], labels[taken])
        samples.append(Sample(target, len(taken), whole, read_s))
    return samples


def fitting(landmarks: "pd.Series[int]", photos: int) -> "pd.Series[int]":
    """Return the landmarks (id -> photos) that, in order, fit into a number of photos.

    If none fits, the smallest one is returned.
    """
    chosen, room = [], photos
    for size in landmarks:
        chosen.append(size <= room)
        room -= size * (size <= room)
    return landmarks[chosen] if any(chosen) else landmarks.nsmallest(1)


def copy_photos(
    source: Source, ids: pa.ChunkedArray, folder: Path, most: int
) -> tuple[list[str], int]:
    """Copy the first photos that have these ids to files 0, 1, ...; return their ids and bytes."""
    wanted = PhotoIds(ids.cast(pa.string()), loose=bool(source.csv))
    members = (m for archive in source.archives() for m in wanted.renamed(archive, MAX_BYTES))
    found: list[str] = []
    size = 0
    with ProgressBar("copy", most, unit="photos") as progress_bar:
        for member in itertools.islice((m for m in members if m.data or not m.size), most):
            (folder / str(len(found))).write_bytes(member.data)
            found.append(member.image_id)
            size += member.size
            progress_bar.add(1)
    if not found:
        raise UserError(f"{source.folder.uri} has no photo of those that its list names")
    return found, size


def write_source(folder: Path, photos: Sequence[Path], landmarks: Counts) -> None:
    """Write photos in GLDv2's layout, and verdicts that keep all of them."""
    folder.mkdir()
    ids = [f"{number:016x}" for number in range(len(photos))]
    files = (("train", i, photo.read_bytes()) for i, photo in zip(ids, photos, strict=True))
    tars = {"train": math.ceil(len(photos) / TAR_PHOTOS)}
    write_tars(folder, files, tars, np.random.default_rng(0))
    rows = ((i, "", landmark) for i, landmark in zip(ids, landmarks, strict=True))
    write_table(folder / "train.csv", "id,url,landmark_id", rows)
    header = "verdict,image_id,landmark_id,reason"
    write_table(folder / VERDICTS, header, (("keep", i, "", "") for i in ids))


def scaled_down(config: Config, sample: Sample, images: int) -> Config:
    """Return the options of a trial: as given, but for those that depend on the number of photos.

    The whole run, which has the options `config`, has `images` photos.
    """
    epochs = ("trunk_epochs", "epochs") if config.train.network != "small" else ()
    cores = config.cluster.cpus or os.cpu_count() or 1
    edges = config.group.edges
    half = 0.5 if edges[0] > 1 else 0.49  # of one photo, half would leave none to train on
    changes: dict[str, dict[str, Any]] = {
        "sample": {  # a shard for each core, as in the whole run all cores work at the same time
            "buckets": max(round(config.sample.buckets * sample.photos / images), 1),
            "shard_images": math.ceil(sample.photos / cores),
            "min_images": min(config.sample.min_images, config.sample.max_images),
        },
        "group": {  # few trainings, and many photos for `evaluate`
            "edges": tuple(sorted({edges[0], edges[len(edges) // 2]})),
            "validation_first": half,
            "validation_last": half,
        },
        "train": {"retries": 0}
        | {name: min(getattr(config.train, name), MOST_EPOCHS) for name in epochs},
        "clean": {"verdicts": () if sample.whole else (str(sample.folder / VERDICTS),)},
        "export": {"to": ""},
        **{stage: {"max_rejected": 1.0} for stage in ("ingest", "extract", "detect", "resize")},
    }
    sections = {n: getattr(config, n).model_copy(update=c) for n, c in changes.items()}
    source = str(sample.folder)
    return config.model_copy(
        update={"source": source, "root": f"{source}-root", "redo": None, **sections}
    )


def run_stages(config: Config, stages: Sequence[str]) -> tuple[float, str]:
    """Run stages in a process; return its seconds, and what ended it before its end, or ""."""
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
    died = f"a trial died with exit status {process.exitcode}" if process.exitcode else ""
    return time.monotonic() - begun, died if errors.empty() else errors.get()


def _run(config: Config, stages: Sequence[str], errors: Any) -> None:
    """Run stages on a Ray of this machine, even if there is a cluster."""
    os.environ.pop("RAY_ADDRESS", None)
    with open(os.devnull, "w") as nothing, contextlib.redirect_stdout(nothing):
        try:
            interrupts.keep()
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
            pipeline.run(config, stages)
        except UserError as error:
            errors.put(str(error))
        except KeyboardInterrupt:
            sys.exit(130)


@dataclass(frozen=True)
class Trial:
    """What a trial run took; the keys are its finished stages."""

    run: Run
    seconds: dict[str, float]
    task_seconds: dict[str, float]  # of all workers, without their start
    bytes: Counter[str]  # of the tables
    files: Counter[str]  # of the tables
    seconds_per_item: dict[str, Floats]
    """Stage that trains -> [N] seconds for an example in each training, without the first step of
    an epoch, which waits for data, or the first epoch of a head, which compiles; nan where there
    are no others."""
    training_seconds: dict[str, Floats]
    """Stage that trains groups -> [N] seconds of each training."""


def read_trial(config: Config) -> Trial:
    """Read what a run left in its root; stages from some point on may be missing."""
    assert config.root and config.source
    root = Root(config.root)
    records = {name: r for name, r in ledger.read_all(root).items() if "funnel" in r}
    sizes: Counter[str] = Counter()
    files: Counter[str] = Counter()
    for name, size in root.files().items():
        for stage in (s for table, s in pipeline.OWNERS.items() if name.startswith(f"{table}/")):
            sizes[stage] += size
            files[stage] += 1
    catalog = root.dataset("catalog").to_table()
    data = workload_of(catalog, Source(config.source), catalog.num_rows)

    def count(table: str, rows: pc.Expression | None = None) -> Counts:
        """Count the rows [C] of each landmark; none if the table isn't finished."""
        if pipeline.OWNERS[table] not in records:
            return np.zeros_like(data.sizes)
        ids = root.dataset(table).to_table(["landmark_id"], filter=rows)["landmark_id"]
        return ids.to_pandas().value_counts().reindex(data.landmarks, fill_value=0).to_numpy()

    usable, pairs, examples = (count(table) for table in ("images", "pairs", "examples"))
    kept = count("kept", pc.field("keep"))
    alone, over = (count("kept", pc.field("reason") == r) for r in ("unverified", "over_cap"))
    judged = usable - over  # photos over the cap are taken to match as often as those below it
    lonely_pairs = pairs_with(usable, alone).sum()
    measured: dict[str, float] = {}
    if "ingest" in records:
        measured["usable"] = usable.sum() / max(data.images, 1)
    if "prune" in records:
        measured["unverified"] = alone.sum() / max(judged.sum(), 1)
        if (judged - alone).any():
            measured["tries"] = max(pairs.sum() - lonely_pairs, 0) / (judged - alone).sum()
    if "resize" in records and kept.any():
        measured["cleaned"] = examples.sum() / kept.sum()
    rates = Rates.model_validate(measured)  # what is not set here was not measured
    group = group_of(examples, config.group.edges).astype(np.int64)
    resized = pipeline.OWNERS["background"] in records
    background = root.dataset("background").count_rows() if resized else 0
    run = Run(config, data, rates, usable, pairs, kept, examples, group, background)
    seconds = {stage: record["seconds"] for stage, record in records.items()}
    worked = {stage: record["funnel"]["task_seconds"] for stage, record in records.items()}
    reports = {
        stage: [info.report for info in head_infos(root.models, place)]
        for stage, place in (("train", GROUPS), ("finetune", FINETUNED))
    }
    per_item = _seconds_per_item(reports, root.models, config)
    lasted = {stage: np.array([r["seconds"] for r in each]) for stage, each in reports.items()}
    return Trial(run, seconds, worked, sizes, files, per_item, lasted)


def _seconds_per_item(
    reports: dict[str, list[dict[str, Any]]], models: Store, config: Config
) -> dict[str, Floats]:
    train = config.train
    named = {"trunk": ("step_s", train.batch), "train": ("vector_s", 1)}
    named["finetune"] = named["trunk"]
    histories: dict[str, list[list[dict[str, float]]]] = {
        "trunk": [models.read_json(HISTORY) or []],
        **{stage: [report["history"] for report in each] for stage, each in reports.items()},
    }
    found = {}
    for stage, (name, items) in named.items():
        seconds = [[e[name] for e in epochs if name in e] for epochs in histories[stage]]
        usual = np.mean if stage == "trunk" and train.metric_sizes else np.median  # each its own
        found[stage] = np.array([usual(s) if s else np.nan for s in seconds]) / items
    return found
