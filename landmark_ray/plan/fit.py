"""Two runs' times of a stage -> a fixed part and a rate; and the time of work dealt to workers."""

import heapq
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel
from scipy.optimize import nnls

Weights = NDArray[np.float64]


class Fit(BaseModel):
    """What a stage takes on one core, or on one GPU, of the machine that calibrated.

    Attributes:
        fixed: seconds, however much there is to do.
        rate: seconds a unit of work.
    """

    fixed: float = 0.0
    rate: float = 0.0


def makespan(weights: Weights, workers: int) -> float:
    """Work of the busiest of some workers, each of whom takes the largest piece that is left.

    Args:
        weights: [N] work of each piece, which no two share.
        workers: at least 1.
    """
    if workers >= len(weights):
        return float(weights.max(initial=0.0))
    busy = [0.0] * workers
    for weight in -np.sort(-weights):
        heapq.heapreplace(busy, busy[0] + float(weight))
    return max(busy)


def line(runs: Sequence[tuple[float, float, float]]) -> Fit:
    """The fixed part and the rate that come nearest to runs, neither of them negative.

    Args:
        runs: (rounds, work, seconds): the fixed part is paid once a round, the rate for the work
            of the busiest worker. Of one run alone all is taken for work, where there is any.
    """
    known = np.array(runs, float)
    if len(runs) == 1 and known[0, 1]:
        known[0, 0] = 0.0
    (fixed, rate), _ = nnls(known[:, :2], known[:, 2])
    return Fit(fixed=fixed, rate=rate)


def at_rate(runs: Sequence[tuple[float, float, float]], rate: float) -> Fit:
    """The fixed part that is left of runs, as `line` takes them, at a rate known from elsewhere."""
    rounds, work, seconds = np.array(runs, float).T
    return Fit(fixed=max(float(((seconds - rate * work) / rounds).mean()), 0.0), rate=rate)
