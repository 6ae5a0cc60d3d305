"""Photos that are damaged or mean harm: bytes, all made from a seed."""

import io
import struct
import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np
from PIL import Image

import landmark_ray.kernels.image  # noqa: F401 (Pillow writes HEIC after this)

SIZE = (160, 120)
MOST = 2_000_000
"""Bytes of a request's body, at most."""

SAVED: dict[str, tuple[str, str, dict[str, Any]]] = {
    "jpeg": ("RGB", "JPEG", {}),
    "progressive jpeg": ("RGB", "JPEG", {"progressive": True}),
    "cmyk jpeg": ("CMYK", "JPEG", {"subsampling": 0}),
    "png": ("RGB", "PNG", {}),
    "png with alpha": ("RGBA", "PNG", {}),
    "png of 16 bits": ("I;16", "PNG", {}),
    "png with a palette": ("P", "PNG", {"transparency": 3}),
    "webp": ("RGB", "WEBP", {}),
    "lossless webp": ("RGBA", "WEBP", {"lossless": True}),
    "animated webp": ("RGB", "WEBP", {"save_all": True}),
    "heic": ("RGB", "HEIF", {}),
    "avif": ("RGB", "AVIF", {"speed": 10}),
    "tiff": ("RGB", "TIFF", {}),
    "tiff by lzw": ("RGB", "TIFF", {"compression": "tiff_lzw"}),
    "tiff by deflate": ("RGBA", "TIFF", {"compression": "tiff_adobe_deflate"}),
    "tiff by jpeg": ("RGB", "TIFF", {"compression": "jpeg"}),
    "tiff by packbits": ("L", "TIFF", {"compression": "packbits"}),
    "tiff by fax": ("1", "TIFF", {"compression": "group4"}),
    "tiff of floats": ("F", "TIFF", {}),
    "tiff with pages": ("RGB", "TIFF", {"save_all": True, "compression": "tiff_lzw"}),
    "gif": ("P", "GIF", {}),
    "animated gif": ("P", "GIF", {"save_all": True}),
    "bmp": ("RGB", "BMP", {}),
    "bmp with a palette": ("P", "BMP", {}),
}
"""Name -> mode, format and options of a good photo."""

NOT_PHOTOS = [
    "EPS",
    "PDF",
    "PPM",
    "PCX",
    "TGA",
    "ICO",
    "JPEG2000",
    "SGI",
    "IM",
    "DDS",
    "ICNS",
    "SPIDER",
]
"""Formats that Pillow knows and a service of photos has no business with."""


def drawn(seed: int, mode: str = "RGB") -> Image.Image:
    """A colourful picture with smooth parts and noise."""
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(0, 255, (6, 8, 3), np.uint8))
    pixels = np.asarray(small.resize(SIZE, Image.Resampling.BICUBIC)).astype(int)
    noisy = (pixels + rng.integers(-9, 9, pixels.shape)).clip(0, 255).astype(np.uint8)
    if mode == "I;16":
        return Image.fromarray(noisy[..., 0].astype(np.uint16) << 8)
    return Image.fromarray(noisy).convert(mode)


def saved(name: str) -> bytes:
    """One of `SAVED`; its EXIF says that it is to be turned."""
    mode, kind, options = SAVED[name]
    if kind in ("JPEG", "PNG", "WEBP", "AVIF", "HEIF"):
        exif = Image.Exif()
        exif[0x0112] = 6
        options = {**options, "exif": exif}
    if options.get("save_all"):
        options = {**options, "append_images": [drawn(seed, mode) for seed in (1, 2, 3)]}
    out = io.BytesIO()
    drawn(0, mode).save(out, kind, **options)
    return out.getvalue()


