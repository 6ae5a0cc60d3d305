"""group: groups of classes by size, and the split of each class into train and validation.

Sizes count what `clean` kept. A photo that `resize` rejects later leaves its class in its group.
"""

from functools import partial

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from landmark_ray.config import Config
from landmark_ray.data import schemas
from landmark_ray.data.root import Root
from landmark_ray.data.sources import Source
from landmark_ray.kernels import splitting
from landmark_ray.kernels.sampling import rank_key
from landmark_ray.runtime.counts import StageCounts
from landmark_ray.runtime.shards import ShardReader, ShardResult, process_shards
from landmark_ray.runtime.stage import Stage


def run(config: Config, root: Root, source: Source) -> StageCounts:
    """Write `groups`."""
    return process_shards("group", "groups", partial(group, config), config, root, light=True)


def group(config: Config, shard: ShardReader) -> ShardResult:
    """Group the kept images of a shard."""
    cleaned = shard.read("cleaned", ["image_id", "landmark_id", "keep"])
    return ShardResult(*group_rows(cleaned, shard.read("duplicates"), config))


def group_rows(
    cleaned: pa.Table, duplicates: pa.Table, config: Config
) -> tuple[pa.Table, StageCounts]:
    """Rows of `groups` for rows of `cleaned`; classes below the first group are left out."""
    kept = cleaned.filter(cleaned["keep"]).select(["image_id", "landmark_id"])
    ids, landmarks = (kept[name].to_numpy() for name in kept.column_names)
    group, validates = assign(ids, landmarks, clusters(ids, duplicates), config)
    split = np.where(validates, "validation", "train")
    groups = kept.append_column("group", pa.array(group))
    groups = groups.append_column("split", pa.array(split, pa.string())).filter(pa.array(group > 0))
    counts = StageCounts(
        kept.num_rows,
        groups.num_rows,
        len(pc.unique(kept["landmark_id"])),
        len(pc.unique(groups["landmark_id"])),
    )
    counts.reject_reasons["small_class"] = kept.num_rows - groups.num_rows
    counts.counters.update(groups["split"].to_pylist())
    counts.counters.update(f"group {g}" for g in groups["group"].to_pylist())
    return groups.cast(schemas.GROUPS), counts


def clusters(image_ids: np.ndarray, duplicates: pa.Table) -> np.ndarray:
    """[N] number of each image's cluster of duplicates; a class has each on one side of the split.

    A photo of several landmarks, TRAINS, only trains: else one of them might validate.
    """
    names, landmarks = (duplicates[n].to_pylist() for n in ("image_id", "landmarks"))
    of = dict(zip(names, duplicates["cluster"].to_pylist(), strict=True))
    conflicts = {n for n, found in zip(names, landmarks, strict=True) if len(found) > 1}
    number = np.asarray(pd.factorize(np.array([of.get(i, i) for i in image_ids], object))[0])
    number[[i in conflicts for i in image_ids]] = splitting.TRAINS
    return number


def assign(
    image_ids: np.ndarray, landmark_ids: np.ndarray, cluster: np.ndarray, config: Config
) -> tuple[np.ndarray, np.ndarray]:
    """Group and side of each image.

    Args:
        image_ids: [N] strings.
        landmark_ids: [N] int64, sorted.
        cluster: [N] of `clusters`.
        config: edges, shares, seed.

    Returns:
        [N] int32 group from 1, 0 for none; [N] whether it validates.
    """
    options = config.group
    rank = rank_key(image_ids, config.seed)
    _, first, sizes = np.unique(landmark_ids, return_index=True, return_counts=True)
    groups = splitting.group_of(sizes, options.edges)
    validates = np.zeros(len(image_ids), bool)
    for start, size, group in zip(first, sizes, groups, strict=True):
        if group:
            rows = slice(start, start + size)
            share = splitting.validation_share(
                group, len(options.edges), options.validation_first, options.validation_last
            )
            validates[rows] = splitting.split_class(rank[rows], cluster[rows], share)
    return np.repeat(groups, sizes), validates


STAGE = Stage("group", reads=("cleaned", "duplicates"), writes=("groups",), run=run)
