"""evaluate: measure how well the models recognise photos that they have not learned from.

The models of all groups answer for every validation image of all groups and of the background, with
the code that serves. They also answer for the source's test set, if it has one.
`reports/evaluation.json` holds the figures and the threshold of "not a landmark".
"""

import dataclasses
import json
from functools import partial
from typing import TYPE_CHECKING, Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from landmark_ray.bundle.network_files import FINETUNED, GROUPS, TRUNK, head_infos
from landmark_ray.config import Config
from landmark_ray.data import schemas
from landmark_ray.data.class_features import COLUMNS
from landmark_ray.data.examples import groups_of, read_examples
from landmark_ray.data.lookup import image_features
from landmark_ray.data.photo_batches import photos
from landmark_ray.data.photo_ids import PhotoIds
from landmark_ray.data.root import Root
from landmark_ray.data.sources import Archive, Source
from landmark_ray.data.store import Store
from landmark_ray.kernels.answers import (
    answered,
    as_strangers,
    cross_fitted,
    fitted,
    strangers_accepted,
    witnesses,
)
from landmark_ray.kernels.calibration import choose_rejection_floor
from landmark_ray.kernels.evaluation import (
    figures,
    ranking,
    scored,
    summary_of,
    synthetic_accepted,
)
from landmark_ray.kernels.features import ImageFeatures
from landmark_ray.reports import evaluation_page
from landmark_ray.runtime.counts import StageCounts, reason_kind
from landmark_ray.runtime.progress import ProgressBar
from landmark_ray.runtime.resources import pin_tensorflow, pin_threads, plan_workers
from landmark_ray.runtime.shards import ShardReader, ShardResult, process_shards_with_model
from landmark_ray.runtime.stage import Stage
from landmark_ray.runtime.tasks import Row, run_tasks, shard_task
from landmark_ray.training import non_landmarks
from landmark_ray.training.trackers import Tracker

if TYPE_CHECKING:
    from landmark_ray.bundle.scoring import Scorer


TEST = "test_predictions"

AT_THRESHOLD = ("threshold", "precision", "recall", "f1")
"""Figures for which photos of landmarks count as strangers, too; see `answers.as_strangers`."""


def inputs(config: Config, source: Source) -> dict[str, str]:
    """Return the fingerprint of the source's test set."""
    test = source.test_set()
    return {"source's test set": source.fingerprint("test") if test else "none"}


def run(config: Config, root: Root, source: Source) -> StageCounts:
    """Write `predictions`, `test_predictions` and the report."""
    workers = plan_workers(config, "train.", config.train)
    load = partial(ScoreExamples, config, root, pin=not workers.gpus)
    counts = process_shards_with_model("evaluate", "predictions", load, workers, config, root)
    test = source.test_set()
    if test:
        score_test_set(*test, config, root)
    results = figures_of(config, root, test is not None)
    evaluation_page.store(results, root, config)
    final = {
        f"{name}/{figure}": float(value)
        for name in ("validation", "test")
        for figure, value in results.get(name, {}).get("ensemble", {}).items()
    }
    Tracker(config, root, "evaluate", "ensemble").write([{"epoch": 0, **final}], finished=True)
    counts.counters["synthetic images accepted"] = results["synthetic"]["accepted"]
    counts.notes += filter(None, [results["warning"]])
    return counts


def scorer_of(config: Config, root: Root, *, pin: bool) -> "Scorer":
    """Load the networks, the index and the exemplars of a root.

    `pin` limits the threads of local features to the cores of the worker.
    """
    from landmark_ray.bundle.scoring import Scorer

    subfolder = FINETUNED if "finetune" in config.train.phases else GROUPS
    threads = pin_threads() if pin else None
    return Scorer(Store(f"{root.uri}/models"), subfolder, config.evaluate.top_k, threads)