def damaged(per_kind: int = 6) -> Iterator[tuple[str, bytes]]:
    """Cut, flipped, spliced and patched variants of every kind of photo."""
    good = {name: saved(name) for name in SAVED}
    for number, (name, data) in enumerate(good.items()):
        rng = np.random.default_rng(number)
        others = [other for other in good.values() if other is not data]
        for i in range(per_kind):
            yield f"{name}, cut {i}", data[: int(rng.integers(4, len(data)))]
            yield f"{name}, flipped {i}", flipped(data, rng, len(data), 1 << i)
            yield f"{name}, header flipped {i}", flipped(data, rng, min(300, len(data)), 1 + i)
            other = others[rng.integers(len(others))]
            begin, place = int(rng.integers(len(other))), int(rng.integers(len(data)))
            yield f"{name}, spliced {i}", data[:place] + other[begin:]


def flipped(data: bytes, rng: np.random.Generator, within: int, bits: int) -> bytes:
    """Some bits of the first bytes are others."""
    out = bytearray(data)
    for place in rng.integers(2, within, bits):
        out[place] ^= 1 << int(rng.integers(8))
    return bytes(out)


def foreign() -> Iterator[tuple[str, bytes]]:
    """Files of other kinds."""
    for kind in NOT_PHOTOS:
        out = io.BytesIO()
        drawn(0, "L" if kind == "SPIDER" else "RGB").save(out, kind)
        yield kind, out.getvalue()
    touch = b"(/tmp/landmark_ray_was_here) (w) file closefile"
    yield "PostScript", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 99 99\n" + touch
    yield "EPS of DOS", struct.pack("<4I", 0xC6D3D0C5, 32, 99, 0) + b"\0" * 16 + b"%!PS" + touch
    yield "SVG", b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>'
    yield (
        "XML",
        b'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><a>&b;</a>',
    )
    yield "HTML", b"<html><script>alert(1)</script></html>"
    yield "ZIP", b"PK\3\4" + b"\0" * 99
    yield "ELF", b"\x7fELF" + b"\0" * 99
    yield "PSD", b"8BPS\0\1" + b"\0" * 99
    yield "XBM", b"#define a_width 99\n#define a_height 99\nstatic char a[] = {0};"
    yield "pickle", b"cos\nsystem\n(S'touch /tmp/landmark_ray_was_here'\ntR."
    yield "zeros", b"\0" * 5000
    yield "nothing", b""
    yield "one byte", b"\xff"
    yield "only a JPEG's beginning", b"\xff\xd8\xff"


def chunk(name: bytes, data: bytes) -> bytes:
    """Of a PNG."""
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png(size: tuple[int, int], *chunks: bytes, bits: int = 8, colour: int = 0) -> bytes:
    """A PNG with any chunks between its header and its end."""
    header = struct.pack(">IIBBBBB", *size, bits, colour, 0, 0, 0)
    start = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header)
    return start + b"".join(chunks) + chunk(b"IEND", b"")


def zipped(megabytes: int) -> bytes:
    """So many zeros."""
    packer = zlib.compressobj(9)
    zeros = bytes(1 << 20)
    return b"".join(packer.compress(zeros) for _ in range(megabytes)) + packer.flush()


def tiff(data: bytes = bytes(100 * 100), after: int = 0, **changes: Any) -> bytes:
    """A grey TIFF of 100 x 100 pixels, with other tags.

    Args:
        data: its pixels, which begin at byte 8.
        after: where the next page is.
        **changes: `t273=...`: an int, a list, a raw (type, count, value), or None: no such tag.
    """
    tags: dict[int, Any] = {256: 100, 257: 100, 258: 8, 259: 1, 262: 1, 273: 8, 277: 1}
    tags |= {278: 100, 279: len(data)} | {int(name[1:]): v for name, v in changes.items()}
    rows, extra = b"", b""
    tags = {tag: value for tag, value in sorted(tags.items()) if value is not None}
    start = 8 + len(data)
    behind = start + 2 + 12 * len(tags) + 4
    for tag, value in tags.items():
        if isinstance(value, list):
            raw = (4, len(value), behind + len(extra))
            extra += struct.pack(f"<{len(value)}I", *value)
        else:
            raw = value if isinstance(value, tuple) else (4, 1, value)
        rows += struct.pack("<HHII", tag, *raw)
    head = b"II*\0" + struct.pack("<I", start)
    return head + data + struct.pack("<H", len(tags)) + rows + struct.pack("<I", after) + extra


