"""clean: drop images that show no building from those that prune kept, and apply verdicts.

The stage applies rules to stored detections and verdicts of people. It decodes no image, so that
other rules take seconds.
"""

import hashlib
from collections import Counter
from functools import partial

import numpy as np
import pyarrow as pa

from landmark_ray.config import Config
from landmark_ray.data import schemas
from landmark_ray.data.root import Root
from landmark_ray.data.sources import Source
from landmark_ray.data.store import Store, split_uri
from landmark_ray.data.verdicts import Verdicts, read_verdicts
from landmark_ray.errors import redact_url
from landmark_ray.kernels import detection
from landmark_ray.kernels.sampling import rank_key
from landmark_ray.runtime.counts import StageCounts
from landmark_ray.runtime.shards import ShardReader, ShardResult, process_shards
from landmark_ray.runtime.stage import Stage
from landmark_ray.runtime.tasks import Row

CleanedRows = dict[str, Row]
"""image_id -> a row of `cleaned`."""

LIMITS = ("over_cap", "duplicate")
"""Reasons that a verdict on a landmark does not override, as they say nothing against the image."""


def inputs(config: Config, source: Source) -> dict[str, str]:
    """Return the checksums of the files of verdicts.

    Raises:
        UserError: A file cannot be read, or is not a list of verdicts.
    """
    read_verdicts(config.clean.verdicts)
    checksums = {}
    for uri in config.clean.verdicts:
        folder, name = split_uri(uri)
        data = Store(folder).read(name)
        checksums[f"verdicts of {redact_url(uri)}"] = hashlib.sha256(data).hexdigest()[:16]
    return checksums


def run(config: Config, root: Root, source: Source) -> StageCounts:
    """Write `cleaned`."""
    verdicts = read_verdicts(config.clean.verdicts)
    rule = partial(clean, config, verdicts)
    counts = process_shards("clean", "cleaned", rule, config, root, light=True)
    missing = len(verdicts.images) - counts.counters["images with a verdict"]
    if missing:
        counts.notes.append(
            f"{missing:,} of {len(verdicts.images):,} images with a verdict were not sampled, or "
            "were rejected: see the tables catalog and rejects"
        )
    known = root.dataset("landmarks").to_table(["landmark_id"])["landmark_id"].to_pylist()
    if unknown := sorted(set(verdicts.landmarks) - set(known)):
        counts.notes.append(
            f"{len(unknown):,} of {len(verdicts.landmarks):,} landmarks with a verdict are not in "
            f"the source, such as {unknown[0]}: correct the list of verdicts"
        )
    return counts


def clean(config: Config, verdicts: Verdicts, shard: ShardReader) -> ShardResult:
    """Apply the rules to the images of a shard."""
    objects = schemas.DETECTIONS.empty_table()
    if config.detect.handle:
        objects = shard.read("detections")
    kept, duplicates = shard.read("kept"), shard.read("duplicates")
    return ShardResult(*clean_rows(kept, duplicates, objects, verdicts, config))


def clean_rows(
    kept: pa.Table, duplicates: pa.Table, detections: pa.Table, verdicts: Verdicts, config: Config
) -> tuple[pa.Table, StageCounts]:
    """Apply the rules to rows of some whole classes.

    Args:
        kept: Rows of `kept`.
        duplicates: Rows of `duplicates` of the same classes.
        detections: Rows of `detections` of the same classes.
        verdicts: The verdicts of people.
        config: All options.

    Returns:
        Rows of `cleaned`, and the counts.
    """
    rows = kept.select(["image_id", "landmark_id", "keep", "reason"]).to_pylist()
    cleaned: CleanedRows = {row["image_id"]: {**row, "verdict": "", "note": ""} for row in rows}
    pruned = {image for image, row in cleaned.items() if row["keep"]}
    drop_by_objects(cleaned, detections, config)
    drop_duplicates(cleaned, duplicates, config)
    apply_verdicts(cleaned, verdicts)
    drop_small_classes(cleaned, verdicts, config)
    stay = {image for image, row in cleaned.items() if row["keep"]}
    seen = pruned | stay
    before, after = (
        len({cleaned[image]["landmark_id"] for image in images}) for images in (seen, stay)
    )
    counts = StageCounts(len(seen), len(stay), before, after)
    counts.reject_reasons.update(cleaned[image]["reason"] for image in seen - stay)
    counts.counters["brought back by a verdict"] = len(stay - pruned)
    counts.counters["images with a verdict"] = sum(image in cleaned for image in verdicts.images)
    return pa.Table.from_pylist(list(cleaned.values()), schemas.CLEANED), counts


