"""What lies in a folder: its photos, and what is left out, counted by kind.

A photo is told by the ending of its name where that is known, else by its first bytes. Links are
followed. What is hidden or a system's own, such as thumbnails and trash, is no photo anywhere.
"""

import hashlib
import mimetypes
import os
import re
import stat
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from landmark_ray.data.retry import with_retries
from landmark_ray.data.store import Store

PHOTO_ENDINGS = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".pjpeg", ".pjp", ".png", ".webp", ".gif"),
    *(".tif", ".tiff", ".bmp", ".heic", ".heif", ".avif"),
)
ARCHIVE_ENDINGS = (
    *(".tar", ".tgz", ".tbz2", ".txz", ".tzst", ".gz", ".bz2", ".xz", ".zst"),
    *(".zip", ".7z", ".rar"),
)
TABLE_ENDINGS = (".csv", ".tsv", ".parquet", ".jsonl", ".xlsx", ".xls", ".feather", ".arrow")
RAW_ENDINGS = (
    *(".dng", ".cr2", ".cr3", ".crw", ".nef", ".nrw", ".arw", ".sr2", ".orf", ".rw2"),
    *(".raf", ".pef", ".srw", ".psd"),
)

HIDDEN = "hidden or system files"
ARCHIVES = "archives"
TABLES = "tables"
RAWS = "camera raw files"
OTHERS = "files that are no photos"
BROKEN = "links to nowhere"
LOOPS = "links back to a folder that they lie in"
DEEP = "links behind five other links"
SPECIAL = "devices, sockets and pipes"
UNREADABLE = "files that can't be read"
CLOSED = "folders that can't be read"

_SYSTEM = frozenset(
    (
        *("@eadir", "#recycle", "#snapshot", "@recycle", "@recently-snapshot", "__macosx"),
        *("$recycle.bin", "recycler", "system volume information", "lost+found"),
        *("thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r"),
    )
)
_TYPES = mimetypes.MimeTypes(())  # Python's own: those of the machine differ
_ENDING = re.compile(f"({'|'.join(map(re.escape, PHOTO_ENDINGS))})$", re.IGNORECASE)
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

    def facts(self) -> Counter[str]:
        """The counts under names that show an example, for a `StageCounts`."""
        return Counter({self._named(kind): count for kind, count in self.counts.items()})

    @classmethod
    def of_facts(cls, facts: Mapping[str, int]) -> "LeftOut":
        """The sum of what parts told in `facts`; other facts are passed over."""
        total = cls()
        for fact, count in sorted(facts.items()):
            kind, such_as, example = fact.removeprefix(_LEFT_OUT).partition(_SUCH_AS)
            if fact.startswith(_LEFT_OUT) and such_as:
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


def kind_by_name(name: str) -> str | None:
    """Of what kind a file is: "" for a photo, None where only its bytes can tell."""
    if photo_ending(name):
        return ""
    ending = os.path.splitext(name.rpartition("/")[2])[1].lower()
    for kind, endings in (
        (ARCHIVES, ARCHIVE_ENDINGS),
        (TABLES, TABLE_ENDINGS),
        (RAWS, RAW_ENDINGS),
    ):
        if ending in endings:
            return kind
    if len(ending) < 4:  # ".c" and ".me" end names of photos, too
        return None
    known = _TYPES.guess_type(f"x{ending}")[0]
    doubtful = known is None or known == "application/octet-stream" or known.startswith("image/")
    return None if doubtful else OTHERS


def is_image(head: bytes) -> bool:
    """Whether a file that begins like this is an image of a kind that can be read."""
    return (
        head.startswith((b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF87a", b"GIF89a"))
        or head.startswith((b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"))
        or (head[:4] == b"RIFF" and head[8:12] == b"WEBP")
        or (head[:2] == b"BM" and int.from_bytes(head[14:18], "little") in range(12, 125))
        or (head[4:8] == b"ftyp" and head[8:11] in (b"hei", b"hev", b"mif", b"msf", b"avi"))
    )


def is_hidden(name: str) -> bool:
    """Whether any part of a path is hidden or a system's own."""
    return any(
        (part.startswith(".") and part not in (".", "..")) or part.lower() in _SYSTEM
        for part in name.split("/")
    )


def photo_ending(name: str) -> str:
    """The ending that a photo's name has, as it is written: ".JPG"; "" where there is none."""
    base = name.rpartition("/")[2]
    ending = _ENDING.search(base)
    return ending[0] if ending and ending.start() else ""


def image_stem(name: str) -> str:
    """A photo's name without folders and its ending: "a/IMG_2021.05.10.jpg" -> "IMG_2021.05.10"."""
    base = name.rpartition("/")[2]
    return base[: len(base) - len(photo_ending(base))]


def text_id(name: str) -> str:
    """A file's name as text that no other file has; of most names the name itself."""
    try:
        name.encode()
        return name
    except UnicodeEncodeError:
        raw = name.encode(errors="surrogateescape")
        ending = photo_ending(name)
        text = raw.decode(errors="backslashreplace").removesuffix(ending)
        return f"{text} [{hashlib.blake2b(raw, digest_size=4).hexdigest()}]{ending}"


def printable(name: str) -> str:
    """A name as text on one line, whatever it holds."""
    text = name.encode(errors="surrogateescape").decode(errors="backslashreplace")
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def _remote(folder: Store, left_out: LeftOut, under: str) -> Iterator[tuple[str, int]]:
    folder.fs.invalidate_cache()
    uri = f"{folder.uri}/{under}"
    try:
        found = with_retries(uri, folder.fs.find, folder.at(under), detail=True)
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
    top = folder.at(under)
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
                    within = _names_below(folder.at(name), name)
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
        with os.scandir(folder.at(place)) as entries:
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
            with open(folder.at(name), "rb") as file:
                head = file.read(_HEAD)
        else:
            work = (folder.fs.cat_file, folder.at(name), 0, _HEAD)
            head = with_retries(f"{folder.uri}/{name}", *work)
    except OSError:
        return UNREADABLE
    return "" if is_image(head) else OTHERS