def gif(screen: tuple[int, int], size: tuple[int, int], frames: int = 1) -> bytes:
    """Frames that are all one colour, and say that they are of a size."""
    frame = b"," + struct.pack("<HHHHB", 0, 0, *size, 0) + b"\x02\x02\x4c\x01\x00"
    head = b"GIF89a" + struct.pack("<HHBBB", *screen, 0x80, 0, 0) + b"\0\0\0\xff\xff\xff"
    return head + frame * frames + b";"


def bmp(size: tuple[int, int], bits: int, coded: int = 0) -> bytes:
    """The header of a BMP."""
    head = struct.pack("<IIIIiiHHII", 99, 0, 54, 40, *size, 1, bits, coded, 0)
    return b"BM" + head + struct.pack("<IIII", 0, 0, 2, 0)


def patched(name: str, before: bytes, skip: int, put: bytes) -> bytes:
    """A good photo with other bytes at a place."""
    data = saved(name)
    place = data.index(before) + len(before) + skip
    return data[:place] + put + data[place + len(put) :]


def bombs() -> Iterator[tuple[str, bytes]]:
    """Small files of very many pixels, pages, chunks or bytes."""
    huge = (30_000, 30_000)
    yield "png of 900 megapixels", png(huge, chunk(b"IDAT", zipped(20)))
    yield "png of 4 gigapixels", png((1 << 31, 1 << 31), chunk(b"IDAT", zipped(1)))
    yield "png of 9 megapixels", png((3000, 3000), chunk(b"IDAT", zipped(10)))
    for name in (b"iCCP", b"zTXt", b"iTXt", b"eXIf"):
        text = b"a\0" + (b"\1\0\0\0" if name == b"iTXt" else b"\0") + zipped(99)
        yield f"png with 99 MB in {name.decode()}", png((99, 99), chunk(name, text))
    yield "png with 300 MB in IDAT", png((99, 99), chunk(b"IDAT", zipped(300)))
    yield "png with 90000 text chunks", png((99, 99), chunk(b"tEXt", b"a\0b") * 90_000)
    yield "png with 90000 empty IDATs", png((99, 99), chunk(b"IDAT", b"") * 90_000)
    yield "png without a palette", png((99, 99), chunk(b"IDAT", zipped(1)), colour=3)
    yield "png with odd bits", png((99, 99), chunk(b"IDAT", zipped(1)), bits=7)
    yield (
        "bmp of 900 megapixels",
        b"BM" + struct.pack("<IIIIiiHHIIIIII", 99, 0, 54, 40, *huge, 1, 24, 0, 0, 0, 0, 0, 0),
    )
    yield (
        "bmp of 2 gigapixels, upside down",
        b"BM" + struct.pack("<IIIIiiHHIIIIII", 99, 0, 54, 40, 1 << 30, -2, 1, 32, 0, 0, 0, 0, 0, 0),
    )
    yield (
        "bmp run-length coded",
        b"BM"
        + struct.pack("<IIIIiiHHIIIIII", 99, 0, 54, 40, 2800, 2800, 1, 8, 1, 0, 0, 0, 2, 0)
        + b"\xff\0" * 900_000,
    )
    yield "gif of a huge screen", gif((65_535, 65_535), (99, 99))
    yield "gif of 8 megapixels", gif((2800, 2800), (2800, 2800))
    yield "gif with a frame larger than its screen", gif((99, 99), (65_535, 65_535))
    yield "gif of 100000 frames", gif((99, 99), (99, 99), 100_000)
    yield "gif of comments alone", gif((99, 99), (99, 99), 0)[:-1] + b"!\xfe\x01a\0" * 300_000
    yield "jpeg of 4 gigapixels", patched("jpeg", b"\xff\xc0", 3, struct.pack(">HH", 65500, 65500))
    yield "jpeg without pixels", patched("jpeg", b"\xff\xc0", 3, struct.pack(">HH", 0, 0))
    yield "jpeg of many components", patched("jpeg", b"\xff\xc0", 7, b"\xff")
    yield "jpeg of 400000 empty segments", b"\xff\xd8" + b"\xff\xe1\0\2" * 400_000
    yield "webp of a huge canvas", patched("animated webp", b"VP8X", 8, b"\xff\xff\0\xff\xff\0")
    for name in ("heic", "avif"):
        yield f"{name} of 900 megapixels", patched(name, b"ispe", 4, struct.pack(">II", *huge))
        yield f"{name} of endless boxes", saved(name)[:32] + b"\0\0\0\1meta" + b"\xff" * 99
    yield "tiff of 900 megapixels", tiff(t256=huge[0], t257=huge[1])
    yield "tiff whose next page is itself", tiff(after=8 + 100 * 100)
    yield "tiff whose EXIF is itself", tiff(t34665=8 + 100 * 100, t330=8 + 100 * 100)
    yield "tiff of 200000 strips", tiff(t278=1, t273=[8] * 200_000, t279=[9] * 200_000)
    yield "tiff with 4 billion offsets", tiff(t273=(4, (1 << 32) - 1, 8))
    yield "tiff with 2 GB of text", tiff(t270=(2, (1 << 31) - 1, 8))
    yield (
        "tiff of 65535 tags",
        b"II*\0\x08\0\0\0\xff\xff" + struct.pack("<HHII", 256, 4, 1, 9) * 65_535,
    )
    yield "tiff of 20000 pages", pages(20_000)
    for side in (0, 1, 16, 17, 1 << 31):
        tiles = [8] * 10_000
        changes = {"t322": side, "t323": side, "t324": tiles, "t325": tiles}
        yield f"tiff of tiles of {side}", tiff(t273=None, t278=None, t279=None, **changes)
    for code in (0, 2, 3, 4, 5, 6, 7, 8, 9, 32773, 32946, 33003, 34661, 34712, 34925, 50000, 50001):
        yield f"tiff that says compression {code}", tiff(t259=code)
        data = np.random.default_rng(code).bytes(5000)
        yield f"tiff of noise by compression {code}", tiff(data, t259=code, t256=2000, t257=2000)
    for name, change in (
        ("rows", {"t278": 0}),
        ("bits", {"t258": 0}),
        ("colours", {"t277": 65_535}),
    ):
        yield f"tiff of odd {name}", tiff(**change)
    yield "tiff of 64 bits a pixel", tiff(t258=64, t339=3)
    yield "tiff turned in an unknown way", tiff(t274=99)


