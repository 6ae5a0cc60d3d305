"""Stages against their bare kernels, one core against two, and the square kernel against Pillow.

1. `extract` and `resize` on Ray against what they do with an image in a bare pool, on the same
   files. Each side has two processes of one thread and works through the same shards. The stage
   reads and writes its tables; the pool discards what the kernel returns. The rate is that of a
   side which has started: from its first finished shard to its last one. So neither the start of
   processes counts, nor the picture that a run draws of all stages at its end. Features are sought
   at 320 px, not 640: with a quarter of the work for each image, Ray's share of the time is larger.
   The same for `extract` with XFeat: workers hold the network, and other tasks decode for them.
2. `match` with one task at a time against two.
3. `square` on JPEGs of 1,024 px against `ImageOps.fit` of the same file decoded in full: CPU time
   in turn, and the mean absolute difference of their pixels.

The sides take turns, and the mean of two rounds counts.

    python bench/stage_rates.py [--smoke | --large]

8 minutes, on 3,900 photographs. `--large` has 7,900: 16 minutes.
"""

import functools
import io
import multiprocessing
import os
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from common import (
    CORES,
    FEW_FEATURES,
    GEOMETRY_ALONE,
    SHARED,
    Figure,
    Photo,
    photographs,
    run,
    run_stages,
    source_folder,
    write_copies,
)
from PIL import Image, ImageOps

from landmark_ray.config import STAGES
from landmark_ray.config.verification import ExtractConfig
from landmark_ray.data.root import Root
from landmark_ray.kernels.features import quantise
from landmark_ray.kernels.image import ImageError, Limits, decode, normalise, square
from landmark_ray.runtime import ledger
from landmark_ray.stages.extract import load_model, sift_features
from landmark_ray.stages.resize import example

SIDE, QUALITY, SQUARE = 1024, 90, 224
ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
OPTIONS = (*FEW_FEATURES, *GEOMETRY_ALONE, "--cluster.cpus", CORES, "--resize.synthetic", 0)
BY_TURNS = ("--match.cpus", CORES)
XFEAT = SHARED / "models/xfeat.onnx"
FIGURES = {
    "resize": Figure("rate of `resize`", "its bare kernel in a pool of two", least=0.75),
    "extract": Figure("rate of `extract`", "its bare kernel in a pool of two", least=0.9),
    "extract_onnx": Figure(
        "rate of `extract`, XFeat", "decoding and the network in a pool of two", least=0.9
    ),
    "match": Figure("`match` on two cores", "one core", "times as fast", least=1.7),
    "square": Figure(
        "a 1024-px JPEG to 224 px",
        "`Image.open` and `ImageOps.fit`",
        "times as fast",
        least=2.0,
        quoted=False,
    ),
    "difference": Figure(
        "mean difference of the pixels, of 255", "`ImageOps.fit`", most=2.0, quoted=False
    ),
}

Kernel = Callable[[bytes], object]
Key = tuple[int, int]
"""Bucket and shard."""


@dataclass(frozen=True)
class Size:
    """How much work there is.

    Attributes:
        smoke: whether the photographs are the toy's.
        copies: of each photograph.
        rounds: how often each side is measured.
        squares: JPEGs for Pillow's comparison.
        options: of the run.
    """

    smoke: bool
    copies: int
    rounds: int
    squares: int
    options: tuple[object, ...] = ()


@functools.cache
def network(options: ExtractConfig) -> Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """The network of an ONNX file, loaded once in each process."""
    return load_model(options, threads=1, gpu=False)


def onnx_features(jpeg: bytes, options: ExtractConfig) -> tuple[np.ndarray, np.ndarray]:
    """The features of an image, as the stage makes them."""
    points, descriptors = network(options)(decode(jpeg))
    return points, quantise(descriptors)


def shard_files(root: Root) -> set[Path]:
    """The files of all tables that lie in shards."""
    return set(Path(root.path_of("")).glob("*/bucket=*/shard-*.parquet"))


def key_of(file: Path) -> Key:
    """Bucket and shard of a file."""
    return int(file.parent.name.partition("=")[2]), int(file.stem.partition("-")[2])


def rate(finished: dict[Key, float], images: dict[Key, int]) -> float:
    """Images a second of the second half of the images, in the order of the shards' ends."""
    ended = sorted(finished, key=lambda key: finished[key])
    done = np.cumsum([images[key] for key in ended])
    begin = int(np.searchsorted(done, done[-1] / 2))
    seconds = finished[ended[-1]] - finished[ended[begin]]
    return float(done[-1] - done[begin]) / seconds


def stage_rate(
    stage: str, words: Sequence[object], root: Root
) -> tuple[float, dict[Key, set[str]]]:
    """Run a stage anew; its images a second, and each shard's images in the order of their ends."""
    again = ["--redo", stage] if ledger.read(root, stage) else []
    before = shard_files(root)
    begun = time.time()
    run_stages([*again, *words], stage, stage)
    finished: dict[Key, float] = {}
    worked: dict[Key, set[str]] = {}
    for file in shard_files(root):
        if file not in before or file.stat().st_mtime >= begun:
            key = key_of(file)
            finished[key] = max(finished.get(key, 0.0), file.stat().st_mtime)
            ids = pq.read_table(file, columns=["image_id"])["image_id"].to_pylist()
            worked.setdefault(key, set()).update(ids)
    in_order = {key: worked[key] for key in sorted(finished, key=lambda key: finished[key])}
    return rate(finished, {key: len(ids) for key, ids in worked.items()}), in_order


