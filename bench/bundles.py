"""Bundles of networks that nobody trained, for benchmarks of the service.

The weights are random, yet photos get different answers, as from trained networks:

- The last BatchNorm of each block is damped, as training leaves it. Where all blocks are as loud as
  their input, each amplifies what the ones before rounded off, and 16 bits change most answers.
- BatchNorm has the statistics of photographs.
- Most of the `pictures` are landmarks, each of one group, and told from all others by a margin, as
  good models have it. The group's other landmarks are random mixtures.

About 3 s for a ResNet50.
"""

import io
import platform
import random
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from common import photographs, source_folder
from numpy.typing import NDArray
from PIL import Image

from landmark_ray.bundle import network_files
from landmark_ray.bundle.manifest import EVALUATION, LANDMARKS, Manifest, seal
from landmark_ray.data import bundle_schemas
from landmark_ray.data.store import Store
from landmark_ray.kernels import image

if TYPE_CHECKING:
    import keras

BATCH = 32
"""Photos that a trunk has the statistics of: those that its group knows, and others."""

DAMPING = 0.2
"""Of each block, against the sum of those before."""

SCALE = 32.0
"""Of the cosines, which are small: the vectors of all photos have much in common."""

RIDGE = 0.01

SIDE, BYTES = 800, 103_000
"""Of the JPEGs that a service is asked for."""


@dataclass(frozen=True)
class Models:
    """What a bundle holds.

    Attributes:
        smoke: whether the photographs are the toy's.
        network: of each trunk.
        side: of the photos that it takes, in pixels.
        groups: of landmarks, each with a head.
        classes: landmarks of a group.
        photos: pictures that the service is asked for.
        known: so many of them are landmarks.
    """

    smoke: bool
    network: str
    side: int
    groups: int
    classes: int
    photos: int
    known: int


RESNETS = Models(False, "resnet50", 224, groups=11, classes=1_000, photos=100, known=90)
TINY = Models(True, "small", 32, groups=2, classes=8, photos=8, known=6)


def pictures(models: Models) -> list[bytes]:
    """The first files, in seeded order, of the photographs that can be used."""
    photos = photographs(source_folder(models.smoke))
    random.Random(0).shuffle(photos)
    jpegs: list[bytes] = []
    for photo in photos:
        if len(jpegs) == models.photos:
            break
        try:
            image.model_input(photo.data, models.side, image.Limits())
        except image.ImageError:
            continue
        jpegs.append(photo.data)
    return jpegs


def enlarge(data: bytes) -> bytes:
    """A photo as a JPEG of `SIDE` pixels and, as nearly as it can be, of `BYTES` bytes."""
    photo = Image.fromarray(image.decode(data))
    factor = SIDE / max(photo.size)
    size = (max(round(photo.width * factor), 64), max(round(photo.height * factor), 64))
    photo = photo.resize(size, Image.Resampling.LANCZOS)
    low, high = 20, 98
    jpeg = encoded(photo, low)
    while low < high:
        quality = (low + high + 1) // 2
        attempt = encoded(photo, quality)
        if len(attempt) > BYTES:
            high = quality - 1
        else:
            low, jpeg = quality, attempt
    return jpeg


def encoded(photo: Image.Image, quality: int) -> bytes:
    """As JPEG."""
    out = io.BytesIO()
    photo.save(out, "JPEG", quality=quality)
    return out.getvalue()


def random_bundle(folder: Path, models: Models, shared: bool) -> Manifest:
    """Write a bundle.

    Args:
        folder: where to; nothing else is in it.
        models: what it holds.
        shared: one trunk for all groups, and not one for each.
    """
    squares = [image.model_input(data, models.side, image.Limits()) for data in pictures(models)]
    others = set(range(models.photos))
    to = Store(str(folder))
    name, vectors = network_files.TRUNK, np.empty((0, 0), np.float32)
    for group in range(1, models.groups + 1):
        known = range(group - 1, models.known, models.groups)
        if group == 1 or not shared:
            name = network_files.TRUNK if shared else f"{network_files.GROUPS}/group={group}"
            more = np.random.default_rng(group).permutation(list(others - set(known)))
            batch = [*known, *more[: BATCH - len(known)]]
            photos = np.stack([squares[i] for i in batch])
            trunk, vectors = random_trunk(models.network, photos, seed=group)
            network_files.write_trunk(to, name, trunk)
        weights = directions(vectors, len(known), models.classes, seed=group)
        write_head(to, group, name, weights)
    to.write_table(LANDMARKS, landmarks(models))
    to.write_json(EVALUATION, {})
    return seal(
        to,
        threshold=0.0,
        rejection_floor=0.0,
        size=models.side,
        min_side=32,
        max_megapixels=100.0,
        max_megabytes=20.0,
        landmarks=models.groups * models.classes,
        groups=list(range(1, models.groups + 1)),
        metrics={},
        configuration={},
        fingerprints={},
        software={"python": platform.python_version()},
    )


def random_trunk(
    name: str, photos: NDArray[np.uint8], seed: int
) -> tuple["keras.Model", NDArray[np.float32]]:
    """A trunk, and the vectors [N, D] of the photos [N, H, W, 3] that it has the statistics of."""
    import keras
    import tensorflow as tf

    from landmark_ray.models.networks import build_trunk

    keras.utils.set_random_seed(seed)
    trunk = build_trunk(name, weights=None, size=photos.shape[1])
    network = next(layer for layer in trunk.layers if isinstance(layer, keras.Model))
    for layer in network.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.0  # the statistics become those of one batch
            if layer.name.endswith("_3_bn"):
                layer.gamma.assign(layer.gamma * DAMPING)
    # a plain call would hold what all layers make, 10 GB, until its end
    learn = tf.function(lambda batch: trunk(batch, training=True))
    return trunk, learn(tf.constant(photos, tf.float32)).numpy()


def directions(
    vectors: NDArray[np.float32], known: int, classes: int, seed: int
) -> NDArray[np.float64]:
    """A head's weights [D, C]: the first `known` vectors [N, D], then mixtures of all."""
    centred = vectors - vectors.mean(0, dtype=np.float64)
    gram = centred @ centred.T
    apart = centred.T @ np.linalg.inv(gram + RIDGE * np.trace(gram) / len(gram) * np.eye(len(gram)))
    rng = np.random.default_rng(seed)
    mixtures = apart @ rng.normal(size=(len(gram), classes - known))
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
        landmarks=tuple(ids(group, classes)),
        other=False,
        trunk=trunk,
        features=features,
        kind="cosine",
        scale=SCALE,
        temperature=1.0,
        report={},
    )
    network_files.write_head(to, network_files.GROUPS, head, info)


def ids(group: int, classes: int) -> list[int]:
    """Of a group's landmarks."""
    return [(group - 1) * classes + i for i in range(classes)]


def landmarks(models: Models) -> pa.Table:
    """What the bundle knows of its landmarks: nothing but names."""
    rows = [
        {"landmark_id": i, "name": f"landmark {i}", "group": group, "images": 1}
        for group in range(1, models.groups + 1)
        for i in ids(group, models.classes)
    ]
    return pa.Table.from_pylist(rows, bundle_schemas.BUNDLED)
