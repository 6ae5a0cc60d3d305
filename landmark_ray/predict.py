"""Batch prediction: photos in, a Kaggle submission out, with the exported bundle, on Ray.

Beside `submission.csv` lies the folder `submission.parquet`: a file for each tar, table or chunk of
the source, with the k surest landmarks of each photo. A file there is finished work: the same
command goes on from it.
"""

import csv
import io
import sys
from typing import Any

import numpy as np
import pyarrow as pa
from pydantic import Field
from ray.data import Dataset
from rich.console import Console
from rich.table import Table

from landmark_ray import schemas
from landmark_ray.errors import UserError
from landmark_ray.funnel import Funnel, reason_kind
from landmark_ray.kernels.contentless import without_contentless
from landmark_ray.kernels.metrics import format_prediction
from landmark_ray.manifest import Bundle
from landmark_ray.options import SPEED, Cpus, Options, Share
from landmark_ray.photos import Part, Photos
from landmark_ray.progress import Meter
from landmark_ray.sources import Member
from landmark_ray.stages.answers import photos
from landmark_ray.stages.cores import pin_tensorflow
from landmark_ray.stages.shards import Row, drive, unit_of_work, workers_of
from landmark_ray.storage import Tables

IDENTITY = "_identity.json"


class PredictOptions(Options):
    """Options of jobs/predict.py."""

    bundle: str = Field(description="folder or URI that jobs/export.py wrote")
    source: str = Field(
        description="photos: a .tar, .parquet, a folder with such, or a folder of images; of a "
        "dataset in GLDv2's layout its test set"
    )
    output: str = Field(description="csv file to write, id,landmarks; .parquet beside it: top k")
    top_k: int = Field(5, ge=1, le=100, description="landmarks in the Parquet files")
    floor: Share | None = Field(
        None,
        description="a lower confidence is no answer: the csv's column is empty; when not given, "
        "the bundle's own, below which hardly an answer is right: best for a competition's GAP",
    )
    gpus: float | None = Field(
        None,
        ge=0,
        description="GPUs a worker; 1 where there are any, when not given",
        json_schema_extra=SPEED,
    )
    cpus: Cpus = Field(1.0, description="cores a worker", json_schema_extra=SPEED)
    memory_gb: float | None = Field(
        None, gt=0, description="memory that Ray keeps for a worker, in GB", json_schema_extra=SPEED
    )


def run(options: PredictOptions) -> None:
    """Answer for all photos, and write the submission.

    Raises:
        UserError: anything that a person can mend.
    """
    bundle, source = Bundle(options.bundle), Photos(options.source)
    if not options.output.endswith(".csv"):
        raise UserError(f"--output: {options.output} must end in .csv")
    folder, _, name = options.output.rpartition("/")
    tables = Tables(folder or ".")
    answers = f"{name.removesuffix('.csv')}.parquet"
    _same_work(tables, answers, bundle, source, options)
    done = {n: Funnel.from_json(report) for (_, n), report in tables.committed(answers).items()}
    todo = [{"shard": n, "rows": part.size} for n, part in enumerate(source.parts) if n not in done]
    funnel = Funnel()
    for finished in done.values():
        funnel.add(finished)
    before = source.size - sum(unit["rows"] for unit in todo)
    with Meter("predict", source.size, done=before, unit="bytes") as meter:
        units = sorted(todo, key=lambda unit: -unit["rows"])
        work = (bundle, source, tables, answers, options)
        funnel.add(drive(units, lambda dataset: plan(dataset, *work), options, meter))
    tables.sweep(answers)
    floor = bundle.manifest.floor if options.floor is None else options.floor
    text, given = submission(tables, answers, len(source.parts), floor)
    tables.write(name, text.encode())
    show(funnel, given, bundle, f"{tables.shown}/{name}")


def plan(
    units: Dataset,
    bundle: Bundle,
    source: Photos,
    tables: Tables,
    answers: str,
    options: PredictOptions,
) -> Dataset:
    """Units (parts of the source) to reports."""
    workers = workers_of(options, "", options)

    class Worker:
        """Holds all networks; one for each GPU, or for each core."""

        def __init__(self) -> None:
            if not workers.gpus:
                pin_tensorflow()
            from landmark_ray.ensemble import Ensemble

            self.ensemble = Ensemble(bundle)
            self.work = unit_of_work(self.answer)

        def answer(self, unit: Row) -> Row:
            part = source.parts[unit["shard"]]
            rows, funnel = answer_part(part, source, self.ensemble, bundle, options)
            tables.commit(answers, 0, unit["shard"], rows, funnel.to_json())
            return {"rows": unit["rows"], "report": funnel.to_json()}

        def __call__(self, unit: Row) -> Row:
            return self.work(unit)

    return units.map(Worker, **workers.pool)