class ScoreExamples:
    """The rule of the stage: it holds all networks."""

    def __init__(self, config: Config, root: Root, *, pin: bool) -> None:
        """Load the networks; `pin` limits their threads to the cores of the worker."""
        if pin:
            pin_tensorflow()
        self.config, self.scorer = config, scorer_of(config, root, pin=pin)

    def __call__(self, shard: ShardReader) -> ShardResult:
        """Score the validation examples of a shard."""
        from landmark_ray.bundle.scoring import score_examples

        examples = read_examples(shard.root, shard.key, self.config.seed)
        validation = examples.filter(pc.equal(examples["split"], "validation"))
        rows = score_examples(validation, self.scorer, self._features(shard, validation))
        counts = StageCounts(shard.images, shard.images)
        counts.counters["validation images"] = rows.num_rows
        return ShardResult(rows, counts)

    def _features(self, shard: ShardReader, examples: pa.Table) -> dict[str, ImageFeatures]:
        """Read the local features of some examples of a shard, if there are exemplars."""
        if self.scorer.witnesses.exemplars is None:
            return {}
        features = shard.read("features", ["image_id", *COLUMNS])
        chosen = features.filter(pc.is_in(features["image_id"], examples["image_id"]))
        return {row["image_id"]: image_features(row) for row in chosen.to_pylist()}


def score_test_set(
    archives: list[Archive], solution: dict[str, frozenset[int]], config: Config, root: Root
) -> None:
    """Write `test_predictions`, one file for each tar.

    Args:
        archives: The tars of the test set.
        solution: image_id -> the landmarks that it shows.
        config: All options.
        root: The root.
    """
    done = root.committed(TEST)
    sizes = [archive.size for archive in archives]
    todo = [
        {"bucket": 0, "shard": n, "rows": size}
        for n, size in enumerate(sizes)
        if (0, n) not in done
    ]
    groups = groups_of(root)
    ids = PhotoIds(pa.array(list(solution), pa.string()))
    workers = plan_workers(config, "train.", config.train)

    class TestSetWorker:
        """A worker that holds all networks: one for each GPU, or for each core."""

        def __init__(self) -> None:
            if not workers.gpus:
                pin_tensorflow()
            self.scorer = scorer_of(config, root, pin=not workers.gpus)

        def score_tar(self, unit: Row) -> Row:
            parts, counts = [schemas.PREDICTIONS.empty_table()], StageCounts()
            archive = archives[unit["shard"]]
            members = ids.renamed(archive, config.ingest.max_megabytes * 1e6)
            size = self.scorer.size
            limits = dataclasses.replace(config.ingest.limits, fit=config.resize.fit)
            for batch in photos(members, size, limits):
                usable, bad = batch.ids, batch.rejected
                counts.images_in += len(usable) + len(bad)
                counts.images_out += len(usable)
                counts.reject_reasons.update(reason_kind(reason) for reason in bad.values())
                if bad:
                    parts.append(rows_of_unreadable(list(bad), solution, groups))
                if usable:
                    labels = [-1] * len(usable)
                    own = [groups.get(min(solution[i], default=-1), 0) for i in usable]
                    features = self.scorer.features(batch.files, limits)
                    parts.append(
                        self.scorer.rows(usable, batch.squares, solution, labels, own, features)
                    )
            counts.notes += archive.notes
            root.commit(TEST, 0, unit["shard"], pa.concat_tables(parts), counts.to_json())
            return {"rows": unit["rows"], "report": counts.to_json()}

        def __call__(self, unit: Row) -> Row:
            return shard_task(self.score_tar)(unit)

    done_bytes = sum(sizes) - sum(unit["rows"] for unit in todo)
    with ProgressBar("test set", sum(sizes), done=done_bytes, unit="bytes") as progress_bar:
        worker: Any = TestSetWorker
        run_tasks(todo, lambda units: units.map(worker, **workers.pool), config, progress_bar)


def rejection_floor_of(predictions: pa.Table) -> float:
    """Return `choose_rejection_floor` of the validation images."""
    ranked, confidences = ranking(predictions)
    named = zip(ranked[:, 0].tolist(), predictions["truth"].to_pylist(), strict=True)
    return choose_rejection_floor(
        confidences[:, 0], [landmark in truth for landmark, truth in named]
    )