def drop(row: Row, reason: str, note: str = "") -> None:
    """Drop an image for a reason, unless it is dropped already."""
    if row["keep"]:
        row |= {"keep": False, "reason": reason, "note": note}


def drop_by_objects(cleaned: CleanedRows, detections: pa.Table, config: Config) -> None:
    """Drop images of people, plants and water without a building, and classes mostly of people."""
    rule = config.clean
    scenery = {*rule.people, *rule.nature}
    with_people: Counter[int] = Counter()
    examined: Counter[int] = Counter()
    for row in detections.to_pylist():
        objects = detection.Detections(
            row["entities"],
            np.array(row["scores"], np.float32),
            np.array(row["boxes"], np.float32).reshape(-1, 4),
        )
        image = cleaned[row["image_id"]]
        people = detection.covered_share(objects, rule.people, rule.min_score)
        examined[image["landmark_id"]] += 1
        with_people[image["landmark_id"]] += people >= rule.people_cover
        cover = detection.covered_share(objects, scenery, rule.min_score)
        if cover >= rule.min_cover and not detection.contains_any(
            objects, rule.buildings, rule.min_score
        ):
            names = sorted({*objects.entities} & scenery)
            drop(image, "no_building", f"{', '.join(names[:3])} on {cover:.0%} of the image")
    for row in cleaned.values():
        people, images = with_people[row["landmark_id"]], examined[row["landmark_id"]]
        if people > rule.max_people * images:
            drop(row, "people_class", f"people fill {people} of {images} images")


def drop_duplicates(cleaned: CleanedRows, duplicates: pa.Table, config: Config) -> None:
    """Drop label conflicts, and all but one image of a cluster, if the options ask for it.

    Of a cluster, the first image in seeded order stays.
    """
    rule = config.clean
    rows = duplicates.to_pylist()
    order = np.argsort(rank_key([row["image_id"] for row in rows], config.seed), kind="stable")
    clusters: set[tuple[int, str]] = set()
    for row in (rows[i] for i in order):
        image = cleaned[row["image_id"]]
        if rule.conflicts == "drop" and len(row["landmarks"]) > 1:
            others = ", ".join(str(i) for i in row["landmarks"] if i != row["landmark_id"])
            drop(image, "conflict", f"also filed under {others}")
        elif rule.duplicates == "drop" and image["keep"]:
            cluster = row["landmark_id"], row["cluster"]
            if cluster in clusters:
                drop(image, "duplicate", f"of {row['partner']}")
            clusters.add(cluster)


def apply_verdicts(cleaned: CleanedRows, verdicts: Verdicts) -> None:
    """Apply the verdicts of people, which override the rules.

    A verdict on an image overrides a verdict on its landmark and every reason; a verdict on a
    landmark does not override LIMITS.
    """
    for image, row in cleaned.items():
        on_image = verdicts.images.get(image)
        verdict = on_image or verdicts.landmarks.get(row["landmark_id"])
        if verdict is None:
            continue
        row |= {"verdict": verdict.kind, "note": verdict.reason or row["note"]}
        if verdict.kind == "drop":
            row |= {"keep": False, "reason": "dropped"}
        elif not row["keep"] and (on_image or row["reason"] not in LIMITS):
            row |= {"keep": True, "reason": "verdict"}


def drop_small_classes(cleaned: CleanedRows, verdicts: Verdicts, config: Config) -> None:
    """Drop the images of classes that became too small, except images with the verdict keep."""
    left = Counter(row["landmark_id"] for row in cleaned.values() if row["keep"])
    for row in cleaned.values():
        if left[row["landmark_id"]] < config.prune.min_images and row["verdict"] != "keep":
            drop(row, "small_class")


STAGE = Stage(
    "clean", reads=("kept", "duplicates", "detections"), writes=("cleaned",), run=run, inputs=inputs
)
