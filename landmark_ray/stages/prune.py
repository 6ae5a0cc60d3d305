"""prune: keep what a partner verifies, at most so many images a class, and no small classes."""

from collections import defaultdict

import numpy as np
import pyarrow as pa
from ray.data import Dataset

from landmark_ray.config import Config
from landmark_ray.data import schemas
from landmark_ray.data.root import Root
from landmark_ray.data.sources import Source
from landmark_ray.kernels.pair_schedule import decide
from landmark_ray.kernels.sampling import rank_key
from landmark_ray.runtime.counts import StageCounts
from landmark_ray.runtime.resources import task_resources
from landmark_ray.runtime.shards import Row, idempotent, run_over_shards

READS = ("ingest", "match")
WRITES = ("kept",)


def inputs(config: Config, source: Source) -> dict[str, str]:
    """What the stage reads besides other stages' tables."""
    return {}


def run(config: Config, tables: Root, source: Source) -> StageCounts:
    """Write `kept`."""
    return run_over_shards(
        "prune", "kept", tables, config, lambda units: plan(units, config, tables), light=True
    )


def plan(units: Dataset, config: Config, tables: Root) -> Dataset:
    """Units to reports."""

    def prune_shard(unit: Row) -> Row:
        place = unit["bucket"], unit["shard"]
        images = tables.read_shard("images", *place, ["image_id", "landmark_id"])
        columns = ["landmark_id", "image_a", "image_b", "inliers"]
        kept, funnel = prune_rows(images, tables.read_shard("pairs", *place, columns), config)
        tables.commit("kept", *place, kept, funnel.to_json())
        return {"rows": unit["rows"], "report": funnel.to_json()}

    return units.map(idempotent("kept", tables, prune_shard), **task_resources(config, "prune"))


def prune_rows(images: pa.Table, pairs: pa.Table, config: Config) -> tuple[pa.Table, StageCounts]:
    """Rows of `kept` for rows of `images`, by rows of `pairs` of the same classes."""
    members: dict[int, list[str]] = defaultdict(list)
    for row in images.to_pylist():
        members[row["landmark_id"]].append(row["image_id"])
    matched: dict[int, list[tuple[str, str, int]]] = defaultdict(list)
    columns = (pairs[name].to_pylist() for name in ("landmark_id", "image_a", "image_b", "inliers"))
    for landmark, *pair in zip(*columns, strict=True):
        matched[landmark].append(tuple(pair))
    rows: list[Row] = []
    funnel = StageCounts(images_in=images.num_rows, classes_in=len(members))
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
        funnel.images_out += stay
        funnel.classes_out += stay > 0
        funnel.why.update(d.reason for d in decisions.values() if not d.keep)
    return pa.Table.from_pylist(rows, schemas.KEPT), funnel
