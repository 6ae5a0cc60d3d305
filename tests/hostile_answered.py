"""Bad inputs that have an answer all the same: whoever reads them sees a photo."""

FLIPPED, HEADER, SPLICED = "flipped", "header flipped", "spliced"
ALL = "012345"
VIDEO = {FLIPPED: ALL, HEADER: "0", SPLICED: ALL}
"""Of encoders of videos, which may write other bytes on another machine."""

DAMAGED: dict[str, dict[str, str]] = {
    "jpeg": {FLIPPED: "01235", HEADER: "01", SPLICED: "5"},
    "progressive jpeg": {FLIPPED: "012", HEADER: "02"},
    "cmyk jpeg": {FLIPPED: ALL, HEADER: "0"},
    "png": {HEADER: "0"},
    "png with alpha": {FLIPPED: "3", HEADER: "1"},
    "png of 16 bits": {SPLICED: "1"},
    "webp": {FLIPPED: "125", HEADER: "0234"},
    "lossless webp": {FLIPPED: ALL},
    "animated webp": {FLIPPED: "01234", HEADER: "2"},
    "heic": VIDEO,
    "avif": VIDEO,
    "tiff": {FLIPPED: ALL, HEADER: "013", SPLICED: "123"},
    "tiff by lzw": {FLIPPED: "01234", HEADER: ALL},
    "tiff by deflate": {FLIPPED: "0", HEADER: "2"},
    "tiff by jpeg": {FLIPPED: ALL, HEADER: "0145"},
    "tiff by packbits": {FLIPPED: ALL, HEADER: "01235"},
    "tiff by fax": {FLIPPED: ALL, HEADER: ALL},
    "tiff of floats": {FLIPPED: "0134", HEADER: "01"},
    "tiff with pages": {"cut": "01345", FLIPPED: ALL, HEADER: ALL, SPLICED: "12"},
    "gif": {FLIPPED: "013", HEADER: ALL},
    "animated gif": {"cut": "01234", FLIPPED: "0124", HEADER: "01235", SPLICED: "12345"},
    "bmp": {FLIPPED: ALL, HEADER: ALL, SPLICED: "4"},
    "bmp with a palette": {FLIPPED: ALL, HEADER: "01234", SPLICED: "3"},
}
"""Kind of a photo -> how it is damaged -> numbers of the variants whose first picture is whole.

A cut photo has no answer, unless the first of its pictures is whole.
"""

CHARSETS = ("utf-7", "idna", "unicode_escape", "hex", "utf-16", "rot13", r"\xff")
"""Charsets in which a name is read, or that nobody knows."""

NAMES: dict[str, set[str]] = {
    "damaged photos": {
        f"{kind}, {how} {number}"
        for kind, variants in DAMAGED.items()
        for how, numbers in variants.items()
        for number in numbers
    },
    "other files": set(),
    "bombs": {
        "png with 300 MB in IDAT",  # 99 x 99 pixels need only the first of them
        "png without a palette",
        "tiff of 20000 pages",
        "tiff of 200000 strips",  # on a fast machine
        *(f"tiff of tiles of {side}" for side in (1, 16, 17)),
        "tiff turned in an unknown way",
        "tiff whose EXIF is itself",
        "tiff whose next page is itself",
        "tiff with 2 GB of text",
    },
    "forms": {
        "form that ends in b'--b----b'",
        *(f"part that says b'{words}'" for words in ("", "attachment", "form-data", ";" * 20)),
        "part that says b'form-data; filename='",
        "part with header b'Content-L'",
    },
    "inferences": set(),
    "lines": {
        "GET b'ftp://x/'",
        "GET b'http://elsewhere/version'",
        "b'HEAD' b'/'",
        "line b'Authorization: Beare'",  # the service of these tests has no key
        "line b'Cookie: a=b;a=b;a=b;'",
        r"long line b'A: b\r\nA: b\r\nA: b\r\nA:'",
    },
    "lengths": {"body and more", r"start b'GET /\r\n\r\n'"},
}
"""Family -> names of attacks that may be answered."""

BEGINNINGS = ("type b", "steered by b", "range b")
"""Of lines that say something odd of a good photo or page, and are not listened to."""


def may_be(family: str, name: str) -> bool:
    """Whether an attack may have an answer with a status of 200."""
    if family == "forms" and name.startswith("file name "):
        _, said, charset = name.rpartition(" in b")
        return not said or charset.strip("'") in CHARSETS
    return name in NAMES[family] or (family == "lines" and name.startswith(BEGINNINGS))
