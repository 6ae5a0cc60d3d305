"""Networks in a folder: trunks, and a head for each group. A root's `models` and bundles are such.

    trunk/network.weights.h5, network.json      the trunk that the groups share
    groups/group=3/head.weights.h5, head.json   a group's head, its landmarks, its temperature

Only a root's `models` has, in the same manner:

    closed/group=3/…        heads by the reference's rule: no class other, no temperature
    finetuned/group=3/…     heads, and beside each a trunk (network.*) of its own

A JSON file is written last: what has none is not finished.
"""

import dataclasses
import re
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from landmark_ray.data.store import Store
from landmark_ray.errors import UserError
from landmark_ray.models.specs import HeadKind, TrunkInfo

if TYPE_CHECKING:  # drivers read what JSON files say, and no more: Keras takes seconds to import
    import keras

TRUNK = "trunk"
GROUPS, CLOSED, FINETUNED = "groups", "closed", "finetuned"

T = TypeVar("T")


@dataclass(frozen=True)
class HeadInfo:
    """What a group's head computes.

    Attributes:
        group: its number, from 1.
        landmarks: landmark ids of the logits, rising.
        other: whether one more logit follows, for everything else.
        trunk: name of the trunk that makes its features.
        features: their number.
        kind: of the head.
        scale: of a cosine head.
        temperature: divides the logits before the softmax.
        report: what training tells: history, figures, seconds.
    """

    group: int
    landmarks: tuple[int, ...]
    other: bool
    trunk: str
    features: int
    kind: HeadKind
    scale: float
    temperature: float
    report: dict[str, Any]

    @property
    def logits(self) -> int:
        """Their number."""
        return len(self.landmarks) + self.other


def write_trunk(folder: Store, name: str, trunk: "keras.Model") -> None:
    """Store a trunk's weights and what it is."""
    from landmark_ray.models.networks import describe, save_trunk

    folder.write(f"{name}/network.weights.h5", _weights(lambda path: save_trunk(trunk, path)))
    folder.write_json(f"{name}/network.json", dataclasses.asdict(describe(trunk)))


def trunk_info(folder: Store, name: str = TRUNK) -> TrunkInfo | None:
    """What a stored trunk is; None where there is none."""
    return _info(folder, f"{name}/network.json", TrunkInfo)


def read_trunk(folder: Store, name: str = TRUNK) -> "keras.Model":
    """A stored trunk.

    Raises:
        UserError: it is missing or damaged.
    """
    from landmark_ray.models.networks import build_trunk

    info = trunk_info(folder, name)
    if info is None:
        raise UserError(f"{folder.uri}/{name}/network.json is missing: run jobs/trunk.py first")
    with _local(folder, f"{name}/network.weights.h5") as path:
        return build_trunk(
            info.network,
            weights=path,
            size=info.size,
            input_size=info.input_size,
            pooling=info.pooling,
        )


def write_head(folder: Store, place: str, head: "keras.Model", info: HeadInfo) -> None:
    """Store a group's head; with its JSON file the group is finished."""
    folder.write(f"{_name(place, info.group)}.weights.h5", _weights(head.save_weights))
    folder.write_json(f"{_name(place, info.group)}.json", dataclasses.asdict(info))


def head_info(folder: Store, place: str, group: int) -> HeadInfo | None:
    """What a group's stored head is; None where there is none."""
    return _info(folder, f"{_name(place, group)}.json", HeadInfo)


def head_infos(folder: Store, place: str) -> list[HeadInfo]:
    """Of all groups that are finished, by their numbers."""
    found = (re.fullmatch(r".*/group=(\d+)/head\.json", name) for name in folder.files(place))
    groups = sorted(int(name[1]) for name in found if name)
    return [info for group in groups if (info := head_info(folder, place, group))]


def read_head(folder: Store, place: str, info: HeadInfo, *, dropout: float = 0.0) -> "keras.Model":
    """A stored head: features [B, D] to logits. Dropout is for training it on.

    Raises:
        UserError: its weights are missing or damaged.
    """
    from landmark_ray.models.heads import build_head

    head = build_head(info.features, info.logits, dropout=dropout, kind=info.kind, scale=info.scale)
    name = f"{_name(place, info.group)}.weights.h5"
    with _local(folder, name) as path:
        try:
            head.load_weights(path)
        except (OSError, ValueError, KeyError) as error:
            why = " ".join(str(error).split())[:200]
            raise UserError(f"{folder.uri}/{name} is damaged: {why}") from None
    return head


def _info(folder: Store, name: str, kind: type[T]) -> T | None:
    """What a JSON file says, or None where there is none.

    Raises:
        UserError: it says something else.
    """
    value = folder.read_json(name)
    try:
        return None if value is None else TypeAdapter(kind).validate_python(value)
    except ValidationError as error:
        problem = error.errors()[0]
        place = ".".join(map(str, problem["loc"]))
        raise UserError(f"{folder.uri}/{name} is damaged: {place}: {problem['msg']}") from None


def _name(place: str, group: int) -> str:
    return f"{place}/group={group}/head"


def _weights(save: Any) -> bytes:
    """What Keras writes into a file."""
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "weights.weights.h5"
        save(str(path))
        return path.read_bytes()


class _local(tempfile.TemporaryDirectory):  # type: ignore[type-arg]
    """A stored file as a file of this machine, for as long as the context lasts."""

    def __init__(self, folder: Store, name: str) -> None:
        super().__init__()
        self.file = Path(self.name) / Path(name).name
        try:
            self.file.write_bytes(folder.read(name))
        except FileNotFoundError:
            self.cleanup()
            raise UserError(f"{folder.uri}/{name} is missing: train it again") from None

    def __enter__(self) -> str:
        return str(self.file)
