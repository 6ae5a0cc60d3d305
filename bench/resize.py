"""The stage resize against its kernel in a bare pool, and the kernel against plain Pillow.

Stage: 5,000 and more photographs, two processes a side, three rounds in turn (rates.py says how the
rate and the start-up are taken). The kernel makes the square and its JPEG; the stage also writes
the tables `examples` and `background`.

Kernel: `square` on JPEGs enlarged to 1,024 px against `ImageOps.fit` of the same file decoded in
full: time in turn, and the mean absolute difference of their pixels.

    python bench/resize.py

5 minutes. To expect: a stage ratio of 0.75 or more, a kernel at least twice as fast, with a
difference below 2 of 255.
"""

import io
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial

import numpy as np
import pyarrow as pa
from common import finish, photographs, report
from PIL import Image, ImageOps
from rates import compare, prepare, ratio, rows_of

from landmark_ray.config.curation import ResizeConfig
from landmark_ray.data.root import Root
from landmark_ray.data.schemas import CLEANED, GROUPS
from landmark_ray.kernels.image import ImageError, Limits, normalise, square
from landmark_ray.stages import resize

ROUNDS = 3
PHOTOS, SIDE, QUALITY, SIZE = 240, 1024, 90, 224
LEAST_RATIO, LEAST_SPEEDUP, MOST_MAD = 0.75, 2.0, 2.0


def keep_all(tables: Root) -> None:
    """Write the tables `cleaned` and `groups` as if every image had been verified."""
    kept = {"keep": True, "reason": "", "verdict": "", "note": ""}
    grouped = {"group": 1, "split": "train"}
    for shard in tables.shards():
        rows = tables.read_shard("images", *shard.key, ["image_id", "landmark_id"]).to_pylist()
        for name, schema, columns in (("cleaned", CLEANED, kept), ("groups", GROUPS, grouped)):
            table = pa.Table.from_pylist([row | columns for row in rows], schema)
            tables.commit(name, *shard.key, table, "{}")


def enlarged() -> list[bytes]:
    """JPEGs of photographs, SIDE long."""
    files = []
    for photo in photographs():
        try:
            image = Image.open(io.BytesIO(normalise(photo.data, Limits()).jpeg))
        except ImageError:
            continue
        scale = SIDE / max(image.size)
        out = io.BytesIO()
        image.resize((round(image.width * scale), round(image.height * scale))).save(
            out, "JPEG", quality=QUALITY
        )
        files.append(out.getvalue())
    return files[:: len(files) // PHOTOS][:PHOTOS]


def plain(data: bytes) -> Image.Image:
    """The reference's way."""
    return ImageOps.fit(Image.open(io.BytesIO(data)).convert("RGB"), (SIZE, SIZE))


def seconds(make: Callable[[bytes], Image.Image], data: bytes) -> tuple[float, np.ndarray]:
    """CPU time of one image, and its pixels."""
    begun = time.process_time()
    image = make(data)
    return time.process_time() - begun, np.asarray(image, np.float32)


def compare_kernels(files: list[bytes]) -> tuple[float, float, float]:
    """Milliseconds of plain Pillow and of the kernel (medians), mean absolute difference."""
    times, differences = [], []
    for data in files:
        slow, wanted = seconds(plain, data)
        fast, found = seconds(partial(square, size=SIZE), data)
        times.append((slow * 1e3, fast * 1e3))
        differences.append(np.abs(found - wanted).mean())
    slow, fast = (statistics.median(column) for column in zip(*times, strict=True))
    return slow, fast, float(np.mean(differences))


def main() -> None:
    """Run both comparisons."""
    slow, fast, mad = compare_kernels(enlarged())
    with tempfile.TemporaryDirectory(prefix="bench-resize-") as folder:
        config, tables = prepare(folder)
        keep_all(tables)
        stage, bare = compare(
            lambda units: resize.plan(units, config, tables),
            partial(resize.example, options=ResizeConfig()),
            resize.WRITES,
            config,
            tables,
            ROUNDS,
            light=True,
        )
        images = tables.dataset("images").count_rows()
    rows = [rows_of("stage", stage), rows_of("bare pool", bare)]
    figures = {
        "stage_ratio": ratio(stage, bare),
        "startup_s": rows[0][2],
        "kernel_speedup": slow / fast,
        "kernel_mad": mad,
    }
    report(
        f"{images:,} images, {ROUNDS} rounds, medians",
        ["resize", "images/s", "start-up s", "total s"],
        [*rows, ["ratio", figures["stage_ratio"], "", ""], ["at least", LEAST_RATIO, "", ""]],
    )
    report(
        f"{PHOTOS} JPEGs of {SIDE} px, medians",
        ["kernel", "ms", "speed-up", "difference of 255"],
        [
            ["ImageOps.fit", slow, "", ""],
            ["square", fast, figures["kernel_speedup"], mad],
            ["wanted", "", f">= {LEAST_SPEEDUP}", f"< {MOST_MAD}"],
        ],
    )
    finish(
        figures,
        figures["stage_ratio"] >= LEAST_RATIO
        and figures["kernel_speedup"] >= LEAST_SPEEDUP
        and mad < MOST_MAD,
    )


if __name__ == "__main__":
    main()
