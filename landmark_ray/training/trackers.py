"""Write the curves of trainings as files that TensorBoard or MLflow reads (`--train.log`).

logs/tensorboard/train/group-3/events.out.tfevents.0000000020.landmark_ray   the figures of an epoch
logs/mlflow/train/train-group-3/{meta.yaml,params/…,metrics/…,…}             a run of MLflow

The files lie in the root, and nothing is sent anywhere. They are written without the two programs:
TensorBoard's records with TensorBoardX, which Ray Train needs, too, and MLflow's as the text files
of its file store (`mlflow/store/tracking/file_store.py`). Therefore, neither the address of a
server in the environment nor MLflow's telemetry has any effect.

The history of a training decides what the files hold: `write` adds what is missing, and nothing
else. It is called after each checkpoint, and when a training continues from one. Therefore, a
worker that is lost between the two costs no point, and no point is written twice.
"""

import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from landmark_ray.config import Config
from landmark_ray.data import layout
from landmark_ray.data.root import Root

Entry = dict[str, Any]
"""Figures of a training after some epochs, by name, with their number `epoch`."""

RUNNING, FINISHED = 1, 3
"""`RunStatus` of MLflow."""

LOCAL_SOURCE = 4
"""`SourceType.LOCAL` of MLflow."""


@dataclass(frozen=True)
class Tracker:
    """The curves of one training.

    Attributes:
        config: All options; `train.log` names the programs.
        root: The root, whose folder `logs` gets the files.
        stage: Name of the stage.
        run: Name of the training in the stage, such as `group-3`.
    """

    config: Config
    root: Root
    stage: str
    run: str

    def write(self, history: Sequence[Entry], *, finished: bool = False) -> None:
        """Write the entries of a history that the files do not hold yet.

        Args:
            history: All entries of the training, in order. If there are none, the training begins,
                and files of an earlier attempt are deleted.
            finished: Whether the training has ended, as MLflow shows it.
        """
        for program in self.config.train.log:
            if program == "tensorboard":
                self._write_events(history)
            else:
                self._write_run(history, finished)

    def _write_events(self, history: Sequence[Entry]) -> None:
        """Write a file of TensorBoard for each entry.

        TensorBoard reads the files of a folder in the order of their names, and continues with the
        next one when it has read one to its end. It would not notice if a file were replaced.
        """
        folder = f"{layout.log_folder('tensorboard', self.stage)}/{self.run}"
        present = self.root.files(folder)
        if present and not history:
            self.root.delete(folder)
        for entry in history:
            name = f"{folder}/events.out.tfevents.{entry['epoch']:010d}.landmark_ray"
            if name not in present:
                self.root.write(name, events(entry), durable=False)

    def _write_run(self, history: Sequence[Entry], finished: bool) -> None:
        """Write a run of MLflow, in an experiment of the stage."""
        experiment = layout.log_folder("mlflow", self.stage)
        name = f"{self.stage}-{self.run}"  # MLflow seeks runs by it in all experiments
        folder = f"{experiment}/{name}"
        if not history:
            self.root.delete(folder)
            return
        now = int(time.time() * 1000)
        known = self.root.read_json(f"{folder}/meta.yaml") or {"start_time": now}  # JSON is YAML
        location = {"artifact_uri": f"{self.root.shown}/{folder}/artifacts"}
        if not self.root.exists(f"{experiment}/meta.yaml"):
            described = {"experiment_id": self.stage, "name": self.stage}
            times = {"creation_time": now, "last_update_time": now}
            where = {"artifact_location": f"{self.root.shown}/{experiment}"}
            value = described | times | where | {"lifecycle_stage": "active"}
            self.root.write_json(f"{experiment}/meta.yaml", value, durable=False)
        for option, chosen in self.config.config_key(self.stage).items():
            self._write_text(f"{folder}/params/{option}", str(chosen))
        self._write_text(f"{folder}/tags/mlflow.runName", self.run)
        for figure in sorted({name for entry in history for name in entry} - {"epoch"}):
            self._write_metric(f"{folder}/metrics/{figure}", figure, history, now)
        # MLflow takes a folder without artifacts for no run
        self.root.write_json(f"{folder}/artifacts/history.json", list(history), durable=False)
        state = {
            "experiment_id": self.stage,
            "run_id": name,
            "run_name": self.run,
            "user_id": "",
            "status": FINISHED if finished else RUNNING,
            "start_time": known["start_time"],
            "end_time": now if finished else None,
            "lifecycle_stage": "active",
            "source_type": LOCAL_SOURCE,
            "source_name": "",
            "source_version": "",
            "entry_point_name": "",
            "tags": [],
        }
        self.root.write_json(f"{folder}/meta.yaml", location | state, durable=False)

    def _write_text(self, name: str, text: str) -> None:
        if not self.root.exists(name):
            self.root.write(name, text.encode(), durable=False)

    def _write_metric(self, name: str, figure: str, history: Sequence[Entry], now: int) -> None:
        """Write a line `milliseconds value epoch` for each entry that has a figure."""
        lines = self.root.read(name).decode().splitlines() if self.root.exists(name) else []
        present = {int(line.rpartition(" ")[2]) for line in lines}
        more = [
            f"{now} {float(entry[figure])!r} {entry['epoch']}"
            for entry in history
            if figure in entry and entry["epoch"] not in present
        ]
        if more:
            self.root.write(name, "\n".join([*lines, *more, ""]).encode(), durable=False)


def events(entry: Entry) -> bytes:
    """Return a file of TensorBoard with the figures of an entry, as float32."""
    from tensorboardX.proto.event_pb2 import Event
    from tensorboardX.proto.summary_pb2 import Summary
    from tensorboardX.record_writer import RecordWriter

    now = time.time()
    values = [
        Summary.Value(tag=name, simple_value=value)
        for name, value in sorted(entry.items())
        if name != "epoch"
    ]
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "events"
        writer = RecordWriter(str(path))
        writer.write(Event(wall_time=now, file_version="brain.Event:2").SerializeToString())
        summary = Event(wall_time=now, step=entry["epoch"], summary=Summary(value=values))
        writer.write(summary.SerializeToString())
        writer.close()
        return path.read_bytes()
