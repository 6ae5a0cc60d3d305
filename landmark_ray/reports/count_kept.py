"""Count the images that other thresholds would keep, from the stored pairs alone."""

import os
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated

import numpy as np
from pydantic import AfterValidator, Field

from landmark_ray.config import Config
from landmark_ray.config.base import Count, Share
from landmark_ray.data.root import Root, Shard
from landmark_ray.errors import UserError
from landmark_ray.reports.threshold_sweep import Sweep, kept_counts, show, store
from landmark_ray.runtime import ledger
from landmark_ray.runtime.progress import ProgressBar

COLUMNS = ["landmark_id", "image_a", "image_b", "inliers"]

Counts = Annotated[
    tuple[Count, ...], Field(min_length=1), AfterValidator(lambda given: tuple(sorted(set(given))))
]


Shares = Annotated[
    tuple[Share, ...], Field(min_length=1), AfterValidator(lambda given: tuple(sorted(set(given))))
]


class SweepConfig(Config):
    """Options of jobs/sweep.py; the options of the run are read from its ledger."""

    min_inliers: Counts = Field(
        tuple(range(6, 21)),
        description="values of match.min_inliers; the run's own value is added",
    )
    min_partners: Counts = Field(
        (1, 2, 3, 4), description="values of match.min_partners; the run's own value is added"
    )
    agreement: Shares = Field(
        (0.0, 0.6, 0.8, 1.0),
        description="values of prune.agreement, 0 for geometry alone; the run's own value is added",
    )


def sweep(config: SweepConfig, root: Root) -> None:
    """Count the kept images and classes for all thresholds, print and store the result.

    Raises:
        UserError: The run did not match every pair.
    """
    if config.match.mode != "exhaustive":
        raise UserError(
            f"the sweep needs every pair, and {root.uri} was matched in mode {config.match.mode}:"
            " run jobs/pipeline.py with the same options and --to prune --match.mode exhaustive "
            "--redo match (which deletes its tables from pairs on), or on another --root"
        )
    lowest = config.match.min_inliers
    unknown = [t for t in config.min_inliers if t < lowest]
    if unknown:
        print(
            f"left out: {', '.join(map(str, unknown))} inliers, because the run did not verify "
            f"pairs with fewer than --match.min_inliers {lowest} matches",
            file=sys.stderr,
        )
    thresholds = sorted({*config.min_inliers, lowest} - set(unknown))
    partners = sorted({*config.min_partners, config.match.min_partners})
    own_agreement = config.prune.agreement if config.compares else 0.0
    agreement = sorted({*config.agreement, own_agreement}) if config.compares else [0.0]
    if (ledger.read(root, "prune") or {}).get("state") != "finished":
        raise UserError(f"{root.uri}: stage prune is not finished; run jobs/prune.py first")

    def count(shard: Shard) -> tuple[Shard, np.ndarray]:
        kept = kept_counts(
            root.read_shard("kept", *shard.key, ["landmark_id", "image_id", "agreement"]),
            root.read_shard("pairs", *shard.key, COLUMNS),
            min_inliers=thresholds,
            min_partners=partners,
            agreement=agreement,
            max_images=config.prune.max_images,
            min_images=config.prune.min_images,
        )
        return shard, np.stack(kept)

    shards = root.shards()
    total = np.zeros((2, len(thresholds), len(partners), len(agreement)), np.int64)
    threads = config.cluster.cpus or os.cpu_count()
    with (
        ProgressBar("sweep", sum(s.images for s in shards)) as progress_bar,
        ThreadPoolExecutor(threads) as pool,
    ):
        try:
            for shard, kept in pool.map(count, shards):
                total += kept
                progress_bar.add(shard.images)
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
    funnel = (ledger.read(root, "match") or {})["funnel"]
    result = Sweep(
        tuple(thresholds),
        tuple(partners),
        tuple(agreement),
        total[0],
        total[1],
        of=(funnel["images_in"], funnel["classes_in"]),
        own=(lowest, config.match.min_partners, own_agreement),
        max_images=config.prune.max_images,
        min_images=config.prune.min_images,
    )
    show(result)
    store(result, root)
    print(f"\ntable and picture in {root.uri}/reports/sweep.csv, .json and .png")
