"""Kinds of files, by their names or first bytes; names as printable text."""

import hashlib
import mimetypes
import os
import re

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

_SYSTEM = frozenset(
    (
        *("@eadir", "#recycle", "#snapshot", "@recycle", "@recently-snapshot", "__macosx"),
        *("$recycle.bin", "recycler", "system volume information", "lost+found"),
        *("thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r"),
    )
)

_TYPES = mimetypes.MimeTypes(())  # only Python's own types, since those of machines differ

_ENDING = re.compile(f"({'|'.join(map(re.escape, PHOTO_ENDINGS))})$", re.IGNORECASE)


def kind_by_name(name: str) -> str | None:
    """Return the kind of a file: "" for a photo, or None if it can't be told without its bytes."""
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
    if len(ending) < 4:  # names of photos may also end with ".c" or ".me"
        return None
    known = _TYPES.guess_type(f"x{ending}")[0]
    doubtful = known is None or known == "application/octet-stream" or known.startswith("image/")
    return None if doubtful else OTHERS


def is_image(head: bytes) -> bool:
    """Return whether the first bytes of a file are those of an image format that can be read."""
    return (
        head.startswith((b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF87a", b"GIF89a"))
        or head.startswith((b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"))
        or (head[:4] == b"RIFF" and head[8:12] == b"WEBP")
        or (head[:2] == b"BM" and int.from_bytes(head[14:18], "little") in range(12, 125))
        or (head[4:8] == b"ftyp" and head[8:11] in (b"hei", b"hev", b"mif", b"msf", b"avi"))
    )


def is_hidden(name: str) -> bool:
    """Return whether any part of a path is hidden, or belongs to an operating system."""
    return any(
        (part.startswith(".") and part not in (".", "..")) or part.lower() in _SYSTEM
        for part in name.split("/")
    )


def photo_ending(name: str) -> str:
    """Return the ending of a photo's name as it is written, such as ".JPG", or "" if none."""
    base = name.rpartition("/")[2]
    ending = _ENDING.search(base)
    return ending[0] if ending and ending.start() else ""


def image_stem(name: str) -> str:
    """Return a photo's name without folders and ending: "a/IMG_2021.05.jpg" -> "IMG_2021.05"."""
    base = name.rpartition("/")[2]
    return base[: len(base) - len(photo_ending(base))]


def text_id(name: str) -> str:
    """Return a file's name as UTF-8 text that no other file has; usually the name itself."""
    try:
        name.encode()
        return name
    except UnicodeEncodeError:
        raw = name.encode(errors="surrogateescape")
        ending = photo_ending(name)
        text = raw.decode(errors="backslashreplace").removesuffix(ending)
        return f"{text} [{hashlib.blake2b(raw, digest_size=4).hexdigest()}]{ending}"


def printable(name: str) -> str:
    """Return a name as printable text on one line, whatever it contains."""
    text = name.encode(errors="surrogateescape").decode(errors="backslashreplace")
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
