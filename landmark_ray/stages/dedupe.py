"""dedupe: find images that show the same photo, of one landmark or of several.

Tasks hash the images of each shard. Other tasks share the hashes of all images, 8 bytes each, and
compare them. Images with similar hashes are then compared by their thumbnails.
"""

import numpy as np
import pandas as pd
import pyarrow as pa
import ray

from landmark_ray.config import Config
from landmark_ray.data import schemas
from landmark_ray.data.concurrently import map_concurrently
from landmark_ray.data.root import Root, Shard
from landmark_ray.data.sources import Source
from landmark_ray.kernels import duplicates as kernel
from landmark_ray.kernels.perceptual_hash import THUMBNAIL, perceptual_hash
from landmark_ray.runtime.counts import StageCounts
from landmark_ray.runtime.progress import ProgressBar
from landmark_ray.runtime.ray_start import start_ray
from landmark_ray.runtime.resources import task_resources
from landmark_ray.runtime.shards import ShardReader, ShardResult, process_shards
from landmark_ray.runtime.stage import Stage
from landmark_ray.runtime.tasks import Row


def run(config: Config, root: Root, source: Source) -> StageCounts:
    """Write `hashes` and `duplicates`."""
    hashed = process_shards("dedupe", "hashes", hash_images, config, root, title="hash", light=True)

    def clusters(todo: list[Shard]) -> dict[tuple[int, int], Row]:
        rows = find_duplicates(root.shards(), config, root)
        return {shard.key: {"clusters": to_ipc_bytes(rows[shard.key])} for shard in todo}

    counts = process_shards(
        "dedupe", "duplicates", unpack_clusters, config, root, light=True, fields=clusters
    )
    counts.task_seconds += hashed.task_seconds
    return counts


def hash_images(shard: ShardReader) -> ShardResult:
    """Compute the hashes and the thumbnail of each image of a shard."""
    images = shard.read("images", ["image_id", "landmark_id", "jpeg"])
    rows = [{**row, **perceptual_hash(row.pop("jpeg"))._asdict()} for row in images.to_pylist()]
    return ShardResult(pa.Table.from_pylist(rows, schemas.HASHES), StageCounts())


def unpack_clusters(shard: ShardReader) -> ShardResult:
    """Write the rows of `duplicates` that belong to a shard, and count them."""
    rows = pa.ipc.open_stream(shard.fields["clusters"]).read_all()
    ids = shard.read("hashes", ["landmark_id"])["landmark_id"].to_pylist()
    counts = StageCounts(len(ids), len(ids), len(set(ids)), len(set(ids)))
    for row in rows.to_pylist():
        counts.counters["exact duplicates" if row["exact"] else "near duplicates"] += 1
        counts.counters["clusters"] += row["cluster"] == row["image_id"]
        counts.counters["label conflicts"] += len(row["landmarks"]) > 1
    return ShardResult(rows, counts)


def to_ipc_bytes(table: pa.Table) -> bytes:
    """Return a table in the format of an Arrow IPC stream."""
    out = pa.BufferOutputStream()
    with pa.ipc.new_stream(out, table.schema) as stream:
        stream.write_table(table)
    return bytes(out.getvalue())


