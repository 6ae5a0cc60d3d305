"""Photos are seen as they are: which way is up, what is white, what a colour is."""

import io

import cv2
import numpy as np
import pytest
from PIL import Image, ImageCms, TiffImagePlugin

from landmark_ray.kernels import colour
from landmark_ray.kernels import image as kernel
from landmark_ray.kernels.image import ImageError, Limits
from tests.pictures import SIZE, apart, saved, scene


def grey() -> np.ndarray:
    """[H, W] of 0 to 1, mean about a half."""
    values = np.asarray(scene().convert("L"), np.float64)
    return (values - values.min()) / np.ptp(values)


RANGES = {
    "floats to 1": (1, np.float32),
    "floats to 255": (255, np.float32),
    "floats to 65535": (65535, np.float32),
    "8 of 16 bits": (255, np.uint16),
    "10 of 16 bits": (1023, np.uint16),
    "12 of 16 bits": (4095, np.uint16),
    "14 of 16 bits": (16383, np.uint16),
    "16 bits": (65535, np.uint16),
    "8 of 32 bits": (255, np.int32),
    "12 of 32 bits": (4095, np.int32),
    "16 of 32 bits": (65535, np.int32),
    "31 bits": (2**31 - 1, np.int32),
}


@pytest.mark.parametrize("name", RANGES)
@pytest.mark.parametrize("kind", ["TIFF", "TIFF, LZW", "PNG"])
def test_deep_grey_keeps_its_picture(name, kind):
    white, dtype = RANGES[name]
    if kind == "PNG" and dtype != np.uint16:
        pytest.skip("no such PNG")
    values = (grey() * white).astype(dtype)
    options = {"compression": "tiff_lzw"} if kind == "TIFF, LZW" else {}
    data = saved(Image.fromarray(values), kind.partition(",")[0], **options)
    assert apart(data, Image.fromarray((grey() * 255).astype(np.uint8))) < 3


@pytest.mark.parametrize("white", [2**8 - 1, 2**10 - 1, 2**12 - 1, 2**14 - 1, 2**16 - 1])
@pytest.mark.parametrize("kind", [".png", ".tif"])
@pytest.mark.parametrize("bands", [3, 4])
def test_deep_colours_keep_their_picture(white, kind, bands):
    picture = np.asarray(scene(), np.float64) / 255
    values = (picture * white / picture.max()).astype(np.uint16)[..., ::-1]
    if bands == 4:
        values = np.dstack([values, np.full(values.shape[:2], white, np.uint16)])
    done, data = cv2.imencode(kind, np.ascontiguousarray(values))
    assert done
    wanted = Image.fromarray((picture * 255 / picture.max()).astype(np.uint8))
    assert apart(data.tobytes(), wanted) < 3


def big_endian(values: np.ndarray) -> bytes:
    tags = TiffImagePlugin.ImageFileDirectory_v2(b"MM\x00\x2a\x00\x00\x00\x00")
    out = io.BytesIO()
    image = Image.frombytes("I;16B", values.shape[::-1], values.astype(">u2").tobytes())
    image.save(out, "TIFF", tiffinfo=tags)
    return out.getvalue()


def test_byte_order_is_no_matter():
    data = big_endian(grey() * 4095)
    assert data[:2] == b"MM"
    assert apart(data, Image.fromarray((grey() * 255).astype(np.uint8))) < 3


def test_white_is_zero_in_16_bits_too():
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    values = Image.fromarray((65535 - grey() * 65535).astype(np.uint16))
    data = bytearray(saved(values, "TIFF", tiffinfo=tags))
    place = data.index(b"\x06\x01\x03\x00\x01\x00\x00\x00\x01\x00")  # PhotometricInterpretation
    data[place + 8] = 0
    assert apart(bytes(data), Image.fromarray((grey() * 255).astype(np.uint8))) < 3


def test_unsigned_32_bits_are_no_negative_ones():
    values = np.linspace(0, 2**32 - 1, 5, dtype=np.uint32)
    assert colour.to_8_bits(values).tolist() == pytest.approx([0, 64, 127, 191, 255], abs=1)


