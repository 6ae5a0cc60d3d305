"""The photos in a folder, and the files that are left out, counted by kind.

A photo is recognised by the ending of its name or, if the ending is unknown, by its first bytes.
Links are followed. Hidden files, and files of an operating system such as thumbnails and trash, are
left out everywhere.
"""

import os
import stat
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from landmark_ray.data.concurrently import READERS, map_concurrently
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
UNREADABLE_FOLDERS = "folders that can't be read"

_MAX_LINKS = 5
_HEAD = 32
"""Number of first bytes by which an image is recognised."""

_LEFT_OUT, _SUCH_AS = "left out: ", ", such as "


@dataclass
class LeftOut:
    """The number of files of each kind that are not used, and the first name of each kind."""

    counts: Counter[str] = field(default_factory=Counter)
    examples: dict[str, str] = field(default_factory=dict)

    def add(self, kind: str, name: str, count: int = 1) -> None:
        """Count files of a kind."""
        self.counts[kind] += count
        self.examples[kind] = min(self.examples.get(kind, name), name)

    def update(self, other: "LeftOut") -> None:
        """Add the counts of another."""
        for kind, count in other.counts.items():
            self.add(kind, other.examples[kind], count)

    def counters(self) -> Counter[str]:
        """Return the counts for a `StageCounts`, by names that contain an example."""
        return Counter({self._named(kind): count for kind, count in self.counts.items()})

    @classmethod
    def from_counters(cls, counters: Mapping[str, int]) -> "LeftOut":
        """Add up the counts that `counters` returned; other counters are ignored."""
        total = cls()
        for counter, count in sorted(counters.items()):
            kind, such_as, example = counter.removeprefix(_LEFT_OUT).partition(_SUCH_AS)
            if counter.startswith(_LEFT_OUT) and such_as:
                total.add(kind, example, count)
        return total

    def lines(self) -> list[str]:
        """Return a line for each kind, the most frequent first."""
        return [f"{self._named(kind)}: {count:,}" for kind, count in self.counts.most_common()]

    def _named(self, kind: str) -> str:
        return f"{_LEFT_OUT}{kind}{_SUCH_AS}{printable(self.examples[kind])}"


def photo_files(folder: Store) -> tuple[dict[str, int], LeftOut]:
    """Return relative name -> bytes of every photo below a folder, sorted, and what is left out.

    A name that is not UTF-8 holds surrogates, with which it can be opened; `printable` shows it. A
    broken link with a photo's ending counts as a photo of 0 bytes, which cannot be read.

    Args:
        folder: Local or remote, but not on the web, which cannot be listed.
    """
    left_out = LeftOut()
    return photos_among(folder, visible_files(folder, left_out), left_out), left_out


def visible_files(folder: Store, left_out: LeftOut, under: str = "") -> dict[str, int]:
    """Return relative name -> bytes of every file below a folder that is not hidden, sorted."""
    walk = _local if folder.local else _remote
    return dict(sorted(walk(folder, left_out, under)))


def photos_among(folder: Store, files: dict[str, int], left_out: LeftOut) -> dict[str, int]:
    """Return the photos among files of a folder (name -> bytes), and count the other files."""
    doubtful = []
    kinds: dict[str, str] = {}
    for name in files:
        kind = kind_by_name(name)
        if kind is None:
            doubtful.append(name)
        else:
            kinds[name] = kind
    readers = 1 if folder.local else READERS
    found = map_concurrently(lambda name: _by_bytes(folder, name), doubtful, readers)
    kinds |= zip(doubtful, found, strict=True)
    for name in files:
        if kinds[name]:
            left_out.add(kinds[name], name)
    return {name: size for name, size in files.items() if not kinds[name]}


def _remote(folder: Store, left_out: LeftOut, under: str) -> Iterator[tuple[str, int]]:
    folder.fs.invalidate_cache()
    uri = f"{folder.uri}/{under}"
    try:
        files = with_retries(uri, folder.fs.find, folder.path_of(under), detail=True)
    except FileNotFoundError:
        return
    for path, info in files.items():
        name = path[len(folder.path) :].lstrip("/")
        if is_hidden(name):
            left_out.add(HIDDEN, name)
        elif not name.endswith("/"):
            yield name, int(info["size"] or 0)


def _local(folder: Store, left_out: LeftOut, under: str) -> Iterator[tuple[str, int]]:
    """Walk a local folder without os.walk, which follows links back to a parent for ever."""
    top = folder.path_of(under)
    if not os.path.isdir(top):
        return
    real = os.path.realpath(top)
    above = frozenset(_key(os.stat(p)) for p in _and_parents(real))
    pending: list[tuple[str, frozenset[tuple[int, int]], int]] = [(under, above, 0)]
    while pending:
        parent, inside, links = pending.pop()
        for entry in _entries(folder, parent, left_out):
            name = f"{parent}/{entry.name}" if parent else entry.name
            try:
                status = entry.stat()
            except OSError as error:  # a broken link, a link to itself, or no permission
                kind = UNREADABLE if isinstance(error, PermissionError) else BROKEN
                if is_hidden(entry.name):
                    left_out.add(HIDDEN, name)
                elif photo_ending(name):
                    yield name, 0
                else:
                    left_out.add(kind, name)
                continue
            is_folder = stat.S_ISDIR(status.st_mode)
            if is_hidden(entry.name):
                within = [name]
                if is_folder and not entry.is_symlink():
                    within = _names_below(folder.path_of(name), name)
                if within:
                    left_out.add(HIDDEN, min(within), len(within))
            elif is_folder:
                key, hops = _key(status), links + entry.is_symlink()
                if key in inside:
                    left_out.add(LOOPS, name)
                elif hops > _MAX_LINKS:
                    left_out.add(DEEP, name)
                else:
                    pending.append((name, inside | {key}, hops))
            elif stat.S_ISREG(status.st_mode):
                yield name, status.st_size
            else:
                left_out.add(SPECIAL, name)


def _entries(folder: Store, parent: str, left_out: LeftOut) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder.path_of(parent)) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except OSError:
        left_out.add(UNREADABLE_FOLDERS, parent)
        return []


def _names_below(path: str, name: str) -> list[str]:
    """Return all files below a folder, by names that begin with the folder's name."""
    return [
        f"{name}{parent[len(path) :]}/{file}"
        for parent, _, files in os.walk(path)
        for file in files
    ]


def _key(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


def _and_parents(path: str) -> Iterable[str]:
    while True:
        yield path
        parent = os.path.dirname(path)
        if parent == path:
            return
        path = parent


def _by_bytes(folder: Store, name: str) -> str:
    """Return the kind of a file by its first bytes; "" for a photo."""
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
