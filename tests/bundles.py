"""Bundles of small networks with random weights: they answer, whatever they say."""

import io
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
from PIL import Image

from landmark_ray.bundle.exemplar_files import (
    ExemplarInfo,
    exemplar_row,
    file_name,
    write_file,
    write_info,
)
from landmark_ray.bundle.landmark_index import (
    IndexInfo,
    read_fusion,
    trunk_checksum,
    write_fusion,
    write_index,
)
from landmark_ray.bundle.manifest import LANDMARKS, REFERENCE, Bundle, Manifest, seal
from landmark_ray.bundle.multihead import FEATURES
from landmark_ray.bundle.network_files import GROUPS, TRUNK, HeadInfo, write_head, write_trunk
from landmark_ray.bundle.reference import Reference
from landmark_ray.data import bundle_schemas
from landmark_ray.data.store import Store
from landmark_ray.kernels.features import Features
from landmark_ray.kernels.fusion import STRANGERS, Fusion, Regression, Regressions
from landmark_ray.kernels.matching import MatchingRule
from landmark_ray.kernels.photo_index import divide
from landmark_ray.kernels.sift import extract_sift, root_sift
from landmark_ray.kernels.whitening import fit_learned_whitening

SIZE = 48
NAME = "http://commons.wikimedia.org/wiki/Category:Torre_dos_Cl%C3%A9rigos"
WARNING = "these models can't be trusted to know when a photo doesn't show the one landmark"


def clouds(count: int, seed: int = 0, size: int = SIZE) -> np.ndarray:
    """[count, size, size, 3] coloured clouds, all different."""
    small = np.random.default_rng(seed).integers(0, 256, (count, 5, 5, 3), np.uint8)
    images = [Image.fromarray(s).resize((size, size), Image.Resampling.BICUBIC) for s in small]
    return np.stack([np.asarray(image) for image in images])


def png(pixels: np.ndarray) -> bytes:
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG")
    return out.getvalue()


def write(
    place: Path,
    *,
    groups: tuple[int, ...] = (1, 2, 3),
    classes: int = 4,
    shared: bool = True,
    seed: int = 0,
    size: int = SIZE,
    warning: str = "",
    threshold: float = 0.0,
    reference: bool = False,
    index: bool = False,
    exemplars: Mapping[int, np.ndarray] | None = None,
    network: str = "small",
) -> Manifest:
    """A bundle whose group g knows the landmarks 100 g, 100 g + 1, ...; 100 has a link for a name.

    Args:
        place: a new folder.
        groups: their numbers.
        classes: landmarks of each.
        shared: one trunk for all groups; else each has its own.
        seed: of the weights.
        size: of the photos that it takes, in pixels.
        warning: what people must know of the models; with one they don't reject strangers.
        threshold: of "not a landmark".
        reference: write reference answers, as export does.
        index: write an index of made-up photos, three of each landmark and of none, and a fusion.
        exemplars: landmark -> the photo that is its exemplar; none by default.
        network: of the trunks.
    """
    import keras

    from landmark_ray.bundle.ensemble import Ensemble
    from landmark_ray.models.heads import build_head
    from landmark_ray.models.networks import build_trunk

    keras.utils.set_random_seed(seed)
    folder = Store(str(place))
    rows = []
    trunk = None
    for group in groups:
        name = TRUNK if shared else f"{GROUPS}/group={group}"
        if trunk is None or not shared:
            trunk = build_trunk(network, weights=None, input_size=size)
            write_trunk(folder, name, trunk)
        features = trunk.output_shape[-1]
        landmarks = tuple(100 * group + i for i in range(classes))
        head = build_head(features, classes + 1, kind="cosine", scale=16.0)
        info = HeadInfo(group, landmarks, True, name, features, "cosine", 16.0, 0.5 + group, {})
        write_head(folder, GROUPS, head, info)
        rows += [
            {"landmark_id": i, "name": NAME if i == 100 else "", "group": group, "images": 9}
            for i in landmarks
        ]
    folder.write_table(LANDMARKS, pa.Table.from_pylist(rows, bundle_schemas.BUNDLED))
    if index:
        if not shared:
            write_trunk(folder, TRUNK, build_trunk(network, weights=None, input_size=size))
        write_made_index(folder, [row["landmark_id"] for row in rows], size)
    if exemplars:
        write_made_exemplars(folder, exemplars)
    if reference:
        ensemble, photos = Ensemble(folder), clouds(12, seed=1, size=size)
        trunks = sorted({*ensemble.trunks, *([TRUNK] if index else [])})
        vectors = ensemble.vectors(photos, trunks)
        outputs = ensemble.logits(vectors) | ({FEATURES: vectors[TRUNK]} if index else {})
        Reference(photos, outputs).write(folder, REFERENCE)
    return seal(
        folder,
        threshold=threshold,
        rejects_strangers=not warning,
        warning=warning,
        size=size,
        min_side=16,
        max_megapixels=100.0,
        max_megabytes=64.0,
        rejection_floor=0.0,
        landmarks=len(rows),
        groups=list(groups),
        metrics={},
        configuration={},
        fingerprints={},
        software={},
    )


