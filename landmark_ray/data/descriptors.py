"""The table `descriptors` as a set of photos, in which the copies of a photo count once."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from landmark_ray.data.concurrently import map_concurrently
from landmark_ray.data.root import Root
from landmark_ray.errors import UserError
from landmark_ray.kernels.sampling import rank_key
from landmark_ray.kernels.whitening import fit_whitening

NEAR = 0.5
"""A photo whose agreement is at least this may show its landmark, even if it does not stay."""

NEAR_ITS_LANDMARK = "dropped, though near photos of its landmark"
"""The counter of `prune` for such photos, which `resize` does not choose as background."""

SAMPLE = 20_000
"""Number of photos that the whitening is fitted to."""


@dataclass(frozen=True)
class Photos:
    """The photos that n described images show.

    Attributes:
        ids: [N] image id of each photo; of copies, the smallest that is described.
        row: [n] row of the photo that each image shows.
        landmark: [n] landmark of each image.
        places: (bucket, shard) -> the images of that shard, in their order.
    """

    ids: pa.Array
    row: NDArray[np.int64]
    landmark: NDArray[np.int64]
    places: dict[tuple[int, int], slice]


def read_photos(root: Root) -> Photos:
    """Read which photos the described images show."""
    shards = root.shards()
    columns = ["image_id", "landmark_id"]
    names = [root.name("descriptors", *shard.key) for shard in shards]
    tables = map_concurrently(lambda name: root.read_table(name, columns), names)
    ends = np.cumsum([0, *(table.num_rows for table in tables)])
    images = pa.concat_tables(tables).combine_chunks()
    copies = root.dataset("duplicates").to_table(["image_id", "cluster"])
    of_copy = pc.index_in(images["image_id"], copies["image_id"])
    photo = pc.coalesce(copies["cluster"].combine_chunks().take(of_copy), images["image_id"])
    named = pa.table({"photo": photo, "image_id": images["image_id"]})
    photos = named.group_by("photo").aggregate([("image_id", "min")]).sort_by("photo")
    return Photos(
        photos["image_id_min"].combine_chunks(),
        pc.index_in(photo, photos["photo"]).to_numpy().astype(np.int64),
        images["landmark_id"].to_numpy(),
        {s.key: slice(ends[i], ends[i + 1]) for i, s in enumerate(shards)},
    )


def whiten_photos(photos: Photos, root: Root, seed: int) -> NDArray[np.float16]:
    """Whiten the descriptor of each photo.

    Args:
        photos: The photos.
        root: The root.
        seed: Chooses the photos that the whitening is fitted to.

    Returns:
        [N, d] of unit length, for N of 2 at least.

    Raises:
        UserError: A vector is damaged, or all are equal.
    """
    rank = rank_key(photos.ids.to_numpy(zero_copy_only=False), seed)
    chosen = np.zeros(len(rank), bool)
    chosen[np.argsort(rank, kind="stable")[:SAMPLE]] = True
    parts = map_concurrently(lambda key: _representatives(photos, root, key, chosen), photos.places)
    sample = [(rows, x) for rows, x in parts if len(rows)]
    order = np.argsort(np.concatenate([rows for rows, _ in sample]))
    try:
        whitening = fit_whitening(np.concatenate([x for _, x in sample])[order])
    except ValueError as error:
        raise UserError(f"{root.shown}/descriptors: {error}; check --train.weights") from None
    whitened = np.zeros((len(rank), whitening.projection.shape[1]), np.float16)
    every = np.ones(len(rank), bool)

    def whiten_shard(key: tuple[int, int]) -> None:
        rows, x = _representatives(photos, root, key, every)
        if len(rows):
            whitened[rows] = whitening(x)

    map_concurrently(whiten_shard, photos.places)
    return whitened


def _representatives(
    photos: Photos, root: Root, key: tuple[int, int], chosen: NDArray[np.bool_]
) -> tuple[NDArray[np.int64], NDArray[np.float16]]:
    """Return the rows of the chosen photos [N] that a shard has, and their descriptors.

    Of copies, the image is read whose id the photo has.

    Raises:
        UserError: A vector is damaged.
    """
    rows = photos.row[photos.places[key]]
    none = np.empty((0, 0), np.float16)
    if not chosen[rows].any():
        return rows[:0], none
    table = root.read_shard("descriptors", *key, ["image_id", "vector"])
    named = pc.equal(table["image_id"], photos.ids.take(pa.array(rows))).to_numpy()
    wanted = named & chosen[rows]
    if not wanted.any():
        return rows[:0], none
    read = table.filter(pa.array(wanted))
    vectors = np.frombuffer(b"".join(read["vector"].to_pylist()), np.float16)
    vectors = vectors.reshape(read.num_rows, -1)
    bad = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
    if len(bad):
        raise UserError(
            f"{root.shown}/{root.name('descriptors', *key)}: the vector of image "
            f"{read['image_id'][bad[0]]} has values that are not finite: check "
            "--train.weights, and run describe with --redo describe"
        )
    return rows[wanted], vectors
