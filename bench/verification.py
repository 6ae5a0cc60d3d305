"""What geometry adds to the time of an answer: a photo is matched with 20 exemplars.

The verifier of the service holds the exemplars of 4 landmarks, 5 of each, which are photos of
gld-mini. It is asked about other photos of gld-mini, one after the other; what is timed are local
features and matching, on all cores. A photo that is not doubtful is not asked about.

    python bench/verification.py [--smoke]

1 minute.
"""

import statistics
import time
from dataclasses import dataclass
from pathlib import Path

import cv2
import pyarrow as pa
from common import CORES, SHARED, Figure, photographs, report, run, source_folder

from landmark_ray.bundle.exemplar_files import (
    ExemplarInfo,
    exemplar_row,
    file_name,
    write_file,
    write_info,
)
from landmark_ray.bundle.exemplars import Exemplars
from landmark_ray.config.verification import ExtractConfig, MatchConfig
from landmark_ray.data import bundle_schemas
from landmark_ray.data.store import Store
from landmark_ray.kernels.image import decode
from landmark_ray.serving.serve_options import GraphOptions
from landmark_ray.serving.verifier import Verifier

XFEAT = SHARED / "models/xfeat.onnx"
LANDMARKS, OF_A_LANDMARK = 4, 5
"""Number of landmarks, and of exemplars of each."""

FIGURES = {
    "xfeat_ms": Figure("verifying a photo with 20 exemplars, XFeat, median", unit="ms", most=50),
    "sift_ms": Figure("verifying a photo with 20 exemplars, RootSIFT, median", unit="ms"),
}


@dataclass(frozen=True)
class Size:
    """How much work there is.

    Attributes:
        smoke: whether the photographs are the toy's.
        extractors: that are measured.
        photos: that are asked about.
    """

    smoke: bool
    extractors: tuple[str, ...]
    photos: int


def exemplars_of(photos: list[bytes], extractor: str, folder: Path) -> Exemplars:
    """Write exemplars of landmarks 0, 1, ..., and load them."""
    store = Store(str(folder))
    handle = str(XFEAT) if extractor == "xfeat" else ""
    options = ExtractConfig(extractor=extractor, handle=handle)  # type: ignore[arg-type]
    name, rule = file_name(0), MatchConfig().rule(extractor)
    model = XFEAT.read_bytes() if handle else None
    limits = options.max_feature_num, options.max_side
    write_file(store, name, [])
    write_info(store, ExemplarInfo(not handle, *limits, rule, (name,), 0), model)
    empty, rows = Exemplars(store, CORES), []
    for number, jpeg in enumerate(photos):
        image = decode(jpeg)
        size = image.shape[1], image.shape[0]
        landmark, image_id = number // OF_A_LANDMARK, f"{number:016x}"
        rows.append(exemplar_row(image_id, landmark, image_id, jpeg, empty.features(image), size))
    write_file(store, name, [pa.Table.from_pylist(rows, bundle_schemas.EXEMPLARS)])
    return Exemplars(store, CORES)


def measure(size: Size, folder: Path) -> dict[str, float]:
    """The median time of each extractor."""
    cv2.setNumThreads(CORES)
    photos = [photo.data for photo in photographs(source_folder(size.smoke))]
    count = min(LANDMARKS * OF_A_LANDMARK, len(photos) // 2)
    verifier = Verifier(GraphOptions(threads=CORES).model_dump())
    figures = {}
    for extractor in size.extractors:
        exemplars = exemplars_of(
            photos[:: len(photos) // count][:count], extractor, folder / extractor
        )
        times = []
        for jpeg in photos[1 :: max(len(photos) // size.photos, 1)]:
            photo = decode(jpeg, exemplars.info.side)
            begun = time.perf_counter()
            verifier.inliers(exemplars, photo, list(range(LANDMARKS)))
            times.append(1000 * (time.perf_counter() - begun))
        figures[f"{extractor}_ms"] = statistics.median(times)
    report(f"{count} exemplars, {CORES} cores", ["", "ms"], list(figures.items()))
    return figures


if __name__ == "__main__":
    run(
        measure,
        FIGURES,
        full=Size(False, ("xfeat", "sift"), photos=60),
        smoke=Size(True, ("sift",), photos=3),
        without=lambda size: () if "xfeat" in size.extractors else ("xfeat_ms",),
    )