def pages(count: int) -> bytes:
    """A TIFF of very many small pages."""
    tags = {256: 20, 257: 20, 258: 8, 259: 1, 262: 1, 273: 8, 279: 400}
    rows = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    page = struct.pack("<H", len(tags)) + rows
    size = len(page) + 4
    after = (struct.pack("<I", 8 + size * (i + 1)) for i in range(count))
    return b"II*\0\x08\0\0\0" + b"".join(page + place for place in after)


def slow_jpeg() -> bytes:
    """8 megapixels in as many scans as the body has room for: each is 25 bytes, and a millisecond.

    A progressive JPEG's scans go over all blocks. These say "nothing here" for 16384 at once.
    """
    width, height = 3992, 2000
    symbols = -(-(width // 8) * (height // 8) // 16_384)
    table = b"\x01" + bytes(15)  # one code, of one bit
    scan = b"\xff\xda\0\x08\1\1\0\1\x3f\0" + bytes(-(-15 * symbols // 8))
    head = (
        b"\xff\xd8\xff\xdb\0\x43\0"
        + b"\1" * 64
        + b"\xff\xc2\0\x0b\x08"
        + struct.pack(">HH", height, width)
        + b"\1\1\x11\0"
        + (b"\xff\xc4\0\x14\x10" + table + b"\xe0")
    )
    return head + scan * ((MOST - len(head) - 2) // len(scan)) + b"\xff\xd9"
