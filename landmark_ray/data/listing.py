"""What lies in a folder: its photos, and what is left out, counted by kind.

A photo is told by the ending of its name where that is known, else by its first bytes. Links are
followed. What is hidden or a system's own, such as thumbnails and trash, is no photo anywhere.
"""

import os
import stat
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from landmark_ray.data.file_kinds import (
    HIDDEN,
    OTHERS,
    is_hidden,
    is_image,
    kind_by_name,
    photo_ending,
    printable,
)
from landmark_ray.data.retry import with_retries
from landmark_ray.data.store import Store

BROKEN = "links to nowhere"
LOOPS = "links back to a folder that they lie in"
DEEP = "links behind five other links"
SPECIAL = "devices, sockets and pipes"
UNREADABLE = "files that can't be read"
CLOSED = "folders that can't be read"

_LINKS = 5
_HEAD = 32
"""Bytes that tell an image."""

_LEFT_OUT, _SUCH_AS = "left out: ", ", such as "


@dataclass
class LeftOut:
    """How many files of each kind are not used, and the first one's name."""

    counts: Counter[str] = field(default_factory=Counter)
    examples: dict[str, str] = field(default_factory=dict)

    def add(self, kind: str, name: str, count: int = 1) -> None:
        """Count files."""
        self.counts[kind] += count
        self.examples[kind] = min(self.examples.get(kind, name), name)

    def update(self, other: "LeftOut") -> None:
        """Add what another holds."""
        for kind, count in other.counts.items():
            self.add(kind, other.examples[kind], count)

    def counters(self) -> Counter[str]:
        """The counts under names that show an example, for a `StageCounts`."""
        return Counter({self._named(kind): count for kind, count in self.counts.items()})

    @classmethod
    def from_counters(cls, counters: Mapping[str, int]) -> "LeftOut":
        """The sum of what parts told in `counters`; other facts are passed over."""
        total = cls()
        for counter, count in sorted(counters.items()):
            kind, such_as, example = counter.removeprefix(_LEFT_OUT).partition(_SUCH_AS)
            if counter.startswith(_LEFT_OUT) and such_as:
                total.add(kind, example, count)
        return total

    def lines(self) -> list[str]:
        """For people, one a kind, the most frequent first."""
        return [f"{self._named(kind)}: {count:,}" for kind, count in self.counts.most_common()]

    def _named(self, kind: str) -> str:
        return f"{_LEFT_OUT}{kind}{_SUCH_AS}{printable(self.examples[kind])}"


def photo_files(folder: Store, under: str = "") -> tuple[dict[str, int], LeftOut]:
    """Relative name -> bytes of every photo below a folder, sorted, and what else lies there.

    A name that is not UTF-8 holds surrogates, with which it can be opened; `printable` shows it. A
    link to nowhere with a photo's ending counts as a photo of 0 bytes that can't be read.

    Args:
        folder: local or remote, not on the web, which can't be listed.
        under: only what is below this folder of it; names still begin at `folder`.
    """
    left_out = LeftOut()
    return photos_among(folder, visible_files(folder, left_out, under), left_out), left_out


def visible_files(folder: Store, left_out: LeftOut, under: str = "") -> dict[str, int]:
    """Relative name -> bytes of every file below a folder that is neither hidden nor a system's."""
    found = _local(folder, left_out, under) if folder.local else _remote(folder, left_out, under)
    return dict(sorted(found))


def photos_among(folder: Store, files: dict[str, int], left_out: LeftOut) -> dict[str, int]:
    """The photos among some files of a folder; the others are counted."""
    doubtful = []
    kinds: dict[str, str] = {}
    for name in files:
        kind = kind_by_name(name)
        if kind is None:
            doubtful.append(name)
        else:
            kinds[name] = kind
    with ThreadPoolExecutor(1 if folder.local else 16) as pool:
        kinds |= zip(
            doubtful, pool.map(lambda name: _by_bytes(folder, name), doubtful), strict=True
        )
    for name in files:
        if kinds[name]:
            left_out.add(kinds[name], name)
    return {name: size for name, size in files.items() if not kinds[name]}


def _remote(folder: Store, left_out: LeftOut, under: str) -> Iterator[tuple[str, int]]:
    folder.fs.invalidate_cache()
    uri = f"{folder.uri}/{under}"
    try:
        found = with_retries(uri, folder.fs.find, folder.path_of(under), detail=True)
    except FileNotFoundError:
        return
    for path, info in found.items():
        name = path[len(folder.path) :].lstrip("/")
        if is_hidden(name):
            left_out.add(HIDDEN, name)
        elif not name.endswith("/"):
            yield name, int(info["size"] or 0)


def _local(folder: Store, left_out: LeftOut, under: str) -> Iterator[tuple[str, int]]:
    """By a walk of its own: os.walk follows links for ever."""
    top = folder.path_of(under)
    if not os.path.isdir(top):
        return
    real = os.path.realpath(top)
    above = frozenset(_key(os.stat(p)) for p in _and_parents(real))
    todo: list[tuple[str, frozenset[tuple[int, int]], int]] = [(under, above, 0)]
    while todo:
        place, inside, links = todo.pop()
        for entry in _entries(folder, place, left_out):
            name = f"{place}/{entry.name}" if place else entry.name
            try:
                found = entry.stat()
            except OSError as error:  # a link to nowhere or to itself, or no permission
                kind = UNREADABLE if isinstance(error, PermissionError) else BROKEN
                if is_hidden(entry.name):
                    left_out.add(HIDDEN, name)
                elif photo_ending(name):
                    yield name, 0
                else:
                    left_out.add(kind, name)
                continue
            is_folder = stat.S_ISDIR(found.st_mode)
            if is_hidden(entry.name):
                within = [name]
                if is_folder and not entry.is_symlink():
                    within = _names_below(folder.path_of(name), name)
                if within:
                    left_out.add(HIDDEN, min(within), len(within))
            elif is_folder:
                key, hops = _key(found), links + entry.is_symlink()
                if key in inside:
                    left_out.add(LOOPS, name)
                elif hops > _LINKS:
                    left_out.add(DEEP, name)
                else:
                    todo.append((name, inside | {key}, hops))
            elif stat.S_ISREG(found.st_mode):
                yield name, found.st_size
            else:
                left_out.add(SPECIAL, name)


def _entries(folder: Store, place: str, left_out: LeftOut) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder.path_of(place)) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except OSError:
        left_out.add(CLOSED, place)
        return []


def _names_below(path: str, name: str) -> list[str]:
    """All files below a folder, under the folder's name."""
    return [
        f"{name}{parent[len(path) :]}/{file}"
        for parent, _, files in os.walk(path)
        for file in files
    ]


def _key(found: os.stat_result) -> tuple[int, int]:
    return found.st_dev, found.st_ino


def _and_parents(path: str) -> Iterable[str]:
    while True:
        yield path
        parent = os.path.dirname(path)
        if parent == path:
            return
        path = parent


def _by_bytes(folder: Store, name: str) -> str:
    """The kind of a file by its first bytes; "" for a photo."""
    try:
        if folder.local:
            with open(folder.path_of(name), "rb") as file:
                head = file.read(_HEAD)
        else:
            work = (folder.fs.cat_file, folder.path_of(name), 0, _HEAD)
            head = with_retries(f"{folder.uri}/{name}", *work)
    except OSError:
        return UNREADABLE
    return "" if is_image(head) else OTHERS
