"""The figures of the stage evaluate, from the rows that it wrote for each photo."""

import dataclasses
import json
from collections.abc import Collection
from functools import partial
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from landmark_ray.bundle.network_files import TRUNK, head_infos, heads_folder
from landmark_ray.config import Config
from landmark_ray.data.examples import groups_of
from landmark_ray.data.root import Root
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
from landmark_ray.training import non_landmarks

TEST = "test_predictions"
"""The table with a row for each photo of the test set."""

AT_THRESHOLD = ("threshold", "precision", "recall", "f1")
"""Figures for which photos of landmarks count as strangers, too; see `answers.as_strangers`."""


def figures_of(config: Config, root: Root, solution: Collection[str] | None) -> dict[str, Any]:
    """Compute all figures of `reports/evaluation.json`, from the predictions of `evaluate`.

    Args:
        config: All options.
        root: The root.
        solution: Ids of the photos of the test set; None if there is none.
    """
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
            for info in head_infos(root.models, heads_folder(config))
        ],
    }
    whole = results["validation"]["ensemble"]
    strangers = whole["images"] - whole["landmark_images"]
    whole |= at_threshold(predictions, unknown, strangers)
    results["heads"] = {
        "threshold": at_threshold(evidence, as_strangers(evidence, groups), strangers)["threshold"],
        "floor": rejection_floor_of(evidence),
    }
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
    if history := root.models.read_json(f"{TRUNK}/history.json"):
        results["trunk"] = {"history": history}
    if solution is not None:
        evidence = one_row_per_photo(root.dataset(TEST).to_table())
        predictions = answered(evidence, fusion)
        results["test"] = figures(predictions) | witnesses(evidence, [(evidence, fusion)])
        results["test"]["strangers"] = of_strangers(predictions)
        results["test"]["notes"] = notes_of(root, len(solution), evidence.num_rows)
    return results


def notes_of(root: Root, solution: int, found: int) -> list[str]:
    """Return what is wrong with the test set: the notes of its archives, and what they lack.

    Args:
        root: The root.
        solution: Number of photos of the test set.
        found: Number of those that its archives have.
    """
    lack = (
        f"{solution - found:,} of the {solution:,} photos of the test set's solution are in none "
        "of its archives: all figures are of the others"
    )
    of_archives = [json.loads(value)["notes"] for value in root.committed(TEST).values()]
    return sum(of_archives, [lack] if found < solution else [])


def at_threshold(predictions: pa.Table, unknown: pa.Table, strangers: int) -> dict[str, float]:
    """Choose the threshold of "not a landmark", and return the figures `AT_THRESHOLD`.

    Args:
        predictions: Rows of validation images.
        unknown: Rows of photos of landmarks as if their landmarks were unknown.
        strangers: Number of validation images without a landmark.
    """
    summary = summary_of(pa.concat_tables([scored(predictions), unknown]), strangers)
    return {name: summary[name] for name in AT_THRESHOLD if name in summary}


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
