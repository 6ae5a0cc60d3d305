"""Add a landmark to a bundle from a few photos, or remove one, without training.

Geometry and resemblance check the photos: those that do not fit the others are named and left out.
The index of the new bundle has the photos; heads and trunk stay as they are. The bundle that was
given stays as it is.
"""

import dataclasses
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
    STRANGER,
    LandmarkIndex,
    index_info,
    rewrite_index,
)
from landmark_ray.bundle.manifest import FILE, LANDMARKS, Bundle, clear, owned, seal
from landmark_ray.bundle.network_files import GROUPS, head_infos, write_head_info
from landmark_ray.config.base import Options
from landmark_ray.config.verification import ExtractConfig
from landmark_ray.data import bundle_schemas, deletion
from landmark_ray.data.labels import MAX_ID
from landmark_ray.data.photos import Photos, photos_of
from landmark_ray.data.store import Store
from landmark_ray.errors import UserError
from landmark_ray.kernels.contentless import is_contentless
from landmark_ray.kernels.enrolment import fitting, two_things
from landmark_ray.kernels.features import ImageFeatures
from landmark_ray.kernels.image import ImageError, decode, model_input, normalise
from landmark_ray.kernels.matching import MatchingRule, match_pair
from landmark_ray.kernels.metrics import NO_LANDMARK
from landmark_ray.kernels.sift import extract_sift, root_sift
from landmark_ray.kernels.whitening import unit_length
from landmark_ray.runtime.error_log import without_native_messages

LEAST = 3
"""Number of photos that a landmark needs at least."""

MOST = 100
"""Number of photos of a landmark at most, as `--prune.max_images` by default."""

INLIERS = 11
"""Inliers of a pair that geometry verifies, as `--prune.min_inliers` by default."""


class EnrolOptions(Options):
    """Options of jobs/enrol.py."""

    bundle: str = Field(description="folder or URI of a bundle with an index")
    to: str = Field(description="folder or URI of the new bundle")
    landmark_id: int | None = Field(None, ge=0, le=MAX_ID, description="id of the landmark to add")
    name: str = Field("", description="its name, or the address of its category")
    photos: str | None = Field(None, description="folder or tar with 3 photos of it, or more")
    forget: int | None = Field(None, description="id of a landmark to remove")

    @model_validator(mode="after")
    def _one_task(self) -> "EnrolOptions":
        adds = [self.landmark_id is not None, self.photos is not None]
        if all(adds) == (self.forget is not None) or any(adds) != all(adds):
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
    target = target_of(bundle, options.to)
    index = LandmarkIndex(bundle)
    if options.forget is not None:
        forget(bundle, index, options.forget, target)
    else:
        assert options.landmark_id is not None and options.photos is not None
        enrol(bundle, index, options.landmark_id, options.name, options.photos, target)


def enrol(
    bundle: Bundle, index: LandmarkIndex, landmark: int, name: str, folder: str, target: Store
) -> None:
    """Add a landmark.

    Raises:
        UserError: The landmark is known already, or the photos do not show one landmark.
    """
    if landmark in index.landmarks:
        raise UserError(f"--landmark_id {landmark} is in {bundle.uri} already: --forget it first")
    photos = read(folder, bundle)
    squares = np.stack([photo.square for photo in photos])
    with without_native_messages():
        from landmark_ray.bundle.ensemble import Ensemble

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
    names = pa.concat_tables([names, pa.table(own, schema=bundle_schemas.BUNDLED)])
    # photos of a landmark that `group` left out speak against it among those of no landmark
    stay = pc.not_equal(index.photos["cluster"], f"{STRANGER} {landmark}").to_numpy()
    begin(bundle, target)
    rewrite_index(target, bundle, stay, whitened[chosen], rows)
    finish(bundle, target, names)
    print(f"landmark {landmark}: {len(chosen)} of {len(photos)} photos; bundle {target.uri}")


