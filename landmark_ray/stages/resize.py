"""resize: make the examples, which are the images of `groups` as squares.

The function that makes a square also runs when a bundle serves. The stage also resizes some of the
discarded images and draws synthetic ones: from this background, models learn what no landmark is.
"""

from functools import partial

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from PIL import Image

from landmark_ray.config import Config
from landmark_ray.config.curation import ResizeConfig
from landmark_ray.data import schemas
from landmark_ray.data.descriptors import NEAR, NEAR_ITS_LANDMARK
from landmark_ray.data.root import Root
from landmark_ray.data.sources import Source
from landmark_ray.kernels import image as kernel
from landmark_ray.kernels import synthetic
from landmark_ray.kernels.sampling import rank_key
from landmark_ray.runtime import ledger
from landmark_ray.runtime.counts import StageCounts
from landmark_ray.runtime.crash_log import CrashLog
from landmark_ray.runtime.shards import ShardReader, ShardResult, process_shards
from landmark_ray.runtime.stage import Stage

NO_CLASS = ["unverified", "small_class", "no_building", "people_class"]
"""Reasons of discarded images that can serve as examples of photos that show no landmark."""

UNTRAINABLE = "untrainable: no photo of its landmark is left to train on"
"""The reason in `rejects` for the remaining photos of a landmark without a photo to train on."""


def run(config: Config, root: Root, source: Source) -> StageCounts:
    """Write `examples`, `background` and the rejects of both."""
    numbers = {shard.key: number for number, shard in enumerate(root.shards())}
    rule = partial(resize, config, background_share(config, root), numbers)
    return process_shards("resize", "examples", rule, config, root, light=True)


def resize(
    config: Config, share: float, numbers: dict[tuple[int, int], int], shard: ShardReader
) -> ShardResult:
    """Make the examples and the background images of a shard.

    Args:
        config: All options.
        share: The share of the discarded images that become background, 0 to 1.
        numbers: (bucket, shard) -> number of the shard, from 0; synthetic images are spread by it.
        shard: The shard.
    """
    groups = shard.read("groups")
    cleaned = shard.read("cleaned", ["image_id", "landmark_id", "keep", "reason"])
    kept = shard.read("kept", ["image_id", "agreement"])
    others = background_of(cleaned, kept, groups["landmark_id"], share, config)
    images = shard.read("images", ["image_id", "jpeg"])
    log = shard.crash_log()
    squares, rejects = resize_rows(groups, images, config.resize, log)
    examples, untrainable = only_trainable(squares)
    background, unusable = resize_rows(others, images, config.resize, log)
    log.finish_images()
    drawn = synthetic_rows(numbers[shard.key], len(numbers), config)
    rejects = pa.concat_tables([rejects, untrainable])
    counts = StageCounts.between(groups, examples, rejects)
    counts.counters["background images"] = background.num_rows
    counts.counters["background images rejected"] = unusable.num_rows
    counts.counters["synthetic images"] = drawn.num_rows
    return ShardResult(
        examples,
        counts,
        pa.concat_tables([rejects, unusable]),
        {"background": pa.concat_tables([background.cast(schemas.BACKGROUND), drawn])},
    )


def background_share(config: Config, root: Root) -> float:
    """Return the share of the discarded images that amounts to about `resize.background` images."""
    records = [ledger.read(root, stage) or {} for stage in ("prune", "clean")]
    reasons = [record.get("funnel", {}).get("why", {}) for record in records]
    available = sum(int(counts.get(reason, 0)) for counts in reasons for reason in NO_CLASS)
    available -= int(records[0].get("funnel", {}).get("facts", {}).get(NEAR_ITS_LANDMARK, 0))
    return config.resize.background / max(available, config.resize.background, 1)