def find_duplicates(
    shards: list[Shard], config: Config, root: Root
) -> dict[tuple[int, int], pa.Table]:
    """Find the duplicates among the images of all shards.

    Returns:
        (bucket, shard) -> its rows of `duplicates`, sorted by landmark and image.
    """
    parts = map_concurrently(lambda s: root.read_shard("hashes", *s.key, ["phash"]), shards)
    starts = np.cumsum([0, *map(len, parts)])
    phash = pa.concat_tables(parts)["phash"].to_numpy()
    hashes, group = np.unique(phash, return_inverse=True)
    pairs = pairs_of_near_hashes(hashes, config)
    wanted = np.bincount(group, minlength=len(hashes)) > 1
    wanted[pairs.ravel()] = True
    rows = np.flatnonzero(wanted[group])  # few; of all other images, only the hash is read
    cuts = np.searchsorted(rows, starts)

    def read_candidates(shard: int) -> tuple[pa.Table, np.ndarray]:
        """Read the images of a shard that may be duplicates, and their thumbnails."""
        of_shard = rows[cuts[shard] : cuts[shard + 1]] - starts[shard]
        images = root.read_shard("hashes", *shards[shard].key).take(pa.array(of_shard))
        data = b"".join(images["thumbnail"].to_pylist())
        pixels = np.frombuffer(data, np.uint8).reshape(-1, THUMBNAIL, THUMBNAIL)
        return images.drop_columns("thumbnail"), pixels

    empty = schemas.HASHES.empty_table().drop_columns("thumbnail")
    candidates = map_concurrently(read_candidates, np.flatnonzero(np.diff(cuts)).tolist())
    images = pa.concat_tables([empty, *(images for images, _ in candidates)])
    none = np.empty((0, THUMBNAIL, THUMBNAIL), np.uint8)
    thumbnails = np.concatenate([none, *(pixels for _, pixels in candidates)])
    frame = cluster_rows(images, group[rows], thumbnails, pairs, config)
    frame["shard"] = np.repeat(np.arange(len(shards)), np.diff(cuts))[frame.pop("row")]
    frame = frame.sort_values(["shard", "landmark_id", "image_id"])
    cuts = np.searchsorted(frame.pop("shard"), np.arange(len(shards) + 1))
    table = pa.Table.from_pylist(frame.to_dict("records"), schemas.DUPLICATES)
    return {s.key: table[cuts[i] : cuts[i + 1]] for i, s in enumerate(shards)}


def pairs_of_near_hashes(hashes: np.ndarray, config: Config) -> np.ndarray:
    """Find the pairs of distinct hashes that differ in at most `dedupe.bits` bits, in tasks.

    Args:
        hashes: [N] uint64, distinct.
        config: All options.

    Returns:
        [P, 2] indices into `hashes`.
    """
    start_ray(config)
    combinations = kernel.block_combinations(config.dedupe.bits)
    shared = ray.put(hashes)
    task = ray.remote(kernel.near_pairs).options(**task_resources(config, "dedupe"))
    tasks = [task.remote(shared, config.dedupe.bits, blocks) for blocks in combinations]
    pairs = []
    with ProgressBar("compare", len(combinations), unit="combinations") as progress_bar:
        for result in tasks:
            pairs.append(ray.get(result))
            progress_bar.add(1)
    return kernel.merge_pairs(pairs)


def cluster_rows(
    images: pa.Table,
    group: np.ndarray,
    thumbnails: np.ndarray,
    pairs: np.ndarray,
    config: Config,
) -> pd.DataFrame:
    """Form clusters of images whose thumbnails are similar.

    Args:
        images: [N] rows of `hashes`.
        group: [N] number of the hash of each image; equal hashes have equal numbers.
        thumbnails: [N, H, W] uint8, grey.
        pairs: [P, 2] numbers of hashes that differ in few bits.
        config: All options.

    Returns:
        Rows of `duplicates`, and in `row` the index of each one's image in `images`.
    """
    most = config.dedupe.difference
    representative = kernel.representatives(group, thumbnails, most)
    rows = pd.DataFrame({"row": np.unique(representative)})
    rows["group"] = group[rows["row"]]
    near = pd.DataFrame(pairs, columns=["a", "b"])
    near = near.merge(rows, left_on="a", right_on="group")
    near = near.merge(rows, left_on="b", right_on="group")
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
    spans = by_cluster["landmark_id"].agg(lambda landmarks: sorted(set(landmarks)))
    best["landmarks"] = best["label"].map(spans)
    return best[["row", *schemas.DUPLICATES.names]]


STAGE = Stage("dedupe", reads=("images",), writes=("hashes", "duplicates"), run=run)