def forget(bundle: Bundle, index: LandmarkIndex, landmark: int, target: Store) -> None:
    """Remove a landmark: its photos from the index, and its id from the head that knows it.

    Raises:
        UserError: The bundle does not know it, or knows no other.
    """
    if landmark not in index.landmarks:
        raise UserError(f"--forget {landmark}: {bundle.uri} does not know this landmark")
    if len(index.landmarks) == 1:
        raise UserError(f"--forget {landmark}: {bundle.uri} knows no other landmark")
    stay = index.photos["landmark_id"].to_numpy() != landmark
    names = bundle.names()
    begin(bundle, target)
    for info in head_infos(bundle, GROUPS):
        if landmark in info.landmarks:
            ids = tuple(NO_LANDMARK if i == landmark else i for i in info.landmarks)
            write_head_info(target, GROUPS, dataclasses.replace(info, landmarks=ids))
    nothing = bundle_schemas.INDEXED.empty_table()
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
    for part in Photos(folder, "--photos").parts:
        for member in photos_of(part, bundle.manifest.max_megabytes * 1e6):
            image_id = hashlib.sha256(member.data).hexdigest()[:16]
            try:
                if member.problem:
                    raise ImageError(member.problem)
                square = model_input(member.data, size, limits)
                if is_contentless(square):
                    raise ImageError("it is of one colour, a gradient, or noise")
                image = decode(normalise(member.data, limits).jpeg)
            except ImageError as error:
                print(f"left out: {member.name}: {error}", file=sys.stderr)
                continue
            if image_id in photos:
                print(
                    f"left out: {member.name}: a copy of {photos[image_id].name}", file=sys.stderr
                )
                continue
            if len(photos) == MOST:
                print(f"left out: {member.name}: {MOST} photos are enough", file=sys.stderr)
                continue
            points, descriptors = extract_sift(
                image, max_features=options.max_feature_num, side=options.max_side
            )
            features = ImageFeatures(points, root_sift(descriptors), max(image.shape[:2]))
            photos[image_id] = Photo(member.name, image_id, square, features)
    if len(photos) < LEAST:
        raise UserError(
            f"--photos {folder}: photos that can be used: {len(photos)}; a landmark needs {LEAST}"
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
    second = two_things(vectors, verified, unit_length(index.means))
    if second is not None:
        names = [
            ", ".join(photo.name for photo in itertools.compress(photos, part))
            for part in (~second, second)
        ]
        raise UserError(
            f"--photos {folder}: these show two things: {names[0]}, and {names[1]}; enrol them "
            "under two ids, or leave one out"
        )
    fits = fitting(vectors, verified, unit_length(index.means))
    for photo in itertools.compress(photos, ~fits):
        print(f"left out: {photo.name}: it does not resemble the others", file=sys.stderr)
    chosen = np.flatnonzero(fits).tolist()
    if len(chosen) < LEAST:
        raise UserError(
            f"--photos {folder}: {len(chosen)} of {len(photos)} photos resemble each other, and a "
            f"landmark needs {LEAST}"
        )
    return chosen


def target_of(bundle: Bundle, to: str) -> Store:
    """Return the folder of the new bundle, after checking that it may be written.

    Raises:
        UserError: It is that of the bundle, is in it or holds it, or it holds files that no export
            wrote.
    """
    target = Store(to)
    new, old = (f"{store.real_path.rstrip('/')}/" for store in (target, bundle))
    if new.startswith(old) or old.startswith(new):
        raise UserError(f"--to {to} is the bundle's folder, in it, or holds it: give another one")
    deletion.check_ours(target, "", ours=owned(target).__contains__)
    return target


def begin(bundle: Bundle, target: Store) -> None:
    """Copy to the folder of the new bundle what does not change."""
    clear(target, bundle.manifest.files, owned(target).__contains__)
    for name in bundle.manifest.files:
        if name != LANDMARKS and not name.startswith(f"{INDEX}/"):
            target.write(name, bundle.read(name))


def finish(bundle: Bundle, target: Store, names: pa.Table) -> None:
    """Write the table of landmarks, and the manifest last."""
    target.write_table(LANDMARKS, names.sort_by("landmark_id").cast(bundle_schemas.BUNDLED))
    fields = bundle.manifest.model_dump(exclude={"format", "version", "created", "files"})
    seal(target, **fields | {"landmarks": names.num_rows})
    Bundle(target.uri, read=lambda name: name == FILE)
