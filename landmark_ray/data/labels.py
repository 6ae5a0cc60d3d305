"""Landmark ids: what labels and names of class folders mean.

A number is itself. A name has an id that is derived from it alone, so that it doesn't move when
other landmarks come and go: verdicts, clients and bundles know it.
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
MOST = 2**63 - 1
_EXACT = 2**53 - 1
"""Above, JavaScript's numbers are not exact."""

_NUMBER = re.compile(r"[+-]?[0-9]+(\.[0-9]*)?(e\+[0-9]{1,3})?", re.IGNORECASE)


def id_of_name(name: str) -> int:
    """The id of a landmark that has no number: 1 to 2^53 - 1."""
    text = unicodedata.normalize("NFC", name).encode(errors="surrogateescape")
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest()) % _EXACT + 1


def ids_of_folders(folders: Iterable[str], place: str) -> dict[str, int]:
    """Class folder -> landmark id.

    A folder whose name is a number keeps it, unless another one's name is the same number, too:
    then the one that is written as numbers are ("1", not "01") keeps it.

    Raises:
        UserError: two folders would be one landmark; names both.
    """
    names = list(folders)
    numbers = Counter(int(name) for name in names if name.isdecimal() and len(name) < 19)
    many = {number for number, count in numbers.items() if count > 1}
    return distinct({name: _id_of_folder(name, many) for name in names}, place)


def _id_of_folder(name: str, many: set[int]) -> int:
    if name.isascii() and name.isdecimal() and len(name) < 19:
        number = int(name)
        if number not in many or str(number) == name:
            return number
    return id_of_name(name)


def id_of_label(label: str) -> int | None:
    """What a cell of a csv says: the number, or the id of the name; None for no landmark.

    Raises:
        ValueError: it is a number and no id; says what is wrong with it.
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
    if not 0 <= number <= MOST:
        raise ValueError(f"landmark ids are between 0 and {MOST}, not {label}")
    return int(number)


def is_number(label: str) -> bool:
    """Whether a label is a number, as programs write them: 11, 11.0, 1e+05."""
    return _NUMBER.fullmatch(label) is not None


def distinct(ids: dict[str, int], place: str) -> dict[str, int]:
    """The same, of names.

    Raises:
        UserError: two have one id; names both.
    """
    seen: dict[int, str] = {}
    for name, number in ids.items():
        other = seen.setdefault(number, name)
        if other != name:
            raise UserError(
                f"{place}: {other!a} and {name!a} would be one landmark, {number}: rename one"
            )
    return ids


@dataclass(frozen=True)
class Labelled:
    """What a csv of photos and landmarks says.

    Attributes:
        images: (image_id string, landmark_id int64); null where there is none.
        names: landmark id -> name, of labels that are no numbers.
        notes: lines for people, on how labels were understood.
    """

    images: pa.Table
    names: dict[int, str]
    notes: list[str]


def read_labels(file: CsvFile) -> Labelled:
    """Photos and landmarks of a csv `id,landmark_id`, or `landmark_id,images` of GLDv2's clean set.

    Raises:
        UserError: it has other columns, or a label can't be a landmark; names the line.
    """
    if file.has("landmark_id", "images") and not file.has("id"):
        rows = file.columns("landmark_id", "images")
        lists = pc.utf8_split_whitespace(pc.fill_null(rows["images"], "")).combine_chunks()
        ids = pc.list_flatten(lists)
        labels = rows["landmark_id"].take(pc.list_parent_indices(lists))
        some = pc.not_equal(ids, "")
        ids, labels = ids.filter(some), labels.filter(some)
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
    """Labels of a csv's column `landmark_id` as ids, and what each label means.

    Raises:
        UserError: a label can't be a landmark, or two names would be one; names the line.
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
    found = {label: number for label, number in meanings.items() if number is not None}
    distinct(
        {(label if not is_number(label) else str(n)): n for label, n in found.items()}, file.shown
    )
    ids = pa.array(list(meanings.values()), pa.int64()).take(coded.indices)
    return ids, found


def _notes(meanings: dict[str, int], place: str) -> list[str]:
    numbers = [label for label in meanings if is_number(label)]
    names = [label for label in meanings if not is_number(label)]
    notes = []
    if numbers and names:
        notes.append(
            f"{place}: {len(numbers):,} labels are numbers and {len(names):,} are names, such as "
            f"{names[0]!a}: each name is a landmark with an id of its own"
        )
    spelled: dict[int, str] = {}
    for label in numbers:
        plain = label.lstrip("+").partition(".")[0]
        other = spelled.setdefault(meanings[label], plain)
        if other != plain and "e" not in (other + plain).lower():
            notes.append(f"{place}: the labels {other} and {plain} are the same landmark")
            break
    return notes
