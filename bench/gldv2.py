"""A made-up GLDv2: a train.csv of its size, and stubs for what computes on its images.

The csv has classes of GLDv2's sizes, and ids and urls like its own. The stubs replace, in all
workers of a Ray session, what reads an image by what only answers: seeded by the image's id, which
is all that a "photo" of `members` consists of.
"""

import functools
import hashlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv

from landmark_ray.data.archives import Archive
from landmark_ray.data.tars import Member
from landmark_ray.kernels import perceptual_hash as kernel
from landmark_ray.kernels.matching import PairResult
from landmark_ray.reports.match_figures import MatchFigures
from landmark_ray.stages import extract, ingest, match, resize

IMAGES, CLASSES = 4_132_914, 203_094
SIZES = {1: 6272, 5_000: 153, 87_330: 10.5, 125_918: 5.5, CLASSES: 1}
"""Rank of a class -> its images, straight lines between in logarithms. Weyand et al. 2020: 57% of
the classes have at most 10 images, 38% at most 5; the second point makes the total right."""

IDS = "ids.npy"
"""In the source: [N] S16 ids of the images of all tars, in order."""

NOISE, VERIFIES, COPIES = 16, 3, 32
"""Of so many images one shows something else; of so many pairs of others one is verified; of so
many images one is a copy of one or more others."""

NOTHING = PairResult(np.empty((0, 2), np.int32), np.empty(0, bool))


def class_sizes() -> np.ndarray:
    """[CLASSES] images of each class, the largest first; they sum to IMAGES."""
    ranks = np.log(np.arange(1, CLASSES + 1))
    sizes = np.exp(np.interp(ranks, np.log(list(SIZES)), np.log(list(SIZES.values())))).astype(int)
    missing = IMAGES - sizes.sum()
    sizes[10_000 : 10_000 + abs(missing)] += np.sign(missing)
    return sizes


def random_ids(count: int, seed: int = 0) -> np.ndarray:
    """[count] S16 ids of images: hexadecimal, as GLDv2's."""
    return np.frombuffer(np.random.default_rng(seed).bytes(8 * count).hex().encode(), "S16")


def write_csv(path: Path, sizes: np.ndarray) -> np.ndarray:
    """A train.csv of classes of such sizes, its rows in random order; their ids."""
    rng = np.random.default_rng(0)
    landmarks = rng.permutation(np.repeat(rng.permutation(len(sizes)), sizes))
    ids16 = random_ids(len(landmarks))
    ids = pa.array(ids16.astype("U16"))
    folder = pc.utf8_slice_codeunits(ids, 0, 2)
    number = pa.array(landmarks).cast(pa.string())
    base = pa.scalar("http://upload.wikimedia.org/wikipedia/commons/")
    name = pc.binary_join_element_wise(
        "Landmark", number, "%2C_view_from_the_old_town", ids, "(cropped).JPG", "_"
    )
    url = pc.binary_join_element_wise(
        base, pc.utf8_slice_codeunits(folder, 0, 1), "/", folder, "/", name, ""
    )
    pacsv.write_csv(pa.table({"id": ids, "url": url, "landmark_id": landmarks}), path)
    return ids16


def session() -> dict[str, str]:
    """The `runtime_env` of a Ray session with stubs."""
    places = [str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, places))  # workers import this module
    return {"worker_process_setup_hook": "gldv2.install"}


def install() -> None:
    """Replace the kernels in this process."""
    Archive.members = members
    ingest.validate_image = lambda member, *_: {"jpeg": member.data, "width": 800, "height": 600}
    kernel.perceptual_hash = perceptual_hash
    extract.sift_features = sift_features
    match.match_pair = match_pair
    resize.example = lambda jpeg, _: jpeg


def install_in_driver() -> None:
    """Leave photos and drawn matches out of the curation page, which samples a few anyway."""
    MatchFigures.photos = lambda *_: {}
    MatchFigures.draw = lambda *_: iter(())


def number(image: bytes) -> int:
    """A number that is random in the image."""
    return int.from_bytes(hashlib.blake2b(image, digest_size=8).digest())


@functools.cache
def _ids(folder: str) -> np.ndarray:
    return np.load(f"{folder}/{IDS}", mmap_mode="r")


def members(archive: Archive, max_bytes: float, wanted: Callable[[str], bool]) -> Iterator[Member]:
    """The wanted images of a tar of a source that has `IDS`; each is its own id."""
    tars = sorted(Path(archive.folder.path_of("train")).glob("*.tar"))
    ids = np.array_split(_ids(archive.folder.path), len(tars))
    for data in ids[[t.name for t in tars].index(Path(archive.name).name)].tolist():
        name = data.decode()
        if wanted(name):
            yield Member(name, len(data), data, name)


def perceptual_hash(jpeg: bytes) -> kernel.PerceptualHash:
    """Copies have one hash; all thumbnails are the same."""
    seed = number(jpeg)
    shared = seed // COPIES % (1 << 17) * 0x9E3779B97F4A7C15 % (1 << 64)
    return kernel.PerceptualHash(
        jpeg, seed if seed % COPIES else shared, bytes(kernel.THUMBNAIL**2)
    )


def sift_features(jpeg: bytes, options: object) -> tuple[np.ndarray, np.ndarray]:
    """One feature, whose place says whether the image is noise."""
    noise = number(jpeg) % NOISE == 0
    return np.full((1, 4), noise, np.float32), np.frombuffer(jpeg, np.int8).reshape(1, -1)


def match_pair(a, b, rule, *, stop_below: int, seed: int) -> PairResult:
    """A seeded number of inliers; none with noise."""
    if a.keypoints[0, 0] or b.keypoints[0, 0] or seed % VERIFIES:
        return NOTHING
    return PairResult(NOTHING.matches, NOTHING.inlier_mask, stop_below + seed % 50, np.eye(2, 3))
