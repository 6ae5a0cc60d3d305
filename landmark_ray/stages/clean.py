"""clean: of the images that prune kept, drop what shows no building; and what people decided.

Only rules: what they judge by is in the tables, so other rules take seconds.
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
from landmark_ray.data.store import Store
from landmark_ray.data.verdicts import Verdicts, read_verdicts
from landmark_ray.errors import redact_url
from landmark_ray.kernels import detection
from landmark_ray.kernels.sampling import rank_key
from landmark_ray.runtime.counts import StageCounts
from landmark_ray.runtime.shards import ShardReader, ShardResult, process_shards
from landmark_ray.runtime.stage import Stage
from landmark_ray.runtime.tasks import Row

Judged = dict[str, Row]
"""image_id -> a row of `cleaned`, some fields of it still to come."""

LIMITS = ("over_cap", "duplicate")
"""Reasons that a verdict on the landmark leaves alone: they say nothing against the image."""


def inputs(config: Config, source: Source) -> dict[str, str]:
    """What the stage reads besides other stages' tables."""
    read_verdicts(config.clean.verdicts)
    found = {}
    for uri in config.clean.verdicts:
        folder, _, name = uri.rpartition("/")
        data = Store(folder or ".").read(name)
        found[f"verdicts of {redact_url(uri)}"] = hashlib.sha256(data).hexdigest()[:16]
    return found


def run(config: Config, root: Root, source: Source) -> StageCounts:
    """Write `cleaned`."""
    verdicts = read_verdicts(config.clean.verdicts)
    rule = partial(clean, config, verdicts)
    counts = process_shards("clean", "cleaned", rule, config, root, light=True)
    missing = len(verdicts.images) - counts.facts["images with a verdict"]
    if missing:
        counts.notes.append(
            f"{missing:,} of {len(verdicts.images):,} images with a verdict are not among the "
            "usable ones: see the tables catalog and rejects"
        )
    return counts


def clean(config: Config, verdicts: Verdicts, shard: ShardReader) -> ShardResult:
    """Judge the images of a shard."""
    objects = schemas.DETECTIONS.empty_table()
    if config.detect.handle:
        objects = shard.read("detections")
    kept, duplicates = shard.read("kept"), shard.read("duplicates")
    return ShardResult(*clean_rows(kept, duplicates, objects, verdicts, config))


def clean_rows(
    kept: pa.Table, duplicates: pa.Table, detections: pa.Table, verdicts: Verdicts, config: Config
) -> tuple[pa.Table, StageCounts]:
    """Rows of `cleaned` for rows of `kept`, by what is known of the same classes."""
    rows = kept.select(["image_id", "landmark_id", "reason"]).to_pylist()
    judged: Judged = {row["image_id"]: {**row, "verdict": "", "note": ""} for row in rows}
    pruned = {image for image, row in judged.items() if not row["reason"]}
    by_objects(judged, detections, config)
    by_duplicates(judged, duplicates, config)
    by_verdicts(judged, verdicts)
    by_size(judged, verdicts, config)
    for row in judged.values():
        row["keep"] = not row["reason"]
    stay = {image for image, row in judged.items() if row["keep"]}
    seen = pruned | stay
    before, after = (
        len({judged[image]["landmark_id"] for image in images}) for images in (seen, stay)
    )
    funnel = StageCounts(len(seen), len(stay), before, after)
    funnel.why.update(judged[image]["reason"] for image in seen - stay)
    funnel.facts["brought back by a verdict"] = len(stay - pruned)
    funnel.facts["images with a verdict"] = sum(image in judged for image in verdicts.images)
    return pa.Table.from_pylist(list(judged.values()), schemas.CLEANED), funnel


def drop(row: Row, reason: str, note: str = "") -> None:
    """Give an image a reason to go, unless it has one."""
    if not row["reason"]:
        row |= {"reason": reason, "note": note}


def by_objects(judged: Judged, detections: pa.Table, config: Config) -> None:
    """Drop images of people, plants and water alone, and classes that are mostly people."""
    rule = config.clean
    scenery = {*rule.people, *rule.nature}
    peopled: Counter[int] = Counter()
    looked_at: Counter[int] = Counter()
    for row in detections.to_pylist():
        found = detection.Detections(
            row["entities"],
            np.array(row["scores"], np.float32),
            np.array(row["boxes"], np.float32).reshape(-1, 4),
        )
        image = judged[row["image_id"]]
        people = detection.covered_share(found, rule.people, rule.min_score)
        looked_at[image["landmark_id"]] += 1
        peopled[image["landmark_id"]] += people >= rule.people_cover
        cover = detection.covered_share(found, scenery, rule.min_score)
        if cover >= rule.min_cover and not detection.contains_any(
            found, rule.buildings, rule.min_score
        ):
            names = sorted({*found.entities} & scenery)
            drop(image, "no_building", f"{', '.join(names[:3])} on {cover:.0%} of the image")
    for row in judged.values():
        people, of = peopled[row["landmark_id"]], looked_at[row["landmark_id"]]
        if people > rule.max_people * of:
            drop(row, "people_class", f"people fill {people} of {of} images")


def by_duplicates(judged: Judged, duplicates: pa.Table, config: Config) -> None:
    """Drop label conflicts, and all but one of a cluster, where the configuration says so."""
    rule = config.clean
    rows = duplicates.to_pylist()
    order = np.argsort(rank_key([row["image_id"] for row in rows], config.seed), kind="stable")
    first: set[tuple[int, str]] = set()
    for row in (rows[i] for i in order):
        image = judged[row["image_id"]]
        if rule.conflicts == "drop" and len(row["landmarks"]) > 1:
            others = ", ".join(str(i) for i in row["landmarks"] if i != row["landmark_id"])
            drop(image, "conflict", f"also filed under {others}")
        elif rule.duplicates == "drop" and not image["reason"]:
            cluster = row["landmark_id"], row["cluster"]
            if cluster in first:
                drop(image, "duplicate", f"of {row['partner']}")
            first.add(cluster)


def by_verdicts(judged: Judged, verdicts: Verdicts) -> None:
    """What people decided wins; on an image over all, on a landmark over what speaks against it."""
    for image, row in judged.items():
        own = verdicts.images.get(image)
        verdict = own or verdicts.landmarks.get(row["landmark_id"])
        if verdict is None:
            continue
        row |= {"verdict": verdict.kind, "note": verdict.reason or row["note"]}
        if verdict.kind == "drop":
            row["reason"] = "dropped"
        elif own or row["reason"] not in LIMITS:
            row["reason"] = ""


def by_size(judged: Judged, verdicts: Verdicts, config: Config) -> None:
    """Drop classes that are left with too few images, but for those with a verdict."""
    left = Counter(row["landmark_id"] for row in judged.values() if not row["reason"])
    for row in judged.values():
        if left[row["landmark_id"]] < config.prune.min_images and row["verdict"] != "keep":
            drop(row, "small_class")


STAGE = Stage(
    "clean", reads=("kept", "duplicates", "detections"), writes=("cleaned",), run=run, inputs=inputs
)
