"""Metadata like GLDv2's: classes of its sizes, and a train.csv with ids and urls like its own."""

import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
from common import GIB

IMAGES, CLASSES = 4_132_914, 203_094
SIZES = {1: 6272, 5_000: 153, 87_330: 10.5, 125_918: 5.5, CLASSES: 1}
"""Rank of a class -> its images, straight lines between in logarithms. Weyand et al. 2020: 57% of
the classes have at most 10 images, 38% at most 5; the second point makes the total right."""


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
    found = random_ids(len(landmarks))
    ids = pa.array(found.astype("U16"))
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
    return found


def peak_gib() -> float:
    """Most memory that this process ever held (ru_maxrss would include the parent's)."""
    status = Path("/proc/self/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+)", status)[1]) * 1024 / GIB


def reset_peak() -> None:
    """Begin anew with what `peak_gib` says."""
    Path("/proc/self/clear_refs").write_text("5")
