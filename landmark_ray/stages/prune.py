"""prune: keep images that partners verify, up to a maximum per class, and drop small classes."""

from collections import defaultdict
from functools import partial

import numpy as np
import pyarrow as pa

from landmark_ray.config import Config
from landmark_ray.data import schemas
from landmark_ray.data.root import Root
from landmark_ray.data.sources import Source
from landmark_ray.kernels.pair_schedule import decide
from landmark_ray.kernels.sampling import rank_key
from landmark_ray.runtime.counts import StageCounts
from landmark_ray.runtime.shards import ShardReader, ShardResult, process_shards
from landmark_ray.runtime.stage import Stage
from landmark_ray.runtime.tasks import Row


def run(config: Config, root: Root, source: Source) -> StageCounts:
    """Write `kept`."""
    return process_shards("prune", "kept", partial(prune, config), config, root, light=True)


def prune(config: Config, shard: ShardReader) -> ShardResult:
    """Decide which images of a shard stay."""
    images = shard.read("images", ["image_id", "landmark_id"])
    pairs = shard.read("pairs", ["landmark_id", "image_a", "image_b", "inliers"])
    return ShardResult(*prune_rows(images, pairs, config))


def prune_rows(images: pa.Table, pairs: pa.Table, config: Config) -> tuple[pa.Table, StageCounts]:
    """Decide which images of some whole classes stay.

    Args:
        images: Rows of `images`: `image_id` and `landmark_id`.
        pairs: Rows of `pairs` of the same classes.
        config: All options.

    Returns:
        Rows of `kept`, and the counts.
    """
    members: dict[int, list[str]] = defaultdict(list)
    for row in images.to_pylist():
        members[row["landmark_id"]].append(row["image_id"])
    matched: dict[int, list[tuple[str, str, int]]] = defaultdict(list)
    columns = (pairs[name].to_pylist() for name in ("landmark_id", "image_a", "image_b", "inliers"))
    for landmark, *pair in zip(*columns, strict=True):
        matched[landmark].append(tuple(pair))
    rows: list[Row] = []
    counts = StageCounts(images_in=images.num_rows, classes_in=len(members))
    for landmark, ids in sorted(members.items()):
        order = [ids[i] for i in np.argsort(rank_key(ids, config.seed), kind="stable")]
        decisions = decide(
            order,
            matched[landmark],
            min_inliers=config.match.min_inliers,
            max_images=config.prune.max_images,
            min_images=config.prune.min_images,
            min_partners=config.match.min_partners,
        )
        for image_id, decision in sorted(decisions.items()):
            rows.append({"image_id": image_id, "landmark_id": landmark, **vars(decision)})
        stay = sum(d.keep for d in decisions.values())
        counts.images_out += stay
        counts.classes_out += stay > 0
        counts.reject_reasons.update(d.reason for d in decisions.values() if not d.keep)
    return pa.Table.from_pylist(rows, schemas.KEPT), counts


STAGE = Stage("prune", reads=("images", "pairs"), writes=("kept",), run=run)
