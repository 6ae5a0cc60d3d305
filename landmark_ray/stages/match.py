"""match: geometric verification of the pairs of each class.

The task of a shard matches its classes. A class with too many pairs for one task is cut into
chunks, which run at the same time. The pairs of a chunk are stored until the stage is finished, so
that a killed run does not match them again.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import ray

from landmark_ray.config import Config
from landmark_ray.data import schemas
from landmark_ray.data.class_features import ClassImages, FeatureShard
from landmark_ray.data.root import Root
from landmark_ray.data.sources import Source
from landmark_ray.kernels import pair_schedule
from landmark_ray.kernels.matching import match_pair, pair_seed
from landmark_ray.kernels.pair_schedule import Pair, VerifiedPairs
from landmark_ray.kernels.sampling import rank_key
from landmark_ray.runtime.counts import StageCounts
from landmark_ray.runtime.resources import pin_threads
from landmark_ray.runtime.shards import ShardReader, ShardResult, process_shards
from landmark_ray.runtime.stage import Stage

STAGING = "_staging/match"

LIKELIEST = 32
"""Number of partners that an image tries in the order of similarity, before the others."""


def run(config: Config, root: Root, source: Source) -> StageCounts:
    """Write `pairs`."""
    counts = process_shards("match", "pairs", partial(match, config), config, root)
    root.delete(STAGING)
    return counts


def match(config: Config, shard: ShardReader) -> ShardResult:
    """Match the classes of a shard."""
    features = FeatureShard(shard.root, *shard.key, config.match.memory_mb)
    tables = [schemas.PAIRS.empty_table()]
    counts = StageCounts()
    for images in features.classes():
        pairs = match_class(images, config, partial(run_chunks, images, config, shard.root))
        tables.append(pairs)
        count(counts, images, pairs, config)
    return ShardResult(pa.concat_tables(tables), counts)


def count(counts: StageCounts, images: ClassImages, pairs: pa.Table, config: Config) -> None:
    """Add a class and its pairs to the counts."""
    n = len(images)
    counts.add(StageCounts(images_in=n, images_out=n, classes_in=1, classes_out=1))
    counts.counters["pairs"] += pairs.num_rows
    counts.counters["possible pairs"] += n * (n - 1) // 2
    verified = pairs["inliers"].to_numpy() >= config.match.min_inliers
    counts.counters["verified pairs"] += int(verified.sum())


@dataclass(frozen=True)
class Chunk:
    """Some images of a class, whose pairs are matched together.

    Attributes:
        name: A name that is unique within the class.
        images: Indices of the images in the class, in seeded order.
        likeliest: The partners that each image tries first; unused if every pair is matched.
        known: The pairs of these images that were matched before -> their inliers.
    """

    name: str
    images: list[int]
    likeliest: list[list[int]] = field(default_factory=list)
    known: dict[Pair, int] = field(default_factory=dict)


class MatchedPair(NamedTuple):
    """The result for a pair, as in the table `pairs`."""

    putative: int
    inliers: int
    affine: list[float] | None


MatchedPairs = dict[Pair, MatchedPair]
"""Matched pairs of a class -> their results."""

RunChunks = Callable[[list[Chunk]], Iterable[MatchedPairs]]
"""Matches chunks, one after the other or at the same time."""


def match_class(images: ClassImages, config: Config, run: RunChunks | None = None) -> pa.Table:
    """Match pairs of a class: all of them, or as many as decide which images stay.

    In mode "early", this function itself matches up to `match.task_pairs` pairs of each round,
    which is enough for most large classes; `run` matches the rest.

    Args:
        images: The class.
        config: All options.
        run: Matches chunks elsewhere; they are matched here when None.

    Returns:
        Rows of `pairs`, sorted.
    """
    n, options = len(images), config.match
    run = run or (lambda chunks: [match_chunk(images, chunk, config) for chunk in chunks])
    matched: MatchedPairs = {}
    if options.mode == "exhaustive":
        cut = pair_schedule.chunks(range(n), lambda image: n - 1 - image, options.task_pairs)
        for new in run([Chunk(f"{i}", part) for i, part in enumerate(cut)]):
            matched |= new
        return pairs_table(images, matched)
    order = np.argsort(rank_key(images.ids, config.seed), kind="stable").tolist()
    means = images.mean_descriptors()
    verified = verified_pairs(config)
    rounds = pair_schedule.rounds(order, verified, max_images=config.prune.max_images)
    for number, todo in enumerate(rounds):
        likeliest = likeliest_partners(means, todo)
        rest = verify_images(images, todo, likeliest, config, verified, matched, options.task_pairs)
        cut = pair_schedule.chunks(rest, lambda _: n - 1, options.task_pairs)
        known = pair_schedule.pairs_of_parts(verified.inliers, cut)
        chunks = [
            Chunk(f"{number}-{i}", part, likeliest_partners(means, part), known[i])
            for i, part in enumerate(cut)
        ]
        for new in run(chunks):
            matched |= new
            for pair, result in new.items():
                verified.add(pair, result.inliers)
    return pairs_table(images, matched)


def verified_pairs(config: Config, known: dict[Pair, int] | None = None) -> VerifiedPairs:
    """Make the record of a class's verified pairs from pairs that are known -> their inliers."""
    verified = VerifiedPairs(config.match.min_inliers, config.match.min_partners)
    for pair, inliers in (known or {}).items():
        verified.add(pair, inliers)
    return verified