@pytest.mark.parametrize(
    ("values", "seen"),
    [
        ("-1000 to 3000, Hounsfield units", grey() * 4000 - 1000),
        ("0 to 7, labels", np.round(grey() * 7)),
        ("a mask", grey() > 0.5),
        ("metres", grey() * 9),
        ("millions", grey() * 3e6),
        ("infinite", np.where(grey() > 0.9, np.inf, grey())),
    ],
)
@pytest.mark.parametrize("dtype", [np.float32, np.int32])
def test_range_that_nobody_knows_is_refused_and_never_black(values, seen, dtype):
    if dtype == np.int32 and values == "infinite" or dtype == np.float32 and values == "a mask":
        return  # there is no such integer; as floats it is a picture of black and white
    data = saved(Image.fromarray(seen.astype(dtype)), "TIFF")
    for see in (lambda: kernel.normalise(data, Limits()),
                lambda: kernel.model_input(data, SIZE, Limits())):  # fmt: skip
        with pytest.raises(ImageError, match=r"^unknown range: (floats|integers) from .* to "):
            see()


def test_nan_and_a_resamplers_overshoot_are_no_hindrance():
    values = grey().astype(np.float32) * 1.04 - 0.02
    values[3, 3] = np.nan
    data = saved(Image.fromarray(values), "TIFF")
    assert apart(data, Image.fromarray((grey() * 255).astype(np.uint8))) < 6


def test_what_is_black_is_black():
    black = saved(Image.fromarray(np.zeros((64, 64), np.float32)), "TIFF")
    assert kernel.model_input(black, SIZE, Limits()).max() == 0


def test_field_examples_are_no_black_pictures(shared):
    files = sorted((shared / "field" / "grey_range").glob("*.[tp]*[fg]"))
    assert files
    for file in files:
        mean = kernel.model_input(file.read_bytes(), 112, Limits()).mean()
        assert 140 < mean < 150, file.name


def test_palette_of_8_bits_in_a_tiff_is_not_black():
    picture = scene().quantize(64)
    data = bytearray(saved(picture, "TIFF"))
    tags = Image.open(io.BytesIO(bytes(data))).tag_v2
    wide = np.array(tags[320], "<u2").tobytes()
    place = bytes(data).index(wide)
    data[place : place + len(wide)] = (np.array(tags[320]) >> 8).astype("<u2").tobytes()
    assert apart(bytes(data), picture.convert("RGB")) < 2


@pytest.mark.parametrize(
    ("mode", "kind"),
    [
        *(("1", "PNG"), ("P", "PNG"), ("LA", "PNG"), ("RGBA", "PNG"), ("CMYK", "TIFF")),
        *(("LAB", "TIFF"), ("YCbCr", "TIFF"), ("CMYK", "JPEG"), ("L", "JPEG"), ("1", "TIFF")),
    ],
)
def test_every_mode_shows_its_picture(mode, kind):
    first = {"LA": scene().convert("L"), "P": scene().quantize(64).convert("RGB")}.get(
        mode, scene()
    )
    picture = first.convert(mode, dither=Image.Dither.NONE)
    options = {"quality": 95} if kind == "JPEG" else {}
    assert apart(saved(picture, kind, **options), picture.convert("RGB")) < 4


def test_transparency_is_white_in_16_bits_too():
    values = (grey() * 65535).astype(np.uint16)
    clear = values[5, 5]
    data = saved(Image.fromarray(values), "PNG", transparency=int(clear))
    shown = (grey() * 255).astype(np.uint8)
    shown[values == clear] = 255
    assert apart(data, Image.fromarray(shown)) < 2


