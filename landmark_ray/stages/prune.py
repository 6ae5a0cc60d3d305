"""prune: keep the photos that show their landmark, and drop landmarks that are left with few.

A photo stays if partners verify it, or if the photos that resemble it most, in the whole dataset,
are of its landmark. Neighbours are sought in tasks that share the whitened descriptors of all
photos: 256 bytes each, 1 GB for Google Landmarks.
"""

from collections import defaultdict
from dataclasses import dataclass
from functools import partial

import numpy as np
import pyarrow as pa
import ray
from numpy.typing import NDArray

from landmark_ray.config import Config
from landmark_ray.data import schemas
from landmark_ray.data.descriptors import (
    NEAR,
    NEAR_ITS_LANDMARK,
    read_photos,
    whiten_photos,
)
from landmark_ray.data.root import Root, Shard
from landmark_ray.data.sources import Source
from landmark_ray.kernels.agreement import agreement
from landmark_ray.kernels.neighbours import Lists, build_lists, nearest_others
from landmark_ray.kernels.pair_schedule import decide
from landmark_ray.kernels.sampling import rank_key
from landmark_ray.runtime.counts import StageCounts
from landmark_ray.runtime.progress import ProgressBar
from landmark_ray.runtime.ray_start import start_ray
from landmark_ray.runtime.resources import pin_threads, task_resources
from landmark_ray.runtime.shards import ShardReader, ShardResult, process_shards
from landmark_ray.runtime.stage import Stage
from landmark_ray.runtime.tasks import Row

QUERIES = 4096
"""Number of photos whose neighbours a task seeks."""


@dataclass(frozen=True)
class Resemblance:
    """What the neighbours of some photos say.

    Attributes:
        ids: [n] image ids of the photos.
        agreement: [n] share of each photo's neighbours that are of its landmark.
        neighbours: [n] image ids of the neighbours.
    """

    ids: list[str]
    agreement: list[float]
    neighbours: list[list[str]]


NOT_ASKED = Resemblance([], [], [])

GEOMETRY_ALONE = (
    "with --train.weights none there is no network yet that could find similar photos: only photos "
    "that geometry verifies stay"
)


def run(config: Config, root: Root, source: Source) -> StageCounts:
    """Write `kept`."""
    done = root.committed("kept")
    todo = [shard for shard in root.shards() if shard.key not in done]
    ids: ray.ObjectRef[pa.Array] | None = None
    found: dict[tuple[int, int], Row] = {}
    if todo and config.compares:
        ids, found = seek(todo, config, root)
    rule = partial(prune, config, ids)
    counts = process_shards("prune", "kept", rule, config, root, light=True, fields=lambda _: found)
    if config.prune.agreement > 0 and not config.compares:
        counts.notes.append(GEOMETRY_ALONE)
    return counts


def prune(config: Config, ids: "ray.ObjectRef[pa.Array] | None", shard: ShardReader) -> ShardResult:
    """Decide which images of a shard stay.

    Args:
        config: All options.
        ids: The image ids to which neighbours refer; None if no neighbours were sought.
        shard: The shard.
    """
    images = shard.read("images", ["image_id", "landmark_id"])
    pairs = shard.read("pairs", ["landmark_id", "image_a", "image_b", "inliers"])
    resemblance = NOT_ASKED
    if ids is not None:
        described = shard.read("descriptors", ["image_id"])["image_id"].to_pylist()
        neighbours = np.frombuffer(shard.fields["neighbours"], np.int64)
        neighbours = neighbours.reshape(-1, config.prune.neighbours)
        known = ray.get(ids)
        resemblance = Resemblance(
            described,
            np.frombuffer(shard.fields["agreement"], np.float32).tolist(),
            [known.take(pa.array(rows[rows >= 0])).to_pylist() for rows in neighbours],
        )
    return ShardResult(*prune_rows(images, pairs, config, resemblance))


