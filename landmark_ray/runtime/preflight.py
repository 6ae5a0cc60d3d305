"""Stop a run that cannot succeed: options that contradict each other, or no photos left."""

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
    "clean": "group",  # not prune: verdicts can bring photos back, and the page helps to give them
    "group": "resize",
    "resize": "trunk",
}
"""Stage -> the first stage that cannot work if this one left no photo."""


def check_options(config: Config, stages: Sequence[str]) -> None:
    """Refuse options with which no landmark can stay, whatever the photos show.

    Args:
        config: All options.
        stages: The stages to run.

    Raises:
        UserError: Options contradict each other; the message names them.
    """
    minimums = _minimums(config, stages)
    minimums.pop("sample.min_images", None)
    _check_maximum(minimums, "sample.max_images", config.sample.max_images)
    minimums.pop("match.min_partners", None)  # partners that prune leaves out count, too
    _check_maximum(minimums, "prune.max_images", config.prune.max_images)
    if "group" in stages:
        _check_validation_shares(config.group)


def _check_validation_shares(options: GroupConfig) -> None:
    """Refuse shares that leave no photos to train or to validate on.

    The former are those of the smallest landmarks of a group; the latter choose the threshold.
    """
    first, last = options.validation_first, options.validation_last
    if not max(first, last):
        raise UserError(
            "--group.validation_first 0 and --group.validation_last 0 leave no photos that choose "
            "the threshold of not a landmark: raise one of them"
        )
    for group, photos in enumerate(options.edges, 1):
        share = validation_share(group, len(options.edges), first, last)
        if wanted_validation(share, photos) >= photos:
            raise UserError(
                f"--group.validation_first {first:g} and --group.validation_last {last:g} leave "
                f"landmarks of {photos} photos (group {group}) none to train on: lower them"
            )


def _check_maximum(minimums: dict[str, int], option: str, maximum: int) -> None:
    """Refuse an option that leaves each landmark fewer photos than other options require."""
    names = [name for name, photos in minimums.items() if photos > maximum]
    if names:
        photos = max(minimums.values())
        raise UserError(
            f"--{option} {maximum} leaves no landmark the {photos} photos that "
            f"{' and '.join(f'--{name}' for name in names)} require: raise the former or lower the "
            "latter"
        )


def check_landmark_sizes(sizes: NDArray[np.int64], config: Config, stages: Sequence[str]) -> None:
    """Refuse a source whose landmarks are all too small for one of the stages.

    Args:
        sizes: [C] number of photos of each landmark of the source.
        config: All options.
        stages: The stages to run.

    Raises:
        UserError: No landmark is large enough; the message names values of options that work.
    """
    photos = max(_minimums(config, stages).values(), default=0)
    largest = int(sizes.max()) if len(sizes) else 0
    if largest >= photos:
        return
    problem = f"none of the {len(sizes):,} landmarks has {photos} photos, the largest has {largest}"
    enough = int(np.sort(sizes)[-2:].min()) if len(sizes) else 0  # for two landmarks, not for one
    if enough <= config.match.min_partners:
        raise UserError(
            f"{problem}; each photo needs {config.match.min_partners} other photos of its landmark "
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
    raise UserError(f"{problem}: add photos, or give {together} together")


def _minimums(config: Config, stages: Sequence[str]) -> dict[str, int]:
    """Return option -> number of photos that a landmark needs, for the stages to run."""
    minimums = {
        "sample.min_images": ("sample", config.sample.min_images),
        "match.min_partners": ("prune", config.match.min_partners + 1),
        "prune.min_images": ("prune", config.prune.min_images),
        "group.edges": ("group", config.group.edges[0]),
    }
    return {name: photos for name, (stage, photos) in minimums.items() if stage in stages}


def check_photos_left(stage: str, records: Records, config: Config, root: Root) -> None:
    """Refuse to run a stage that has no photos to work on.

    Args:
        stage: The stage that is about to run.
        records: The records of the stages before it.
        config: All options.
        root: The root.

    Raises:
        UserError: An earlier stage left no photo; the message says which, why, and what to do.
    """
    for before, first in LAST_CHANCE.items():
        if STAGES.index(stage) < STAGES.index(first) or before not in records:
            continue
        if not records[before]["funnel"]["images_out"]:
            reason = _explain(before, records, config, root.shown)
            raise UserError(f"nothing is left to train on: {reason}")


def _explain(stage: str, records: Records, config: Config, root: str) -> str:
    """Say why a stage left no photo, and what to do."""
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
            f"{root}/rejects/stage={stage}, correct the source and add --redo {stage}"
        )
    page = f"see {root}/reports/curation.html"
    pruned = records["prune"]["funnel"]
    if pruned["images_out"]:
        return f"clean dropped all {pruned['images_out']:,} photos ({most}): {page}"
    small = pruned["why"].get("small_class", 0)
    if small:
        return (
            f"{small:,} of {pruned['images_in']:,} photos are verified or similar, but no landmark "
            f"has --prune.min_images {config.prune.min_images} of them: {page}; lower this option "
            "(and the first of --group.edges) with --redo prune, or add photos"
        )
    return (
        f"no photo is verified: among {pruned['images_in']:,} photos, no two of the same landmark "
        f"agree in --match.min_inliers {config.match.min_inliers} points or more: {page}; check "
        "that they show the same place, or lower --match.min_inliers with --redo match"
    )


def check_reject_share(stage: str, counts: StageCounts, limit: float) -> None:
    """Refuse the result of a stage that rejected too many of its photos.

    Args:
        stage: The stage that has run.
        counts: Its counts.
        limit: The largest share of photos that it may reject, 0 to 1.

    Raises:
        UserError: It rejected more; the message names the most common reason.
    """
    images, rejected = counts.images_in, counts.images_in - counts.images_out
    if not rejected or rejected <= limit * images:
        return
    reason, count = (counts.reject_reasons.most_common(1) or [("unknown", 0)])[0]
    notes = f" ({counts.notes[0]})" if counts.notes else ""
    raise UserError(
        f"{stage} rejected {rejected / images:.1%} of {images:,} images, more than {limit:.1%}; "
        f"{count:,} of them: {reason}{notes}. See the table rejects; correct the source and add "
        f"--redo {stage}, or raise --{stage}.max_rejected"
    )
