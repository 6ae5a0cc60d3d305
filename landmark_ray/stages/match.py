"""match: geometric verification of the pairs of each class.

A class is matched by the task of its shard. What is too much for that is cut into parts, which run
side by side, keep what they find until the class is done, and are not repeated when the run is
killed.
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
from landmark_ray.runtime.resources import pin_threads, task_resources
from landmark_ray.runtime.shards import ShardReader, ShardResult, process_shards
from landmark_ray.runtime.stage import Stage

STAGING = "_staging/match"

LIKELIEST = 32
"""Partners that an image tries by likeness; the others follow in the order of the file."""


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
        pairs = match_class(images, config, partial(run_parts, images, config, shard.root))
        tables.append(pairs)
        count(counts, images, pairs, config)
    return ShardResult(pa.concat_tables(tables), counts)


def count(funnel: StageCounts, images: ClassImages, pairs: pa.Table, config: Config) -> None:
    """Add a class and its pairs to a funnel."""
    n = len(images)
    funnel.add(StageCounts(images_in=n, images_out=n, classes_in=1, classes_out=1))
    funnel.facts["pairs"] += pairs.num_rows
    funnel.facts["possible pairs"] += n * (n - 1) // 2
    verified = pairs["inliers"].to_numpy() >= config.match.min_inliers
    funnel.facts["verified pairs"] += int(verified.sum())


@dataclass(frozen=True)
class Part:
    """Images of a class to settle.

    Attributes:
        name: unlike that of any other part of the class.
        images: indices in the class, in seeded order.
        likeliest: the partners that each tries first; not used for matching every pair.
        known: pairs evaluated before, and their inliers.
    """

    name: str
    images: list[int]
    likeliest: list[list[int]] = field(default_factory=list)
    known: dict[Pair, int] = field(default_factory=dict)


class Matched(NamedTuple):
    """What is kept of a pair: as in `pairs`."""

    putative: int
    inliers: int
    affine: list[float] | None


Found = dict[Pair, Matched]
"""New pairs of a class."""

Run = Callable[[list[Part]], Iterable[Found]]
"""Runs parts, side by side or not."""


def match_class(images: ClassImages, config: Config, run: Run | None = None) -> pa.Table:
    """The evaluated pairs of a class, as rows of `pairs`; `run` runs its parts elsewhere.

    Of a wave so many pairs are tried here as a task may try; most large classes need no more.
    """
    n, options = len(images), config.match
    run = run or (lambda parts: [match_part(images, part, config) for part in parts])
    found: Found = {}
    if options.mode == "exhaustive":
        cut = pair_schedule.chunks(range(n), lambda image: n - 1 - image, options.task_pairs)
        for new in run([Part(f"{i}", part) for i, part in enumerate(cut)]):
            found |= new
        return table_of(images, found)
    order = np.argsort(rank_key(images.ids, config.seed), kind="stable").tolist()
    means = images.mean_descriptors()
    verified_pairs = evidence_of(config)
    waves = pair_schedule.rounds(order, verified_pairs, max_images=config.prune.max_images)
    for number, wave in enumerate(waves):
        first = likeliest_partners(means, wave)
        rest = settle(images, wave, first, config, verified_pairs, found, options.task_pairs)
        cut = pair_schedule.chunks(rest, lambda _: n - 1, options.task_pairs)
        parts = [
            Part(
                f"{number}-{i}", some, likeliest_partners(means, some), dict(verified_pairs.inliers)
            )
            for i, some in enumerate(cut)
        ]
        for new in run(parts):
            found |= new
            for pair, matched in new.items():
                verified_pairs.add(pair, matched.inliers)
    return table_of(images, found)


def evidence_of(config: Config, known: dict[Pair, int] | None = None) -> VerifiedPairs:
    """What is known of a class."""
    verified_pairs = VerifiedPairs(config.match.min_inliers, config.match.min_partners)
    for pair, inliers in (known or {}).items():
        verified_pairs.add(pair, inliers)
    return verified_pairs


def match_part(images: ClassImages, part: Part, config: Config) -> Found:
    """The new pairs of a part."""
    found: Found = {}
    if config.match.mode == "exhaustive":
        evaluate = evaluation(images, config, found)
        for a in part.images:
            for b in range(a + 1, len(images)):
                if not images.duplicates(a, b):
                    evaluate(a, b)
    else:
        verified_pairs = evidence_of(config, part.known)
        settle(images, part.images, part.likeliest, config, verified_pairs, found)
    return found


def settle(
    images: ClassImages,
    some: list[int],
    likeliest: list[list[int]],
    config: Config,
    verified_pairs: VerifiedPairs,
    found: Found,
    most: int | None = None,
) -> list[int]:
    """Settle images with the partners that each tries first; those that `most` pairs left."""
    first = dict(zip(some, likeliest, strict=True))
    return pair_schedule.verify_until_decided(
        some,
        evaluation(images, config, found),
        lambda image: all_partners(image, first[image], images),
        verified_pairs,
        most,
    )


def evaluation(images: ClassImages, config: Config, found: Found) -> Callable[[int, int], int]:
    """A function that matches a pair, adds it to what is found, and tells its inliers."""
    options, ids = config.match, images.ids
    rule = options.rule(config.extract.extractor)

    def evaluate(a: int, b: int) -> int:
        seed = pair_seed(ids[a], ids[b], config.seed)
        result = match_pair(images[a], images[b], rule, stop_below=options.min_inliers, seed=seed)
        affine = None if result.affine is None else result.affine.ravel().tolist()
        found[a, b] = Matched(result.putative, result.inliers, affine)
        return result.inliers

    return evaluate


def all_partners(image: int, likeliest: list[int], images: ClassImages) -> Iterator[int]:
    """The partners of an image, the likeliest first; none is a duplicate of it."""
    first = set(likeliest)
    others = (i for i in range(len(images)) if i not in first)
    return (i for i in chain(likeliest, others) if not images.duplicates(i, image))


def likeliest_partners(means: np.ndarray, images: list[int]) -> list[list[int]]:
    """For some images, those whose centred mean descriptors [n, D] are most alike; itself, too."""
    centred = means - means.mean(axis=0)
    centred /= np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), 1e-9)
    likeness = centred[images] @ centred.T
    return np.argsort(-likeness, axis=1, kind="stable")[:, :LIKELIEST].tolist()


def table_of(images: ClassImages, found: Found) -> pa.Table:
    """Rows of `pairs`, sorted."""
    pairs = sorted(found)
    ids = pa.array(images.ids, pa.string())
    a, b = (ids.take(pa.array(end)) for end in np.array(pairs, np.int64).reshape(-1, 2).T)
    matched = [found[pair] for pair in pairs]
    return pa.table(
        {
            "landmark_id": np.full(len(pairs), images.landmark_id),
            "image_a": a,
            "image_b": b,
            "putative": [m.putative for m in matched],
            "inliers": [m.inliers for m in matched],
            "affine": [m.affine for m in matched],
        },
        schemas.PAIRS,
    )


def found_of(images: ClassImages, pairs: pa.Table) -> Found:
    """What rows of `pairs` say."""
    index = {image_id: i for i, image_id in enumerate(images.ids)}
    names = ("image_a", "image_b", *Matched._fields)
    rows = zip(*(pairs[name].to_pylist() for name in names), strict=True)
    return {(index[a], index[b]): Matched(*rest) for a, b, *rest in rows}


def run_parts(images: ClassImages, config: Config, tables: Root, parts: list[Part]) -> list[Found]:
    """Run parts of a class in Ray tasks; what is found is kept until the stage is finished.

    A single part runs here: there is nothing to run beside it.
    """
    if len(parts) < 2:
        return [match_part(images, part, config) for part in parts]
    names = [f"{STAGING}/{images.landmark_id}/{part.name}.parquet" for part in parts]
    task = ray.remote(run_part).options(**task_resources(config, "match"))
    ray.get(
        [
            task.remote(images.location, part, config, tables, name)
            for part, name in zip(parts, names, strict=True)
            if not tables.exists(name)
        ]
    )
    return [found_of(images, tables.read_table(name)) for name in names]


def run_part(
    place: tuple[int, int, int], part: Part, config: Config, tables: Root, name: str
) -> None:
    """Match a part of a class, and write what is found."""
    pin_threads()
    bucket, shard, landmark_id = place
    classes = FeatureShard(tables, bucket, shard, config.match.memory_mb).classes()
    images = next(c for c in classes if c.landmark_id == landmark_id)
    tables.write_table(name, table_of(images, match_part(images, part, config)))


STAGE = Stage(
    "match", reads=("duplicates", "features"), writes=("pairs",), run=run, scratch=(STAGING,)
)
