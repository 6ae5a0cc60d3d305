"""Photos for a training: Ray Data reads and decodes them, in an order that the seed fixes.

Each epoch deals the files anew into windows of some hundred photos, and shuffles inside a window: a
reader opens few files, and holds a window's JPEGs but only some decoded photos. One stream runs
through all epochs, so that no epoch waits for its beginning.
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
from landmark_ray.data.examples import background_split, pixels
from landmark_ray.data.root import Root
from landmark_ray.runtime.ray_start import start_ray
from landmark_ray.runtime.tasks import Row
from landmark_ray.training.vectors import class_weights

WINDOW = 1024
"""Photos that are shuffled among each other."""

CHUNK = 64
"""Decoded photos that a reader holds."""

LEAST_OTHERS = 1000
"""Photos of the class other that an epoch of a small group has, where there are so many."""

Batch = tuple[NDArray[np.uint8], NDArray[np.int32], NDArray[np.float32]]
"""Photos [B, H, W, 3], numbers of their classes [B], weights [B]."""


@dataclass(frozen=True)
class Pool:
    """Photos that epochs are drawn from, and where they are stored.

    Attributes:
        files: [F] names of files in the root.
        file: [N] which file a photo is in.
        row: [N] and where.
        y: [N] number of its class; `classes` for photos of the class other.
        classes: number of landmarks.
        config: batch, seed, weights.
    """

    files: list[str]
    file: NDArray[np.int32]
    row: NDArray[np.int32]
    y: NDArray[np.int32]
    classes: int
    config: Config

    @cached_property
    def others(self) -> int:
        """Photos of the class other in an epoch: as heavy as they are to count, one weighs 1."""
        own = int((self.y < self.classes).sum())
        share = self.config.train.other_share
        wanted = max(round(own * share / (1 - share)), LEAST_OTHERS)
        return min(wanted, self.config.train.others, len(self.y) - own)

    def sample(self, epoch: int) -> NDArray[np.int32]:
        """Return an epoch's photos [size], in its order.

        They are all photos of landmarks, and for the class other those of other files each epoch.
        """
        rng = np.random.default_rng([self.config.seed, epoch])
        place = rng.permutation(len(self.files))[self.file]
        by_file = np.argsort(place, kind="stable")
        other = self.y[by_file] == self.classes
        rows = by_file[~other | (np.cumsum(other) <= self.others)]
        order = np.lexsort((rng.random(len(rows)), np.arange(len(rows)) // WINDOW))
        return np.asarray(rows[order], np.int32)

    @cached_property
    def size(self) -> int:
        """Photos of an epoch."""
        return int((self.y < self.classes).sum()) + self.others

    @property
    def batch(self) -> int:
        """Photos of a step."""
        return max(min(self.config.train.batch, self.size), 1)

    @property
    def steps(self) -> int:
        """Full batches an epoch; the rest has its turn in another epoch."""
        return self.size // self.batch

    @property
    def windows(self) -> int:
        """Windows of an epoch."""
        return -(-self.steps * self.batch // WINDOW)

    @cached_property
    def weights(self) -> NDArray[np.float32]:
        """[classes + 1] weight of a photo of each class; epochs differ in photos, not in counts."""
        counts = np.bincount(self.y, minlength=self.classes + 1)
        counts[self.classes] = self.others
        return class_weights(counts, self.config)


def read_index(tables: Root, seed: int) -> pd.DataFrame:
    """Where all examples lie (file, row), and the background images, as group 0."""
    parts = []
    for table, names in (("examples", ["group", "split"]), ("background", [])):
        columns = ["image_id", "landmark_id", *names, "__filename"]
        frame = tables.dataset(table).to_table(columns).to_pandas()
        frame["file"] = (
            frame.pop("__filename").str[len(tables.path_of("")) + 1 :].astype("category")
        )
        frame["row"] = frame.groupby("file", observed=True).cumcount()
        if table == "background":
            frame["group"] = 0
            frame["split"] = background_split(frame.image_id.to_numpy(object), seed)
        parts.append(frame)
    index = pd.concat([part.astype({"file": str}) for part in parts], ignore_index=True)
    return index.astype({"file": "category"})


def pool_of(
    index: pd.DataFrame, landmarks: NDArray[np.int64], split: str, config: Config, *, other: bool
) -> Pool:
    """The photos of landmarks on one side of the split, and those of the class other.

    A discarded photo of one of the landmarks may well show it; it is left out.

    Args:
        index: of `read_index`.
        landmarks: ids of the classes, rising.
        split: train or validation.
        config: for the pool.
        other: whether there is a class other.
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
    )


