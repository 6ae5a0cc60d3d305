"""Add a landmark to a bundle from a few photos, or remove one, without training.

Geometry and resemblance check the photos: those that do not fit the others are named and left out.
The index of the new bundle has the photos; heads and trunk stay as they are. The bundle that was
given stays as it is.
"""

import hashlib
import itertools
import sys
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pydantic import Field, model_validator

from landmark_ray.bundle.landmark_index import (
    INDEX,
    LandmarkIndex,
    index_info,
    rewrite_index,
)
from landmark_ray.bundle.manifest import FILE, LANDMARKS, Bundle, clear, owned, seal
from landmark_ray.config.base import Options
from landmark_ray.config.verification import ExtractConfig
from landmark_ray.data import schemas
from landmark_ray.data.photos import Photos, photos_of
from landmark_ray.data.store import Store
from landmark_ray.errors import UserError
from landmark_ray.kernels.enrolment import examine, two_things
from landmark_ray.kernels.features import ImageFeatures
from landmark_ray.kernels.image import ImageError, decode, model_input, normalise
from landmark_ray.kernels.matching import MatchingRule, match_pair
from landmark_ray.kernels.sift import extract_sift, root_sift

LEAST = 3
"""Number of photos that a landmark needs at least."""

INLIERS = 11
"""Inliers of a pair that geometry verifies, as `--prune.min_inliers` by default."""


class EnrolOptions(Options):
    """Options of jobs/enrol.py."""

    bundle: str = Field(description="folder or URI of a bundle with an index")
    to: str = Field(description="folder or URI of the new bundle")
    landmark_id: int | None = Field(None, ge=0, description="id of the landmark to add")
    name: str = Field("", description="its name, or the address of its category")
    photos: str | None = Field(None, description="folder or tar with 3 photos of it, or more")
    forget: int | None = Field(None, ge=0, description="id of a landmark to remove")

    @model_validator(mode="after")
    def _one_task(self) -> "EnrolOptions":
        adds = self.landmark_id is not None and self.photos is not None
        if adds == (self.forget is not None):
            raise ValueError("give --landmark_id and --photos to add a landmark, or --forget")
        return self


@dataclass(frozen=True)
class Photo:
    """A photo to enrol.

    Attributes:
        name: Its file.
        image_id: A hash of its bytes.
        square: [size, size, 3] RGB, as the network sees it.
        features: Its RootSIFT features.
    """

    name: str
    image_id: str
    square: NDArray[np.uint8]
    features: ImageFeatures


def run(options: EnrolOptions) -> None:
    """Write the new bundle.

    Raises:
        UserError: A bundle or photos cannot be used.
    """
    bundle = Bundle(options.bundle)
    if index_info(bundle) is None:
        raise UserError(f"{bundle.uri} has no index: run jobs/export.py with this version first")
    index = LandmarkIndex(bundle)
    if options.forget is not None:
        forget(bundle, index, options.forget, options.to)
    else:
        assert options.landmark_id is not None and options.photos is not None
        enrol(bundle, index, options.landmark_id, options.name, options.photos, options.to)


def enrol(
    bundle: Bundle, index: LandmarkIndex, landmark: int, name: str, folder: str, to: str
) -> None:
    """Add a landmark.

    Raises:
        UserError: The landmark is known already, or the photos do not show one landmark.
    """
    from landmark_ray.bundle.ensemble import Ensemble

    if landmark in index.landmarks:
        raise UserError(f"--landmark_id {landmark} is in {bundle.uri} already: --forget it first")
    photos = read(folder, bundle)
    squares = np.stack([photo.square for photo in photos])
    vectors = Ensemble(bundle).vectors(squares, [index.info.trunk])[index.info.trunk]
    whitened = index.whiten(vectors)
    chosen = check(photos, whitened, index, folder)
    rows = pa.table(
        {
            "image_id": [photos[i].image_id for i in chosen],
            "landmark_id": [landmark] * len(chosen),
            "cluster": [photos[i].image_id for i in chosen],
            "enrolled": [True] * len(chosen),
        }
    )
    names = bundle.names()
    own = {"landmark_id": [landmark], "name": [name], "group": [0], "images": [len(chosen)]}
    names = pa.concat_tables([names, pa.table(own, schema=schemas.BUNDLED)])
    target = begin(bundle, to)
    rewrite_index(target, bundle, np.ones(len(index.photos), bool), whitened[chosen], rows)
    finish(bundle, target, names)
    print(f"landmark {landmark}: {len(chosen)} of {len(photos)} photos; bundle {target.uri}")


