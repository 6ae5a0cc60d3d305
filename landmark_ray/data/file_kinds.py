"""What a file is, by its name or its first bytes; names as text that people can read."""

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

_TYPES = mimetypes.MimeTypes(())  # Python's own: those of the machine differ

_ENDING = re.compile(f"({'|'.join(map(re.escape, PHOTO_ENDINGS))})$", re.IGNORECASE)


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
