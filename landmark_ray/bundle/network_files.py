"""The files of trunks and heads in a folder, which is a bundle or a root's `models`.

    trunk/network.weights.h5, network.json      the trunk that the groups share
    groups/group=3/head.weights.h5, head.json   a group's head, its landmarks, its temperature

Only a root's `models` also has these, with the same files:

    pretrained/                 the network before any training
    closed/group=3/…        heads by the reference's rule: no class "other", no temperature
    finetuned/group=3/…     heads, each with a trunk of its own (network.*) beside it

A network's JSON file is written last: without it, the network isn't finished.
"""

import contextlib
import dataclasses
import re
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from landmark_ray.config import Config
from landmark_ray.data.store import Store
from landmark_ray.errors import UserError, shortened
from landmark_ray.models.specs import HeadKind, TrunkInfo

if TYPE_CHECKING:  # drivers need only the JSON files, and Keras takes seconds to import
    import keras

TRUNK, PRETRAINED = "trunk", "pretrained"
GROUPS, CLOSED, FINETUNED = "groups", "closed", "finetuned"
TRUNK_FILES = ("network.weights.h5", "network.json")
"""The files of a trunk, the last to be written last."""

T = TypeVar("T")


@dataclass(frozen=True)
class HeadInfo:
    """What a group's head computes, and how it was trained.

    Attributes:
        group: Number of the group, from 1.
        landmarks: Landmark ids of the logits, rising; `NO_LANDMARK` where one was forgotten.
        other: Whether one more logit follows, for everything that is none of the landmarks.
        trunk: Name of the trunk that computes the features.
        features: D, the number of features.
        kind: Kind of the head.
        scale: Scale of a cosine head.
        temperature: Divides the logits before the softmax.
        report: What training reported: history, figures, seconds.
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
        """C, the number of logits."""
        return len(self.landmarks) + self.other


def heads_folder(config: Config) -> str:
    """Return the subfolder of the heads of a training's last phase."""
    return FINETUNED if "finetune" in config.train.phases else GROUPS


def write_trunk(folder: Store, name: str, trunk: "keras.Model") -> None:
    """Write a trunk's weights and then its `TrunkInfo`."""
    from landmark_ray.models.networks import describe, save_trunk

    folder.write(f"{name}/network.weights.h5", _weights(lambda path: save_trunk(trunk, path)))
    folder.write_json(f"{name}/network.json", dataclasses.asdict(describe(trunk)))


def trunk_info(folder: Store, name: str = TRUNK) -> TrunkInfo | None:
    """Read what a trunk is; return None where there is no trunk."""
    return read_object(folder, f"{name}/network.json", TrunkInfo)


def read_trunk(folder: Store, name: str = TRUNK) -> "keras.Model":
    """Read a trunk.

    Raises:
        UserError: The trunk is missing or damaged.
    """
    from landmark_ray.models.metric import rebuilt
    from landmark_ray.models.networks import load_weights

    info = trunk_info(folder, name)
    if info is None:
        raise UserError(f"{folder.uri}/{name}/network.json is missing: run jobs/trunk.py first")
    with _local_copy(folder, f"{name}/network.weights.h5") as path:
        trunk = rebuilt(info)
        load_weights(trunk, info.network, path)
        return trunk


def copy_trunk(folder: Store, name: str, target: Store, to: str) -> None:
    """Copy a trunk to a folder, with another name.

    Raises:
        UserError: The trunk is missing.
    """
    if trunk_info(folder, name) is None:
        raise UserError(f"{folder.uri}/{name}/network.json is missing: run its stage first")
    for file in TRUNK_FILES:
        target.write(f"{to}/{file}", folder.read(f"{name}/{file}"))


def write_head(folder: Store, subfolder: str, head: "keras.Model", info: HeadInfo) -> None:
    """Write a group's head; once its JSON file is there, the group is finished."""
    folder.write(f"{_head_path(subfolder, info.group)}.weights.h5", _weights(head.save_weights))
    write_head_info(folder, subfolder, info)


def write_head_info(folder: Store, subfolder: str, info: HeadInfo) -> None:
    """Write what a group's head is."""
    folder.write_json(f"{_head_path(subfolder, info.group)}.json", dataclasses.asdict(info))


def head_info(folder: Store, subfolder: str, group: int) -> HeadInfo | None:
    """Read what a group's head is; return None where the group isn't finished."""
    return read_object(folder, f"{_head_path(subfolder, group)}.json", HeadInfo)


def head_infos(folder: Store, subfolder: str) -> list[HeadInfo]:
    """Read what the heads of all finished groups are, ordered by group."""
    names = folder.files(subfolder)
    matches = (re.fullmatch(r".*/group=(\d+)/head\.json", name) for name in names)
    groups = sorted(int(match[1]) for match in matches if match)
    return [info for group in groups if (info := head_info(folder, subfolder, group))]


def read_head(
    folder: Store, subfolder: str, info: HeadInfo, *, dropout: float = 0.0
) -> "keras.Model":
    """Read a head, which computes logits [B, C] from features [B, D].

    Args:
        folder: The folder that has the subfolder.
        subfolder: The subfolder of the heads.
        info: What the head is.
        dropout: Rate of the head's dropout layer, for training it further.

    Raises:
        UserError: The weights are missing or damaged.
    """
    from landmark_ray.models.heads import build_head

    head = build_head(info.features, info.logits, dropout=dropout, kind=info.kind, scale=info.scale)
    name = f"{_head_path(subfolder, info.group)}.weights.h5"
    with _local_copy(folder, name) as path:
        try:
            head.load_weights(path)
        except (OSError, ValueError, KeyError) as error:
            raise UserError(f"{folder.uri}/{name} is damaged: {shortened(error)}") from None
    return head


def read_object(folder: Store, name: str, kind: type[T]) -> T | None:
    """Read a JSON file as an object of a type; return None where there is no file.

    Raises:
        UserError: The file doesn't describe such an object.
    """
    value = folder.read_json(name)
    try:
        return None if value is None else TypeAdapter(kind).validate_python(value)
    except ValidationError as error:
        problem = error.errors()[0]
        field = ".".join(map(str, problem["loc"]))
        raise UserError(f"{folder.uri}/{name} is damaged: {field}: {problem['msg']}") from None


def _head_path(subfolder: str, group: int) -> str:
    return f"{subfolder}/group={group}/head"


def _weights(save: Callable[[str], object]) -> bytes:
    """Return what a function of Keras saves into the file at a path."""
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "weights.weights.h5"
        save(str(path))
        return path.read_bytes()


@contextlib.contextmanager
def _local_copy(folder: Store, name: str) -> Iterator[str]:
    """Copy a file to this machine, for as long as the context lasts; yield the copy's path.

    Raises:
        UserError: The file is missing.
    """
    with tempfile.TemporaryDirectory() as scratch:
        copy = Path(scratch) / Path(name).name
        try:
            copy.write_bytes(folder.read(name))
        except FileNotFoundError:
            raise UserError(f"{folder.uri}/{name} is missing: train it again") from None
        yield str(copy)
