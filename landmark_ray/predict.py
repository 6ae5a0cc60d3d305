"""Batch prediction: photos in, a Kaggle submission out, with the exported bundle, on Ray.

Beside `submission.csv` lies the folder `submission.parquet`: a file for each tar, table or chunk of
the source, with the k surest landmarks of each photo. A file there is finished work: the same
command goes on from it, and tries again what was damaged.
"""

import sys
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pyarrow as pa
from pydantic import Field
from ray.data import Dataset
from rich.console import Console
from rich.table import Table

from landmark_ray.bundle.manifest import Bundle
from landmark_ray.config.base import SPEED, Cpus, Options, Share
from landmark_ray.data import schemas
from landmark_ray.data.archives import Archive
from landmark_ray.data.file_kinds import printable
from landmark_ray.data.listing import LeftOut
from landmark_ray.data.photo_batches import photos
from landmark_ray.data.photo_tables import DamagedError
from landmark_ray.data.photos import Part, Photos, holder, photos_of
from landmark_ray.data.root import Root
from landmark_ray.data.submission_csv import AnswersCsv, check_count, first_id, make_csv
from landmark_ray.data.tars import Member
from landmark_ray.errors import UserError
from landmark_ray.kernels.contentless import without_contentless
from landmark_ray.runtime.counts import StageCounts, reason_kind
from landmark_ray.runtime.predict_output import Submission
from landmark_ray.runtime.progress import ProgressBar
from landmark_ray.runtime.resources import pin_tensorflow, plan_workers
from landmark_ray.runtime.tasks import Row, run_tasks, shard_task

FORMAT = 2
"""Of the answers: those that code of another one wrote are not mixed in."""

DAMAGED, WRONG_MD5 = "damaged parts", "parts with a wrong md5"
"""Facts of parts that the same command answers again, as they may be mended."""


