"""A bundle's manifest: its version, how the bundle was made, and the checksums of its files.

bundle.json                 the manifest, written last: a folder without one is no bundle
landmarks.parquet           landmark_id, name, group, images
trunk/, groups/group=3/     the networks, see `network_files`
evaluation.json             the figures of the stage evaluate
reference.parquet           a few photos and the trained networks' logits, see `reference`
provenance.json             what the stages left out, and the licences of the photos
README.md                   the model card, see `reports/model_card.py`
.export.json                only while the bundle is written: the names of all its files
"""

import datetime
import json
from collections.abc import Callable, Iterable
from typing import Any

import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from landmark_ray.config.base import Witness
from landmark_ray.data import deletion
from landmark_ray.data.store import Store
from landmark_ray.errors import UserError
from landmark_ray.kernels.image import Fit, Limits
from landmark_ray.runtime.receipts import checksum

FORMAT = 1
FILE = "bundle.json"
LANDMARKS = "landmarks.parquet"
EVALUATION = "evaluation.json"
REFERENCE = "reference.parquet"
PROVENANCE = "provenance.json"
CARD = "README.md"
SAME_ANSWERS = (EVALUATION, REFERENCE, PROVENANCE, CARD)
"""Files on which no answer depends: a change of them alone does not change the version."""
BEGUN = ".export.json"


class Manifest(BaseModel):
    """What `bundle.json` holds.

    Attributes:
        format: Format of the bundle; this code reads `FORMAT`.
        version: 12 hex digits of a hash of all that the answers depend on.
        created: Time at which the bundle was made, in UTC.
        size: Width and height of the photos that the models take, in pixels.
        fit: How a photo becomes a square for them.
        min_side: Shortest side of a photo that is accepted, in pixels.
        max_megapixels: Largest photo that is accepted, in millions of pixels.
        max_megabytes: Largest file that is accepted, in MB.
        threshold: A photo whose highest confidence is lower is "not a landmark".
        rejection_floor: An answer with a lower confidence is almost never right; at most the
            threshold. The file calls it `floor`.
        heads_threshold: The threshold where the heads alone answer; None in older bundles, where it
            is not known, and `threshold` holds.
        heads_floor: The rejection floor where the heads alone answer; likewise.
        rejects_strangers: Whether there were enough photos that show none of the landmarks, for
            training and for the choice of the threshold; None in older bundles.
        warning: Why the bundle doesn't reject strangers, as a sentence; empty where it does.
        landmarks: Number of landmarks that the models know.
        groups: Numbers of the groups that have a model.
        metrics: Figures (top1, top5, gap …) of the validation images and of the test set.
        configuration: The options of each stage.
        fingerprints: A hash of each stage's options and inputs, back to the source.
        software: Versions of the software that made the bundle.
        files: Name of each file -> its sha256.
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", validate_by_name=True, serialize_by_alias=True
    )

    format: int = FORMAT
    version: str
    created: str
    size: int
    fit: Fit = "crop"
    min_side: int
    max_megapixels: float
    max_megabytes: float
    threshold: float
    rejection_floor: float = Field(alias="floor")
    heads_threshold: float | None = None
    heads_floor: float | None = None
    rejects_strangers: bool | None = None
    warning: str = ""
    landmarks: int
    groups: list[int]
    metrics: dict[str, dict[str, float]]
    configuration: dict[str, dict[str, Any]]
    fingerprints: dict[str, str]
    software: dict[str, str]
    files: dict[str, str]

    def for_witnesses(self, witnesses: Witness) -> "Manifest":
        """Return the manifest with the threshold and the floor of those that answer."""
        if witnesses == "fused":
            return self
        threshold, floor = self.heads_threshold, self.heads_floor
        of_heads = {"threshold": threshold, "rejection_floor": floor}
        return self.model_copy(update={n: v for n, v in of_heads.items() if v is not None})

    @property
    def limits(self) -> Limits:
        """The limits of the photos that are accepted."""
        return Limits(
            min_side=self.min_side,
            max_pixels=self.max_megapixels * 1e6,
            fit=self.fit,
            max_option="the bundle's ingest.max_megapixels",
            min_option="the bundle's ingest.min_side",
        )


class Bundle(Store):
    """An exported bundle, whose files were compared with its manifest.

    Raises:
        UserError: There is no bundle, it has another format, or a file is missing, damaged or not
            in the manifest.
    """

    def __init__(self, uri: str, read: Callable[[str], bool] = lambda name: True) -> None:
        """Compare the names of all files, and the checksums of those that `read` selects."""
        super().__init__(uri)
        self.manifest = self._manifest()
        present = set(self.files()) - {FILE}
        for name in sorted(present ^ set(self.manifest.files)):
            problem = "is missing" if name in self.manifest.files else "doesn't belong there"
            raise UserError(f"{self.uri}/{name} {problem}: copy the bundle again, or export it")
        heads = self.manifest.heads_threshold, self.manifest.heads_floor
        expected = version(self.manifest.files, self.manifest.threshold, *heads)
        if self.manifest.version != expected:  # caches are named by the version
            raise UserError(
                f"{self.uri}/{FILE}: version: not that of these files, {self.manifest.version!r}: "
                "copy the bundle again, or export it"
            )
        for name, sha256 in self.manifest.files.items():
            if read(name) and checksum(self.read(name)) != sha256:
                raise UserError(
                    f"{self.uri}/{name} is damaged (its checksum is not the one in {FILE}): copy "
                    "the bundle again, or export it"
                )

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the manifest, too: a worker doesn't compare all files again."""
        return _compared, (self.uri, self.manifest)

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
            other = value.get("format") if isinstance(value, dict) else value
            raise UserError(f"{self.uri} is a bundle of format {other}, this code reads {FORMAT}")
        try:
            return Manifest.model_validate(value)
        except ValidationError as error:
            problem = error.errors()[0]
            field = ".".join(map(str, problem["loc"]))
            raise UserError(f"{self.uri}/{FILE}: {field}: {problem['msg']}") from None

    def names(self) -> pa.Table:
        """Read the table of all landmarks: landmark_id, name, group and images."""
        return self.read_table(LANDMARKS)