def answer_part(
    part: Part, source: Photos, ensemble: Any, bundle: Bundle, options: PredictOptions
) -> tuple[pa.Table, Funnel]:
    """Rows of `schemas.ANSWERS` for the photos of a part, and what became of them."""
    manifest = bundle.manifest
    members = (
        Member(source.image_id(m, part), m.size, m.data)
        for m in part.members(manifest.max_megabytes * 1e6)
    )
    rows: list[Row] = []
    funnel = Funnel()
    for ids, squares, bad in photos(members, manifest.size, manifest.limits):
        funnel.images_in += len(ids) + len(bad)
        funnel.images_out += len(ids)
        funnel.why.update(reason_kind(reason) for reason in bad.values())
        for image_id, reason in bad.items():
            rows.append(_row(image_id, [], [], False, reason))
        if ids:
            answer = ensemble.predict(squares, options.top_k)
            landmarks, confidences = without_contentless(answer, squares)
            for image_id, names, sure in zip(ids, landmarks, confidences, strict=True):
                known = names >= 0
                found = bool(known[0]) and bool(sure[0] >= manifest.threshold)
                rows.append(_row(image_id, names[known], sure[known], found, ""))
    funnel.notes += part.notes
    return pa.Table.from_pylist(rows, schemas.ANSWERS), funnel


def _row(image_id: str, landmarks: Any, confidences: Any, found: bool, error: str) -> Row:
    return {
        "image_id": image_id,
        "landmarks": list(landmarks),
        "confidences": list(confidences),
        "is_landmark": found,
        "error": error,
    }


def _same_work(
    tables: Tables, answers: str, bundle: Bundle, source: Photos, options: PredictOptions
) -> None:
    """Answers of another bundle, or for other photos, are never mixed in.

    Raises:
        UserError: such are there; names the difference.
    """
    now = {
        "bundle": bundle.manifest.version,
        "source": source.fingerprint(),
        "top_k": options.top_k,
    }
    was = tables.read_json(f"{answers}/{IDENTITY}")
    if was is None:
        tables.write_json(f"{answers}/{IDENTITY}", now)
    elif was != now:
        differ = "; ".join(f"{k} {was.get(k)}, now {v}" for k, v in now.items() if was.get(k) != v)
        raise UserError(
            f"{tables.uri}/{answers} holds answers to something else ({differ}): delete it, or "
            "choose another --output"
        )


def submission(tables: Tables, answers: str, parts: int, floor: float) -> tuple[str, int]:
    """The csv `id,landmarks`, and how many photos show a landmark, by the bundle's threshold.

    A photo that is there twice has its first answer.
    """
    out = io.StringIO()
    lines = csv.writer(out, lineterminator="\n")
    lines.writerow(["id", "landmarks"])
    seen: set[str] = set()
    given = 0
    for shard in range(parts):
        for row in tables.read_shard(answers, 0, shard).to_pylist():
            if row["image_id"] in seen:
                continue
            seen.add(row["image_id"])
            given += row["is_landmark"]
            best = ""
            if row["confidences"] and row["confidences"][0] >= floor:
                sure = np.float32(row["confidences"][0])
                best = format_prediction(row["landmarks"][0], sure)
            lines.writerow([row["image_id"], best])
    return out.getvalue(), given


def show(funnel: Funnel, given: int, bundle: Bundle, output: str) -> None:
    """Print what went in, what came out, and why."""
    table = Table(
        "photos", "read", "landmarks", "not a landmark", "unreadable, why", title="Answers"
    )
    why = ", ".join(f"{n:,} {reason}" for reason, n in funnel.why.most_common())
    counts = (funnel.images_in, funnel.images_out, given, funnel.images_out - given)
    table.add_row(*(f"{n:,}" for n in counts), why)
    console = Console()
    if not console.is_terminal:
        console = Console(width=120)
    console.print(table)
    for note in funnel.notes:
        print(f"warning: {note}", file=sys.stderr)
    if bundle.manifest.warning:
        print(f"warning: {bundle.manifest.warning}", file=sys.stderr)
    print(f"bundle {bundle.manifest.version}, answers in {output} and, the k surest, .parquet")
