"""sample: choose classes and images from the metadata alone, and assign them to shards."""

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
from landmark_ray.runtime.preflight import check_landmark_sizes
from landmark_ray.runtime.progress import ProgressBar
from landmark_ray.runtime.stage import Stage


def inputs(config: Config, source: Source) -> dict[str, str]:
    """Return the checksum of the source's metadata.

    Raises:
        UserError: No class is large enough. This is checked here, before anything is written.
    """
    images, _, digest = source.index()
    sizes = np.unique(drop_unlabelled(images)["landmark_id"].to_numpy(), return_counts=True)[1]
    check_landmark_sizes(sizes, config, ["sample"])
    return {"source metadata": digest}


def run(config: Config, root: Root, source: Source) -> StageCounts:
    """Write `catalog` and `landmarks`."""
    images, names, _ = source.index()
    with ProgressBar("sample", images.num_rows) as progress_bar:
        catalog, landmarks, counts = choose(images, names, config)
        write_catalog(catalog, root)
        root.write_table("landmarks/landmarks.parquet", landmarks)
        progress_bar.add(images.num_rows)
    counts.counters += source.left_out.counters()
    counts.notes += source.notes
    return counts


def choose(
    images: pa.Table, names: pa.Table, config: Config
) -> tuple[pa.Table, pa.Table, StageCounts]:
    """Choose classes and images.

    Args:
        images: Rows with `image_id` and `landmark_id`, as `Source.index` returns them.
        names: Rows with `landmark_id` and `name`, as `Source.index` returns them.
        config: All options.

    Returns:
        Rows of `catalog` with a column `bucket`, rows of `landmarks`, and the counts.

    Raises:
        UserError: No class is large enough.
    """
    rule = config.sample
    labelled = drop_unlabelled(images)
    ids = labelled["image_id"].to_numpy()
    landmarks = labelled["landmark_id"].to_numpy()
    is_first = ~pd.Series(ids).duplicated().to_numpy()
    ids, landmarks = ids[is_first], landmarks[is_first]
    rows = sampling.choose_images(
        ids, landmarks, min_images=rule.min_images, max_images=rule.max_images, seed=config.seed
    )
    strangers = sampling.choose_strangers(
        ids, landmarks, min_images=rule.min_images, most=rule.strangers, seed=config.seed
    )
    rows = np.concatenate([rows, strangers])
    classes, sizes = np.unique(landmarks, return_counts=True)
    check_landmark_sizes(sizes, config, ["sample"])
    chosen, chosen_sizes = np.unique(landmarks[rows], return_counts=True)
    small = int(sizes[sizes < rule.min_images].sum())
    counts = StageCounts(images.num_rows, len(rows), len(classes), len(chosen))
    counts.reject_reasons.update(
        {
            "no landmark": images.num_rows - labelled.num_rows,
            "repeated id": labelled.num_rows - len(ids),
            "small_class": small - len(strangers),
            "over max_images": len(ids) - small - (len(rows) - len(strangers)),
        }
    )
    counts.counters["of landmarks that are too small, as strangers"] = len(strangers)
    catalog = pa.table({"image_id": ids[rows], "landmark_id": landmarks[rows]})
    layout = lay_out(chosen, chosen_sizes, rule.buckets, rule.shard_images)
    class_index = np.searchsorted(chosen, landmarks[rows])
    for name, values in layout.items():
        catalog = catalog.append_column(name, pa.array(values[class_index]))
    table = pa.table({"landmark_id": classes, "images": sizes})
    table = table.join(
        pa.table({"landmark_id": chosen, "chosen": chosen_sizes}), "landmark_id"
    ).join(names.group_by("landmark_id").aggregate([("name", "min")]), "landmark_id")
    landmark_table = pa.table(
        {
            "landmark_id": table["landmark_id"],
            "name": pc.fill_null(table["name_min"], ""),
            "images": table["images"],
            "chosen": pc.fill_null(table["chosen"], 0),
        }
    ).sort_by("landmark_id")
    return catalog, landmark_table.cast(schemas.LANDMARKS), counts


def lay_out(
    classes: np.ndarray, sizes: np.ndarray, buckets: int, shard_images: int
) -> dict[str, np.ndarray]:
    """Assign each class to a bucket and a shard.

    Args:
        classes: [C] landmark ids, sorted.
        sizes: [C] chosen images of each class.
        buckets: Number of buckets.
        shard_images: Approximate number of images of a shard.

    Returns:
        `bucket` and `shard`: [C] each.
    """
    bucket = sampling.bucket_of(classes, buckets)
    shard = np.zeros(len(classes), np.int32)
    for b in range(buckets):
        shard[bucket == b] = sampling.shard_of(sizes[bucket == b], shard_images)
    return {"bucket": bucket, "shard": shard}


def write_catalog(catalog: pa.Table, root: Root) -> None:
    """Write the catalog, one file per bucket, sorted by shard, landmark and image."""
    catalog = catalog.sort_by(
        [(name, "ascending") for name in ("bucket", "shard", "landmark_id", "image_id")]
    )
    buckets = catalog["bucket"].to_numpy()
    names, first = np.unique(buckets, return_index=True)
    for bucket, rows in zip(names, np.split(np.arange(len(buckets)), first[1:]), strict=True):
        part = catalog.slice(int(rows[0]), len(rows)).select(schemas.CATALOG.names)
        name = f"catalog/bucket={bucket}/catalog.parquet"
        root.write_table(name, part.cast(schemas.CATALOG))


STAGE = Stage("sample", reads=(), writes=("catalog", "landmarks"), run=run, inputs=inputs)