def _compared(uri: str, manifest: Manifest) -> Bundle:
    """Return a bundle that another process has compared with its manifest."""
    bundle = Bundle.__new__(Bundle)
    Store.__init__(bundle, uri)
    bundle.manifest = manifest
    return bundle


def owned(folder: Store) -> set[str]:
    """Return the names of all files that exports wrote into a folder, from the lists there."""
    names: set[str] = set()
    for name in (FILE, BEGUN):
        try:
            value = json.loads(folder.read(name))
            listed = Manifest.model_validate(value).files if name == FILE else value["files"]
        except (OSError, ValueError, RecursionError, TypeError, KeyError):
            continue  # the file is missing, or no export wrote it
        names |= {name, *listed}
    return names


def clear(folder: Store, names: Iterable[str], ours: deletion.Ours) -> None:
    """Prepare a folder for a bundle: list old and new files in `BEGUN`, then delete the old ones.

    Args:
        folder: The folder of the bundle.
        names: Names of the files that will be written.
        ours: Tells which of the files there may be deleted.

    Raises:
        UserError: There are files that may not be deleted; nothing was changed.
    """
    present = [e.name for e in deletion.check_ours(folder, "", ours=ours)[""]]
    folder.write_json(BEGUN, {"files": sorted({*present, *names} - {BEGUN})})
    # the manifest goes first: from then on the folder is no bundle
    old = sorted(set(present) - {BEGUN}, key=lambda name: name != FILE)
    deletion.delete(folder, *old, ours=ours)


def seal(folder: Store, *, threshold: float, **fields: Any) -> Manifest:
    """Write the manifest, which makes a bundle of a folder that has all other files.

    Args:
        folder: The folder with the networks and the table of landmarks.
        threshold: As in `Manifest`.
        **fields: The other fields of `Manifest`, except format, version, created and files.
    """
    files = {name: checksum(folder.read(name)) for name in folder.files()}
    manifest = Manifest(
        version=version(files, threshold, fields.get("heads_threshold"), fields.get("heads_floor")),
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        threshold=threshold,
        files=files,
        **fields,
    )
    folder.write(FILE, manifest.model_dump_json(indent=1).encode())
    deletion.delete(folder, BEGUN, ours=lambda name: name == BEGUN)
    return manifest


def version(files: dict[str, str], threshold: float, *heads: float | None) -> str:
    """Return the version of a bundle: equal for bundles that give the same answers.

    Args:
        files: Name of each file -> its sha256.
        threshold: As in `Manifest`.
        *heads: `heads_threshold` and `heads_floor`; older bundles have neither.
    """
    networks = {n: s for n, s in files.items() if n not in SAME_ANSWERS}
    of_heads = [value for value in heads if value is not None]
    text = json.dumps([networks, threshold, *of_heads], sort_keys=True)
    return checksum(text.encode())[:12]
