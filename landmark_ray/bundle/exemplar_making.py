"""Making the exemplars of a root: which photos they are, and their features, bucket by bucket."""

from functools import partial

import pyarrow as pa
import pyarrow.compute as pc

from landmark_ray.bundle.exemplar_files import (
    ExemplarInfo,
    exemplar_row,
    file_name,
    write_file,
    write_info,
)
from landmark_ray.config import Config
from landmark_ray.config.verification import ONNX
from landmark_ray.data import bundle_schemas
from landmark_ray.data.attribution import attribution_of
from landmark_ray.data.class_features import COLUMNS
from landmark_ray.data.lookup import image_features
from landmark_ray.data.root import Root
from landmark_ray.data.sources import Source
from landmark_ray.data.store import read_uri
from landmark_ray.errors import UserError
from landmark_ray.kernels.exemplars import choose_exemplars
from landmark_ray.runtime.counts import StageCounts
from landmark_ray.runtime.progress import ProgressBar
from landmark_ray.runtime.resources import task_resources
from landmark_ray.runtime.tasks import Row, run_tasks, shard_task

TABLES = {
    "features": ["image_id", "landmark_id", *COLUMNS],
    "images": ["image_id", "jpeg"],
    "duplicates": ["image_id", "cluster"],
}
"""Table -> the columns that are read of it."""

EXTRACTORS = ("sift", *ONNX)
"""Extractors that serve new photos, too; DELF takes seconds for a photo."""


def make_exemplars(config: Config, root: Root, source: Source, photos: pa.Table) -> StageCounts:
    """Choose exemplars, and store them in the root's `models`; return the counts of the tasks.

    Args:
        config: All options.
        root: The root.
        source: The dataset, which may name authors and licences.
        photos: `image_id` and `landmark_id` of the photos that models learn from.
    """
    verified = pc.field("inliers") >= config.match.min_inliers
    pairs = root.dataset("pairs").to_table(["image_a", "image_b"], filter=verified)
    chosen = choose_exemplars(photos, pairs, config.index.exemplars)
    catalog = root.dataset("catalog").to_table(["image_id", "bucket", "shard"])
    places = catalog.take(pc.index_in(chosen["image_id"], catalog["image_id"]))
    notes = []
    try:
        attribution = attribution_of(source, places["image_id"].combine_chunks())
        for name, values in zip(("author", "licence"), attribution, strict=True):
            places = places.append_column(name, values)
    except UserError as error:
        notes.append(f"exemplars have no authors and licences: {error}")
    units: list[Row] = []
    for bucket in sorted(pc.unique(places["bucket"]).to_pylist()):
        own = places.filter(pc.equal(places["bucket"], bucket))
        shards = sorted(pc.unique(own["shard"]).to_pylist())
        photos_of = [own.filter(pc.equal(own["shard"], s)).to_pylist() for s in shards]
        units.append(
            {"bucket": bucket, "shards": shards, "photos": photos_of, "rows": own.num_rows}
        )
    units.sort(key=lambda unit: -unit["rows"])
    resources = task_resources(config, "index")
    with ProgressBar("exemplars", chosen.num_rows) as progress_bar:
        write = shard_task(partial(write_bucket, root))
        counts = run_tasks(units, lambda u: u.map(write, **resources), config, progress_bar)
    extract = config.extract
    info = ExemplarInfo(
        sift=extract.extractor == "sift",
        max_features=extract.max_feature_num,
        side=extract.max_side,
        rule=config.match.rule(extract.extractor),
        files=tuple(sorted(file_name(unit["bucket"]) for unit in units)),
        photos=chosen.num_rows,
    )
    model = None if info.sift else read_uri(extract.handle)
    write_info(root.models, info, model)
    counts.counters["exemplars"] = info.photos
    counts.notes += notes
    return counts


def write_bucket(root: Root, unit: Row) -> Row:
    """Write the exemplars of a bucket, in the order in which they were chosen."""
    parts = (
        exemplar_rows(root, unit["bucket"], shard, photos)
        for shard, photos in zip(unit["shards"], unit["photos"], strict=True)
    )
    write_file(root.models, file_name(unit["bucket"]), parts)
    return {"rows": unit["rows"], "report": StageCounts().to_json()}


def exemplar_rows(root: Root, bucket: int, shard: int, photos: list[Row]) -> pa.Table:
    """Return rows of `EXEMPLARS` of some images of a shard, in their order.

    Args:
        root: The root.
        bucket: The bucket of the shard.
        shard: The shard.
        photos: `image_id` and, where the source names them, `author` and `licence`.
    """
    ids = [photo["image_id"] for photo in photos]
    chosen = pc.field("image_id").isin(pa.array(ids, pa.string()))
    read = {
        table: {
            row["image_id"]: row
            for row in root.dataset(root.name(table, bucket, shard))
            .to_table(columns, filter=chosen)
            .to_pylist()
        }
        for table, columns in TABLES.items()
    }
    rows = []
    for photo in photos:
        image_id = photo["image_id"]
        image = read["features"].get(image_id)
        if image is None:  # extract rejected it
            continue
        rows.append(
            exemplar_row(
                image_id,
                image["landmark_id"],
                read["duplicates"].get(image_id, {}).get("cluster", image_id),
                read["images"][image_id]["jpeg"],
                image_features(image),
                (image["width"], image["height"]),
                photo.get("author"),
                photo.get("licence"),
            )
        )
    return pa.Table.from_pylist(rows, bundle_schemas.EXEMPLARS)