def one_row_per_photo(predictions: pa.Table) -> pa.Table:
    """Keep one row of each photo, if possible one with an answer: several files may have its id."""
    answered = pc.greater(pc.list_value_length(predictions["landmarks"]), 0)
    rows = pa.concat_tables([predictions.filter(answered), predictions.filter(pc.invert(answered))])
    repeated = pd.Series(rows["image_id"].to_pylist()).duplicated().to_numpy()
    return rows.filter(pa.array(~repeated))


def rows_of_unreadable(
    ids: list[str], solution: dict[str, frozenset[int]], groups: dict[int, int]
) -> pa.Table:
    """Make rows of `predictions` with empty answers for photos that cannot be read.

    `solution` is image_id -> the landmarks that it shows, `groups` is landmark -> group.
    """
    own = [groups.get(min(solution[i], default=-1), 0) for i in ids]
    rows = [
        {"image_id": i, "truth": sorted(solution[i]), "label": -1, "group": g}
        | {"landmarks": [], "confidences": [], "closed_landmark": -1, "closed_confidence": 0.0}
        | {"candidates": [], "heads": [], "nearest": [], "mean": [], "usual": []}
        | {"strangers": -1.0, "inliers": []}
        for i, g in zip(ids, own, strict=True)
    ]
    return pa.Table.from_pylist(rows, schemas.PREDICTIONS)


def figures_of(config: Config, root: Root, test: bool) -> dict[str, Any]:
    """Compute all figures of `reports/evaluation.json`; `test` says whether there is a test set."""
    folder = Store(f"{root.uri}/models")
    subfolder = FINETUNED if "finetune" in config.train.phases else GROUPS
    evidence, groups = root.dataset("predictions").to_table(), groups_of(root)
    fusion, halves = fitted(evidence, groups), cross_fitted(evidence, groups)
    predictions = pa.concat_tables([answered(rows, half) for rows, half in halves])
    unknown = pa.concat_tables(
        [answered(as_strangers(rows, groups), half) for rows, half in halves]
    )
    results: dict[str, Any] = {
        "validation": figures(predictions) | witnesses(evidence, halves),
        "fusion": dataclasses.asdict(fusion),
        "cross_fitted": [dataclasses.asdict(half) for _, half in halves],
        "floor": rejection_floor_of(predictions),
        "models": [
            {
                "group": info.group,
                "landmarks": len(info.landmarks),
                "temperature": info.temperature,
                **info.report,
            }
            for info in head_infos(folder, subfolder)
        ],
    }
    whole = results["validation"]["ensemble"]
    strangers = whole["images"] - whole["landmark_images"]
    with_unknown = summary_of(pa.concat_tables([scored(predictions), unknown]), strangers)
    whole |= {name: with_unknown[name] for name in AT_THRESHOLD if name in with_unknown}
    results["synthetic"] = synthetic_accepted(predictions, whole["threshold"])
    of_strangers = partial(
        strangers_accepted, threshold=whole["threshold"], known=frozenset(groups)
    )
    results["validation"]["strangers"] = of_strangers(predictions)
    results["validation"]["strangers"]["landmarks_as_if_unknown"] = of_strangers(unknown)[
        "anything_else"
    ]
    results["warning"] = non_landmarks.warning(
        non_landmarks.learned(root, config),
        strangers,
        sum(model["landmarks"] for model in results["models"]),
    )
    if history := folder.read_json(f"{TRUNK}/history.json"):
        results["trunk"] = {"history": history}
    if test:
        evidence = one_row_per_photo(root.dataset(TEST).to_table())
        predictions = answered(evidence, fusion)
        results["test"] = figures(predictions) | witnesses(evidence, [(evidence, fusion)])
        results["test"]["strangers"] = of_strangers(predictions)
        notes = [json.loads(value)["notes"] for value in root.committed(TEST).values()]
        results["test"]["notes"] = sum(notes, [])
    return results


STAGE = Stage(
    "evaluate",
    reads=(
        *("models/groups", "models/closed", "models/finetuned", "models/index"),
        *("models/exemplars", "features", "examples"),
    ),
    writes=("predictions", "test_predictions"),
    run=run,
    inputs=inputs,
)
