"""The stage match on one core and on two, and on more and more classes: linear in both.

The features are those of real photographs, 500 an image. Two classes of 500 images (cut into parts)
and 40 of 6 to 90 are matched with one task at a time and with two, once Ray's workers are up. Then
100, 1,000 and 10,000 classes of 8 images, one task at a time; the time is from the first finished
shard to the last.

    python bench/match_scaling.py

10 minutes and 6 GB of disk. To expect: at least 1.85 times as fast on two cores; the same time a
class, within 10%, for any number of classes.
"""

import hashlib
import os
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator

import pyarrow as pa
import ray
from common import finish, photographs, report
from rates import CORES, ONE_THREAD

from landmark_ray.config import Config
from landmark_ray.config.curation import ExtractConfig
from landmark_ray.data import schemas
from landmark_ray.data.root import Root
from landmark_ray.kernels.image import ImageError, decode
from landmark_ray.runtime.progress import ProgressBar
from landmark_ray.runtime.ray_start import start_ray
from landmark_ray.runtime.tasks import run_tasks
from landmark_ray.stages import match
from landmark_ray.stages.extract import sift_features

FEATURES = 500
SHARD_IMAGES = 128
SIZES = [500, 500, *(random.Random(0).choices(range(6, 91), k=40))]
CLASSES, CLASS_IMAGES = (100, 1_000, 10_000), 8
ROUNDS = {100: 7, 1_000: 3, 10_000: 1}
LEAST_SCALING, MOST_DEVIATION = 1.85, 0.1

Row = dict[str, object]


def real_features() -> list[Row]:
    """A row of `features` for each photograph, without names; those of a class side by side."""
    rows = []
    for photo in sorted(photographs(), key=lambda photo: photo.landmark_id):
        try:
            height, width = decode(photo.data).shape[:2]
        except ImageError:
            continue
        points, descriptors = sift_features(photo.data, ExtractConfig(max_feature_num=FEATURES))
        rows.append(
            {
                "width": width,
                "height": height,
                "count": len(points),
                "keypoints": points.tobytes(),
                "descriptors": descriptors.tobytes(),
            }
        )
    return rows


def shards(sizes: Iterable[int]) -> Iterator[list[tuple[int, int]]]:
    """(landmark_id, images) of the classes of each shard, as `sample` deals them."""
    shard: list[tuple[int, int]] = []
    for landmark, size in enumerate(sizes):
        if shard and sum(n for _, n in shard) + size > SHARD_IMAGES:
            yield shard
            shard = []
        shard.append((landmark, size))
    yield shard


def write(folder: str, sizes: Iterable[int], features: list[Row]) -> Root:
    """Tables `catalog` and `features` of classes of such sizes."""
    tables = Root(folder)
    catalog: list[Row] = []
    start = 0
    for number, classes in enumerate(shards(sizes)):
        rows: list[Row] = []
        for landmark, size in classes:
            names = (f"{landmark} {i}".encode() for i in range(size))
            ids = sorted(hashlib.blake2b(name, digest_size=8).hexdigest() for name in names)
            for i, image_id in enumerate(ids):
                image = {"image_id": image_id, "landmark_id": landmark}
                catalog.append(image | {"shard": number})
                rows.append(image | features[(start + i) % len(features)])
            start += size
        table = pa.Table.from_pylist(rows, schemas.FEATURES)
        tables.commit("features", 0, number, table, "")
    table = pa.Table.from_pylist(catalog, schemas.CATALOG)
    tables.write_table("catalog/bucket=0/catalog.parquet", table)
    return tables


def run(tables: Root, config: Config) -> tuple[float, float]:
    """Match all shards; seconds in all, and from the first finished shard to the last."""
    units = [{"bucket": s.bucket, "shard": s.shard, "rows": s.images} for s in tables.shards()]
    begun = time.perf_counter()
    with ProgressBar("match", sum(unit["rows"] for unit in units)) as meter:
        run_tasks(units, lambda ds: match.plan(ds, config, tables), config, meter)
    total = time.perf_counter() - begun
    files = [tables.at(tables.name("pairs", u["bucket"], u["shard"])) for u in units]
    times = [os.stat(file).st_mtime for file in files]
    tables.delete("pairs")
    tables.delete(match.STAGING)
    return total, max(times) - min(times)


def on_cores(cores: int) -> Config:
    """So many tasks at a time."""
    options = {"cluster": {"cpus": CORES}, "match": {"cpus": CORES / cores}}
    return Config.model_validate(options)


def main() -> None:
    """Measure both."""
    for name in ONE_THREAD:
        os.environ[name] = "1"
    features = real_features()
    start_ray(on_cores(1))
    with tempfile.TemporaryDirectory(prefix="bench-match-") as folder:
        tables = write(f"{folder}/warm", [8] * 64, features)
        run(tables, on_cores(CORES))
        tables = write(f"{folder}/sizes", SIZES, features)
        seconds = {cores: [] for cores in (1, CORES)}
        for _ in range(2):
            for cores, runs in seconds.items():
                runs.append(run(tables, on_cores(cores))[0])
        each = {}
        for classes in CLASSES:
            print(f"{classes:,} classes", file=sys.stderr)
            tables = write(f"{folder}/{classes}", [CLASS_IMAGES] * classes, features)
            first = SHARD_IMAGES // CLASS_IMAGES
            spans = [run(tables, on_cores(1))[1] for _ in range(ROUNDS[classes])]
            each[classes] = statistics.median(spans) / (classes - first)
    ray.shutdown()
    scaling = min(seconds[1]) / min(seconds[CORES])
    report(
        f"Classes of 500, 500, and 40 of 6 to 90 images, {FEATURES} features each",
        ["cores", "s", "times as fast"],
        [["1", min(seconds[1]), 1.0], [f"{CORES}", min(seconds[CORES]), scaling]],
    )
    report(
        f"Classes of {CLASS_IMAGES} images, one core",
        ["classes", "ms a class"],
        [[f"{classes:,}", 1e3 * s] for classes, s in each.items()],
    )
    deviation = max(each.values()) / min(each.values()) - 1
    finish(
        {"scaling": scaling, "deviation": deviation},
        scaling >= LEAST_SCALING and deviation <= MOST_DEVIATION,
    )


if __name__ == "__main__":
    main()