def background_of(
    cleaned: pa.Table, kept: pa.Table, learned: pa.ChunkedArray, share: float, config: Config
) -> pa.Table:
    """Choose images of a shard that show no landmark that a model learns.

    These are discarded images at random, by a hash of the seed and the id. An image that is near
    photos of its landmark may show it, and is not chosen if a model learns that landmark. Of
    landmarks that `sample` chose as strangers, all discarded images are chosen; of landmarks that
    `group` left out, all others.

    Args:
        cleaned: Rows of `cleaned`.
        kept: Rows of `kept`, with `image_id` and `agreement`.
        learned: Ids of the landmarks that models learn.
        share: The share of the discarded images to choose, 0 to 1.
        config: All options, with the seed.

    Returns:
        Rows with `image_id` and `landmark_id`.
    """
    near = kept["image_id"].filter(pc.greater_equal(kept["agreement"], NEAR))
    is_near = pc.is_in(cleaned["image_id"], near).to_numpy()
    is_learned = pc.is_in(cleaned["landmark_id"], pc.unique(learned)).to_numpy()
    landmarks = cleaned["landmark_id"].to_numpy()
    _, own, sizes = np.unique(landmarks, return_inverse=True, return_counts=True)
    is_small = sizes[own] < config.sample.min_images
    # another seed than `background_split` has: else the lowest ranks would all be for validation
    rank = rank_key(cleaned["image_id"].to_numpy(), config.seed + 1)
    suitable = pc.is_in(cleaned["reason"], pa.array(NO_CLASS)).to_numpy() & ~(is_near & is_learned)
    chosen = suitable & (is_small | (rank <= share * 2**64))
    chosen |= cleaned["keep"].to_numpy() & ~is_learned
    return cleaned.select(["image_id", "landmark_id"]).filter(pa.array(chosen))


def synthetic_rows(shard: int, shards: int, config: Config) -> pa.Table:
    """Draw the synthetic rows of `background` for a shard; the shards take them in turn.

    Args:
        shard: The number of the shard, from 0.
        shards: The number of shards.
        config: All options, with number, size and seed of the images.
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
    return pa.Table.from_pylist(rows, schemas.BACKGROUND)


def resize_rows(
    chosen: pa.Table, images: pa.Table, options: ResizeConfig, crash_log: CrashLog
) -> tuple[pa.Table, pa.Table]:
    """Make squares of some images of a shard.

    Args:
        chosen: Rows with `image_id` and `landmark_id`, one for each image to resize.
        images: Rows with `image_id` and `jpeg`, one for each image of the shard.
        options: Size and quality of the squares.
        crash_log: Rejects the images that kill their worker.

    Returns:
        Rows of `chosen` with a further column `jpeg`, and rows of `rejects`.
    """
    column = images["jpeg"]
    indices = pc.index_in(chosen["image_id"], images["image_id"]).to_pylist()
    jpegs: dict[int, bytes] = {}
    reasons: dict[int, str] = {}
    for row, (image_id, index) in enumerate(
        zip(chosen["image_id"].to_pylist(), indices, strict=True)
    ):
        try:
            crash_log.start_image(image_id)
            jpegs[row] = example(column[index].as_py(), options)
        except kernel.ImageError as error:
            reasons[row] = str(error)
    squares = chosen.take(pa.array(list(jpegs), pa.int64()))
    squares = squares.append_column("jpeg", pa.array(list(jpegs.values()), pa.binary()))
    bad = chosen.take(pa.array(list(reasons), pa.int64()))
    return squares, rejected(bad, list(reasons.values()))


def rejected(rows: pa.Table, reasons: list[str]) -> pa.Table:
    """Make rows of `rejects` from rows with `image_id` and `landmark_id`, and their reasons."""
    columns = [rows["image_id"], rows["landmark_id"], pa.array(reasons, pa.string())]
    return pa.Table.from_arrays(columns, schema=schemas.REJECTS)


def only_trainable(squares: pa.Table) -> tuple[pa.Table, pa.Table]:
    """Reject the classes without an image to train on, because a head cannot learn them.

    A class that merely lost some images stays in its group.

    Returns:
        Rows of `examples`, and rows of `rejects`.
    """
    trains = pc.equal(squares["split"], "train")
    stays = pc.is_in(squares["landmark_id"], pc.unique(squares["landmark_id"].filter(trains)))
    dropped = squares.filter(pc.invert(stays))
    examples = squares.filter(stays) if dropped.num_rows else squares  # saves a copy of all photos
    examples = examples.select(schemas.EXAMPLES.names).cast(schemas.EXAMPLES)
    return examples, rejected(dropped, [UNTRAINABLE] * dropped.num_rows)


def example(jpeg: bytes, options: ResizeConfig) -> bytes:
    """Return the square of an image as JPEG, see `kernels/image.py`.

    Raises:
        ImageError: The image cannot be decoded.
    """
    square = kernel.square(jpeg, options.size, options.fit)
    return kernel.encode(Image.fromarray(square), options.quality)


STAGE = Stage(
    "resize",
    reads=("images", "kept", "cleaned", "groups"),
    writes=("examples", "background", "rejects/stage=resize"),
    run=run,
    scratch=("resized",),  # older versions wrote it, before `group` ran first; --redo deletes it
)
