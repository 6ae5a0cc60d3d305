"""index: make the index of photos and the exemplars, which answer beside the heads.

The index holds the vectors of all examples as they are, validation included, and of the background,
which stands for photos of no landmark. Exemplars are photos to learn from, with their local
features. Neither needs training.
"""

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from landmark_ray.bundle.exemplar_files import FOLDER
from landmark_ray.bundle.exemplar_making import EXTRACTORS, make_exemplars
from landmark_ray.bundle.landmark_index import (
    INDEX,
    STRANGER,
    IndexInfo,
    trunk_checksum,
    write_index,
)
from landmark_ray.bundle.network_files import TRUNK
from landmark_ray.config import Config
from landmark_ray.data.root import Root
from landmark_ray.data.sources import Source
from landmark_ray.errors import UserError
from landmark_ray.kernels import synthetic
from landmark_ray.kernels.fusion import STRANGERS
from landmark_ray.kernels.photo_index import divide
from landmark_ray.kernels.sampling import rank_key
from landmark_ray.kernels.whitening import fit_learned_whitening
from landmark_ray.runtime.counts import StageCounts
from landmark_ray.runtime.stage import Stage
from landmark_ray.runtime.tasks import probe_on_cluster

SAMPLE = 20_000
"""Number of photos of landmarks, and of no landmark, that the whitening is fitted to."""

IS_PHOTO = (pc.field("view") == 0) & (pc.field("landmark_id") != synthetic.LABEL)
"""Chooses the rows of `embeddings` that are photos as they are."""


def run(config: Config, root: Root, source: Source) -> StageCounts:
    """Write `models/index` and `models/exemplars`.

    Raises:
        UserError: Exemplars are wanted, and a table that they are made of was deleted.
    """
    wanted = config.index.exemplars and config.extract.extractor in EXTRACTORS
    gone = [name for name in ("images", "features", "pairs") if wanted and not root.exists(name)]
    if gone:
        raise UserError(
            f"{root.shown}/{gone[0]} is gone, and exemplars are made of it: add "
            "--index.exemplars 0, or make it again (docs/operations.md, What lies under ROOT)"
        )
    info: IndexInfo = probe_on_cluster(config, make, config, root)
    counts = StageCounts(info.photos, info.photos)
    counts.counters["photos of no landmark"] = info.strangers
    if wanted:
        learned = IS_PHOTO & (pc.field("group") > 0) & (pc.field("split") == "train")
        columns = ["image_id", "landmark_id"]
        photos = root.dataset("embeddings").to_table(columns, filter=learned)
        counts.add(make_exemplars(config, root, source, photos))
    elif config.index.exemplars:
        counts.notes.append("without exemplars, as DELF is too slow to verify new photos")
    return counts


def make(config: Config, root: Root) -> IndexInfo:
    """Make the index and store it; runs in a worker.

    Raises:
        UserError: A vector is damaged, or all are equal.
    """
    photos, rows, learned = read(root)
    landmark = photos["landmark_id"].to_numpy()
    chosen = np.zeros(len(rows), bool)
    chosen[sample(photos, learned, config.seed)] = True
    try:
        parts = [(own[chosen[own]], x[chosen[own]]) for own, x in vectors(root, rows)]
        order = np.argsort(np.concatenate([own for own, _ in parts]))
        learned_from = np.concatenate([x for _, x in parts])[order]
        whitening = fit_learned_whitening(learned_from, landmark[chosen])
        whitened = np.empty((len(rows), whitening.projection.shape[1]), np.float16)
        for own, x in vectors(root, rows):
            whitened[own] = whitening(x)
    except ValueError as error:
        raise UserError(f"{root.shown}/embeddings: {error}; run embed with --redo embed") from None
    strangers = int(pc.sum(pc.equal(photos["landmark_id"], STRANGERS)).as_py() or 0)
    info = IndexInfo(
        trunk=TRUNK,
        trunk_sha256=trunk_checksum(root.models),
        features=learned_from.shape[1],
        photos=photos.num_rows - strangers,
        strangers=strangers,
    )
    write_index(root.models, whitening, divide(whitened), photos, info)
    return info