def forget(bundle: Bundle, index: LandmarkIndex, landmark: int, to: str) -> None:
    """Remove a landmark.

    Raises:
        UserError: The bundle does not know it, or knows no other.
    """
    if landmark not in index.landmarks:
        raise UserError(f"--forget {landmark}: {bundle.uri} does not know this landmark")
    if len(index.landmarks) == 1:
        raise UserError(f"--forget {landmark}: {bundle.uri} knows no other landmark")
    stay = index.photos["landmark_id"].to_numpy() != landmark
    names = bundle.names()
    target = begin(bundle, to)
    nothing = schemas.INDEXED.empty_table()
    rewrite_index(target, bundle, stay, np.zeros((0, index.means.shape[1]), np.float32), nothing)
    finish(bundle, target, names.filter(pc.not_equal(names["landmark_id"], landmark)))
    print(f"landmark {landmark}: forgotten, with {int((~stay).sum())} photos; bundle {target.uri}")


def read(folder: str, bundle: Bundle) -> list[Photo]:
    """Read the photos of a folder; name those that cannot be used on stderr.

    Raises:
        UserError: Fewer than `LEAST` photos can be used.
    """
    limits, size = bundle.manifest.limits, bundle.manifest.size
    options = ExtractConfig()
    photos: dict[str, Photo] = {}
    for part in Photos(folder).parts:
        for member in photos_of(part, bundle.manifest.max_megabytes * 1e6):
            image_id = hashlib.sha256(member.data).hexdigest()[:16]
            try:
                if member.problem:
                    raise ImageError(member.problem)
                square = model_input(member.data, size, limits)
                image = decode(normalise(member.data, limits).jpeg)
            except ImageError as error:
                print(f"left out: {member.name}: {error}", file=sys.stderr)
                continue
            if image_id in photos:
                print(
                    f"left out: {member.name}: a copy of {photos[image_id].name}", file=sys.stderr
                )
                continue
            points, descriptors = extract_sift(
                image, max_features=options.max_feature_num, side=options.max_side
            )
            features = ImageFeatures(points, root_sift(descriptors), max(image.shape[:2]))
            photos[image_id] = Photo(member.name, image_id, square, features)
    if len(photos) < LEAST:
        raise UserError(
            f"--photos {folder}: {len(photos)} photos can be used, and a landmark needs {LEAST}"
        )
    return list(photos.values())


def check(
    photos: Sequence[Photo], vectors: NDArray[np.float32], index: LandmarkIndex, folder: str
) -> list[int]:
    """Return the numbers of the photos that fit together; name the others on stderr.

    Raises:
        UserError: Too few fit, or they show two things.
    """
    rule, verified = MatchingRule.sift(), np.zeros((len(photos), len(photos)), bool)
    for a, b in itertools.combinations(range(len(photos)), 2):
        pair = match_pair(photos[a].features, photos[b].features, rule, stop_below=INLIERS)
        verified[a, b] = verified[b, a] = pair.inliers >= INLIERS
    found = examine(vectors, verified, index.nearest(vectors))
    for photo in itertools.compress(photos, ~found.fits):
        print(f"left out: {photo.name}: it does not resemble the others", file=sys.stderr)
    apart = two_things(vectors, found.parts, index.means)
    if apart:
        names = [
            ", ".join(p.name for p, part in zip(photos, found.parts, strict=True) if part == number)
            for number in apart
        ]
        raise UserError(
            f"--photos {folder}: these show two things: {names[0]}, and {names[1]}; enrol them "
            "under two ids, or leave one out"
        )
    chosen = np.flatnonzero(found.fits).tolist()
    if len(chosen) < LEAST:
        raise UserError(
            f"--photos {folder}: {len(chosen)} of {len(photos)} photos resemble each other, and a "
            f"landmark needs {LEAST}"
        )
    return chosen


def begin(bundle: Bundle, to: str) -> Store:
    """Copy to a new folder what does not change.

    Raises:
        UserError: The folder is that of the bundle, or holds files that no export wrote.
    """
    target = Store(to)
    if target.real_path == bundle.real_path:
        raise UserError(f"--to {to} is the bundle itself, which serves: give another folder")
    clear(target, bundle.manifest.files, owned(target).__contains__)
    for name in bundle.manifest.files:
        if name != LANDMARKS and not name.startswith(f"{INDEX}/"):
            target.write(name, bundle.read(name))
    return target


def finish(bundle: Bundle, target: Store, names: pa.Table) -> None:
    """Write the table of landmarks, and the manifest last."""
    target.write_table(LANDMARKS, names.sort_by("landmark_id").cast(schemas.BUNDLED))
    fields = bundle.manifest.model_dump(exclude={"format", "version", "created", "files"})
    seal(target, **fields | {"landmarks": names.num_rows})
    Bundle(target.uri, read=lambda name: name == FILE)