def match_chunk(images: ClassImages, chunk: Chunk, config: Config) -> MatchedPairs:
    """Match the pairs of a chunk, and return the new ones."""
    matched: MatchedPairs = {}
    if config.match.mode == "exhaustive":
        match_one = pair_matcher(images, config, matched)
        for a in chunk.images:
            for b in range(a + 1, len(images)):
                if not images.duplicates(a, b):
                    match_one(a, b)
    else:
        verified = verified_pairs(config, chunk.known)
        verify_images(images, chunk.images, chunk.likeliest, config, verified, matched)
    return matched


def verify_images(
    images: ClassImages,
    todo: list[int],
    likeliest: list[list[int]],
    config: Config,
    verified: VerifiedPairs,
    matched: MatchedPairs,
    max_pairs: int | None = None,
) -> list[int]:
    """Match images with their partners until each image is verified or has no partner left.

    Args:
        images: The class.
        todo: Indices of the images to verify.
        likeliest: The partners that each of them tries first.
        config: All options.
        verified: What is known; the matched pairs are added.
        matched: The matched pairs are added.
        max_pairs: The largest number of pairs to match; no limit when None.

    Returns:
        The images that remain undecided because of `max_pairs`.
    """
    first = dict(zip(todo, likeliest, strict=True))
    return pair_schedule.verify_until_decided(
        todo,
        pair_matcher(images, config, matched),
        lambda image: all_partners(image, first[image], images),
        verified,
        max_pairs,
    )


def pair_matcher(
    images: ClassImages, config: Config, matched: MatchedPairs
) -> Callable[[int, int], int]:
    """Return a function that matches a pair, adds it to `matched`, and returns its inliers."""
    options, ids = config.match, images.ids
    rule = options.rule(config.extract.extractor)

    def match_one(a: int, b: int) -> int:
        seed = pair_seed(ids[a], ids[b], config.seed)
        result = match_pair(images[a], images[b], rule, stop_below=options.min_inliers, seed=seed)
        affine = None if result.affine is None else result.affine.ravel().tolist()
        matched[a, b] = MatchedPair(result.putative, result.inliers, affine)
        return result.inliers

    return match_one


def all_partners(image: int, likeliest: list[int], images: ClassImages) -> Iterator[int]:
    """Iterate over the partners of an image, the likeliest first, without its duplicates."""
    first = set(likeliest)
    others = (i for i in range(len(images)) if i not in first)
    return (i for i in chain(likeliest, others) if not images.duplicates(i, image))


def likeliest_partners(means: np.ndarray, images: list[int]) -> list[list[int]]:
    """List the images that are most similar to each of some images, which are among them.

    Args:
        means: [n, D] mean descriptor of each image of the class; they are centred here.
        images: Indices of the images.

    Returns:
        At most LIKELIEST indices for each image, the most similar first.
    """
    centred = means - means.mean(axis=0)
    centred /= np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), 1e-9)
    similarity = centred[images] @ centred.T
    return np.argsort(-similarity, axis=1, kind="stable")[:, :LIKELIEST].tolist()


def pairs_table(images: ClassImages, matched: MatchedPairs) -> pa.Table:
    """Return the matched pairs of a class as rows of `pairs`, sorted."""
    pairs = sorted(matched)
    ids = pa.array(images.ids, pa.string())
    a, b = (ids.take(pa.array(end)) for end in np.array(pairs, np.int64).reshape(-1, 2).T)
    results = [matched[pair] for pair in pairs]
    return pa.table(
        {
            "landmark_id": np.full(len(pairs), images.landmark_id),
            "image_a": a,
            "image_b": b,
            "putative": [result.putative for result in results],
            "inliers": [result.inliers for result in results],
            "affine": [result.affine for result in results],
        },
        schemas.PAIRS,
    )


def read_pairs(images: ClassImages, pairs: pa.Table) -> MatchedPairs:
    """Return rows of `pairs` of a class as matched pairs: the reverse of `pairs_table`."""
    index = {image_id: i for i, image_id in enumerate(images.ids)}
    names = ("image_a", "image_b", *MatchedPair._fields)
    rows = zip(*(pairs[name].to_pylist() for name in names), strict=True)
    return {(index[a], index[b]): MatchedPair(*rest) for a, b, *rest in rows}


def run_chunks(
    images: ClassImages, config: Config, root: Root, chunks: list[Chunk]
) -> list[MatchedPairs]:
    """Match chunks of a class in Ray tasks, whose files stay until the stage is finished.

    A single chunk is matched here, as there is nothing to run at the same time.
    """
    if len(chunks) < 2:
        return [match_chunk(images, chunk, config) for chunk in chunks]
    names = [f"{STAGING}/{images.landmark_id}/{chunk.name}.parquet" for chunk in chunks]
    # They reserve no memory: this task waits and keeps its own, and two such tasks could hold all
    task = ray.remote(run_chunk).options(num_cpus=config.match.cpus)
    ray.get(
        [
            task.remote(images.location, chunk, config, root, name)
            for chunk, name in zip(chunks, names, strict=True)
            if not root.exists(name)
        ]
    )
    return [read_pairs(images, root.read_table(name)) for name in names]


def run_chunk(
    place: tuple[int, int, int], chunk: Chunk, config: Config, root: Root, name: str
) -> None:
    """Match a chunk of the class at `place` (bucket, shard, landmark), and write its pairs."""
    pin_threads()
    bucket, shard, landmark_id = place
    classes = FeatureShard(root, bucket, shard, config.match.memory_mb).classes()
    images = next(c for c in classes if c.landmark_id == landmark_id)
    root.write_table(name, pairs_table(images, match_chunk(images, chunk, config)))


STAGE = Stage(
    "match", reads=("duplicates", "features"), writes=("pairs",), run=run, scratch=(STAGING,)
)
