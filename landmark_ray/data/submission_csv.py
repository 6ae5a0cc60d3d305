"""The csv of a submission: one line for each photo, with an id that no other photo has.

Ids are chosen when the locations of all photos are known, so they do not depend on the order in
which parts are answered.
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

Location = tuple[str, str]
"""The tar or table that holds a photo (empty if it is a file), and the photo's name in it."""


@dataclass(frozen=True)
class AnswersCsv:
    """A csv `id,landmarks`.

    Attributes:
        text: Content of the csv.
        rows: Number of rows of the table of answers.
        files: Number of rows whose photo is a file.
        landmarks: Number of photos that show a landmark, by the threshold of the bundle.
        notes: Lines for people that say how ids were chosen.
    """

    text: str
    rows: int
    files: int
    landmarks: int
    notes: list[str]


def make_csv(root: Root, answers: str, parts: int, rejection_floor: float) -> AnswersCsv:
    """Write all answers as a csv, and the ids of the csv to `image_id` of the answers.

    Args:
        root: Folder of the answers.
        answers: Name of the table of answers, with the schema `ANSWERS`.
        parts: Number of files of the table.
        rejection_floor: An answer with a lower confidence is left empty.
    """
    locations: list[Location] = []
    for shard in range(parts):
        columns = root.read_shard(answers, 0, shard, ["file", "name"])
        locations += zip(columns["file"].to_pylist(), columns["name"].to_pylist(), strict=True)
    ids, notes = distinct_ids(locations)
    rest = iter(ids)
    out = io.StringIO()
    minimal = csv.writer(out, lineterminator="\n")
    quoted = csv.writer(out, lineterminator="\n", quoting=csv.QUOTE_ALL)
    minimal.writerow(["id", "landmarks"])
    files = landmarks = 0
    for shard in range(parts):
        table = _with_ids(root, answers, shard, rest)
        for row in table.to_pylist():
            files += not row["file"]
            landmarks += row["is_landmark"]
            best = ""
            if row["confidences"] and row["confidences"][0] >= rejection_floor:
                confidence = np.float32(row["confidences"][0])
                best = format_prediction(row["landmarks"][0], confidence)
            # csv does not quote a lone carriage return, which readers take for the end of a line
            lines = quoted if "\r" in row["image_id"] else minimal
            lines.writerow([row["image_id"], best])
    return AnswersCsv(out.getvalue(), len(locations), files, landmarks, notes)


def _with_ids(root: Root, answers: str, shard: int, ids: Iterator[str]) -> pa.Table:
    """Read a file of answers with the next ids; write it again if it had other ids."""
    table = root.read_shard(answers, 0, shard)
    column = table.schema.get_field_index("image_id")
    new_ids = pa.array([next(ids) for _ in range(table.num_rows)], pa.string())
    if table["image_id"].to_pylist() != new_ids.to_pylist():
        table = table.set_column(column, table.schema.field(column), new_ids)
        root.write_table(root.name(answers, 0, shard), table)
    return table


def check_count(made: AnswersCsv, read: int, files: int) -> None:
    """Check that each photo has one row and one line, with an id that no other photo has.

    Args:
        made: The submission.
        read: Number of photos of all parts, including those that cannot be read.
        files: Number of photos of the source that are files.

    Raises:
        UserError: Photos are missing, or have several lines.
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
    """Return the shortest id of a photo: its name without folder and ending.

    The name of a photo in a table is its id already.
    """
    return name if _is_table(file) else image_stem(name)


def distinct_ids(locations: list[Location]) -> tuple[list[str], list[str]]:
    """Choose distinct ids for all photos.

    All ids have the first of these forms in which the ids of all locations differ: the name without
    folder and ending; with its folder; with its ending, too; the same two after the name of the tar
    or table. Photos with the same location, which a tar can contain, are numbered.

    Args:
        locations: Locations of all photos; photos with the same location in their order.

    Returns:
        The ids [N], and lines that say why they are longer than names.
    """
    distinct = set(locations)
    ids: dict[Location, str] = {}
    notes: list[str] = []
    for form in FORMS:
        ids = {location: form(*location) for location in distinct}
        if len(set(ids.values())) == len(distinct):
            break
    if distinct and form is not FORMS[0]:
        one, other = _alike(sorted(distinct))
        notes.append(
            f"{_shown(one)} and {_shown(other)} have the same name, so ids are longer: "
            f"{ids[one]!r}, {ids[other]!r}"
        )
    taken, times = set(ids.values()), Counter[str]()
    result: list[str] = []
    for location in locations:
        image_id = ids[location]
        times[image_id] += 1
        if times[image_id] > 1:
            while (again := f"{image_id}#{times[image_id]}") in taken:
                times[image_id] += 1
            taken.add(again)
            image_id = again
        result.append(image_id)
    repeated = len(locations) - len(distinct)
    if repeated:
        example = next(location for location, n in Counter(locations).items() if n > 1)
        notes.append(
            f"{repeated} photos have the location of another photo, such as {_shown(example)}: "
            f"they are answered as {ids[example]!r}, '{ids[example]}#2' and so on"
        )
    return result, notes


def _is_table(file: str) -> bool:
    return file.lower().endswith(photo_tables.ENDING)


def _in_folder(file: str, name: str) -> str:
    return name if _is_table(file) else name.removesuffix(photo_ending(name))


def _named(file: str, name: str) -> str:
    return name


def _in_file(form: Callable[[str, str], str]) -> Callable[[str, str], str]:
    return lambda file, name: f"{file}/{form(file, name)}" if file else form(file, name)


FORMS = (first_id, _in_folder, _named, _in_file(_in_folder), _in_file(_named))
"""Forms of ids, the shortest first."""


def _alike(locations: list[Location]) -> tuple[Location, Location]:
    """Return two locations with the same first id."""
    seen: dict[str, Location] = {}
    for location in locations:
        other = seen.setdefault(first_id(*location), location)
        if other != location:
            return other, location
    raise AssertionError("all first ids differ")


def _shown(location: Location) -> str:
    return "/".join(filter(None, location))
