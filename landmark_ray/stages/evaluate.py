"""evaluate: measure how well the models recognise photos that they have not learned from.

The models of all groups answer for every validation image of all groups and of the background, with
the code that serves. They also answer for the source's test set, if it has one.
`reports/evaluation.json` holds the figures and the threshold of "not a landmark".
"""

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from functools import cached_property, partial

import pyarrow as pa
import pyarrow.compute as pc

from landmark_ray.bundle.network_files import heads_folder
from landmark_ray.config import Config
from landmark_ray.data import schemas
from landmark_ray.data.archives import Archive
from landmark_ray.data.class_features import COLUMNS
from landmark_ray.data.examples import groups_of, read_examples
from landmark_ray.data.lookup import image_features
from landmark_ray.data.photo_batches import photos
from landmark_ray.data.photo_ids import PhotoIds
from landmark_ray.data.root import Root, Shard
from landmark_ray.data.sources import Source
from landmark_ray.kernels.features import ImageFeatures
from landmark_ray.reports import evaluation_page
from landmark_ray.runtime.counts import StageCounts, reason_kind
from landmark_ray.runtime.resources import pin_tensorflow, pin_threads, plan_workers
from landmark_ray.runtime.shards import ShardReader, ShardResult, process_shards_with_model
from landmark_ray.runtime.stage import Stage
from landmark_ray.training.evaluation import TEST, figures_of
from landmark_ray.training.trackers import Tracker


def inputs(config: Config, source: Source) -> dict[str, str]:
    """Return the fingerprint of the source's test set, and a checksum of its solution."""
    test = source.test_set()
    if test is None:
        return {"source's test set": "none"}
    shown = sorted((image_id, sorted(landmarks)) for image_id, landmarks in test[1].items())
    solution = hashlib.sha256(json.dumps(shown).encode()).hexdigest()[:16]
    return {"source's test set": source.fingerprint("test"), "solution of the test set": solution}


def run(config: Config, root: Root, source: Source) -> StageCounts:
    """Write `predictions`, `test_predictions` and the report."""
    workers = plan_workers(config, "train.", config.train, trains=False)
    archives, solution = source.test_set() or ([], None)
    tests = TestSet(archives, solution or {}, groups_of(root))
    load = partial(Evaluate, config, root, tests, pin=not workers.gpus)
    counts = process_shards_with_model(
        "evaluate", "predictions", load, workers, config, root, more={TEST: tests.shards()}
    )
    results = figures_of(config, root, solution)
    evaluation_page.store(results, root, config)
    final = {
        f"{name}/{figure}": float(value)
        for name in ("validation", "test")
        for figure, value in results.get(name, {}).get("ensemble", {}).items()
    }
    Tracker(config, root, "evaluate", "ensemble").write([{"epoch": 0, **final}], finished=True)
    counts.counters["synthetic images accepted"] = results["synthetic"]["accepted"]
    counts.notes += filter(None, [results["warning"], *results.get("test", {}).get("notes", [])])
    return counts


@dataclass(frozen=True)
class TestSet:
    """The test set of a source.

    Attributes:
        archives: The tars.
        solution: image_id -> the landmarks that it shows.
        groups: Landmark -> group, of all landmarks that the models know.
    """

    archives: list[Archive]
    solution: dict[str, frozenset[int]]
    groups: dict[int, int]

    @cached_property
    def ids(self) -> PhotoIds:
        """The ids of the solution, which name the files of the tars."""
        return PhotoIds(pa.array(list(self.solution), pa.string()))

    def shards(self) -> list[Shard]:
        """Return a shard of `test_predictions` for each tar; its number of photos is estimated."""
        sizes = [archive.size for archive in self.archives]
        share = len(self.solution) / max(sum(sizes), 1)
        return [Shard(0, number, round(size * share)) for number, size in enumerate(sizes)]


class Evaluate:
    """The rule of the stage: it holds all networks."""

    def __init__(self, config: Config, root: Root, tests: TestSet, *, pin: bool) -> None:
        """Load the networks, the index and the exemplars.

        `pin` limits their threads to the cores of the worker.
        """
        if pin:
            pin_tensorflow()
        from landmark_ray.bundle.scoring import Scorer

        threads = pin_threads() if pin else None
        self.scorer = Scorer(root.models, heads_folder(config), config.evaluate.top_k, threads)
        self.config, self.tests = config, tests

    def __call__(self, shard: ShardReader) -> ShardResult:
        """Score the validation examples of a shard, or the photos of a tar of the test set."""
        if shard.table == TEST:
            return self._score_tar(self.tests.archives[shard.shard])
        return self._score_examples(shard)

    def _score_examples(self, shard: ShardReader) -> ShardResult:
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

    def _score_tar(self, archive: Archive) -> ShardResult:
        parts, counts = [schemas.PREDICTIONS.empty_table()], StageCounts()
        solution, groups = self.tests.solution, self.tests.groups
        members = self.tests.ids.renamed(archive, self.config.ingest.max_megabytes * 1e6)
        limits = dataclasses.replace(self.config.ingest.limits, fit=self.config.resize.fit)
        for batch in photos(members, self.scorer.size, limits):
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
        return ShardResult(pa.concat_tables(parts), counts)


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
