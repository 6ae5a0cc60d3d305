"""Bundles of ResNet50s that nobody trained, for benchmarks of the service.

    python bench/bundles.py FOLDER [--shared]

11 groups of 1,000 landmarks each, with a trunk of its own for each group or one for all. The
weights are random, yet photos get different answers, as from trained networks:

- The last BatchNorm of each block is damped, as training leaves it. Where all blocks are as loud as
  their input, each amplifies what the ones before rounded off, and 16 bits change most answers.
- BatchNorm has the statistics of photographs.
- Most of the first 200 `pictures` are landmarks, each of one group, and told from all others by a
  margin, as good models have it. The group's other landmarks are random mixtures.

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

from landmark_ray.bundle import network_files
from landmark_ray.bundle.manifest import EVALUATION, LANDMARKS, Manifest, seal
from landmark_ray.data import schemas
from landmark_ray.data.store import Store
from landmark_ray.kernels import image

if TYPE_CHECKING:
    import keras

GROUPS, CLASSES = 11, 1_000
NETWORK, SIZE = "resnet50", 224
PHOTOS, KNOWN = 200, 180
"""So many are asked for; so many of them are landmarks."""

BATCH = 32
"""Photos that a trunk has the statistics of: those that its group knows, and others."""

DAMPING = 0.2
"""Of each block, against the sum of those before."""

SCALE = 32.0
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
    squares = [image.model_input(data, SIZE, image.Limits()) for data in pictures(PHOTOS)]
    to = Store(str(folder))
    name, vectors = network_files.TRUNK, np.empty((0, 0), np.float32)
    for group in range(1, GROUPS + 1):
        known = range(group - 1, KNOWN, GROUPS)
        if group == 1 or not shared:
            name = network_files.TRUNK if shared else f"{network_files.GROUPS}/group={group}"
            others = np.random.default_rng(group).permutation(list(set(range(PHOTOS)) - set(known)))
            batch = [*known, *others[: BATCH - len(known)]]
            trunk, vectors = random_trunk(np.stack([squares[i] for i in batch]), seed=group)
            network_files.write_trunk(to, name, trunk)
        write_head(to, group, name, directions(vectors, len(known), seed=group))
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
    import tensorflow as tf

    from landmark_ray.models.networks import build_trunk

    keras.utils.set_random_seed(seed)
    trunk = build_trunk(NETWORK, weights=None, size=SIZE)
    network = next(layer for layer in trunk.layers if isinstance(layer, keras.Model))
    for layer in network.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.0  # the statistics become those of one batch
            if layer.name.endswith("_3_bn"):
                layer.gamma.assign(layer.gamma * DAMPING)
    # a plain call would hold what all layers make, 10 GB, until its end
    learn = tf.function(lambda batch: trunk(batch, training=True))
    return trunk, learn(tf.constant(photos, tf.float32)).numpy()


def directions(vectors: NDArray[np.float32], known: int, seed: int) -> NDArray[np.float64]:
    """A head's weights [D, CLASSES]: the first `known` vectors [N, D], then mixtures of all."""
    centred = vectors - vectors.mean(0, dtype=np.float64)
    gram = centred @ centred.T
    apart = centred.T @ np.linalg.inv(gram + RIDGE * np.trace(gram) / len(gram) * np.eye(len(gram)))
    rng = np.random.default_rng(seed)
    mixtures = apart @ rng.normal(size=(len(gram), CLASSES - known))
    return np.concatenate([apart[:, :known], mixtures], 1)


def write_head(to: Store, group: int, trunk: str, weights: NDArray[np.float64]) -> None:
    """A group's cosine head, without the class other."""
    from landmark_ray.models.heads import build_head

    features, classes = weights.shape
    head = build_head(features, classes, dropout=0.0, kind="cosine", scale=SCALE)
    layer = head.get_layer("logits")
    layer.kernel.assign(weights / np.linalg.norm(weights, axis=0))
    info = network_files.HeadInfo(
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
    network_files.write_head(to, network_files.GROUPS, head, info)


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