def bare_rate(kernel: Kernel, root: Root, worked: dict[Key, set[str]]) -> float:
    """Images a second of the kernel alone on the same images, in the same order."""
    work = [(kernel, root, key, ids) for key, ids in worked.items()]
    with multiprocessing.get_context("spawn").Pool(CORES, cv2.setNumThreads, (1,)) as pool:
        done = list(pool.imap_unordered(bare_shard, work))
    return rate({k: at for k, at, _ in done}, {k: n for k, _, n in done})


def bare_shard(work: tuple[Kernel, Root, Key, set[str]]) -> tuple[Key, float, int]:
    """A shard's images through the kernel; the shard, when it was finished, and its images."""
    kernel, root, key, ids = work
    images = root.read_shard("images", *key, ["image_id", "jpeg"])
    chosen = images.filter(pc.is_in(images["image_id"], pa.array(ids, pa.string())))
    for jpeg in chosen["jpeg"].to_pylist():
        kernel(jpeg)
    return key, time.time(), chosen.num_rows


def against_kernel(
    stage: str, kernel: Kernel, words: Sequence[object], root: Root, rounds: int
) -> float:
    """The stage's rate divided by the bare kernel's, in the mean of some rounds."""
    ratios = []
    for number in range(rounds):
        staged, worked = stage_rate(stage, words, root)
        bare = bare_rate(kernel, root, worked)
        print(f"{stage}, round {number + 1}: {staged:.0f} and {bare:.0f} images/s", file=sys.stderr)
        ratios.append(staged / bare)
    return statistics.mean(ratios)


def matched_rate(words: Sequence[object], *more: object) -> float:
    """Pairs a second of the stage match, of the second half of the pairs."""
    _, root = run_stages(["--redo", "match", *more, *words], "match", "match")
    files = {key_of(file): file for file in Path(root.path_of("pairs")).rglob("shard-*.parquet")}
    finished = {key: file.stat().st_mtime for key, file in files.items()}
    return rate(finished, {key: pq.read_metadata(file).num_rows for key, file in files.items()})


def enlarged(photos: Sequence[Photo], count: int) -> list[bytes]:
    """JPEGs of photographs, SIDE pixels long."""
    files = []
    for photo in photos[:: max(len(photos) // (2 * count), 1)]:
        try:
            image = Image.open(io.BytesIO(normalise(photo.data, Limits()).jpeg))
        except ImageError:
            continue
        scale = SIDE / max(image.size)
        out = io.BytesIO()
        wanted = round(image.width * scale), round(image.height * scale)
        image.resize(wanted).save(out, "JPEG", quality=QUALITY)
        files.append(out.getvalue())
    return files[:count]


def fitted(data: bytes) -> Image.Image:
    """What anyone would write."""
    return ImageOps.fit(Image.open(io.BytesIO(data)).convert("RGB"), (SQUARE, SQUARE))


def timed(
    make: Callable[[bytes], Image.Image | np.ndarray], data: bytes
) -> tuple[float, np.ndarray]:
    """CPU time of one image, and its pixels."""
    begun = time.process_time()
    image = make(data)
    return time.process_time() - begun, np.asarray(image, np.float32)


def compare_squares(files: Sequence[bytes]) -> dict[str, float]:
    """How much faster `square` is in the median, and how much it differs on average."""
    slow, fast, differences = [], [], []
    for data in files:
        seconds, wanted = timed(fitted, data)
        slow.append(seconds)
        seconds, pixels = timed(partial(square, size=SQUARE), data)
        fast.append(seconds)
        differences.append(float(np.abs(pixels - wanted).mean()))
    return {
        "square": statistics.median(slow) / statistics.median(fast),
        "difference": statistics.mean(differences),
    }


def measure(size: Size, folder: Path) -> dict[str, float]:
    """All three comparisons, on one root."""
    os.environ.update(dict.fromkeys(ONE_THREAD, "1"))
    photos = photographs(source_folder(size.smoke))
    figures = compare_squares(enlarged(photos, size.squares))
    write_copies(photos, size.copies, folder / "source")
    words = [*size.options, *OPTIONS, "--source", folder / "source", "--root", folder / "root"]
    config, root = run_stages(words, "sample", "dedupe")
    if XFEAT.exists():  # before SIFT, whose features the other stages read
        more = ("--extract.extractor", "xfeat", "--extract.handle", str(XFEAT))
        xfeat = config.extract.model_copy(update={"extractor": "xfeat", "handle": str(XFEAT)})
        kernel, with_xfeat = partial(onnx_features, options=xfeat), [*words, *more]
        figures["extract_onnx"] = against_kernel("extract", kernel, with_xfeat, root, size.rounds)
    features = partial(sift_features, options=config.extract)
    figures["extract"] = against_kernel("extract", features, words, root, size.rounds)
    run_stages(words, "match", "match")
    ratios = [matched_rate(words) / matched_rate(words, *BY_TURNS) for _ in range(size.rounds)]
    figures["match"] = statistics.mean(ratios)
    run_stages(words, "describe", STAGES[STAGES.index("resize") - 1])
    squares = partial(example, options=config.resize)
    figures["resize"] = against_kernel("resize", squares, words, root, size.rounds)
    return figures


if __name__ == "__main__":
    run(
        measure,
        FIGURES,
        full=Size(smoke=False, copies=6, rounds=2, squares=120),
        large=Size(smoke=False, copies=12, rounds=2, squares=240),
        smoke=Size(
            smoke=True,
            copies=2,
            rounds=1,
            squares=4,
            options=("--sample.buckets", 2, "--sample.shard_images", 16),
        ),
        without=lambda size: () if XFEAT.exists() else ("extract_onnx",),
    )
