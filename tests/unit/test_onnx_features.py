"""Local features of ONNX files: what they return, by which runtime, and files that do not fit."""

import sys
import tarfile
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path

import numpy as np
import onnx.parser
import PIL.Image
import pyarrow as pa
import pytest

from landmark_ray.config import Config
from landmark_ray.config.verification import ExtractConfig
from landmark_ray.data import schemas
from landmark_ray.data.root import Root
from landmark_ray.data.sources import Source
from landmark_ray.errors import UserError
from landmark_ray.kernels.onnx_features import OnnxFeatures
from landmark_ray.runtime.shards import ShardReader
from landmark_ray.stages import extract

GRAPH = """<ir_version: 9, opset_import: ["" : 18]>
features (float[1, 3, h, w] image)
    => (float[k, 2] keypoints, float[k] scores, float[k, 2] descriptors)
<
    int64[1] red = {0}, int64[1] green = {1}, int64[1] all = {-1}, int64[2] xy = {3, 2},
    float[2, 2] square = {0, 0, 0, 0}, float half = {0.5}, float one = {1}, float step = {32}
>
{
    channel = Slice(image, red, green, green)
    cells = MaxPool<kernel_shape = [32, 32], strides = [32, 32]>(channel)
    flat = Reshape(cells, all)
    scores = Sub(flat, half)
    positive = Add(cells, one)
    indices = NonZero(positive)
    transposed = Gather<axis = 0>(indices, xy)
    integers = Transpose<perm = [1, 0]>(transposed)
    floats = Cast<to = 1>(integers)
    keypoints = Mul(floats, step)
    cosines = Cos(scores)
    sines = Sin(scores)
    x = Unsqueeze(cosines, green)
    y = Unsqueeze(sines, green)
    descriptors = Concat<axis = 1>(x, y)
}
"""
"""A keypoint in the first pixel of each square of 32 pixels: its score is the square's most red
less 0.5, and its descriptor has the angle of the score."""


def model(*changes: tuple[str, str]) -> bytes:
    """The ONNX file of the graph with some changes of its text."""
    text = GRAPH
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    return onnx.parser.parse_model(text).SerializeToString()


def loaded(*changes: tuple[str, str], most: int = 100) -> OnnxFeatures:
    return OnnxFeatures(model(*changes), max_features=most, side=128, threads=1)


def runtime_of(features: OnnxFeatures) -> str:
    return features._network.__qualname__.partition(".")[0]


@pytest.fixture
def image() -> np.ndarray:
    """An image of 8 x 4 squares of 32 pixels, of which three are red."""
    pixels = np.zeros((128, 256, 3), np.uint8)
    pixels[:64, 64:128, 0], pixels[64:, 192:, 0], pixels[64:, :64, 0] = 200, 255, 200
    return pixels


def test_features_are_those_above_0_the_best_first_in_pixels_of_the_image(image):
    points, descriptors = loaded()(image)
    assert points.tolist() == [[192.5, 64.5], [64.5, 0.5], [0.5, 64.5]]
    angles = np.array([1, 200 / 255, 200 / 255]) - 0.5
    assert descriptors == pytest.approx(np.stack([np.cos(angles), np.sin(angles)], 1), abs=1e-5)
    assert points.dtype == descriptors.dtype == np.float32


def test_no_more_features_than_the_limit_are_returned(image):
    points, descriptors = loaded(most=2)(image)
    assert points.tolist() == [[192.5, 64.5], [64.5, 0.5]] and descriptors.shape == (2, 2)


def test_image_without_features_has_none(image):
    points, descriptors = loaded()(np.zeros_like(image))
    assert points.shape == (0, 2) and descriptors.shape == (0, 2)


def test_sides_become_multiples_of_32_and_keypoints_return_to_the_image():
    image = np.full((50, 30, 3), 255, np.uint8)  # 128 x 77 becomes 128 x 96
    points, _ = loaded()(image)
    assert points.max(0) == pytest.approx([64.5 * 30 / 96 - 0.5, 96.5 * 50 / 128 - 0.5])
    assert len(points) == 4 * 3


