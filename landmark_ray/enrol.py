"""Add a landmark to a bundle from a few photos, or remove one, without training.

Geometry and resemblance check the photos: those that do not fit the others are named and left out.
The index of the new bundle has the photos; heads and trunk stay as they are. The bundle that was
given stays as it is.
"""

import dataclasses
import itertools
import sys
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pydantic import Field, model_validator

from landmark_ray.bundle.enrolment_photos import LEAST, Photo, read_photos
from landmark_ray.bundle.exemplar_files import (
    ExemplarInfo,
    exemplar_info,
    exemplar_row,
    next_file,
    without,
    write_file,
    write_info,
)
from landmark_ray.bundle.exemplars import Exemplars
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
from landmark_ray.data import bundle_schemas, deletion
from landmark_ray.data.labels import MAX_ID
from landmark_ray.data.store import Store
from landmark_ray.errors import UserError
from landmark_ray.kernels.enrolment import LEAD, leads_of_others, two_things
from landmark_ray.kernels.matching import MatchingRule, match_pair
from landmark_ray.kernels.metrics import NO_LANDMARK
from landmark_ray.kernels.whitening import unit_length
from landmark_ray.reports.model_card import write_card
from landmark_ray.runtime.error_log import silenced

EXEMPLARS = 5
"""Number of photos of a landmark that become exemplars, as `--index.exemplars` by default."""

INLIERS = 11
"""Inliers of a pair that geometry verifies, as `--match.min_inliers` by default."""


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
    exemplars = Exemplars(bundle) if exemplar_info(bundle) else None
    photos = read_photos(folder, bundle, exemplars)
    squares = np.stack([photo.square for photo in photos])
    with silenced(2):  # what libraries print while they start
        from landmark_ray.bundle.ensemble import Ensemble

        vectors = Ensemble(bundle).vectors(squares, [index.info.trunk])[index.info.trunk]
    whitened = index.whiten(vectors)
    rule = exemplars.info.rule if exemplars else MatchingRule.sift()
    chosen = check(photos, whitened, index, folder, rule)
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
    begin(bundle, target, [next_file(exemplars.info)] if exemplars else [])
    rewrite_index(target, bundle, stay, whitened[chosen], rows)
    if exemplars:
        add_exemplars(target, exemplars.info, landmark, [photos[i] for i in chosen[:EXEMPLARS]])
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
    for file, others in without(bundle, landmark):
        write_file(target, file, [others])
    finish(bundle, target, names.filter(pc.not_equal(names["landmark_id"], landmark)))
    print(f"landmark {landmark}: forgotten, with {int((~stay).sum())} photos; bundle {target.uri}")


def add_exemplars(target: Store, info: ExemplarInfo, landmark: int, photos: list[Photo]) -> None:
    """Write a further file of exemplars, with those of a landmark."""
    rows = [
        exemplar_row(
            photo.image_id,
            landmark,
            photo.image_id,
            photo.whole.jpeg,
            photo.features,
            (photo.whole.width, photo.whole.height),
        )
        for photo in photos
    ]
    name = next_file(info)
    write_file(target, name, [pa.Table.from_pylist(rows, bundle_schemas.EXEMPLARS)])
    more = dataclasses.replace(info, files=(*info.files, name), photos=info.photos + len(photos))
    write_info(target, more, None)


def check(
    photos: Sequence[Photo],
    vectors: NDArray[np.float32],
    index: LandmarkIndex,
    folder: str,
    rule: MatchingRule,
) -> list[int]:
    """Return the numbers of the photos that fit together; name the others, and doubtful ones.

    Those with most verified partners come first.

    Raises:
        UserError: Too few fit, or they show two things.
    """
    verified = np.zeros((len(photos), len(photos)), bool)
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
    leads = leads_of_others(vectors, verified, unit_length(index.means))
    for photo, lead in zip(photos, leads, strict=True):
        if lead > LEAD:
            print(f"left out: {photo.name}: it does not resemble the others", file=sys.stderr)
        elif lead > 0:
            print(
                f"kept: {photo.name}: it resembles another landmark more than these photos; leave "
                "it out if it shows something else",
                file=sys.stderr,
            )
    fits = np.flatnonzero(leads <= LEAD).tolist()
    chosen = sorted(fits, key=lambda i: (leads[i] > 0, -verified[i].sum()))
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


def begin(bundle: Bundle, target: Store, new: Sequence[str] = ()) -> None:
    """Copy to the folder of the new bundle what does not change; `new` files will be written."""
    clear(target, [*bundle.manifest.files, *new], owned(target).__contains__)
    for name in bundle.manifest.files:
        if name != LANDMARKS and not name.startswith(f"{INDEX}/"):
            target.write(name, bundle.read(name))


def finish(bundle: Bundle, target: Store, names: pa.Table) -> None:
    """Write the table of landmarks, and the manifest last."""
    target.write_table(LANDMARKS, names.sort_by("landmark_id").cast(bundle_schemas.BUNDLED))
    fields = bundle.manifest.model_dump(exclude={"format", "version", "created", "files"})
    fields |= {"landmarks": names.num_rows}
    write_card(target, fields)
    seal(target, **fields)
    Bundle(target.uri, read=lambda name: name == FILE)
