"""Verdicts of people: csv files of images and landmarks to keep or to drop.

    verdict,image_id,landmark_id,reason
    drop,0a1b2c3d4e5f6071,,a drawing
    keep,,1234,few photos but good ones

A line names either an image or a landmark. The curation page writes such files.
"""

import csv
import io
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal, cast

from landmark_ray.data.labels import MAX_ID
from landmark_ray.data.store import Store, split_uri
from landmark_ray.errors import UserError

COLUMNS = ("verdict", "image_id", "landmark_id", "reason")

Kind = Literal["keep", "drop"]


@dataclass(frozen=True)
class Verdict:
    """Whether to keep or drop an image or a landmark, and why."""

    kind: Kind
    reason: str


@dataclass(frozen=True)
class Verdicts:
    """The verdicts of all files; the verdict of an image overrides that of its landmark."""

    images: dict[str, Verdict] = field(default_factory=dict)
    landmarks: dict[int, Verdict] = field(default_factory=dict)


def read_verdicts(uris: Iterable[str]) -> Verdicts:
    """Read files of verdicts.

    Raises:
        UserError: A file cannot be read, or two lines contradict each other; the text names file
            and line.
    """
    verdicts = Verdicts()
    for uri in uris:
        where = f"--clean.verdicts: {uri}"
        rows = csv.DictReader(io.StringIO(_text(uri, where)), strict=True)
        if tuple(rows.fieldnames or ()) != COLUMNS:
            begins = ",".join(rows.fieldnames or ())[:80]
            raise UserError(f"{where} must begin with the line {','.join(COLUMNS)}, not {begins!r}")
        try:
            for row in rows:
                _add(verdicts, row, f"{where}, line {rows.line_num}")
        except csv.Error as error:
            raise UserError(f"{where}, line {rows.line_num}: {error}") from None
    return verdicts


def _text(uri: str, where: str) -> str:
    folder, name = split_uri(uri)
    try:
        return Store(folder).read(name).decode("utf-8-sig")
    except FileNotFoundError:
        raise UserError(f"{where} does not exist") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{where} cannot be read: {error}") from None


def _add(verdicts: Verdicts, row: dict[str, str | None], where: str) -> None:
    kind, image, landmark, reason = ((row[name] or "").strip() for name in COLUMNS)
    if None in row or kind not in ("keep", "drop"):
        raise UserError(f"{where}: verdict must be keep or drop, then {','.join(COLUMNS[1:])}")
    if bool(image) == bool(landmark):
        raise UserError(f"{where}: give either an image_id or a landmark_id")
    verdict = Verdict(cast(Kind, kind), reason)
    if image:
        first = verdicts.images.setdefault(image, verdict)
    elif landmark.isdecimal() and len(landmark) <= len(str(MAX_ID)) and int(landmark) <= MAX_ID:
        first = verdicts.landmarks.setdefault(int(landmark), verdict)
    else:
        raise UserError(
            f"{where}: landmark_id must be a number of at most {MAX_ID}, got {landmark[:40]!r}"
        )
    if first.kind != kind:
        raise UserError(f"{where}: {image or landmark} has the verdicts keep and drop")
