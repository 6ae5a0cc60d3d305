"""The csv of a submission: one line for each photo, under an id that tells it from all others.

Ids are decided when all photos are known by their places (the tar or table that holds them, and the
name in it), so they don't depend on the order in which parts are answered.
"""

import csv
import io
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from landmark_ray.data import photo_tables
from landmark_ray.data.file_kinds import image_stem, photo_ending
from landmark_ray.data.root import Root
from landmark_ray.errors import UserError
from landmark_ray.kernels.metrics import format_prediction

Place = tuple[str, str]
"""Where a photo lies: the tar or table (empty: it is a file), and its name there."""


@dataclass(frozen=True)
class AnswersCsv:
    """The csv `id,landmarks`."""

    text: str
    rows: int
    """Of the table of answers."""
    files: int
    """Rows whose photo is a file of its own."""
    landmarks: int
    """Photos that show one, by the bundle's threshold."""
    notes: list[str]


def make_csv(tables: Root, answers: str, parts: int, rejection_floor: float) -> AnswersCsv:
    """All answers as a csv; the answers' `image_id` becomes the csv's id.

    Args:
        tables: folder of the answers.
        answers: their table, of `schemas.ANSWERS`.
        parts: how many files it has.
        rejection_floor: an answer of a lower confidence is left empty.
    """
    places: list[Place] = []
    for shard in range(parts):
        columns = tables.read_shard(answers, 0, shard, ["file", "name"])
        places += zip(columns["file"].to_pylist(), columns["name"].to_pylist(), strict=True)
    ids, notes = distinct_ids(places)
    rest = iter(ids)
    out = io.StringIO()
    minimal = csv.writer(out, lineterminator="\n")
    quoted = csv.writer(out, lineterminator="\n", quoting=csv.QUOTE_ALL)
    minimal.writerow(["id", "landmarks"])
    files = landmarks = 0
    for shard in range(parts):
        table = _with_ids(tables, answers, shard, rest)
        for row in table.to_pylist():
            files += not row["file"]
            landmarks += row["is_landmark"]
            best = ""
            if row["confidences"] and row["confidences"][0] >= rejection_floor:
                sure = np.float32(row["confidences"][0])
                best = format_prediction(row["landmarks"][0], sure)
            # csv leaves a lone carriage return bare, which readers take for the line's end
            lines = quoted if "\r" in row["image_id"] else minimal
            lines.writerow([row["image_id"], best])
    return AnswersCsv(out.getvalue(), len(places), files, landmarks, notes)


def _with_ids(tables: Root, answers: str, shard: int, ids: Iterator[str]) -> pa.Table:
    """A file of answers under the next ids; it is written anew where it had others."""
    table = tables.read_shard(answers, 0, shard)
    column = table.schema.get_field_index("image_id")
    now = pa.array([next(ids) for _ in range(table.num_rows)], pa.string())
    if table["image_id"].to_pylist() != now.to_pylist():
        table = table.set_column(column, table.schema.field(column), now)
        tables.write_table(tables.name(answers, 0, shard), table)
    return table


def check_count(made: AnswersCsv, read: int, files: int) -> None:
    """That each photo has a row and a line, under an id of its own.

    Args:
        made: the submission.
        read: photos that were read from all parts, or can't be.
        files: photos that the source has as files.

    Raises:
        UserError: photos were lost, or some have two lines.
    """
    lines = list(csv.reader(io.StringIO(made.text, newline="")))[1:]
    ids = len({line[0] for line in lines})
    if not (read == made.rows == len(lines) == ids and files == made.files):
        raise UserError(
            f"{read} photos were read, {files} of them files, but there are {made.rows} rows of "
            f"answers, {made.files} of them of files, and {len(lines)} lines with {ids} ids: "
            "delete the answers, run the command again, and report this"
        )


def first_id(file: str, name: str) -> str:
    """The id of a photo where no other has the same: its name without folder and ending.

    In a table the name is the id already.
    """
    return name if _is_table(file) else image_stem(name)


def distinct_ids(places: list[Place]) -> tuple[list[str], list[str]]:
    """An id for each photo, none twice.

    The first of these that tells all names apart: the name without folder and ending, with its
    folder, with its ending, too, after the tar or table without and with its ending. Photos at the
    same place, such as of a tar to which one was appended twice, are numbered.

    Args:
        places: of all photos; those at the same place in their order.

    Returns:
        The ids, and lines that say why they are longer than names.
    """
    distinct = set(places)
    ids: dict[Place, str] = {}
    notes: list[str] = []
    for form in FORMS:
        ids = {place: form(*place) for place in distinct}
        if len(set(ids.values())) == len(distinct):
            break
    if distinct and form is not FORMS[0]:
        one, other = _alike(sorted(distinct))
        notes.append(
            f"{_shown(one)} and {_shown(other)} have the same name, so ids are longer: "
            f"{ids[one]!r}, {ids[other]!r}"
        )
    taken, times = set(ids.values()), Counter[str]()
    found: list[str] = []
    for place in places:
        image_id = ids[place]
        times[image_id] += 1
        if times[image_id] > 1:
            while (again := f"{image_id}#{times[image_id]}") in taken:
                times[image_id] += 1
            taken.add(again)
            image_id = again
        found.append(image_id)
    repeated = len(places) - len(distinct)
    if repeated:
        example = next(place for place, n in Counter(places).items() if n > 1)
        notes.append(
            f"{repeated} photos have the place of another one, such as {_shown(example)}: they are "
            f"answered as {ids[example]!r}, '{ids[example]}#2' and so on"
        )
    return found, notes


def _is_table(file: str) -> bool:
    return file.lower().endswith(photo_tables.ENDING)


def _in_folder(file: str, name: str) -> str:
    return name if _is_table(file) else name.removesuffix(photo_ending(name))


def _named(file: str, name: str) -> str:
    return name


def _in_file(form: Callable[[str, str], str]) -> Callable[[str, str], str]:
    return lambda file, name: f"{file}/{form(file, name)}" if file else form(file, name)


FORMS = (first_id, _in_folder, _named, _in_file(_in_folder), _in_file(_named))
"""Ids of a photo, the shortest first."""


def _alike(places: list[Place]) -> tuple[Place, Place]:
    """Two places with the same first id."""
    seen: dict[str, Place] = {}
    for place in places:
        other = seen.setdefault(first_id(*place), place)
        if other != place:
            return other, place
    raise AssertionError("all have ids of their own")


def _shown(place: Place) -> str:
    return "/".join(filter(None, place))