def primaries(*xy: float) -> bytes:
    """An ICC profile of display colours: x and y of red, green, blue; D65, a gamma of 2.2."""
    bradford = np.array(
        [[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]]
    )
    xyz = np.array([[x / y, 1, (1 - x - y) / y] for x, y in np.reshape(xy, (3, 2))]).T
    d65, d50 = np.array([0.9505, 1, 1.089]), np.array([0.9642, 1, 0.8249])
    adapt = np.linalg.inv(bradford) @ np.diag((bradford @ d50) / (bradford @ d65)) @ bradford
    columns = (adapt @ xyz * np.linalg.solve(xyz, d65)).T

    def fixed(*values: float) -> bytes:
        return b"".join(int(round(v * 65536)).to_bytes(4, "big", signed=True) for v in values)

    def colour_tag(values: np.ndarray) -> bytes:
        return b"XYZ \0\0\0\0" + fixed(*values)

    tags = {
        name: colour_tag(c) for name, c in zip((b"rXYZ", b"gXYZ", b"bXYZ"), columns, strict=True)
    }
    tags |= {b"wtpt": colour_tag(d50)}
    curve = b"curv\0\0\0\0" + (1).to_bytes(4, "big") + round(2.2 * 256).to_bytes(2, "big") + b"\0\0"
    tags |= dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), curve)
    tags |= {b"desc": b"desc\0\0\0\0" + (2).to_bytes(4, "big") + b"x\0" + bytes(78)}
    place, table, body = 132 + 12 * len(tags), len(tags).to_bytes(4, "big"), b""
    for name, data in tags.items():
        table += name + (place + len(body)).to_bytes(4, "big") + len(data).to_bytes(4, "big")
        body += data + bytes(-len(data) % 4)
    head = bytes(4) + b"lcms\x02\x40\0\0mntrRGB XYZ " + bytes(12) + b"acsp" + bytes(28)
    head += fixed(*d50) + bytes(48)
    return (len(head) + len(table) + len(body)).to_bytes(4, "big") + head[4:] + table + body


ADOBE = primaries(0.64, 0.33, 0.21, 0.71, 0.15, 0.06)


P3 = primaries(0.68, 0.32, 0.265, 0.69, 0.15, 0.06)


SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def in_profile(image: Image.Image, profile: bytes) -> Image.Image:
    """The same colours, in a profile's numbers."""
    srgb, own = (ImageCms.ImageCmsProfile(io.BytesIO(p)) for p in (SRGB, profile))
    return ImageCms.profileToProfile(image, srgb, own)


def dull() -> Image.Image:
    """A scene inside all colour spaces."""
    return Image.blend(scene(), Image.new("RGB", scene().size, (128, 128, 128)), 0.5)


@pytest.mark.parametrize("profile", [ADOBE, P3], ids=["Adobe RGB", "Display P3"])
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF", "HEIF"])
def test_colours_of_a_profile_are_srgbs(profile, kind):
    stored = in_profile(dull(), profile)
    assert np.abs(np.subtract(stored, dull(), dtype=int)).mean() > 3, "the test shows nothing"
    options = {} if kind in ("PNG", "TIFF") else {"quality": 95}
    data = saved(stored, kind, icc_profile=profile, **options)
    assert apart(data, dull()) < 2.5
    photo = kernel.normalise(data, Limits())
    assert photo.jpeg != data
    assert "icc_profile" not in Image.open(io.BytesIO(photo.jpeg)).info


@pytest.mark.parametrize(
    "profile",
    [
        SRGB,
        P3[:200],
        b"no profile",
        ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes(),
    ],
    ids=["sRGB", "cut", "damaged", "of another mode"],
)
def test_profile_that_says_nothing_new_costs_nothing(profile):
    data = saved(scene(), "JPEG", quality=95, icc_profile=profile)
    assert kernel.normalise(data, Limits()).jpeg == data
    assert apart(data, scene()) < 2


def test_cmyk_has_another_picture_by_its_profile_or_the_plain_one():
    """Without a press's profile at hand: one of another mode is ignored, and nothing fails."""
    data = saved(scene().convert("CMYK"), "JPEG", quality=95, icc_profile=P3)
    assert apart(data, scene().convert("CMYK").convert("RGB")) < 4
