"""group: divide the classes into groups by size, and split each class into train and validation.

The size of a class is its number of images that `clean` kept. If `resize` rejects an image later,
its class stays in its group.
"""

from collections.abc import Sequence
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
from landmark_ray.kernels.sampling import choose_left_out, rank_key
from landmark_ray.runtime.counts import StageCounts
from landmark_ray.runtime.shards import ShardReader, ShardResult, process_shards
from landmark_ray.runtime.stage import Stage


def run(config: Config, root: Root, source: Source) -> StageCounts:
    """Write `groups`."""
    rule = partial(group, config, left_out(config, root))
    return process_shards("group", "groups", rule, config, root, light=True)


def left_out(config: Config, root: Root) -> list[int]:
    """Return the landmarks that no model learns; `resize` makes background of their photos."""
    if not config.group.left_out:
        return []
    kept = root.dataset("cleaned").to_table(["landmark_id"], filter=pc.field("keep"))
    landmarks, sizes = np.unique(kept["landmark_id"].to_numpy(), return_counts=True)
    large = landmarks[sizes >= config.group.edges[0]]
    return choose_left_out(large, config.group.left_out, config.seed).tolist()


def group(config: Config, landmarks_left_out: Sequence[int], shard: ShardReader) -> ShardResult:
    """Assign group and side to the kept images of a shard."""
    cleaned = shard.read("cleaned", ["image_id", "landmark_id", "keep"])
    duplicates = shard.read("duplicates")
    return ShardResult(*group_rows(cleaned, duplicates, config, landmarks_left_out))


def group_rows(
    cleaned: pa.Table, duplicates: pa.Table, config: Config, landmarks_left_out: Sequence[int]
) -> tuple[pa.Table, StageCounts]:
    """Make rows of `groups` from rows of `cleaned` of some whole classes.

    Classes that are too small for the first group have no rows.

    Args:
        cleaned: Rows of `cleaned`, sorted by landmark.
        duplicates: Rows of `duplicates` of the same classes.
        config: All options.
        landmarks_left_out: Classes that have no rows, either.

    Returns:
        Rows of `groups`, and the counts.
    """
    kept = cleaned.filter(cleaned["keep"]).select(["image_id", "landmark_id"])
    ids, landmarks = (kept[name].to_numpy() for name in kept.column_names)
    group, validates = assign(ids, landmarks, clusters(ids, duplicates), config)
    split = np.where(validates, "validation", "train")
    is_left_out = np.isin(landmarks, landmarks_left_out)
    groups = kept.append_column("group", pa.array(group))
    groups = groups.append_column("split", pa.array(split, pa.string()))
    groups = groups.filter(pa.array((group > 0) & ~is_left_out))
    counts = StageCounts(
        kept.num_rows,
        groups.num_rows,
        len(pc.unique(kept["landmark_id"])),
        len(pc.unique(groups["landmark_id"])),
    )
    counts.reject_reasons["left_out"] = int(is_left_out.sum())
    counts.reject_reasons["small_class"] = int(((group == 0) & ~is_left_out).sum())
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
