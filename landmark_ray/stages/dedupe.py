"""dedupe: images that show the same photo, of one landmark or of several.

Each shard's images are hashed where they lie; the hashes of all, 8 bytes an image, are compared in
tasks that share them; what looks alike by its hash is confirmed on thumbnails.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np
import pandas as pd
import pyarrow as pa
import ray

from landmark_ray.config import Config
from landmark_ray.data import schemas
from landmark_ray.data.root import Root, Shard
from landmark_ray.data.sources import Source
from landmark_ray.kernels import duplicates as kernel
from landmark_ray.kernels.image import THUMBNAIL, perceptual_hash
from landmark_ray.runtime.counts import StageCounts
from landmark_ray.runtime.progress import ProgressBar
from landmark_ray.runtime.ray_start import start_ray
from landmark_ray.runtime.resources import task_resources
from landmark_ray.runtime.shards import ShardReader, ShardResult, process_shards
from landmark_ray.runtime.stage import Stage
from landmark_ray.runtime.tasks import Row

READERS = 16
"""Files that are read at once: a store that is far away answers slowly."""

T = TypeVar("T")
U = TypeVar("U")


def run(config: Config, root: Root, source: Source) -> StageCounts:
    """Write `hashes` and `duplicates`."""
    process_shards("dedupe", "hashes", hash_images, config, root, title="hash", light=True)

    def clusters(todo: list[Shard]) -> dict[tuple[int, int], Row]:
        rows = find(root.shards(), config, root)
        return {shard.key: {"clusters": packed(rows[shard.key])} for shard in todo}

    return process_shards(
        "dedupe", "duplicates", unpack_clusters, config, root, light=True, fields=clusters
    )


def hash_images(shard: ShardReader) -> ShardResult:
    """Hash the images of a shard."""
    images = shard.read("images", ["image_id", "landmark_id", "jpeg"])
    rows = [{**row, **perceptual_hash(row.pop("jpeg"))._asdict()} for row in images.to_pylist()]
    return ShardResult(pa.Table.from_pylist(rows, schemas.HASHES), StageCounts())


def unpack_clusters(shard: ShardReader) -> ShardResult:
    """Write the rows of `duplicates` that belong to a shard, and count them."""
    rows = pa.ipc.open_stream(shard.fields["clusters"]).read_all()
    ids = shard.read("hashes", ["landmark_id"])["landmark_id"].to_pylist()
    counts = StageCounts(len(ids), len(ids), len(set(ids)), len(set(ids)))
    for row in rows.to_pylist():
        counts.facts["exact duplicates" if row["exact"] else "near duplicates"] += 1
        counts.facts["clusters"] += row["cluster"] == row["image_id"]
        counts.facts["label conflicts"] += len(row["landmarks"]) > 1
    return ShardResult(rows, counts)


def packed(table: pa.Table) -> bytes:
    """A table as bytes."""
    out = pa.BufferOutputStream()
    with pa.ipc.new_stream(out, table.schema) as stream:
        stream.write_table(table)
    return bytes(out.getvalue())


def find(shards: list[Shard], config: Config, tables: Root) -> dict[tuple[int, int], pa.Table]:
    """(bucket, shard) -> its rows of `duplicates`."""
    parts = at_once(lambda s: tables.read_shard("hashes", *s.key, ["phash"]), shards)
    starts = np.cumsum([0, *map(len, parts)])
    phash = pa.concat_tables(parts)["phash"].to_numpy()
    hashes, group = np.unique(phash, return_inverse=True)
    pairs = alike(hashes, config)
    wanted = np.bincount(group, minlength=len(hashes)) > 1
    wanted[pairs.ravel()] = True
    rows = np.flatnonzero(wanted[group])  # few: of other images no more than the hash is read
    cuts = np.searchsorted(rows, starts)

    def look(shard: int) -> tuple[pa.Table, np.ndarray]:
        """The images that may be duplicates, and their thumbnails."""
        mine = rows[cuts[shard] : cuts[shard + 1]] - starts[shard]
        images = tables.read_shard("hashes", *shards[shard].key).take(pa.array(mine))
        data = b"".join(images["thumbnail"].to_pylist())
        pixels = np.frombuffer(data, np.uint8).reshape(-1, THUMBNAIL, THUMBNAIL)
        return images.drop_columns("thumbnail"), pixels

    empty = schemas.HASHES.empty_table().drop_columns("thumbnail")
    looked = at_once(look, np.flatnonzero(np.diff(cuts)).tolist())
    images = pa.concat_tables([empty, *(images for images, _ in looked)])
    none = np.empty((0, THUMBNAIL, THUMBNAIL), np.uint8)
    thumbnails = np.concatenate([none, *(pixels for _, pixels in looked)])
    found = clustered(images, group[rows], thumbnails, pairs, config)
    found["shard"] = np.repeat(np.arange(len(shards)), np.diff(cuts))[found.pop("row")]
    found = found.sort_values(["shard", "landmark_id", "image_id"])
    cuts = np.searchsorted(found.pop("shard"), np.arange(len(shards) + 1))
    table = pa.Table.from_pylist(found.to_dict("records"), schemas.DUPLICATES)
    return {s.key: table[cuts[i] : cuts[i + 1]] for i, s in enumerate(shards)}


def at_once(work: Callable[[T], U], items: list[T]) -> list[U]:
    """Results of work that waits for a store."""
    with ThreadPoolExecutor(READERS) as pool:
        return list(pool.map(work, items))


def alike(hashes: np.ndarray, config: Config) -> np.ndarray:
    """[P, 2] the pairs of distinct hashes [N] that differ in few bits."""
    start_ray(config)
    block_combinations = kernel.block_combinations(config.dedupe.bits)
    shared = ray.put(hashes)
    task = ray.remote(kernel.near_pairs).options(**task_resources(config, "dedupe"))
    waiting = [
        task.remote(shared, config.dedupe.bits, combination) for combination in block_combinations
    ]
    found = []
    with ProgressBar("compare", len(block_combinations), unit="ways") as meter:
        for one in waiting:
            found.append(ray.get(one))
            meter.add(1)
    return kernel.merge_pairs(found)


def clustered(
    images: pa.Table,
    group: np.ndarray,
    thumbnails: np.ndarray,
    pairs: np.ndarray,
    config: Config,
) -> pd.DataFrame:
    """Rows of `duplicates`, with the `row` of each image.

    Args:
        images: [N] rows of `hashes`.
        group: [N] number of their hash.
        thumbnails: [N, H, W].
        pairs: [P, 2] numbers of hashes that differ in few bits.
        config: all options.
    """
    most = config.dedupe.difference
    representative = kernel.representatives(group, thumbnails, most)
    own = pd.DataFrame({"row": np.unique(representative)})
    own["group"] = group[own["row"]]
    near = pd.DataFrame(pairs, columns=["a", "b"])
    near = near.merge(own, left_on="a", right_on="group").merge(own, left_on="b", right_on="group")
    a = np.concatenate(
        [np.flatnonzero(representative != np.arange(len(representative))), near["row_x"]]
    )
    b = np.concatenate([representative[a[: len(a) - len(near)]], near["row_y"]])
    apart = kernel.difference(thumbnails, a, b)
    a, b, apart = (values[apart <= most] for values in (a, b, apart))
    frame = images.select(["image_id", "landmark_id", "digest"]).to_pandas()
    label = kernel.clusters(len(frame), np.stack([a, b], 1))
    links = pd.DataFrame({"row": [*a, *b], "other": [*b, *a], "difference": [*apart, *apart]})
    ids, landmarks, digests = (frame[name].to_numpy() for name in frame)
    links["exact"] = digests[links["row"]] == digests[links["other"]]
    links["partner"] = ids[links["other"]]
    links["inexact"] = ~links["exact"]
    best = links.sort_values(["row", "inexact", "difference", "partner"]).drop_duplicates("row")
    best["image_id"], best["landmark_id"] = ids[best["row"]], landmarks[best["row"]]
    best["label"] = label[best["row"]]
    by_cluster = best.groupby("label")
    best["cluster"] = by_cluster["image_id"].transform("min")
    spans = by_cluster["landmark_id"].agg(lambda found: sorted(set(found)))
    best["landmarks"] = best["label"].map(spans)
    return best[["row", *schemas.DUPLICATES.names]]


STAGE = Stage("dedupe", reads=("images",), writes=("hashes", "duplicates"), run=run)
