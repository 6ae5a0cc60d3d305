"""group: groups of classes by size, and the split of each class into train and validation."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from ray.data import Dataset

from landmark_ray.config import Config
from landmark_ray.data import schemas
from landmark_ray.data.root import Root
from landmark_ray.data.sources import Source
from landmark_ray.kernels import splitting
from landmark_ray.kernels.sampling import rank_key
from landmark_ray.runtime.counts import StageCounts
from landmark_ray.runtime.resources import task_resources
from landmark_ray.runtime.shards import idempotent, run_over_shards
from landmark_ray.runtime.stage import Stage
from landmark_ray.runtime.tasks import Row


def run(config: Config, tables: Root, source: Source) -> StageCounts:
    """Write `examples`."""
    return run_over_shards(
        "group", "examples", tables, config, lambda units: plan(units, config, tables), light=True
    )


def plan(units: Dataset, config: Config, tables: Root) -> Dataset:
    """Units to reports."""

    def group_shard(unit: Row) -> Row:
        place = unit["bucket"], unit["shard"]
        resized, duplicates = (
            tables.read_shard(table, *place) for table in ("resized", "duplicates")
        )
        examples, funnel = group_rows(resized, duplicates, config)
        tables.commit("examples", *place, examples, funnel.to_json())
        return {"rows": unit["rows"], "report": funnel.to_json()}

    return units.map(idempotent("examples", tables, group_shard), **task_resources(config, "group"))


def group_rows(
    resized: pa.Table, duplicates: pa.Table, config: Config
) -> tuple[pa.Table, StageCounts]:
    """Rows of `examples` for rows of `resized`; classes below the first group are left out."""
    ids, landmarks = (resized[name].to_numpy() for name in ("image_id", "landmark_id"))
    group, validates = assign(ids, landmarks, clusters(ids, duplicates), config)
    split = np.where(validates, "validation", "train")
    examples = resized.append_column("group", pa.array(group))
    examples = examples.append_column("split", pa.array(split, pa.string())).filter(
        pa.array(group > 0)
    )
    funnel = StageCounts(
        resized.num_rows,
        examples.num_rows,
        len(pc.unique(resized["landmark_id"])),
        len(pc.unique(examples["landmark_id"])),
    )
    funnel.why["small_class"] = resized.num_rows - examples.num_rows
    funnel.facts.update(examples["split"].to_pylist())
    funnel.facts.update(f"group {g}" for g in examples["group"].to_pylist())
    return examples.cast(schemas.EXAMPLES), funnel


def clusters(image_ids: np.ndarray, duplicates: pa.Table) -> np.ndarray:
    """[N] number of each image's cluster of duplicates; a class has each on one side of the split.

    A photo of several landmarks, TRAINS, only trains: else one of them might validate.
    """
    names, landmarks = (duplicates[n].to_pylist() for n in ("image_id", "landmarks"))
    of = dict(zip(names, duplicates["cluster"].to_pylist(), strict=True))
    conflicts = {n for n, found in zip(names, landmarks, strict=True) if len(found) > 1}
    number = pd.factorize(np.array([of.get(i, i) for i in image_ids], object))[0]
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


STAGE = Stage("group", reads=("duplicates", "resized"), writes=("examples",), run=run)