LACKED = (("scores = Sub(flat, half)", "d = Det(square) plain = Sub(flat, half) "
           "scores = Sub(plain, d)"),)  # fmt: skip
"""A change that adds an operation that OpenVINO does not have, and leaves the result as it is."""


def test_onnx_runtime_computes_where_openvino_lacks_an_operation(image):
    lacking = loaded(*LACKED)
    assert (runtime_of(loaded()), runtime_of(lacking)) == ("_by_openvino", "_by_onnxruntime")
    for one, other in zip(loaded()(image), lacking(image), strict=True):
        assert one == pytest.approx(other, abs=1e-5)


def test_onnx_runtime_computes_where_openvino_is_not_installed(image, monkeypatch):
    monkeypatch.setitem(sys.modules, "openvino", None)
    features = loaded()
    assert runtime_of(features) == "_by_onnxruntime"
    assert len(features(image)[0]) == 3


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ([("image", "photo")], "takes photo and returns .* must take image and return keypoints"),
        ([("] scores", "] values"), ("scores =", "values ="), ("(scores)", "(values)")],
         "returns descriptors, keypoints, values, but must"),
        ([("1, 3, h, w", "1, 3, 480, 640")], r"an image \[1, 3, 480, 640\], but must take \[1, 3,"),
        ([("1, 3, h, w", "1, 1, h, w")], r"an image \[1, 1, any, any\], but must take"),
        ([("cosines = Cos(scores)", "cosines = Exp(scores)")], "lengths from .*, but must have"),
        ([("[1, 0]>(transposed)", "[0, 1]>(transposed)")], r"keypoints \[2, 6\], .* but must be"),
    ],
)  # fmt: skip
def test_file_that_does_not_fit_is_refused_in_one_line(changes, said):
    with pytest.raises(ValueError, match=said) as error:
        loaded(*changes)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("runtime", ["_by_openvino", "_by_onnxruntime"])
def test_threads_that_call_it_at_once_get_what_they_would_get_alone(image, monkeypatch, runtime):
    if runtime == "_by_onnxruntime":
        monkeypatch.setitem(sys.modules, "openvino", None)
    features = loaded()
    assert runtime_of(features) == runtime
    images = [np.roll(image, 32 * shift, axis=1) for shift in range(8)] * 8
    alone = [features(one)[0].tolist() for one in images]
    with ThreadPoolExecutor(8) as pool:
        assert [points.tolist() for points, _ in pool.map(features, images)] == alone


def refusal(handle: object) -> str:
    """The line with which `extract` refuses a file."""
    options = ExtractConfig(extractor="onnx", handle=str(handle))
    with pytest.raises(UserError) as error:
        extract.load_model(options, threads=1, gpu=False)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_handle_that_is_missing_or_no_onnx_file_is_named_in_one_line(tmp_path):
    file = tmp_path / "x.onnx"
    assert refusal(file) == f"--extract.handle: there is no file {file}"
    for content in (b"", b"nothing", b"<!doctype html><title>404</title>"):
        file.write_bytes(content)
        assert refusal(file) == f"--extract.handle: {file}: it is no ONNX file"


NAN_IN_RED = (
    (
        "cosines = Cos(scores)",
        "r = Sub(one, flat) n = Div(r, r) c = Cos(scores) cosines = Mul(c, n)",
    ),
)
"""A change with which descriptors of pure red are 0 / 0."""


