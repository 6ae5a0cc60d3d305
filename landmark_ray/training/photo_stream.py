"""Read and decode photos for a training with Ray Data, in an order that the seed determines.

Each epoch divides the files in another order into windows of about a thousand photos, and shuffles
the photos of a window, or arranges them by proportions. Therefore, a reader opens few files, and it
holds the JPEGs of a window but only some decoded photos. A single stream provides all epochs, so
that no epoch waits for its first photos.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import numpy as np
import pandas as pd
import ray
from numpy.typing import NDArray
from ray.data import TaskPoolStrategy

from landmark_ray.config import Config
from landmark_ray.data.examples import pixels
from landmark_ray.data.root import Root
from landmark_ray.kernels.proportions import arranged, cut, window_of
from landmark_ray.runtime.ray_start import start_ray
from landmark_ray.runtime.tasks import Row
from landmark_ray.training.vectors import class_weights

WINDOW = 1024
"""Number of photos that are shuffled together, if they are not arranged by proportions."""

CHUNK = 128
"""Number of decoded photos that a reader holds: a batch of a GPU, see `models.embedding`."""

LEAST_OTHERS = 1000
"""Smallest number of photos of the class "other" in an epoch, if there are enough."""

Batch = tuple[NDArray[np.uint8], NDArray[np.int32], NDArray[np.float32]]
"""Photos [B, H, W, 3], numbers of their classes [B], weights [B]."""


@dataclass(frozen=True)
class Pool:
    """The photos of a training, and the files that hold them.

    Attributes:
        files: [F] names of files, relative to the root.
        file: [N] index of the file of each photo.
        row: [N] row of each photo in its file.
        y: [N] number of the class of each photo; `classes` for the class "other".
        classes: Number of landmarks.
        config: All options, with batch, seed and weights.
        evenly: Whether an epoch draws the landmarks evenly. It has as many photos as there are;
            those of small landmarks return several times, and some of large ones wait for a later
            epoch. There is no class "other".
        proportion: [N] place of each photo in `kernels.proportions.PROPORTIONS`, if batches are to
            have photos of like proportions, of which they show no border; needs `evenly`.
    """

    files: list[str]
    file: NDArray[np.int32]
    row: NDArray[np.int32]
    y: NDArray[np.int32]
    classes: int
    config: Config
    evenly: bool = False
    proportion: NDArray[np.int8] | None = None

    @cached_property
    def others(self) -> int:
        """Return the number of photos of the class "other" in an epoch.

        It is chosen so that each of them weighs 1.
        """
        own = int((self.y < self.classes).sum())
        share = self.config.train.other_share
        wanted = max(round(own * share / (1 - share)), LEAST_OTHERS)
        return min(wanted, self.config.train.others, len(self.y) - own)

    def sample(self, epoch: int) -> NDArray[np.int32]:
        """Return the rows [size] of an epoch, in its order.

        They are all photos of landmarks, and photos of the class "other" from the first files of
        the epoch, which differ between epochs. Both kinds are spread evenly over the epoch.
        """
        rng = np.random.default_rng([self.config.seed, epoch])
        if self.evenly:
            drawn = drawn_evenly(self.y, rng)
            order = np.lexsort((rng.permutation(len(self.files))[self.file[drawn]],))
            rows = np.asarray(_shuffled(drawn[order], self.window, rng), np.int32)
            if self.proportion is None:
                return rows
            return rows[arranged(self.proportion[rows], self.batch, self.window, rng)]
        position = rng.permutation(len(self.files))[self.file]
        by_file = np.argsort(position, kind="stable")
        other = self.y[by_file] == self.classes
        kinds = [by_file[~other], by_file[other][: self.others]]
        places = [(np.arange(len(rows)) + 0.5) / max(len(rows), 1) for rows in kinds]
        rows = np.concatenate(kinds)[np.argsort(np.concatenate(places), kind="stable")]
        return np.asarray(_shuffled(rows, self.window, rng), np.int32)

    @cached_property
    def size(self) -> int:
        """Return the number of photos of an epoch."""
        return int((self.y < self.classes).sum()) + self.others

    @property
    def batch(self) -> int:
        """Return the number of photos of a step."""
        return max(min(self.config.train.batch, self.size), 1)

    @property
    def steps(self) -> int:
        """Return the number of full batches of an epoch; other epochs use the remaining photos."""
        return self.size // self.batch

    @property
    def window(self) -> int:
        """Return the number of photos that are shuffled together."""
        return WINDOW if self.proportion is None else window_of(self.batch, WINDOW)

    @property
    def windows(self) -> int:
        """Return the number of windows of an epoch."""
        return -(-self.steps * self.batch // self.window)

    @cached_property
    def weights(self) -> NDArray[np.float32]:
        """Return the weight [classes + 1] of a photo of each class, equal in all epochs."""
        counts = np.bincount(self.y, minlength=self.classes + 1)
        counts[self.classes] = self.others
        return class_weights(counts, self.config)


def _shuffled(
    rows: NDArray[np.integer[Any]], window: int, rng: np.random.Generator
) -> NDArray[Any]:
    """Shuffle rows [N] within windows."""
    return rows[np.lexsort((rng.random(len(rows)), np.arange(len(rows)) // window))]


def drawn_evenly(y: NDArray[np.int32], rng: np.random.Generator) -> NDArray[np.int64]:
    """Draw N rows from classes y [N]: the numbers of rows of any two classes differ by 1 at most.

    A row returns only after all others of its class were drawn as often.
    """
    rows = rng.permutation(len(y))
    rows = rows[np.argsort(y[rows], kind="stable")]
    _, starts, counts = np.unique(y[rows], return_index=True, return_counts=True)
    shares = np.full(len(counts), len(y) // len(counts))
    shares[rng.permutation(len(counts))[: len(y) % len(counts)]] += 1
    turns = np.concatenate([np.arange(share) for share in shares])
    return rows[np.repeat(starts, shares) + turns % np.repeat(counts, shares)]


def pool_of(
    index: pd.DataFrame, landmarks: NDArray[np.int64], split: str, config: Config, *, other: bool
) -> Pool:
    """Choose the photos of some landmarks on one side of the split, and of the class "other".

    Discarded photos that are filed under one of the landmarks are left out, as they may show it.

    Args:
        index: The result of `read_index`.
        landmarks: [C] ids of the landmarks, rising.
        split: "train" or "validation".
        config: All options.
        other: Whether there is a class "other".
    """
    known = index.landmark_id.isin(landmarks)
    own = known & (index.group > 0)
    rows = index[(index.split == split) & (own | ~known if other else own)]
    y = np.where(own[rows.index], np.searchsorted(landmarks, rows.landmark_id), len(landmarks))
    return Pool(
        list(rows.file.cat.categories),
        rows.file.cat.codes.to_numpy(np.int32),
        rows.row.to_numpy(np.int32),
        y.astype(np.int32),
        len(landmarks),
        config,
        proportion=rows.proportion.to_numpy(np.int8) if "proportion" in rows else None,
    )


def decoded(
    root: Root,
    pool: Pool,
    rows: NDArray[np.integer[Any]],
    mapper: Callable[..., Iterable[NDArray[np.uint8]]] = map,
) -> Iterator[tuple[NDArray[np.integer[Any]], NDArray[np.uint8]]]:
    """Read and decode photos of a pool, CHUNK at a time.

    Args:
        root: The root.
        pool: The pool.
        rows: Indices of the photos in the pool.
        mapper: `map`, or the method `map` of a pool of threads.

    Yields:
        Indices [B] in the given order, and photos [B, size, size, 3] uint8 RGB.
    """
    size = pool.config.resize.size
    for first in range(0, len(rows), pool.window):
        window = rows[first : first + pool.window]
        jpegs = read_jpegs(root, pool, window)
        for start in range(0, len(window), CHUNK):
            chunk = slice(start, start + CHUNK)
            yield window[chunk], np.stack(list(mapper(partial(pixels, size=size), jpegs[chunk])))


def read_jpegs(root: Root, pool: Pool, rows: NDArray[np.integer[Any]]) -> list[bytes]:
    """Read the JPEGs of some photos; only the row groups that hold them are read.

    Args:
        root: The root.
        pool: The pool.
        rows: Indices of the photos in the pool.
    """
    jpegs: list[bytes] = [b""] * len(rows)
    for file in np.unique(pool.file[rows]):
        name = pool.files[file]
        table = root.open_table(name)
        starts = np.cumsum(
            [0] + [table.metadata.row_group(i).num_rows for i in range(table.num_row_groups)]
        )
        of_file = np.flatnonzero(pool.file[rows] == file)
        groups = np.searchsorted(starts, pool.row[rows[of_file]], side="right") - 1
        for group in np.unique(groups):
            column = root.read_row_group(table, name, int(group), ["jpeg"])["jpeg"]
            for i in of_file[groups == group]:
                jpegs[i] = column[int(pool.row[rows[i]] - starts[group])].as_py()
    return jpegs


def stream(root: Root, pool: Pool, epochs: range, readers: int, cpus: float) -> Iterator[Batch]:
    """Read the batches of some epochs in tasks, `pool.steps` batches per epoch.

    Those of a pool with proportions are rectangles, each batch of its own.

    Args:
        root: The root.
        pool: The training photos.
        epochs: The numbers of the epochs.
        readers: Number of tasks that read and decode at the same time.
        cpus: Cores that each task reserves.
    """
    start_ray(pool.config)
    units = len(epochs) * pool.windows
    shared = ray.put(pool)
    sample = ray.remote(Pool.sample).options(num_cpus=cpus)
    samples = [sample.remote(shared, epoch) for epoch in epochs]

    def read(unit: Row) -> Iterator[Row]:
        pool: Pool = ray.get(shared)
        epoch, number = divmod(int(unit["item"][0]), pool.windows)
        end = min((number + 1) * pool.window, pool.steps * pool.batch)
        window = ray.get(samples[epoch])[number * pool.window : end]
        for rows, photos in decoded(root, pool, window):
            y = pool.y[rows]
            batch = {"photos": photos, "y": y, "weights": pool.weights[y]}
            if pool.proportion is not None:
                batch["proportion"] = pool.proportion[rows]
            yield batch

    items = ray.data.from_items(list(range(units)), override_num_blocks=units)
    photos = items.map_batches(  # not ray.data.range, whose tasks each reserve a whole core
        read,
        batch_size=1,
        compute=TaskPoolStrategy(size=readers),
        num_cpus=cpus,
    )
    photos.context.execution_options.preserve_order = True
    for batch in photos.iter_batches(batch_size=pool.batch, batch_format="numpy"):
        shown = batch["photos"]
        if pool.proportion is not None:
            shown = cut(shown, batch["proportion"])
        yield shown, batch["y"], batch["weights"]
