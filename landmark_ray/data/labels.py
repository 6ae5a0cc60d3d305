"""Landmark ids of labels and of the names of class folders.

The id of a number is the number. The id of a name is computed from the name alone, so it stays the
same when other landmarks come and go. Verdicts, clients and bundles rely on this.
"""

import hashlib
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal

import pyarrow as pa
import pyarrow.compute as pc

from landmark_ray.data.csv_file import CsvFile
from landmark_ray.errors import UserError

NO_LANDMARK = frozenset(("", "none", "nan", "na", "n/a", "null", "<na>", "#n/a", "nil", "nat"))
MAX_ID = 2**63 - 1
_EXACT = 2**53 - 1
"""Above this, numbers of JavaScript are not exact."""

_NUMBER = re.compile(r"[+-]?[0-9]+(\.[0-9]*)?(e\+[0-9]{1,3})?", re.IGNORECASE)


def id_of_name(name: str) -> int:
    """Return the id of a landmark that has a name and no number: 1 to 2^53 - 1."""
    text = unicodedata.normalize("NFC", name).encode(errors="surrogateescape")
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest()) % _EXACT + 1


def ids_of_folders(folders: Iterable[str], where: str) -> dict[str, int]:
    """Return class folder -> landmark id.

    The id of a folder whose name is a number is that number. If the names of several folders are
    the same number, only the one in normal form ("1", not "01") has it.

    Args:
        folders: Names of the class folders.
        where: Where they are, for error messages.

    Raises:
        UserError: Two folders would have the same id; the text names both.
    """
    names = list(folders)
    numbers = Counter(int(name) for name in names if name.isdecimal() and len(name) < 19)
    repeated = {number for number, count in numbers.items() if count > 1}
    return distinct({name: _id_of_folder(name, repeated) for name in names}, where)


def _id_of_folder(name: str, repeated: set[int]) -> int:
    if name.isascii() and name.isdecimal() and len(name) < 19:
        number = int(name)
        if number not in repeated or str(number) == name:
            return number
    return id_of_name(name)


def id_of_label(label: str) -> int | None:
    """Return the id in a cell of a csv: its number, or the id of its name; None for no landmark.

    Raises:
        ValueError: The cell is a number that cannot be an id; the text says why.
    """
    if label.lower() in NO_LANDMARK:
        return None
    if not is_number(label):
        return id_of_name(label)
    number = Decimal(label)
    if number == -1:
        return None
    if number != number.to_integral_value():
        raise ValueError(f"landmark ids are whole numbers, not {label}")
    if not 0 <= number <= MAX_ID:
        raise ValueError(f"landmark ids are between 0 and {MAX_ID}, not {label}")
    return int(number)


def is_number(label: str) -> bool:
    """Return whether a label is a number as programs write it: 11, 11.0, 1e+05."""
    return _NUMBER.fullmatch(label) is not None


def distinct(ids: dict[str, int], where: str) -> dict[str, int]:
    """Return the ids (name -> id) after checking that no two names have the same id.

    Raises:
        UserError: Two names have the same id; the text names both.
    """
    names: dict[int, str] = {}
    for name, number in ids.items():
        other = names.setdefault(number, name)
        if other != name:
            raise UserError(
                f"{where}: {other!a} and {name!a} would be one landmark, {number}: rename one"
            )
    return ids


@dataclass(frozen=True)
class Labelled:
    """The photos and landmarks of a csv.

    Attributes:
        images: (image_id string, landmark_id int64); null for an empty cell or no landmark.
        names: Landmark id -> name, for labels that are not numbers.
        notes: Lines for people that say how labels were read.
    """

    images: pa.Table
    names: dict[int, str]
    notes: list[str]


def read_labels(file: CsvFile) -> Labelled:
    """Read a csv `id,landmark_id`, or `landmark_id,images` as in the clean set of GLDv2.

    Raises:
        UserError: It has other columns, or a label cannot be an id; the text names the line.
    """
    if file.has("landmark_id", "images") and not file.has("id"):
        rows = file.columns("landmark_id", "images")
        lists = pc.utf8_split_whitespace(pc.fill_null(rows["images"], "")).combine_chunks()
        ids = pc.list_flatten(lists)
        labels = rows["landmark_id"].take(pc.list_parent_indices(lists))
        not_empty = pc.not_equal(ids, "")
        ids, labels = ids.filter(not_empty), labels.filter(not_empty)
    else:
        rows = file.columns("id", "landmark_id")
        ids, labels = rows["id"], rows["landmark_id"]
    ids = pc.if_else(pc.is_in(ids, pa.array(["", "None"])), None, ids)
    landmarks, meanings = landmark_ids(labels, file)
    names = {number: label for label, number in meanings.items() if not is_number(label)}
    images = pa.table({"image_id": ids, "landmark_id": landmarks})
    return Labelled(images, names, _notes(meanings, file.shown))


def landmark_ids(
    labels: pa.ChunkedArray, file: CsvFile
) -> tuple[pa.ChunkedArray | pa.Array, dict[str, int]]:
    """Convert the labels of a csv's column `landmark_id` to ids.

    Returns:
        Ids [N] int64, null for no landmark, and label -> id.

    Raises:
        UserError: A label cannot be an id, or two names would have the same id; the text names
            the line or the names.
    """
    if isinstance(labels, pa.ChunkedArray):
        labels = labels.combine_chunks()
    coded = labels.dictionary_encode()
    meanings: dict[str, int | None] = {}
    for label in coded.dictionary.to_pylist():
        try:
            meanings[label] = id_of_label(label)
        except ValueError as error:
            line = file.line_of("landmark_id", label)
            raise UserError(f"{file.shown}, line {line}: {error}") from None
    known = {label: number for label, number in meanings.items() if number is not None}
    distinct(
        {(label if not is_number(label) else str(n)): n for label, n in known.items()}, file.shown
    )
    ids = pa.array(list(meanings.values()), pa.int64()).take(coded.indices)
    return ids, known


def _notes(meanings: dict[str, int], where: str) -> list[str]:
    numbers = [label for label in meanings if is_number(label)]
    names = [label for label in meanings if not is_number(label)]
    notes = []
    if numbers and names:
        notes.append(
            f"{where}: {len(numbers):,} labels are numbers and {len(names):,} are names, such as "
            f"{names[0]!a}: each name is a landmark with an id of its own"
        )
    spelled: dict[int, str] = {}
    for label in numbers:
        plain = label.lstrip("+").partition(".")[0]
        other = spelled.setdefault(meanings[label], plain)
        if other != plain and "e" not in (other + plain).lower():
            notes.append(f"{where}: the labels {other} and {plain} are the same landmark")
            break
    return notes