def test_photo_whose_features_are_not_numbers_is_rejected_and_all_others_stay(image, tmp_path):
    file = tmp_path / "x.onnx"
    file.write_bytes(model(*NAN_IN_RED))
    photos = {"fine": np.minimum(image, 200), "red": image}
    rows = [
        {"image_id": name, "landmark_id": 5, "width": 256, "height": 128, "jpeg": b""}
        for name in photos
    ]
    root = Root(str(tmp_path / "root"))
    root.commit("images", 0, 0, pa.Table.from_pylist(rows, schemas.IMAGES), "")
    shard = ShardReader(root, "extract", 0, 0, len(photos))
    shard.fields["pixels"] = [
        {"image_id": name, "height": len(pixels), "data": pixels.tobytes()}
        for name, pixels in photos.items()
    ]
    options = ExtractConfig(extractor="onnx", handle=str(file), max_side=128)
    result = extract.ModelFeatures(options, pin=False)(shard)
    assert [(row["image_id"], row["count"]) for row in result.rows.to_pylist()] == [("fine", 3)]
    assert [(row["image_id"], row["reason"]) for row in result.rejects.to_pylist()] == [
        ("red", "bad features: descriptors must be finite numbers, got NaN or infinity")
    ]


@pytest.mark.parametrize("extractor", ["xfeat", "aliked", "onnx"])
def test_without_a_cuda_provider_a_file_reserves_no_gpu(extractor, monkeypatch):
    options = ExtractConfig(extractor=extractor, handle="x.onnx")
    monkeypatch.setattr(extract, "runs_on_gpus", lambda: False)
    assert extract.with_gpus(options).gpus == 0
    asked = options.model_copy(update={"gpus": 0.5})
    with pytest.raises(UserError, match=r"--extract.gpus 0.5: .* on CPUs only: leave this option"):
        extract.with_gpus(asked)
    monkeypatch.setattr(extract, "runs_on_gpus", lambda: True)
    assert extract.with_gpus(options).gpus is None
    assert extract.with_gpus(asked).gpus == 0.5
    for other in (ExtractConfig(), ExtractConfig(extractor="delf", handle="x", gpus=1)):
        assert extract.with_gpus(other) == other


def config_of(handle: object) -> Config:
    return Config(extract=ExtractConfig(extractor="xfeat", handle=str(handle)))


def test_another_file_under_the_same_name_is_another_input_of_the_stage(tmp_path):
    file = tmp_path / "x.onnx"
    file.write_bytes(b"one")
    (tmp_path / "photos/landmark").mkdir(parents=True)
    (tmp_path / "photos/landmark/x.jpg").touch()
    source = Source(str(tmp_path / "photos"))
    before = extract.inputs(config_of(file), source)
    assert extract.inputs(config_of(file), source) == before
    file.write_bytes(b"other")
    assert extract.inputs(config_of(file), source) != before
    assert extract.inputs(Config(), source) == {}


def rows_of(points: np.ndarray, descriptors: np.ndarray) -> dict[tuple[float, ...], np.ndarray]:
    return dict(zip(map(tuple, points.round(2).tolist()), descriptors, strict=True))


@pytest.mark.shared
def test_xfeat_is_the_same_by_openvino_and_by_onnx_runtime(shared, monkeypatch):
    photo = np.asarray(PIL.Image.open(BytesIO(first_photo(shared))).convert("RGB"))
    made = []
    for runtime in ("_by_openvino", "_by_onnxruntime"):
        features = OnnxFeatures(
            (shared / "models/xfeat.onnx").read_bytes(), max_features=1024, side=640, threads=1
        )
        assert runtime_of(features) == runtime
        made.append(rows_of(*features(photo)))
        monkeypatch.setitem(sys.modules, "openvino", None)
    both = made[0].keys() & made[1].keys()
    assert len(both) > 0.99 * max(map(len, made))
    assert min(float(made[0][point] @ made[1][point]) for point in both) > 0.9999


def first_photo(shared: Path) -> bytes:
    """A photo of the first tar of gld-mini."""
    with tarfile.open(shared / "data/gld-mini/test/images_000.tar") as tar:
        (member, *_) = (m for m in tar if m.isfile())
        file = tar.extractfile(member)
        assert file is not None
        return file.read()
