"""A bundle's manifest: which version it is, how it was made, and the checksums of its files.

bundle.json                 the manifest, written last: a folder without one is no bundle
landmarks.parquet           landmark_id, name, group, images
trunk/, groups/group=3/     the networks, see `bundle`
evaluation.json             the figures of the stage evaluate
reference.parquet           a few photos and what the trained networks say of them, see `reference`
.export.json                only while it is made: the names of all files that are ours
"""

import datetime
import hashlib
import json
from collections.abc import Callable, Iterable
from typing import Any

import pyarrow as pa
from pydantic import BaseModel, ConfigDict, ValidationError

from landmark_ray.data import deletion
from landmark_ray.data.store import Store
from landmark_ray.errors import UserError
from landmark_ray.kernels.image import Limits

FORMAT = 1
FILE = "bundle.json"
LANDMARKS = "landmarks.parquet"
EVALUATION = "evaluation.json"
REFERENCE = "reference.parquet"
BEGUN = ".export.json"


class Manifest(BaseModel):
    """What `bundle.json` holds.

    Attributes:
        format: of the bundle; this code reads `FORMAT`.
        version: 12 hex digits of a hash of all that answers depend on.
        created: when, in UTC.
        size: width and height of the photos that the models take, in pixels.
        min_side, max_megapixels, max_megabytes: photos outside are refused.
        threshold: an answer with a lower confidence is "not a landmark".
        floor: an answer with a lower confidence is hardly ever right; below the threshold.
        rejects_strangers: whether there were enough photos of none of the landmarks, to learn from
            and to choose the threshold by; None: not known, the bundle is an older one.
        warning: why not, in words for people; empty where it does.
        landmarks: how many it knows.
        groups: numbers of the groups that have a model.
        metrics: of validation images and of the test set: top1, top5, gap …
        configuration: options by stage.
        fingerprints: of each stage's options and inputs, back to the source.
        software: versions that made it.
        files: name -> sha256.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: int = FORMAT
    version: str
    created: str
    size: int
    min_side: int
    max_megapixels: float
    max_megabytes: float
    threshold: float
    floor: float
    rejects_strangers: bool | None = None
    warning: str = ""
    landmarks: int
    groups: list[int]
    metrics: dict[str, dict[str, float]]
    configuration: dict[str, dict[str, Any]]
    fingerprints: dict[str, str]
    software: dict[str, str]
    files: dict[str, str]

    @property
    def limits(self) -> Limits:
        """What photos may be."""
        return Limits(
            min_side=self.min_side,
            max_pixels=self.max_megapixels * 1e6,
            max_option="the bundle's ingest.max_megapixels",
            min_option="the bundle's ingest.min_side",
        )


class Bundle(Store):
    """An exported bundle whose files are what they were when it was made.

    Raises:
        UserError: there is none, it is of another format, or a file is missing, damaged or strange.
    """

    def __init__(self, uri: str, read: Callable[[str], bool] = lambda name: True) -> None:
        """Read every file that will be used (`read` says so) once, and compare its checksum."""
        super().__init__(uri)
        self.manifest = self._manifest()
        found = set(self.files()) - {FILE}
        for name in sorted(found ^ set(self.manifest.files)):
            problem = "is missing" if name in self.manifest.files else "doesn't belong there"
            raise UserError(f"{self.uri}/{name} {problem}: copy the bundle again, or export it")
        made = version(self.manifest.files, self.manifest.threshold)
        if self.manifest.version != made:  # it names caches
            raise UserError(
                f"{self.uri}/{FILE}: version: not that of these files, {self.manifest.version!r}: "
                "copy the bundle again, or export it"
            )
        for name, wanted in self.manifest.files.items():
            if read(name) and checksum(self.read(name)) != wanted:
                raise UserError(
                    f"{self.uri}/{name} is damaged (its checksum is not the one in {FILE}): copy "
                    "the bundle again, or export it"
                )

    def _manifest(self) -> Manifest:
        try:
            value = json.loads(self.read(FILE))
        except FileNotFoundError:
            raise UserError(
                f"{self.uri} is no bundle, it has no {FILE}: give the folder that jobs/export.py "
                "wrote"
            ) from None
        except (ValueError, RecursionError, OSError) as error:
            raise UserError(f"{self.uri}/{FILE} cannot be read: {error}") from None
        if not isinstance(value, dict) or value.get("format") != FORMAT:
            have = value.get("format") if isinstance(value, dict) else value
            raise UserError(f"{self.uri} is a bundle of format {have}, this code reads {FORMAT}")
        try:
            return Manifest.model_validate(value)
        except ValidationError as error:
            problem = error.errors()[0]
            place = ".".join(map(str, problem["loc"]))
            raise UserError(f"{self.uri}/{FILE}: {place}: {problem['msg']}") from None

    def names(self) -> pa.Table:
        """landmark_id, name, group and images of all landmarks."""
        return self.read_table(LANDMARKS)


def owned(folder: Store) -> set[str]:
    """The names of all files that exports have written in a folder, as they have noted there."""
    names: set[str] = set()
    for note in (FILE, BEGUN):
        try:
            value = json.loads(folder.read(note))
            given = Manifest.model_validate(value).files if note == FILE else value["files"]
        except (OSError, ValueError, RecursionError, TypeError, KeyError):
            continue  # there is none, or it is another's
        names |= {note, *given}
    return names


def clear(folder: Store, names: Iterable[str], ours: deletion.Ours) -> None:
    """Make room for a bundle: note its files, then delete those of the one before.

    Args:
        folder: where.
        names: of the files that will be written.
        ours: says which of the files there may be deleted.

    Raises:
        UserError: there are others; nothing was touched.
    """
    there = [e.name for e in deletion.checked(folder, "", ours=ours)[""]]
    folder.write_json(BEGUN, {"files": sorted({*there, *names} - {BEGUN})})
    old = sorted(set(there) - {BEGUN}, key=lambda name: name != FILE)  # then it is none any more
    deletion.delete(folder, *old, ours=ours)


def seal(folder: Store, *, threshold: float, **fields: Any) -> Manifest:
    """Make a bundle of a folder that holds all its other files: write the manifest.

    Args:
        folder: with networks and landmarks.
        threshold: of `Manifest`.
        **fields: all others but format, version, created and files.
    """
    files = {name: checksum(folder.read(name)) for name in folder.files()}
    manifest = Manifest(
        version=version(files, threshold),
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        threshold=threshold,
        files=files,
        **fields,
    )
    folder.write(FILE, manifest.model_dump_json(indent=1).encode())
    deletion.delete(folder, BEGUN, ours=lambda name: name == BEGUN)
    return manifest


def checksum(data: bytes) -> str:
    """sha256, as hex digits."""
    return hashlib.sha256(data).hexdigest()


def version(files: dict[str, str], threshold: float) -> str:
    """A name for bundles that answer alike."""
    networks = {n: s for n, s in files.items() if n not in (EVALUATION, REFERENCE)}
    text = json.dumps([networks, threshold], sort_keys=True)
    return checksum(text.encode())[:12]
