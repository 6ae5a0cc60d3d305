"""Recognise the landmarks on many photos with a bundle, and write a Kaggle submission.

The folder `submission.parquet` beside `submission.csv` has a file for each tar, table or chunk of
the source, with the k landmarks of the highest confidence for each photo. If the command was
stopped, run it again to continue: it keeps these files, except those of damaged parts.
"""

import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pyarrow as pa
from pydantic import Field, model_validator
from ray.data import Dataset
from rich.table import Table

from landmark_ray.bundle.exemplar_files import FOLDER
from landmark_ray.bundle.landmark_index import INDEX
from landmark_ray.bundle.manifest import Bundle
from landmark_ray.config.base import SPEED, VERIFY, Cpus, Options, Share, Verify, Witness
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
from landmark_ray.runtime.progress import ProgressBar, console
from landmark_ray.runtime.resources import pin_tensorflow, pin_threads, plan_workers
from landmark_ray.runtime.tasks import Row, run_tasks, shard_task

FORMAT = 2
"""Version of the format of the answers; answers of another version are refused."""

DAMAGED, WRONG_MD5 = "damaged parts", "parts with a wrong md5"
"""Counters of parts of the source that the next run reads again, as they may have been repaired."""


class PredictOptions(Options):
    """Options of jobs/predict.py."""

    bundle: str = Field(description="folder or URI that jobs/export.py wrote")
    source: str = Field(
        description="photos: a tar, a .parquet file, or a folder with any of these and with "
        "photos, such as the test/ of a dataset"
    )
    output: str = Field(
        description="csv file to write, with the columns id,landmarks; the top k are written to "
        "a folder .parquet beside it"
    )
    top_k: int = Field(5, ge=1, le=100, description="landmarks in the Parquet files")
    witnesses: Witness = Field(
        "fused",
        description="what answers: fused (heads and index), or heads alone",
    )
    verify: Verify = Field("doubtful", description=VERIFY)
    floor: Share | None = Field(
        None,
        description="a lower confidence is no answer: the csv's column is empty; when not given, "
        "the bundle's own, below which hardly any answer is right: best for a competition's GAP",
    )
    gpus: float | None = Field(
        None,
        ge=0,
        description="GPUs per worker; when not given, 1 if there are any",
        json_schema_extra=SPEED,
    )
    cpus: Cpus = Field(1.0, description="cores per worker", json_schema_extra=SPEED)
    memory_gb: float | None = Field(
        None, gt=0, description="GB of memory to reserve per worker", json_schema_extra=SPEED
    )

    @model_validator(mode="after")
    def _heads_verify_nothing(self) -> "PredictOptions":
        if self.verify == "always" and self.witnesses == "heads":
            raise ValueError("verify always needs witnesses fused")
        return self


def run(options: PredictOptions) -> None:
    """Recognise all photos, and write the submission.

    Raises:
        UserError: Source, bundle or output cannot be used, or parts of the source are damaged; in
            the last case, the submission is written.
    """
    bundle, source = Bundle(options.bundle, read=is_asked(options)), Photos(options.source)
    manifest = bundle.manifest.for_witnesses(options.witnesses)
    identity = {
        "format": FORMAT,
        "bundle": bundle.manifest.version,
        "source": source.fingerprint,
        "top_k": options.top_k,
        "witnesses": options.witnesses,
        "verify": options.verify,
    }
    output = Submission(options.output, identity)
    root, answers = output.root, output.answers
    print("\n".join(source.lines()), flush=True)
    done = finished_parts(root, answers)
    todo = [{"shard": n, "rows": part.size} for n, part in enumerate(source.parts) if n not in done]
    counts = StageCounts()
    for finished in done.values():
        counts.add(finished)
    before = source.size - sum(unit["rows"] for unit in todo)
    with ProgressBar("predict", source.size, done=before, unit="bytes") as progress_bar:
        units = sorted(todo, key=lambda unit: -unit["rows"])
        work = (bundle, source, root, answers, options)
        counts.add(
            run_tasks(units, lambda dataset: answer_units(dataset, *work), options, progress_bar)
        )
    floor = manifest.rejection_floor if options.floor is None else options.floor
    made = make_csv(root, answers, len(source.parts), floor)
    check_count(made, counts.images_in, source.files)
    output.write(made.text)
    show(counts, made, source, bundle, output.shown)
    if damaged := counts.counters[DAMAGED]:
        raise UserError(
            f"{damaged} of {len(source.parts)} parts of the source can't be read to the end (see "
            "the warnings); the photos that could be read are answered: repair these parts, and "
            "run the command again, with another --output if the size of a file has changed"
        )


def is_asked(options: PredictOptions) -> Callable[[str], bool]:
    """Return whether a file of a bundle, by its name, has a part in the answers."""
    index = () if options.witnesses == "fused" else (f"{INDEX}/",)
    exemplars = () if not index and options.verify != "off" else (f"{FOLDER}/",)
    return lambda name: not name.startswith((*index, *exemplars))