class PredictOptions(Options):
    """Options of jobs/predict.py."""

    bundle: str = Field(description="folder or URI that jobs/export.py wrote")
    source: str = Field(
        description="photos: a tar, a .parquet, or a folder with such and with photos; of a "
        "dataset with a training set its test/"
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
    identity = {
        "format": FORMAT,
        "bundle": bundle.manifest.version,
        "source": source.fingerprint,
        "top_k": options.top_k,
    }
    output = Submission(options.output, identity)
    tables, answers = output.tables, output.answers
    print("\n".join(source.lines()), flush=True)
    done = finished_parts(tables, answers)
    todo = [{"shard": n, "rows": part.size} for n, part in enumerate(source.parts) if n not in done]
    funnel = StageCounts()
    for finished in done.values():
        funnel.add(finished)
    before = source.size - sum(unit["rows"] for unit in todo)
    with ProgressBar("predict", source.size, done=before, unit="bytes") as meter:
        units = sorted(todo, key=lambda unit: -unit["rows"])
        work = (bundle, source, tables, answers, options)
        funnel.add(run_tasks(units, lambda dataset: plan(dataset, *work), options, meter))
    rejection_floor = bundle.manifest.rejection_floor if options.floor is None else options.floor
    made = make_csv(tables, answers, len(source.parts), rejection_floor)
    check_count(made, funnel.images_in, source.files)
    output.write(made.text)
    show(funnel, made, source, bundle, output.shown)
    if damaged := funnel.facts[DAMAGED]:
        raise UserError(
            f"{damaged} of {len(source.parts)} parts of the source can't be read to the end (see "
            "the warnings); what could be read is answered: mend them and run this again, with "
            "another --output where a size has changed"
        )


def finished_parts(tables: Root, answers: str) -> dict[int, StageCounts]:
    """Number -> what became of its photos, of each part that needn't be read again."""
    reports = tables.committed(answers).items()
    parts = {n: StageCounts.from_json(report) for (_, n), report in reports}
    return {n: f for n, f in parts.items() if not f.facts[DAMAGED] and not f.facts[WRONG_MD5]}


def plan(
    units: Dataset,
    bundle: Bundle,
    source: Photos,
    tables: Root,
    answers: str,
    options: PredictOptions,
) -> Dataset:
    """Units (parts of the source) to reports."""
    workers = plan_workers(options, "", options)

    class Worker:
        """Holds all networks; one for each GPU, or for each core."""

        def __init__(self) -> None:
            if not workers.gpus:
                pin_tensorflow()
            from landmark_ray.bundle.ensemble import Ensemble

            self.ensemble = Ensemble(bundle)
            self.work = shard_task(self.answer)

        def answer(self, unit: Row) -> Row:
            part = source.parts[unit["shard"]]
            rows, funnel = answer_part(part, self.ensemble, bundle, options)
            tables.commit(answers, 0, unit["shard"], rows, funnel.to_json())
            return {"rows": unit["rows"], "report": funnel.to_json()}

        def __call__(self, unit: Row) -> Row:
            return self.work(unit)

    worker: Any = Worker
    return units.map(worker, **workers.pool)


def answer_part(
    part: Part, ensemble: Any, bundle: Bundle, options: PredictOptions
) -> tuple[pa.Table, StageCounts]:
    """Rows of `schemas.ANSWERS` for the photos of a part, in order, and what became of them."""
    manifest = bundle.manifest
    part = replace(part, notes=[], left_out=LeftOut())
    names: list[str] = []
    funnel = StageCounts()

    def numbered() -> Iterator[Member]:
        """Numbers tell photos apart, whatever they are called."""
        try:
            for member in photos_of(part, manifest.max_megabytes * 1e6):
                names.append(member.name)
                yield replace(member, image_id=str(len(names) - 1))
        except DamagedError as error:
            funnel.facts[DAMAGED] += 1
            if str(error) not in part.notes:
                funnel.notes.append(str(error))

    answers: dict[str, Row] = {}
    for ids, squares, bad in photos(numbered(), manifest.size, manifest.limits):
        funnel.why.update(reason_kind(reason) for reason in bad.values())
        for number, reason in bad.items():
            answers[number] = _answer([], [], False, reason)
        if ids:
            answer = ensemble.predict(squares, options.top_k)
            landmarks, confidences = without_contentless(answer, squares)
            for number, found, sure in zip(ids, landmarks, confidences, strict=True):
                known = found >= 0
                shown = bool(known[0]) and bool(sure[0] >= manifest.threshold)
                answers[number] = _answer(found[known], sure[known], shown, "")
    funnel.images_in = len(names)
    funnel.images_out = sum(not answer["error"] for answer in answers.values())
    funnel.facts.update(part.left_out.counters())
    funnel.notes += part.notes
    if isinstance(part, Archive) and part.problem:
        funnel.facts[WRONG_MD5] += 1
        funnel.notes.append(f"photos of {printable(part.name)} are answered all the same")
    file = holder(part)
    rows = [
        {"image_id": first_id(file, name), "file": file, "name": name, **answers[str(number)]}
        for number, name in enumerate(names)
    ]
    return pa.Table.from_pylist(rows, schemas.ANSWERS), funnel


def _answer(landmarks: Any, confidences: Any, found: bool, error: str) -> Row:
    return {
        "landmarks": list(landmarks),
        "confidences": list(confidences),
        "is_landmark": found,
        "error": error,
    }


def show(
    funnel: StageCounts, made: AnswersCsv, source: Photos, bundle: Bundle, output: str
) -> None:
    """Print what went in, what came out, and why."""
    left_out = LeftOut.from_counters(funnel.facts)
    left_out.update(source.left_out)
    columns = ("photos", "read", "landmarks", "not a landmark", "unreadable, why", "left out")
    table = Table(*columns, title="Answers")
    why = ", ".join(f"{n:,} {reason}" for reason, n in funnel.why.most_common())
    read, landmarks = funnel.images_out, made.landmarks
    counts = (funnel.images_in, read, landmarks, read - landmarks)
    table.add_row(*(f"{n:,}" for n in counts), why, f"{left_out.counts.total():,}")
    console = Console()
    if not console.is_terminal:
        console = Console(width=120)
    console.print(table)
    for line in left_out.lines():
        print(line)
    for note in (*funnel.notes, *made.notes):
        print(f"warning: {note}", file=sys.stderr)
    if bundle.manifest.warning:
        print(f"warning: {bundle.manifest.warning}", file=sys.stderr)
    print(f"bundle {bundle.manifest.version}, answers in {output} and, the k surest, .parquet")
