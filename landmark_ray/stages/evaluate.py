"""evaluate: what the models say of photos that they have not learned from, and how good that is.

All groups answer for every validation image, of all groups and of the background, with the code
that serves; so they do for the source's test set, where there is one. `reports/evaluation.json` has
the figures, with the threshold of "not a landmark".
"""

import json
from collections.abc import Iterable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from landmark_ray.bundle.network_files import CLOSED, FINETUNED, GROUPS, TRUNK, head_infos
from landmark_ray.config import Config
from landmark_ray.data import schemas
from landmark_ray.data.examples import pixels, read_examples
from landmark_ray.data.photo_batches import photos
from landmark_ray.data.photo_ids import PhotoIds
from landmark_ray.data.root import Root
from landmark_ray.data.sources import Archive, Source
from landmark_ray.data.store import Store
from landmark_ray.kernels.calibration import choose_rejection_floor
from landmark_ray.kernels.contentless import without_contentless
from landmark_ray.kernels.evaluation import figures, ranking, synthetic_accepted
from landmark_ray.reports import evaluation_page as report
from landmark_ray.runtime.counts import StageCounts, reason_kind
from landmark_ray.runtime.progress import ProgressBar
from landmark_ray.runtime.resources import pin_tensorflow, plan_workers
from landmark_ray.runtime.shards import ShardReader, ShardResult, process_shards_with_model
from landmark_ray.runtime.stage import Stage
from landmark_ray.runtime.tasks import Row, run_tasks, shard_task
from landmark_ray.training import non_landmarks

if TYPE_CHECKING:
    from landmark_ray.bundle.ensemble import Answer


TEST = "test_predictions"


def inputs(config: Config, source: Source) -> dict[str, str]:
    """What the stage reads besides other stages' tables."""
    test = source.test_set()
    return {"source's test set": source.fingerprint("test") if test else "none"}


def run(config: Config, tables: Root, source: Source) -> StageCounts:
    """Write `predictions`, `test_predictions` and the report."""
    workers = plan_workers(config, "train.", config.train)
    load = partial(ScoreExamples, config, tables, pin=not workers.gpus)
    funnel = process_shards_with_model("evaluate", "predictions", load, workers, config, tables)
    test = source.test_set()
    if test:
        over_test_set(*test, config, tables)
    found = figures_of(config, tables, test is not None)
    report.store(found, tables, config)
    funnel.facts["synthetic images accepted"] = found["synthetic"]["accepted"]
    funnel.notes += filter(None, [found["warning"]])
    return funnel


class EnsembleScorer:
    """All group models, and those by the reference's rule, for comparison."""

    def __init__(self, config: Config, tables: Root) -> None:
        """Load the heads."""
        from landmark_ray.bundle.ensemble import Ensemble

        folder = Store(f"{tables.uri}/models")
        place = FINETUNED if "finetune" in config.train.phases else GROUPS
        self.models: Ensemble = Ensemble(folder, place)
        self.closed: Ensemble = Ensemble(folder, CLOSED)
        self.k = config.evaluate.top_k

    def rows(
        self,
        image_ids: list[str],
        squares: NDArray[np.uint8],
        truth: Mapping[str, Iterable[int]],
        labels: Iterable[int],
        groups: Iterable[int],
    ) -> pa.Table:
        """Rows of `predictions` for photos."""
        vectors = self.models.vectors(squares)
        if not set(self.closed.trunks) <= set(vectors):
            vectors |= self.closed.vectors(squares)
        answer = self.models.answer(vectors, self.k)
        landmarks, confidences = _lists(without_contentless(answer, squares))
        closed, sure = self.closed.answer(vectors, 1)
        columns = {
            "image_id": image_ids,
            "truth": [sorted(truth[i]) for i in image_ids],
            "label": labels,
            "group": groups,
            "landmarks": landmarks,
            "confidences": confidences,
            "closed_landmark": closed[:, 0],
            "closed_confidence": sure[:, 0].astype(np.float32),
        }
        return pa.table(
            {n: pa.array(v, schemas.PREDICTIONS.field(n).type) for n, v in columns.items()},
            schema=schemas.PREDICTIONS,
        )


def _lists(answer: "Answer") -> tuple[list[list[int]], list[list[float]]]:
    """Without the places that stay empty where there are few landmarks."""
    landmarks, confidences = answer
    known = [row >= 0 for row in landmarks]
    return (
        [row[k].tolist() for row, k in zip(landmarks, known, strict=True)],
        [row[k].tolist() for row, k in zip(confidences, known, strict=True)],
    )


class ScoreExamples:
    """The rule that holds all networks."""

    def __init__(self, config: Config, root: Root, *, pin: bool) -> None:
        """Load the networks; `pin` keeps them on the cores of their worker."""
        if pin:
            pin_tensorflow()
        self.config, self.scorer = config, EnsembleScorer(config, root)

    def __call__(self, shard: ShardReader) -> ShardResult:
        """Score the validation examples of a shard."""
        examples = read_examples(shard.root, shard.key, self.config.seed)
        validation = examples.filter(pc.equal(examples["split"], "validation"))
        rows = score_examples(validation, self.scorer)
        counts = StageCounts(shard.images, shard.images)
        counts.facts["validation images"] = rows.num_rows
        return ShardResult(rows, counts)


def score_examples(examples: pa.Table, scorer: EnsembleScorer) -> pa.Table:
    """Rows of `predictions` for rows of `examples`; those of group 0 show no landmark."""
    if not examples.num_rows:
        return schemas.PREDICTIONS.empty_table()
    ids, labels, groups = (
        examples[name].to_pylist() for name in ("image_id", "landmark_id", "group")
    )
    truth = {i: {label} if g else () for i, label, g in zip(ids, labels, groups, strict=True)}
    squares = np.stack([pixels(jpeg, scorer.models.size) for jpeg in examples["jpeg"].to_pylist()])
    return scorer.rows(ids, squares, truth, labels, groups)