def finished_parts(root: Root, answers: str) -> dict[int, StageCounts]:
    """Read the counts of all parts that need not be read again: number of the part -> counts."""
    reports = root.committed(answers).items()
    parts = {n: StageCounts.from_json(report) for (_, n), report in reports}
    return {n: c for n, c in parts.items() if not c.counters[DAMAGED] and not c.counters[WRONG_MD5]}


def answer_units(
    units: Dataset,
    bundle: Bundle,
    source: Photos,
    root: Root,
    answers: str,
    options: PredictOptions,
) -> Dataset:
    """Map units, which are parts of the source, to their counts; see `run_tasks`."""
    workers = plan_workers(options, "", options)

    class Worker:
        """A worker that holds all networks: one for each GPU, or for each core."""

        def __init__(self) -> None:
            if not workers.gpus:
                pin_tensorflow()
            from landmark_ray.bundle.witnesses import Witnesses

            threads = None if workers.gpus else pin_threads()
            self.witnesses = Witnesses(
                bundle, use=options.witnesses, verify=options.verify, threads=threads
            )
            self.work = shard_task(self.answer)

        def answer(self, unit: Row) -> Row:
            part = source.parts[unit["shard"]]
            rows, counts = answer_part(part, self.witnesses, bundle, options)
            root.commit(answers, 0, unit["shard"], rows, counts.to_json())
            return {"rows": unit["rows"], "report": counts.to_json()}

        def __call__(self, unit: Row) -> Row:
            return self.work(unit)

    worker: Any = Worker
    return units.map(worker, **workers.pool)


def answer_part(
    part: Part, witnesses: Any, bundle: Bundle, options: PredictOptions
) -> tuple[pa.Table, StageCounts]:
    """Recognise the photos of a part of the source.

    Returns:
        Rows of `schemas.ANSWERS` in the order of the photos, and their counts.
    """
    manifest = bundle.manifest.for_witnesses(options.witnesses)
    part = replace(part, notes=[], left_out=LeftOut())
    names: list[str] = []
    counts = StageCounts()

    def numbered() -> Iterator[Member]:
        """Yield the photos with their number as id, because names may be repeated."""
        try:
            for member in photos_of(part, manifest.max_megabytes * 1e6):
                names.append(member.name)
                yield replace(member, image_id=str(len(names) - 1))
        except DamagedError as error:
            counts.counters[DAMAGED] += 1
            if str(error) not in part.notes:
                counts.notes.append(str(error))

    answers: dict[str, Row] = {}
    for batch in photos(numbered(), manifest.size, manifest.limits):
        counts.reject_reasons.update(reason_kind(reason) for reason in batch.rejected.values())
        for number, reason in batch.rejected.items():
            answers[number] = _answer([], [], False, reason)
        if batch.ids:
            answer = witnesses.predict(batch.squares, options.top_k, batch.files, manifest.limits)
            landmarks, confidences = without_contentless(answer, batch.squares)
            for number, top, confidence in zip(batch.ids, landmarks, confidences, strict=True):
                known = top >= 0
                is_landmark = bool(known[0]) and bool(confidence[0] >= manifest.threshold)
                answers[number] = _answer(top[known], confidence[known], is_landmark, "")
    counts.images_in = len(names)
    counts.images_out = sum(not answer["error"] for answer in answers.values())
    counts.counters.update(part.left_out.counters())
    counts.notes += part.notes
    if isinstance(part, Archive) and part.problem:
        counts.counters[WRONG_MD5] += 1
        counts.notes.append(f"photos of {printable(part.name)} are answered nevertheless")
    file = holder(part)
    rows = [
        {"image_id": first_id(file, name), "file": file, "name": name, **answers[str(number)]}
        for number, name in enumerate(names)
    ]
    return pa.Table.from_pylist(rows, schemas.ANSWERS), counts


def _answer(landmarks: Any, confidences: Any, is_landmark: bool, error: str) -> Row:
    return {
        "landmarks": list(landmarks),
        "confidences": list(confidences),
        "is_landmark": is_landmark,
        "error": error,
    }


def show(
    counts: StageCounts, made: AnswersCsv, source: Photos, bundle: Bundle, output: str
) -> None:
    """Print a table of the photos that were read, recognised and rejected, and all warnings."""
    left_out = LeftOut.from_counters(counts.counters)
    left_out.update(source.left_out)
    columns = ("photos", "read", "landmarks", "not a landmark", "unreadable", "left out")
    table = Table(*columns, title="Answers")
    reasons = ", ".join(f"{n:,} {reason}" for reason, n in counts.reject_reasons.most_common())
    read, landmarks = counts.images_out, made.landmarks
    numbers = (counts.images_in, read, landmarks, read - landmarks)
    table.add_row(*(f"{n:,}" for n in numbers), reasons, f"{left_out.counts.total():,}")
    console(120).print(table)
    for line in left_out.lines():
        print(line)
    for note in (*counts.notes, *made.notes):
        print(f"warning: {note}", file=sys.stderr)
    if bundle.manifest.warning:
        print(f"warning: {bundle.manifest.warning}", file=sys.stderr)
    print(f"bundle {bundle.manifest.version}; answers in {output}, the top k in .parquet beside it")
