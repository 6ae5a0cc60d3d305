"""Bundles of ResNet50s that nobody trained, for benchmarks of the service.

    python bench/bundles.py FOLDER [--shared]

11 groups of 1,000 landmarks each, with a trunk of its own for each group or one for all. The
weights are random, yet photos get different answers, as from trained networks:

- The last BatchNorm of each block is damped, as training leaves it. Where all blocks are as loud as
  their input, each amplifies what the ones before rounded off, and 16 bits change most answers.
- BatchNorm has the statistics of a few photographs.
- A head knows some of these photographs as landmarks of its own; its other landmarks are random
  mixtures of all of them.

About 3 s for a trunk.
"""

import argparse
import platform
import random
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from common import photographs
from numpy.typing import NDArray

from landmark_ray import bundle, schemas
from landmark_ray.kernels import image
from landmark_ray.manifest import EVALUATION, LANDMARKS, Manifest, seal
from landmark_ray.storage import Folder

if TYPE_CHECKING:
    import keras

GROUPS, CLASSES = 11, 1_000
NETWORK, SIZE = "resnet50", 224
PHOTOS = 48
"""Give BatchNorm its statistics, and are landmarks that the heads know."""

DAMPING = 0.2
"""Of each block, against the sum of those before."""

SCALE = 64.0
"""Of the cosines, which are small: the vectors of all photos have much in common."""

RIDGE = 0.01


def pictures(count: int) -> list[bytes]:
    """The first so many files, in seeded order, of the photographs that can be used."""
    photos = photographs()
    random.Random(0).shuffle(photos)
    found: list[bytes] = []
    for photo in photos:
        if len(found) == count:
            break
        try:
            image.model_input(photo.data, SIZE, image.Limits())
        except image.ImageError:
            continue
        found.append(photo.data)
    return found


def random_bundle(folder: Path, shared: bool) -> Manifest:
    """Write a bundle.

    Args:
        folder: where to; nothing else is in it.
        shared: one trunk for all groups, and not one for each.
    """
    photos = np.stack([image.model_input(data, SIZE, image.Limits()) for data in pictures(PHOTOS)])
    to = Folder(str(folder))
    name, vectors = bundle.TRUNK, np.empty((0, 0), np.float32)
    for group in range(1, GROUPS + 1):
        if group == 1 or not shared:
            name = bundle.TRUNK if shared else f"{bundle.GROUPS}/group={group}"
            trunk, vectors = random_trunk(photos, seed=group)
            bundle.write_trunk(to, name, trunk)
        write_head(to, group, name, directions(vectors, group))
    to.write_table(LANDMARKS, landmarks())
    to.write_json(EVALUATION, {})
    return seal(
        to,
        threshold=0.0,
        floor=0.0,
        size=SIZE,
        min_side=32,
        max_megapixels=100.0,
        max_megabytes=20.0,
        landmarks=GROUPS * CLASSES,
        groups=list(range(1, GROUPS + 1)),
        metrics={},
        configuration={},
        fingerprints={},
        software={"python": platform.python_version()},
    )


def random_trunk(photos: NDArray[np.uint8], seed: int) -> tuple["keras.Model", NDArray[np.float32]]:
    """A trunk, and the vectors [N, D] of the photos [N, H, W, 3] that it has the statistics of."""
    import keras

    from landmark_ray.models.networks import build_trunk

    keras.utils.set_random_seed(seed)
    trunk = build_trunk(NETWORK, weights=None, size=SIZE)
    network = next(layer for layer in trunk.layers if isinstance(layer, keras.Model))
    for layer in network.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.0  # the statistics become those of one batch
            if layer.name.endswith("_3_bn"):
                layer.gamma.assign(layer.gamma * DAMPING)
    vectors = trunk(photos.astype(np.float32), training=True)
    return trunk, np.asarray(keras.ops.convert_to_numpy(vectors))


def directions(vectors: NDArray[np.float32], group: int) -> NDArray[np.float64]:
    """A head's weights [D, CLASSES]: first the photos that it knows, then mixtures.

    The photos are dealt to the groups, so that each is a landmark of one group.
    """
    centred = vectors - vectors.mean(0, dtype=np.float64)
    gram = centred @ centred.T
    apart = centred.T @ np.linalg.inv(gram + RIDGE * np.trace(gram) / len(gram) * np.eye(len(gram)))
    known = apart[:, group - 1 :: GROUPS]
    rng = np.random.default_rng(group)
    mixtures = apart @ rng.normal(size=(len(gram), CLASSES - known.shape[1]))
    return np.concatenate([known, mixtures], 1)


def write_head(to: Folder, group: int, trunk: str, weights: NDArray[np.float64]) -> None:
    """A group's cosine head, without the class other."""
    from landmark_ray.models.heads import build_head

    features, classes = weights.shape
    head = build_head(features, classes, dropout=0.0, kind="cosine", scale=SCALE)
    layer = head.get_layer("logits")
    layer.kernel.assign(weights / np.linalg.norm(weights, axis=0))
    info = bundle.HeadInfo(
        group=group,
        landmarks=tuple(ids(group)),
        other=False,
        trunk=trunk,
        features=features,
        kind="cosine",
        scale=SCALE,
        temperature=1.0,
        report={},
    )
    bundle.write_head(to, bundle.GROUPS, head, info)


def ids(group: int) -> list[int]:
    """Of a group's landmarks."""
    return [(group - 1) * CLASSES + i for i in range(CLASSES)]


def landmarks() -> pa.Table:
    """What the bundle knows of its landmarks: nothing but names."""
    rows = [
        {"landmark_id": i, "name": f"landmark {i}", "group": group, "images": 1}
        for group in range(1, GROUPS + 1)
        for i in ids(group)
    ]
    return pa.Table.from_pylist(rows, schemas.BUNDLED)


def main() -> None:
    """Write a bundle."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--shared", action="store_true", help="one trunk for all groups")
    given = parser.parse_args()
    print(random_bundle(given.folder, given.shared).version)


if __name__ == "__main__":
    main()