def over_test_set(
    archives: list[Archive], solution: dict[str, frozenset[int]], config: Config, tables: Root
) -> None:
    """Write `test_predictions`, a file for each tar."""
    done = tables.committed(TEST)
    sizes = [archive.size for archive in archives]
    todo = [
        {"bucket": 0, "shard": n, "rows": size}
        for n, size in enumerate(sizes)
        if (0, n) not in done
    ]
    groups = groups_of(tables)
    ids = PhotoIds(pa.array(list(solution), pa.string()))
    workers = plan_workers(config, "train.", config.train)

    class TestSetWorker:
        """Holds all networks; one for each GPU, or for each core."""

        def __init__(self) -> None:
            if not workers.gpus:
                pin_tensorflow()
            self.scorer = EnsembleScorer(config, tables)

        def score_tar(self, unit: Row) -> Row:
            parts, funnel = [schemas.PREDICTIONS.empty_table()], StageCounts()
            archive = archives[unit["shard"]]
            members = ids.renamed(archive, config.ingest.max_megabytes * 1e6)
            size = self.scorer.models.size
            for found, squares, bad in photos(members, size, config.ingest.limits):
                funnel.images_in += len(found) + len(bad)
                funnel.images_out += len(found)
                funnel.why.update(reason_kind(reason) for reason in bad.values())
                if bad:
                    parts.append(unanswered(list(bad), solution, groups))
                if found:
                    own = [groups.get(min(solution[i], default=-1), 0) for i in found]
                    rows = self.scorer.rows(found, squares, solution, [-1] * len(found), own)
                    parts.append(rows)
            funnel.notes += archive.notes
            tables.commit(TEST, 0, unit["shard"], pa.concat_tables(parts), funnel.to_json())
            return {"rows": unit["rows"], "report": funnel.to_json()}

        def __call__(self, unit: Row) -> Row:
            return shard_task(self.score_tar)(unit)

    done_bytes = sum(sizes) - sum(unit["rows"] for unit in todo)
    with ProgressBar("test set", sum(sizes), done=done_bytes, unit="bytes") as meter:
        worker: Any = TestSetWorker
        run_tasks(todo, lambda units: units.map(worker, **workers.pool), config, meter)


def rejection_floor_of(predictions: pa.Table) -> float:
    """Return `choose_rejection_floor` of the validation images."""
    ranked, confidences = ranking(predictions)
    named = zip(ranked[:, 0].tolist(), predictions["truth"].to_pylist(), strict=True)
    return choose_rejection_floor(
        confidences[:, 0], [landmark in truth for landmark, truth in named]
    )


def each_once(predictions: pa.Table) -> pa.Table:
    """One row of each photo, an answered one if there is: several files may be called like it."""
    answered = pc.greater(pc.list_value_length(predictions["landmarks"]), 0)
    rows = pa.concat_tables([predictions.filter(answered), predictions.filter(pc.invert(answered))])
    seen = pd.Series(rows["image_id"].to_pylist()).duplicated().to_numpy()
    return rows.filter(pa.array(~seen))


def unanswered(
    ids: list[str], solution: dict[str, frozenset[int]], groups: dict[int, int]
) -> pa.Table:
    """Rows of `predictions` for photos that can't be read."""
    own = [groups.get(min(solution[i], default=-1), 0) for i in ids]
    rows = [
        {"image_id": i, "truth": sorted(solution[i]), "label": -1, "group": g}
        | {"landmarks": [], "confidences": [], "closed_landmark": -1, "closed_confidence": 0.0}
        for i, g in zip(ids, own, strict=True)
    ]
    return pa.Table.from_pylist(rows, schemas.PREDICTIONS)


def groups_of(tables: Root) -> dict[int, int]:
    """Landmark -> group."""
    rows = tables.dataset("examples").to_table(["landmark_id", "group"])
    pairs = rows.group_by(["landmark_id", "group"]).aggregate([])
    return dict(zip(pairs["landmark_id"].to_pylist(), pairs["group"].to_pylist(), strict=True))


def figures_of(config: Config, tables: Root, test: bool) -> dict[str, Any]:
    """All that `reports/evaluation.json` holds."""
    folder = Store(f"{tables.uri}/models")
    place = FINETUNED if "finetune" in config.train.phases else GROUPS
    predictions = tables.dataset("predictions").to_table()
    found: dict[str, Any] = {
        "validation": figures(predictions),
        "floor": rejection_floor_of(predictions),
        "models": [
            {
                "group": info.group,
                "landmarks": len(info.landmarks),
                "temperature": info.temperature,
                **info.report,
            }
            for info in head_infos(folder, place)
        ],
    }
    whole = found["validation"]["ensemble"]
    found["synthetic"] = synthetic_accepted(predictions, whole["threshold"])
    found["warning"] = non_landmarks.warning(
        non_landmarks.learned(tables, config),
        whole["images"] - whole["landmark_images"],
        sum(model["landmarks"] for model in found["models"]),
    )
    if history := folder.read_json(f"{TRUNK}/history.json"):
        found["trunk"] = {"history": history}
    if test:
        found["test"] = figures(each_once(tables.dataset(TEST).to_table()))
        notes = [json.loads(value)["notes"] for value in tables.committed(TEST).values()]
        found["test"]["notes"] = sum(notes, [])
    return found


STAGE = Stage(
    "evaluate",
    reads=("models/groups", "models/closed", "models/finetuned", "embeddings", "examples"),
    writes=("predictions", "test_predictions"),
    run=run,
    inputs=inputs,
)