def decoded(
    tables: Root,
    pool: Pool,
    rows: NDArray[np.integer[Any]],
    each: Callable[..., Iterable[NDArray[np.uint8]]] = map,
) -> Iterator[tuple[NDArray[np.integer[Any]], NDArray[np.uint8]]]:
    """Photos of a pool: their rows and pixels, in the order given, window by window.

    Args:
        tables: the root.
        pool: the photos.
        rows: of the pool.
        each: `map`, or that of a pool of threads.
    """
    size = pool.config.resize.size
    for first in range(0, len(rows), WINDOW):
        window = rows[first : first + WINDOW]
        jpegs = read_jpegs(tables, pool, window)
        for start in range(0, len(window), CHUNK):
            here = slice(start, start + CHUNK)
            yield window[here], np.stack(list(each(partial(pixels, size=size), jpegs[here])))


def read_jpegs(tables: Root, pool: Pool, rows: NDArray[np.integer[Any]]) -> list[bytes]:
    """JPEGs of some photos, file by file; of a file only the row groups that are needed."""
    found: list[bytes] = [b""] * len(rows)
    for file in np.unique(pool.file[rows]):
        name = pool.files[file]
        table = tables.open_table(name)
        starts = np.cumsum(
            [0] + [table.metadata.row_group(i).num_rows for i in range(table.num_row_groups)]
        )
        here = np.flatnonzero(pool.file[rows] == file)
        groups = np.searchsorted(starts, pool.row[rows[here]], side="right") - 1
        for group in np.unique(groups):
            column = tables.read_row_group(table, name, int(group), ["jpeg"])["jpeg"]
            for place in here[groups == group]:
                found[place] = column[int(pool.row[rows[place]] - starts[group])].as_py()
    return found


def stream(tables: Root, pool: Pool, epochs: range, readers: int, cpus: float) -> Iterator[Batch]:
    """The batches of some epochs, `pool.steps` each.

    Args:
        tables: the root.
        pool: photos to learn from.
        epochs: their numbers.
        readers: tasks that read and decode at once.
        cpus: cores that each reserves.
    """
    start_ray(pool.config)
    units = len(epochs) * pool.windows
    shared = ray.put(pool)
    sample = ray.remote(Pool.sample).options(num_cpus=cpus)
    samples = [sample.remote(shared, epoch) for epoch in epochs]

    def read(unit: Row) -> Iterator[Row]:
        pool: Pool = ray.get(shared)
        epoch, number = divmod(int(unit["item"][0]), pool.windows)
        end = min((number + 1) * WINDOW, pool.steps * pool.batch)
        window = ray.get(samples[epoch])[number * WINDOW : end]
        for rows, photos in decoded(tables, pool, window):
            y = pool.y[rows]
            yield {"photos": photos, "y": y, "weights": pool.weights[y]}

    items = ray.data.from_items(list(range(units)), override_num_blocks=units)
    photos = items.map_batches(  # not ray.data.range, whose tasks each need a core of their own
        read,
        batch_size=1,
        compute=TaskPoolStrategy(size=readers),
        num_cpus=cpus,
    )
    photos.context.execution_options.preserve_order = True
    for batch in photos.iter_batches(batch_size=pool.batch, batch_format="numpy"):
        yield batch["photos"], batch["y"], batch["weights"]
