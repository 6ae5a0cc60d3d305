"""evaluate: what the models say of the validation images, and how good that is.

All groups answer for every validation image, of all groups and of the background, with the code that
serves. The figures, and the threshold of "not a landmark", are in `reports/evaluation.json`.
"""

import io
import os
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from PIL import Image
from ray.data import ActorPoolStrategy, Dataset

from landmark_ray import schemas
from landmark_ray.config import Config
from landmark_ray.funnel import Funnel
from landmark_ray.kernels.evaluation import evaluate
from landmark_ray.sources import Source
from landmark_ray.stages.shards import Row, once, run_over_shards, workers_of
from landmark_ray.storage import Folder, Tables

if TYPE_CHECKING:
    from landmark_ray.ensemble import Ensemble

READS = ("train", "embed")
WRITES = ("predictions",)

REPORT = "reports/evaluation.json"


def inputs(source: Source) -> dict[str, str]:
    """What the stage reads besides other stages' tables."""
    return {}


def run(config: Config, tables: Tables, source: Source) -> Funnel:
    """Write `predictions` and the report."""
    funnel = run_over_shards(
        "evaluate", "predictions", tables, config, lambda units: plan(units, config, tables)
    )
    predictions = tables.dataset("predictions").to_table()
    tables.write_json(REPORT, figures(predictions))
    return funnel


def plan(units: Dataset, config: Config, tables: Tables) -> Dataset:
    """Units to reports."""
    options = config.train
    workers, gpus, cpus = workers_of(config, "train", options.gpus, options.cpus)

    class Worker:
        """Holds all networks; one for each GPU, or for each core."""

        def __init__(self) -> None:
            if not gpus:  # one worker a core; TensorFlow reads this when it is imported
                os.environ["TF_NUM_INTRAOP_THREADS"] = os.environ["TF_NUM_INTEROP_THREADS"] = "1"
            from landmark_ray.ensemble import Ensemble

            self.ensemble = Ensemble(Folder(f"{tables.uri}/models"))
            self.work = once("predictions", tables, self.predict_shard)

        def predict_shard(self, unit: Row) -> Row:
            place = unit["bucket"], unit["shard"]
            rows = predict_rows(read_validation(tables, place), self.ensemble, config.evaluate.k)
            funnel = Funnel(unit["rows"], unit["rows"])
            funnel.facts["validation images"] = rows.num_rows
            tables.commit("predictions", *place, rows, funnel.to_json())
            return {"rows": unit["rows"], "report": funnel.to_json()}

        def __call__(self, unit: Row) -> Row:
            return self.work(unit)

    return units.map(Worker, compute=ActorPoolStrategy(size=workers), num_gpus=gpus, num_cpus=cpus)
