"""Whether a run can come to something: options that fit each other, photos that are left."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from landmark_ray.config import STAGES, Config
from landmark_ray.config.curation import GroupConfig
from landmark_ray.data.root import Root
from landmark_ray.errors import UserError
from landmark_ray.kernels.splitting import validation_share, wanted_validation
from landmark_ray.runtime.counts import StageCounts

Records = dict[str, dict[str, Any]]
"""Stage -> its record in the ledger."""

LAST_CHANCE = {
    "ingest": "dedupe",
    "extract": "match",
    "clean": "group",  # not prune: a verdict brings photos back, and there is a page to look at
    "group": "resize",
    "resize": "trunk",
}
"""Stage whose photos are all gone -> the first stage that can do nothing without them."""


def check_options(config: Config, stages: Sequence[str]) -> None:
    """Refuse options that leave no landmark whatever the photos show.

    Raises:
        UserError: names the options that contradict each other.
    """
    asked = _asked(config, stages)
    asked.pop("sample.min_images", None)
    _leaves(asked, "sample.max_images", config.sample.max_images)
    asked.pop("match.min_partners", None)  # it counts those that prune leaves out, too
    _leaves(asked, "prune.max_images", config.prune.max_images)
    if "group" in stages:
        _some_train(config.group)


def _some_train(options: GroupConfig) -> None:
    """Refuse shares that leave the smallest landmarks of a group no photo to learn from."""
    first, last = options.validation_first, options.validation_last
    for group, photos in enumerate(options.edges, 1):
        share = validation_share(group, len(options.edges), first, last)
        if wanted_validation(share, photos) >= photos:
            raise UserError(
                f"--group.validation_first {first:g} and --group.validation_last {last:g} leave "
                f"landmarks of {photos} photos (group {group}) none to train on: lower them"
            )


def _leaves(asked: dict[str, int], option: str, most: int) -> None:
    """Refuse an option that leaves a landmark fewer photos than others ask for."""
    names = [name for name, photos in asked.items() if photos > most]
    if names:
        photos = max(asked.values())
        raise UserError(
            f"--{option} {most} leaves no landmark the {photos} photos that "
            f"{' and '.join(f'--{name}' for name in names)} ask for: raise the one or lower the "
            "others"
        )


def check_landmark_sizes(sizes: NDArray[np.int64], config: Config, stages: Sequence[str]) -> None:
    """Refuse a source whose landmarks are all too small for some stage to come.

    Args:
        sizes: [C] photos of each landmark of the source.
        config: all options.
        stages: that are to run.

    Raises:
        UserError: names all options that ask for more photos, and values that work.
    """
    photos = max(_asked(config, stages).values(), default=0)
    most = int(sizes.max()) if len(sizes) else 0
    if most >= photos:
        return
    found = f"none of the {len(sizes):,} landmarks has {photos} photos, the largest has {most}"
    enough = int(np.sort(sizes)[-2:].min()) if len(sizes) else 0  # for two landmarks, not for one
    if enough <= config.match.min_partners:
        raise UserError(
            f"{found}; each photo needs {config.match.min_partners} other photos of its landmark "
            "that confirm it: add photos"
        )
    edges = [edge for edge in config.group.edges if edge > enough]
    lowest = min(config.group.edges[0], enough)
    values = {
        "sample.min_images": min(config.sample.min_images, enough),
        "prune.min_images": min(config.prune.min_images, enough),
        "group.edges": ",".join(map(str, [lowest, *edges])),
    }
    together = " ".join(f"--{name} {value}" for name, value in values.items())
    raise UserError(f"{found}: add photos, or give {together} together")


def _asked(config: Config, stages: Sequence[str]) -> dict[str, int]:
    """Option -> photos that it asks of a landmark, of the stages that are to run."""
    asks = {
        "sample.min_images": ("sample", config.sample.min_images),
        "match.min_partners": ("prune", config.match.min_partners + 1),
        "prune.min_images": ("prune", config.prune.min_images),
        "group.edges": ("group", config.group.edges[0]),
    }
    return {name: photos for name, (stage, photos) in asks.items() if stage in stages}


def check_photos_left(stage: str, records: Records, config: Config, root: Root) -> None:
    """Refuse to run a stage that has no photos to work on.

    Args:
        stage: about to run.
        records: of the stages before it.
        config: all options.
        root: the root.

    Raises:
        UserError: says which stage left nothing, why, and what to do.
    """
    for before, first in LAST_CHANCE.items():
        if STAGES.index(stage) < STAGES.index(first) or before not in records:
            continue
        if not records[before]["funnel"]["images_out"]:
            why = _why_nothing(before, records, config, root.shown)
            raise UserError(f"nothing is left to train on: {why}")


def _why_nothing(stage: str, records: Records, config: Config, root: str) -> str:
    funnel = records[stage]["funnel"]
    reasons = sorted(funnel["why"].items(), key=lambda item: -item[1])
    most = f"{reasons[0][1]:,} of them: {reasons[0][0].replace('_', ' ')}" if reasons else ""
    if stage == "group":
        edge = config.group.edges[0]
        return (
            f"no landmark has the {edge} photos that --group.edges asks for: give it a lower first "
            "edge with --redo group, or add photos"
        )
    if stage != "clean":
        return (
            f"{stage} rejected all {funnel['images_in']:,} photos ({most}): see "
            f"{root}/rejects/stage={stage}, mend the source and add --redo {stage}"
        )
    page = f"see {root}/reports/curation.html"
    pruned = records["prune"]["funnel"]
    if pruned["images_out"]:
        return f"clean dropped all {pruned['images_out']:,} photos ({most}): {page}"
    small = pruned["why"].get("small_class", 0)
    if small:
        return (
            f"{small:,} of {pruned['images_in']:,} photos are verified, but no landmark has "
            f"--prune.min_images {config.prune.min_images} of them: {page}; lower that (and the "
            "first of --group.edges) with --redo prune, or add photos"
        )
    return (
        f"no photo is verified: no two of the {pruned['images_in']:,} photos of a landmark agree "
        f"in --match.min_inliers {config.match.min_inliers} points or more: {page}; look whether "
        "they show the same, or lower --match.min_inliers with --redo match"
    )


def check_reject_share(stage: str, counts: StageCounts, limit: float) -> None:
    """Refuse a stage's work when it could use too few of its photos.

    Args:
        stage: that has run.
        counts: its counts.
        limit: of the share that it may reject.

    Raises:
        UserError: names the commonest reason.
    """
    images, rejected = counts.images_in, counts.images_in - counts.images_out
    if not rejected or rejected <= limit * images:
        return
    reason, count = (counts.reject_reasons.most_common(1) or [("unknown", 0)])[0]
    notes = f" ({counts.notes[0]})" if counts.notes else ""
    raise UserError(
        f"{stage} rejected {rejected / images:.1%} of {images:,} images, more than {limit:.1%}; "
        f"{count:,} of them: {reason}{notes}. See the table rejects; mend the source and add "
        f"--redo {stage}, or raise --{stage}.max_rejected"
    )