def write_made_index(folder: Store, landmarks: list[int], size: int) -> None:
    """An index of clouds: what it says is as good as what the heads say."""
    from landmark_ray.bundle.ensemble import Ensemble

    own = np.repeat([*landmarks, STRANGERS], 3)
    vectors = Ensemble(folder).vectors(clouds(len(own), seed=5, size=size), [TRUNK])[TRUNK]
    whitening = fit_learned_whitening(vectors, own)
    ids = [f"{number:016x}" for number in range(len(own))]
    photos = pa.table(
        {"image_id": ids, "landmark_id": own, "cluster": ids, "enrolled": [False] * len(ids)}
    )
    info = IndexInfo(
        TRUNK, trunk_checksum(folder), vectors.shape[1], photos=len(own) - 3, strangers=3
    )
    write_index(folder, whitening, divide(whitening(vectors).astype(np.float16)), photos, info)
    of_heads, of_index = (Regression((weight, 5.0, 10.0), -1.0) for weight in (0.5, 0.0))
    write_fusion(folder, Fusion(of_heads, of_index))


def write_made_exemplars(folder: Store, photos: Mapping[int, np.ndarray]) -> None:
    """One exemplar of each landmark, by SIFT, and a fusion that listens to them."""
    rows = []
    for landmark, photo in photos.items():
        points, descriptors = extract_sift(photo, max_features=300, side=320)
        features = Features(points, root_sift(descriptors))
        names = f"{landmark:016x}", landmark, f"{landmark}"
        rows.append(exemplar_row(*names, png(photo), features, photo.shape[1::-1]))
    file = file_name(0)
    write_file(folder, file, [pa.Table.from_pylist(rows, bundle_schemas.EXEMPLARS)])
    rule = MatchingRule.sift()
    write_info(folder, ExemplarInfo(True, 300, 320, rule, (file,), len(rows)), None)
    fusion = read_fusion(folder)
    assert fusion is not None, "exemplars need an index"
    asked = [
        Regression((*regression.weights, 3.0), regression.bias)
        for regression in (fusion.trained, fusion.enrolled)
    ]
    write_fusion(folder, replace(fusion, verified=Regressions(*asked)))


def change(place: Path, **fields: object) -> Bundle:
    """Seal a bundle anew after a file was changed, or with other fields of its manifest."""
    folder = Store(str(place))
    kept = Manifest.model_validate_json((place / "bundle.json").read_bytes()).model_dump(
        exclude={"format", "version", "created", "files"}
    )
    (place / "bundle.json").unlink()
    seal(folder, **(kept | fields))
    return Bundle(folder.uri)
