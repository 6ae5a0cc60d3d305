"""What TensorBoard and MLflow read from the folder `logs` of a root, each with its own reader."""

import os
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

Curves = dict[str, list[tuple[int, float]]]
"""Name of a figure -> (epoch, value)."""


def tensorboard_curves(root: Path, stage: str, run: str) -> Curves:
    # TensorBoard would import TensorFlow to open files
    sys.modules.setdefault("tensorboard.compat.notf", ModuleType("notf"))
    from tensorboard.backend.event_processing.event_multiplexer import EventMultiplexer

    runs = EventMultiplexer().AddRunsFromDirectory(str(root / "logs/tensorboard")).Reload()
    name = f"{stage}/{run}"
    return {
        figure: [(event.step, event.value) for event in runs.Scalars(name, figure)]
        for figure in runs.Runs()[name]["scalars"]
    }


def mlflow_curves(root: Path, stage: str, run: str) -> Any:
    """A run, with all points of its curves as `curves`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
        patch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        from mlflow.tracking import MlflowClient

        client = MlflowClient(f"file://{os.path.abspath(root)}/logs/mlflow")
        (experiment,) = (e for e in client.search_experiments() if e.name == stage)
        runs = client.search_runs([experiment.experiment_id])
        (found,) = (r for r in runs if r.info.run_name == run)
        found.curves = {
            figure: [
                (m.step, m.value) for m in client.get_metric_history(found.info.run_id, figure)
            ]
            for figure in found.data.metrics
        }
        return found


def assert_curves(root: Path, stage: str, run: str, history: list[dict[str, float]]) -> None:
    """Both programs have the points of a history, TensorBoard as float32."""
    expected: Curves = {}
    for entry in history:
        for figure in entry.keys() - {"epoch"}:
            expected.setdefault(figure, []).append((int(entry["epoch"]), entry[figure]))
    assert mlflow_curves(root, stage, run).curves == expected
    assert tensorboard_curves(root, stage, run) == {
        figure: [(step, float(np.float32(value))) for step, value in points]
        for figure, points in expected.items()
    }
