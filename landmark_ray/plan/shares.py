"""How many images go on from stage to stage, and how many pairs are tried on the way."""

from dataclasses import dataclass

import numpy as np
from pydantic import BaseModel

from landmark_ray.config import Config
from landmark_ray.data.examples import BACKGROUND_VALIDATION
from landmark_ray.kernels.splitting import group_of, validation_share
from landmark_ray.plan.workload import Counts, Workload


class Shares(BaseModel):
    """What the calibration found of the photos.

    Attributes:
        usable: of those that are read.
        unverified: of the usable ones, no other of their landmark verifies.
        tries: pairs that a photo tries until one verifies it.
        cleaned: of what prune keeps, clean keeps.
        features: numbers of the trunk's vector of a photo.
    """

    usable: float = 1.0
    unverified: float = 0.15
    tries: float = 2.0
    cleaned: float = 1.0
    features: int = 2048


@dataclass(frozen=True)
class Flow:
    """Images at each step, by class; all are [C].

    Attributes:
        usable: after ingest.
        verified: by another one.
        kept: by prune.
        examples: after clean and resize.
        group: of each class, 0 for none.
        background: discarded images that models learn from, in all.
    """

    usable: Counts
    verified: Counts
    kept: Counts
    examples: Counts
    group: Counts
    background: int

    def validating(self, config: Config) -> Counts:
        """[C] examples that validate; each class's share is that of its group."""
        options = config.group
        shares = [0.0] + [
            validation_share(
                group, len(options.edges), options.validation_first, options.validation_last
            )
            for group in range(1, len(options.edges) + 1)
        ]
        return np.floor(np.array(shares)[self.group] * self.examples + 0.5).astype(np.int64)

    def vectors(self, config: Config) -> int:
        """Vectors of the stage embed: all photos as they are, those to learn from varied, too."""
        learns = int((self.examples - self.validating(config)).sum())
        learns += round((1 - BACKGROUND_VALIDATION) * self.background)
        every = int(self.examples.sum()) + self.background
        return every + (config.train.views - 1) * learns


def flow_of(work: Workload, shares: Shares, config: Config) -> Flow:
    """Draw what happens to each class's images, each by itself."""
    rng = np.random.default_rng(config.seed)
    options = config.prune
    usable = rng.binomial(work.sizes, shares.usable)
    verified = rng.binomial(usable, 1 - shares.unverified)
    kept = np.minimum(verified, options.max_images)
    kept[kept < options.min_images] = 0
    cleaned = rng.binomial(kept, shares.cleaned)
    cleaned[cleaned < options.min_images] = 0
    group = group_of(cleaned, config.group.edges).astype(np.int64)
    examples = np.where(group > 0, cleaned, 0)
    over = np.maximum(verified - options.max_images, 0)
    background = min(int((usable - cleaned - over).sum()), config.resize.background)
    return Flow(usable, verified, kept, examples, group, background)


def pairs_of(flow: Flow, tries: float, config: Config) -> np.ndarray:
    """[C] pairs of each class that are tried (see kernels/schedule.py).

    Early: images come in seeded order until the first `prune.max_images` verified ones are known. A
    verified one tries some partners; one that nothing verifies tries all others, once each.
    """
    n = flow.usable.astype(float)
    possible = n * (n - 1) / 2
    if config.match.mode == "exhaustive":
        return possible
    cap = np.minimum(flow.verified, config.prune.max_images)
    settled = cap / np.maximum(flow.verified, 1)
    settled[flow.verified == 0] = 1.0
    alone = (n - flow.verified) * settled
    return np.minimum(tries * cap + all_others(n, alone), possible)


def all_others(n: np.ndarray, alone: np.ndarray) -> np.ndarray:
    """Pairs of n images in which one at least of `alone` ones takes part."""
    return alone * (n - 1) - alone * (alone - 1) / 2