def sample(photos: pa.Table, learned: NDArray[np.bool_], seed: int) -> NDArray[np.int64]:
    """Choose photos that models learn from: all of some landmarks, and some of no landmark.

    Args:
        photos: Rows of `bundle_schemas.INDEXED`.
        learned: [N] which of them models learn from.
        seed: The seed.
    """
    landmark = photos["landmark_id"].to_numpy()
    by_landmark = rank_key(landmark.astype(str), seed)
    by_photo = rank_key(photos["image_id"].to_numpy(), seed)
    chosen = []
    for rows, rank in ((landmark != STRANGERS, by_landmark), (landmark == STRANGERS, by_photo)):
        of_kind = np.flatnonzero(learned & rows)
        chosen.append(of_kind[np.argsort(rank[of_kind], kind="stable")[:SAMPLE]])
    return np.sort(np.concatenate(chosen))


def read(root: Root) -> tuple[pa.Table, NDArray[np.int64], NDArray[np.bool_]]:
    """Read the photos of an index, in the order of their ids.

    Returns:
        Rows of `bundle_schemas.INDEXED`, the row of each photo in the order in which `vectors`
        yields them, and which photos models learn from.
    """
    columns = ["image_id", "landmark_id", "group", "split"]
    stored = root.dataset("embeddings").to_table(columns, filter=IS_PHOTO)
    order = pc.sort_indices(stored["image_id"])
    rows = stored.take(order)
    copies = root.dataset("duplicates").to_table(["image_id", "cluster"])
    landmark = pc.if_else(pc.equal(rows["group"], 0), STRANGERS, rows["landmark_id"])
    photos = pa.table(
        {
            "image_id": rows["image_id"],
            "landmark_id": landmark,
            "cluster": clusters(rows, copies),
            "enrolled": pa.repeat(False, rows.num_rows),
        }
    )
    return photos, np.argsort(order.to_numpy()), pc.equal(rows["split"], "train").to_numpy()


def vectors(
    root: Root, rows: NDArray[np.int64]
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float16]]]:
    """Yield the rows of some photos and their vectors [n, D], batch by batch.

    Vectors of all photos would take 8 GB for two million of ResNet50.
    """
    start = 0
    for batch in root.dataset("embeddings").to_batches(columns=["vector"], filter=IS_PHOTO):
        if batch.num_rows:
            data = b"".join(batch["vector"].to_pylist())
            own = rows[start : start + batch.num_rows]
            yield own, np.frombuffer(data, np.float16).reshape(batch.num_rows, -1)
            start += batch.num_rows


def clusters(rows: pa.Table, copies: pa.Table) -> pa.ChunkedArray:
    """Return for each photo the name that it shares with all photos that say the same.

    `evaluate` leaves them out when it asks the index about a photo. These are the photo's copies
    and, where no model learns its landmark, all photos of that landmark: the index would know a
    stranger by them, and it does not know the strangers that come later.

    Args:
        rows: Rows with `image_id`, `landmark_id` and `group`.
        copies: Rows of `duplicates`.
    """
    of_copies = copies["cluster"].take(pc.index_in(rows["image_id"], copies["image_id"]))
    learned = pc.unique(rows["landmark_id"].filter(pc.greater(rows["group"], 0)))
    label = pc.binary_join_element_wise(STRANGER, rows["landmark_id"].cast(pa.string()), " ")
    return pc.if_else(
        pc.is_in(rows["landmark_id"], learned), pc.coalesce(of_copies, rows["image_id"]), label
    )


STAGE = Stage(
    "index",
    reads=("models/trunk", "embeddings", "duplicates", "images", "features", "pairs"),
    writes=(f"models/{INDEX}", f"models/{FOLDER}"),
    run=run,
)
