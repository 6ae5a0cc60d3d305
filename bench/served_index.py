"""What the index adds to the time of an answer: the service with its index against the heads alone.

A bundle of a MobileNetV2 with 11 heads has an index of 100,000 made-up photos, 10 of a landmark.
Two services are up, which differ in `--witnesses`, and one client asks them in turn: once with the
index in the process that takes the requests, and once with `--index_shards 1`.

    python bench/served_index.py [--smoke]

2 minutes, 4 GB of memory.
"""

import os
import statistics
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from bundles import TINY, Models, random_bundle
from common import CORES, Figure, in_own_process, report, run
from services import ENVIRONMENT, free_port, our_command, running
from serving import load, write_photos

from landmark_ray.bundle.landmark_index import (
    IndexInfo,
    trunk_checksum,
    write_fusion,
    write_index,
)
from landmark_ray.bundle.manifest import LANDMARKS, seal
from landmark_ray.bundle.network_files import TRUNK, trunk_info
from landmark_ray.data import bundle_schemas
from landmark_ray.data.store import Store
from landmark_ray.kernels.fusion import STRANGERS, Fusion, Regression
from landmark_ray.kernels.photo_index import divide
from landmark_ray.kernels.whitening import DIMENSIONS, Whitening, unit_length

PHOTOS = 10
"""Number of photos of a landmark."""

WITNESSES = ("heads", "fused")
SHARDS = {"added_ms": 0, "added_by_deployment_ms": 1}
FIGURES = {
    "added_ms": Figure(
        "index of 100,000 photos in the service: added to an answer's time, median",
        "the heads alone",
        "ms",
        most=3,
    ),
    "added_by_deployment_ms": Figure(
        "the same with `--index_shards 1`, a deployment of its own", "the heads alone", "ms"
    ),
}


@dataclass(frozen=True)
class Size:
    """How much work there is.

    Attributes:
        models: that are served.
        photos: of the index.
        rounds: in which both services are asked.
        requests: of a round, to each.
    """

    models: Models
    photos: int
    rounds: int
    requests: int


def indexed_bundle(folder: Path, models: Models, photos: int) -> None:
    """Write a bundle with an index; every tenth photo shows no landmark."""
    manifest = random_bundle(folder, models, shared=True)
    to = Store(str(folder))
    (folder / "bundle.json").unlink()
    trunk = trunk_info(to)
    assert trunk is not None
    rng = np.random.default_rng(0)
    shape = (trunk.features, DIMENSIONS)
    projection = rng.normal(size=shape).astype(np.float32)
    landmark = np.arange(photos) // PHOTOS
    landmark[::10] = STRANGERS
    ids = [f"{number:016x}" for number in range(photos)]
    rows = {"image_id": ids, "landmark_id": landmark, "cluster": ids, "enrolled": [False] * photos}
    vectors = unit_length(rng.normal(size=(photos, DIMENSIONS)).astype(np.float32))
    info = IndexInfo(TRUNK, trunk_checksum(to), trunk.features, photos, 0)
    whitening = Whitening(np.zeros(trunk.features, np.float32), projection)
    write_index(to, whitening, divide(vectors.astype(np.float16)), pa.table(rows), info)
    write_fusion(to, Fusion(*2 * [Regression((0.5, 5.0, 10.0), -1.0)]))
    known = [
        {"landmark_id": number, "name": f"landmark {number}", "group": 1, "images": PHOTOS}
        for number in range(max(photos // PHOTOS, models.groups * models.classes))
    ]
    to.write_table(LANDMARKS, pa.Table.from_pylist(known, bundle_schemas.BUNDLED))
    seal(to, **manifest.model_dump(exclude={"format", "version", "created", "files"}))


def compared(size: Size, folder: Path, shards: int) -> list[tuple[float, ...]]:
    """Milliseconds of an answer of the heads alone, and with the index; the medians of each round.

    The first round warms both up.
    """
    ports = [free_port() for _ in WITNESSES]
    commands = [
        our_command(
            folder / "bundle", port, "f32", "--index_shards", str(shards), "--witnesses", witnesses
        )
        for port, witnesses in zip(ports, WITNESSES, strict=True)
    ]
    options = {"clients": 1, "most": size.requests, "seconds": 60, "warmup": 0}
    rounds = []
    with (
        running(commands[0], ports[0], folder) as heads,
        running(commands[1], ports[1], folder) as fused,
    ):
        for _ in range(size.rounds + 1):
            both = [load(f"{one.url}/predict", folder, **options) for one in (heads, fused)]
            rounds.append(tuple(one["p50_ms"] for one in both))
    return rounds[1:]


def measure(size: Size, folder: Path) -> dict[str, float]:
    """Serve with and without the index, and compare."""
    cpus = os.sched_getaffinity(0)
    os.environ.update(ENVIRONMENT)
    os.sched_setaffinity(0, sorted(cpus)[:CORES])
    figures, rows = {}, []
    try:
        write_photos(size.models, folder)
        in_own_process(indexed_bundle, folder / "bundle", size.models, size.photos)
        for name, shards in SHARDS.items():
            rounds = compared(size, folder, shards)
            rows += [[f"--index_shards {shards}", *both] for both in rounds]
            figures[name] = statistics.median(fused - heads for heads, fused in rounds)
    finally:
        os.sched_setaffinity(0, cpus)
    report("Median of an answer, one client", ["", "heads ms", "with index ms"], rows)
    return figures


if __name__ == "__main__":
    run(
        measure,
        FIGURES,
        full=Size(
            Models(False, "mobilenet_v2", 96, groups=11, classes=500, photos=40, known=33),
            photos=100_000,
            rounds=5,
            requests=150,
        ),
        smoke=Size(
            TINY,
            photos=500,
            rounds=1,
            requests=10,
        ),
    )
