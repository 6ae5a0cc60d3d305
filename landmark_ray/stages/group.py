"""group: divide the classes into groups by size, and split each class into train and validation.

The size of a class is its number of images that `clean` kept. If `resize` rejects an image later,
its class stays in its group.
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
    """Assign group and side to the kept images of a shard."""
    cleaned = shard.read("cleaned", ["image_id", "landmark_id", "keep"])
    return ShardResult(*group_rows(cleaned, shard.read("duplicates"), config))


def group_rows(
    cleaned: pa.Table, duplicates: pa.Table, config: Config
) -> tuple[pa.Table, StageCounts]:
    """Make rows of `groups` from rows of `cleaned` of some whole classes.

    Classes that are too small for the first group are left out.

    Args:
        cleaned: Rows of `cleaned`, sorted by landmark.
        duplicates: Rows of `duplicates` of the same classes.
        config: All options.

    Returns:
        Rows of `groups`, and the counts.
    """
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
    """Number the clusters of duplicates, each of which must be on one side of the split.

    A photo that is filed under several landmarks gets the number TRAINS, and is never used for
    validation: otherwise a copy of it could be in the training set of another landmark.

    Args:
        image_ids: [N].
        duplicates: Rows of `duplicates` of the same classes.

    Returns:
        [N] number of the cluster of each image.
    """
    names, landmarks = (duplicates[n].to_pylist() for n in ("image_id", "landmarks"))
    cluster = dict(zip(names, duplicates["cluster"].to_pylist(), strict=True))
    conflicts = {n for n, filed in zip(names, landmarks, strict=True) if len(filed) > 1}
    number = np.asarray(pd.factorize(np.array([cluster.get(i, i) for i in image_ids], object))[0])
    number[[i in conflicts for i in image_ids]] = splitting.TRAINS
    return number


def assign(
    image_ids: np.ndarray, landmark_ids: np.ndarray, cluster: np.ndarray, config: Config
) -> tuple[np.ndarray, np.ndarray]:
    """Assign group and side to each image.

    Args:
        image_ids: [N] strings.
        landmark_ids: [N] int64, sorted.
        cluster: [N] the result of `clusters`.
        config: All options, with edges, shares and seed.

    Returns:
        [N] int32 group from 1, or 0 for no group; [N] bool, true for validation.
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
