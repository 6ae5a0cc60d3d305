"""sample: choose classes and images from the metadata alone, and lay them out in shards."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from landmark_ray.config import Config
from landmark_ray.data import schemas
from landmark_ray.data.root import Root
from landmark_ray.data.sources import Source, drop_unlabelled
from landmark_ray.kernels import sampling
from landmark_ray.runtime.counts import StageCounts
from landmark_ray.runtime.preflight import landmarks_fit
from landmark_ray.runtime.progress import ProgressBar
from landmark_ray.runtime.stage import Stage


def inputs(config: Config, source: Source) -> dict[str, str]:
    """What the stage reads besides other stages' tables.

    Raises:
        UserError: no class is large enough: said before the root holds anything of other options.
    """
    images, _, digest = source.index()
    sizes = np.unique(drop_unlabelled(images)["landmark_id"].to_numpy(), return_counts=True)[1]
    landmarks_fit(sizes, config, ["sample"])
    return {"source metadata": digest}


def run(config: Config, tables: Root, source: Source) -> StageCounts:
    """Write `catalog` and `landmarks`."""
    images, names, _ = source.index()
    with ProgressBar("sample", images.num_rows) as meter:
        catalog, landmarks, funnel = choose(images, names, config)
        write_catalog(catalog, tables)
        tables.write_table("landmarks/landmarks.parquet", landmarks)
        meter.add(images.num_rows)
    funnel.facts += source.left_out.counters()
    funnel.notes += source.notes
    return funnel


def choose(
    images: pa.Table, names: pa.Table, config: Config
) -> tuple[pa.Table, pa.Table, StageCounts]:
    """The catalog (with its bucket), the landmarks, and the counts.

    Raises:
        UserError: no class is large enough.
    """
    rule = config.sample
    labelled = drop_unlabelled(images)
    ids = labelled["image_id"].to_numpy()
    landmarks = labelled["landmark_id"].to_numpy()
    first = ~pd.Series(ids).duplicated().to_numpy()
    ids, landmarks = ids[first], landmarks[first]
    rows = sampling.choose_images(
        ids, landmarks, min_images=rule.min_images, max_images=rule.max_images, seed=config.seed
    )
    classes, sizes = np.unique(landmarks, return_counts=True)
    landmarks_fit(sizes, config, ["sample"])
    chosen, chosen_sizes = np.unique(landmarks[rows], return_counts=True)
    small = int(sizes[sizes < rule.min_images].sum())
    funnel = StageCounts(images.num_rows, len(rows), len(classes), len(chosen))
    funnel.why.update(
        {
            "no landmark": images.num_rows - labelled.num_rows,
            "repeated id": labelled.num_rows - len(ids),
            "small_class": small,
            "over max_images": len(ids) - small - len(rows),
        }
    )
    catalog = pa.table({"image_id": ids[rows], "landmark_id": landmarks[rows]})
    layout = lay_out(chosen, chosen_sizes, rule.buckets, rule.shard_images)
    place = np.searchsorted(chosen, landmarks[rows])
    for name, values in layout.items():
        catalog = catalog.append_column(name, pa.array(values[place]))
    counts = pa.table({"landmark_id": classes, "images": sizes})
    counts = counts.join(
        pa.table({"landmark_id": chosen, "chosen": chosen_sizes}), "landmark_id"
    ).join(names.group_by("landmark_id").aggregate([("name", "min")]), "landmark_id")
    landmark_table = pa.table(
        {
            "landmark_id": counts["landmark_id"],
            "name": pc.fill_null(counts["name_min"], ""),
            "images": counts["images"],
            "chosen": pc.fill_null(counts["chosen"], 0),
        }
    ).sort_by("landmark_id")
    return catalog, landmark_table.cast(schemas.LANDMARKS), funnel


def lay_out(
    classes: np.ndarray, sizes: np.ndarray, buckets: int, shard_images: int
) -> dict[str, np.ndarray]:
    """Bucket and shard of each class; `classes` is sorted."""
    bucket = sampling.bucket_of(classes, buckets)
    shard = np.zeros(len(classes), np.int32)
    for b in range(buckets):
        shard[bucket == b] = sampling.shard_of(sizes[bucket == b], shard_images)
    return {"bucket": bucket, "shard": shard}


def write_catalog(catalog: pa.Table, tables: Root) -> None:
    """One file a bucket, sorted by shard, landmark and image."""
    catalog = catalog.sort_by(
        [(name, "ascending") for name in ("bucket", "shard", "landmark_id", "image_id")]
    )
    buckets = catalog["bucket"].to_numpy()
    names, first = np.unique(buckets, return_index=True)
    for bucket, rows in zip(names, np.split(np.arange(len(buckets)), first[1:]), strict=True):
        part = catalog.slice(int(rows[0]), len(rows)).select(schemas.CATALOG.names)
        name = f"catalog/bucket={bucket}/catalog.parquet"
        tables.write_table(name, part.cast(schemas.CATALOG))


STAGE = Stage("sample", reads=(), writes=("catalog", "landmarks"), run=run, inputs=inputs)
