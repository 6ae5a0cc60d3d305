"""resize: the kept images as squares, with the function that serves at prediction time.

Some of the discarded ones, too, and drawn images of nothing: models learn from them what shows no
landmark.
"""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from PIL import Image
from ray.data import Dataset

from landmark_ray.config import Config
from landmark_ray.config.curation import ResizeConfig
from landmark_ray.data import schemas
from landmark_ray.data.root import Root
from landmark_ray.data.sources import Source
from landmark_ray.kernels import image as kernel
from landmark_ray.kernels import synthetic
from landmark_ray.kernels.sampling import rank_key
from landmark_ray.runtime import ledger
from landmark_ray.runtime.counts import StageCounts, reason_kind
from landmark_ray.runtime.crash_log import CrashLog
from landmark_ray.runtime.resources import task_resources
from landmark_ray.runtime.shards import idempotent, run_over_shards
from landmark_ray.runtime.stage import Stage
from landmark_ray.runtime.tasks import Row

NO_CLASS = ["unverified", "small_class", "no_building", "people_class"]
"""Reasons of discarded images that may stand for what is no landmark of ours."""


def run(config: Config, tables: Root, source: Source) -> StageCounts:
    """Write `resized` and the rejects."""
    return run_over_shards(
        "resize", "resized", tables, config, lambda units: plan(units, config, tables), light=True
    )


def plan(units: Dataset, config: Config, tables: Root) -> Dataset:
    """Units to reports."""
    share = background_share(config, tables)
    shards = [shard.key for shard in tables.shards()]

    def resize_shard(unit: Row) -> Row:
        place = unit["bucket"], unit["shard"]
        kept = tables.read_shard("cleaned", *place, ["image_id", "keep", "reason"])
        images = tables.read_shard("images", *place, ["image_id", "landmark_id", "jpeg"])
        stay = kept.filter(kept["keep"])["image_id"]
        attempts = CrashLog(tables, "resize", f"{unit['bucket']}-{unit['shard']}")
        rows, rejects, funnel = resize_rows(chosen(images, stay), config.resize, attempts)
        others = chosen(images, background_ids(kept, share, config.seed))
        background, _, _ = resize_rows(others, config.resize, attempts)
        attempts.done()
        drawn = synthetic_rows(shards.index(place), len(shards), config)
        funnel.facts["synthetic images"] = drawn.num_rows
        background = pa.concat_tables([background, drawn])
        tables.commit("background", *place, background, "")
        report = funnel.to_json()
        tables.commit("resized", *place, rows, report, rejects=rejects, stage="resize")
        return {"rows": unit["rows"], "report": report}

    return units.map(
        idempotent("resized", tables, resize_shard), **task_resources(config, "resize")
    )


def chosen(images: pa.Table, image_ids: pa.Array) -> pa.Table:
    """The rows of `images` with such ids."""
    return images.filter(pc.is_in(images["image_id"], pa.array(image_ids, pa.string())))


def background_share(config: Config, tables: Root) -> float:
    """The share of the discarded images that makes about `resize.background` of them."""
    records = [ledger.read(tables, stage) or {} for stage in ("prune", "clean")]
    why = [record.get("funnel", {}).get("why", {}) for record in records]
    there = sum(reasons.get(reason, 0) for reasons in why for reason in NO_CLASS)
    return config.resize.background / max(there, config.resize.background, 1)


def background_ids(kept: pa.Table, share: float, seed: int) -> np.ndarray:
    """A random choice of the discarded images of a shard."""
    ids = kept.filter(pc.is_in(kept["reason"], pa.array(NO_CLASS)))["image_id"].to_numpy()
    return ids[rank_key(ids, seed) <= share * 2**64]


def synthetic_rows(shard: int, shards: int, config: Config) -> pa.Table:
    """The rows of `background` that nobody took; they are dealt to all shards in turn.

    Args:
        shard: its number, from 0, of all.
        shards: how many there are.
        config: number, size and seed of the images.
    """
    options = config.resize
    rows = [
        {
            "image_id": f"synthetic-{number}",
            "landmark_id": synthetic.LABEL,
            "jpeg": kernel.encode(Image.fromarray(pixels), options.quality),
        }
        for number in range(shard, options.synthetic, shards)
        for pixels in [synthetic.draw(number, options.size, config.seed)]
    ]
    return pa.Table.from_pylist(rows, schemas.RESIZED)


def resize_rows(
    images: pa.Table, options: ResizeConfig, attempts: CrashLog
) -> tuple[pa.Table, pa.Table, StageCounts]:
    """Rows of `resized` and of `rejects` for rows of `images`."""
    rows: list[Row] = []
    rejects: list[Row] = []
    for row in images.to_pylist():
        names = {k: row[k] for k in ("image_id", "landmark_id")}
        try:
            attempts.at(row["image_id"])
            rows.append({**names, "jpeg": example(row["jpeg"], options)})
        except kernel.ImageError as error:
            rejects.append({**names, "reason": str(error)})
    funnel = StageCounts(
        images.num_rows,
        len(rows),
        len(pc.unique(images["landmark_id"])),
        len({row["landmark_id"] for row in rows}),
    )
    funnel.why.update(reason_kind(row["reason"]) for row in rejects)
    return (
        pa.Table.from_pylist(rows, schemas.RESIZED),
        pa.Table.from_pylist(rejects, schemas.REJECTS),
        funnel,
    )


def example(jpeg: bytes, options: ResizeConfig) -> bytes:
    """The square of an image, as JPEG."""
    return kernel.encode(kernel.square(jpeg, options.size), options.quality)


STAGE = Stage(
    "resize",
    reads=("images", "cleaned"),
    writes=("resized", "background", "rejects/stage=resize"),
    run=run,
)