def prune_rows(
    images: pa.Table, pairs: pa.Table, config: Config, resemblance: Resemblance = NOT_ASKED
) -> tuple[pa.Table, StageCounts]:
    """Decide which images of some whole classes stay.

    Args:
        images: Rows of `images`: `image_id` and `landmark_id`.
        pairs: Rows of `pairs` of the same classes.
        config: All options.
        resemblance: What the neighbours of these images say, as far as it is known.

    Returns:
        Rows of `kept`, and the counts.
    """
    members: dict[int, list[str]] = defaultdict(list)
    for row in images.to_pylist():
        members[row["landmark_id"]].append(row["image_id"])
    matched: dict[int, list[tuple[str, str, int]]] = defaultdict(list)
    columns = (pairs[name].to_pylist() for name in ("landmark_id", "image_a", "image_b", "inliers"))
    for landmark, *pair in zip(*columns, strict=True):
        matched[landmark].append(tuple(pair))
    judged: dict[str, Row] = {
        image_id: {"agreement": share, "neighbours": near}
        for image_id, share, near in zip(
            resemblance.ids, resemblance.agreement, resemblance.neighbours, strict=True
        )
    }
    least = np.float32(config.prune.agreement)  # as the table has it, where 0.7 is a little less
    similar = {i for i, found in judged.items() if np.float32(found["agreement"]) >= least}
    unjudged: Row = {"agreement": None, "neighbours": []}
    rows: list[Row] = []
    counts = StageCounts(images_in=images.num_rows, classes_in=len(members))
    for landmark, ids in sorted(members.items()):
        order = [ids[i] for i in np.argsort(rank_key(ids, config.seed), kind="stable")]
        decisions = decide(
            order,
            matched[landmark],
            min_inliers=config.match.min_inliers,
            max_images=config.prune.max_images,
            min_images=config.prune.min_images,
            min_partners=config.match.min_partners,
            similar=similar,
        )
        for image_id, decision in sorted(decisions.items()):
            found = judged.get(image_id, unjudged)
            rows.append({"image_id": image_id, "landmark_id": landmark, **vars(decision), **found})
        counts.counters[NEAR_ITS_LANDMARK] += sum(
            not d.keep and d.reason != "over_cap" and judged[i]["agreement"] >= NEAR
            for i, d in decisions.items()
            if i in judged
        )
        stay = [d.reason for d in decisions.values() if d.keep]
        counts.images_out += len(stay)
        counts.classes_out += bool(stay)
        counts.reject_reasons.update(d.reason for d in decisions.values() if not d.keep)
        counts.counters["kept as similar"] += stay.count("similar")
    return pa.Table.from_pylist(rows, schemas.KEPT), counts


def seek(
    todo: list[Shard], config: Config, root: Root
) -> tuple["ray.ObjectRef[pa.Array]", dict[tuple[int, int], Row]]:
    """Find the neighbours of all photos.

    Returns:
        The image ids to which neighbours refer, and for each shard the rows of its neighbours
        [n, k] int64 and their agreement [n] float32, as bytes.
    """
    start_ray(config)
    photos = read_photos(root)
    near = np.full((len(photos.ids), config.prune.neighbours), -1, np.int64)
    if len(photos.ids) > 1:
        near = find_neighbours(whiten_photos(photos, root, config.seed), config)
    neighbours = near[photos.row]
    share = agreement(neighbours, photos.landmark, photos.row, photos.landmark)
    places = {shard.key: photos.places[shard.key] for shard in todo}
    found: dict[tuple[int, int], Row] = {
        key: {"neighbours": neighbours[own].tobytes(), "agreement": share[own].tobytes()}
        for key, own in places.items()
    }
    return ray.put(photos.ids), found


def find_neighbours(vectors: NDArray[np.float16], config: Config) -> NDArray[np.int64]:
    """Find the nearest others of each vector, in tasks.

    Args:
        vectors: [N, d] of unit length.
        config: All options.

    Returns:
        [N, k] rows of `vectors`; -1 where there are fewer.
    """
    k = config.prune.neighbours
    lists = build_lists(vectors)
    near = np.full((len(vectors), k), -1, np.int64)
    shared = ray.put(vectors), ray.put(lists)
    task = ray.remote(seek_range).options(**task_resources(config, "prune"))
    ranges = lists.ranges(QUERIES)
    with ProgressBar("compare", len(vectors)) as progress_bar:
        for chosen, result in zip(
            ranges, [task.remote(*shared, chosen, k) for chosen in ranges], strict=True
        ):
            _, start, end = chosen
            near[lists.order[start:end]] = ray.get(result)
            progress_bar.add(end - start)
    return near


def seek_range(
    vectors: NDArray[np.float16], lists: Lists, chosen: tuple[int, int, int], k: int
) -> NDArray[np.int64]:
    """Find the neighbours of a range, see `nearest_others`; runs in a task."""
    pin_threads()
    return nearest_others(vectors, lists, chosen, k)


STAGE = Stage(
    "prune", reads=("images", "pairs", "descriptors", "duplicates"), writes=("kept",), run=run
)
