"""The exemplars in a folder, which is a bundle or a root's `models`.

exemplars/bucket-00000.arrow     rows of `bundle_schemas.EXEMPLARS` of the landmarks of a bucket
exemplars/features.onnx          the extractor of their features, unless that is SIFT
exemplars/exemplars.json         extractor and matching rule; written last

Arrow files are mapped into memory, so that only the exemplars are read that are asked.
"""

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from landmark_ray.bundle.network_files import read_object
from landmark_ray.data import bundle_schemas
from landmark_ray.data.lookup import feature_arrays
from landmark_ray.data.store import Store
from landmark_ray.errors import UserError
from landmark_ray.kernels.exemplars import (
    MOST_POINTS,
    ExemplarMatch,
    compact,
    inlier_points,
    most_inliers,
)
from landmark_ray.kernels.features import Features, ImageFeatures, quantise
from landmark_ray.kernels.image import Limits, decode, thumbnail
from landmark_ray.kernels.matching import MatchingRule
from landmark_ray.kernels.onnx_features import OnnxFeatures
from landmark_ray.kernels.sift import sift_features

FOLDER = "exemplars"
THUMBNAIL = 256
"""Longest side of the thumbnail of an exemplar, in pixels."""

Size = tuple[int, int]
INFO, MODEL = f"{FOLDER}/exemplars.json", f"{FOLDER}/features.onnx"


@dataclass(frozen=True)
class ExemplarInfo:
    """How the features of exemplars were computed, and how they are matched.

    Attributes:
        sift: Whether SIFT computed them; otherwise, the ONNX file did.
        max_features: Largest number of features of a photo.
        side: Longest side to which a photo is resized before features are computed, in pixels.
        rule: The matching rule.
        files: Names of the Arrow files.
        photos: Number of exemplars.
    """

    sift: bool
    max_features: int
    side: int
    rule: MatchingRule
    files: tuple[str, ...]
    photos: int


def exemplar_info(folder: Store) -> ExemplarInfo | None:
    """Read what the exemplars are; return None where there are none.

    Raises:
        UserError: The file is damaged.
    """
    return read_object(folder, INFO, ExemplarInfo)


def files_of(folder: Store) -> list[str]:
    """Return the names of all files of the exemplars of a folder, the last one last."""
    info = exemplar_info(folder)
    if info is None:
        return []
    return [*info.files, *([] if info.sift else [MODEL]), INFO]


def exemplar_row(
    image_id: str,
    landmark: int,
    cluster: str,
    jpeg: bytes,
    features: Features,
    size: Size,
    author: str | None = None,
    licence: str | None = None,
) -> dict[str, Any]:
    """Make a row of `EXEMPLARS`.

    Args:
        image_id: Id of the photo.
        landmark: Landmark that it shows.
        cluster: Name that all copies of the photo share.
        jpeg: The photo.
        features: Its features; the first of them, within `MAX_BYTES`, are kept.
        size: Width and height of the photo to which the features refer, in pixels.
        author: Who made the photo, if that is known.
        licence: Licence of the photo, if that is known.
    """
    kept = compact(features)
    return {
        "image_id": image_id,
        "landmark_id": landmark,
        "cluster": cluster,
        "width": size[0],
        "height": size[1],
        "count": len(kept.keypoints),
        "keypoints": kept.keypoints.astype("<f2").tobytes(),
        "descriptors": kept.descriptors.tobytes(),
        "thumbnail": thumbnail(jpeg, THUMBNAIL),
        "author": author,
        "licence": licence,
    }


def without(folder: Store, landmark: int) -> Iterator[tuple[str, pa.Table]]:
    """Yield the files that hold exemplars of a landmark, each with the rows of other landmarks.

    Raises:
        UserError: A file is missing or damaged.
    """
    info = exemplar_info(folder)
    for name in info.files if info else ():
        rows = read_file(folder, name)
        others = rows.filter(pc.not_equal(rows["landmark_id"], landmark))
        if others.num_rows < rows.num_rows:
            yield name, others


def write_file(folder: Store, name: str, parts: Iterable[pa.Table]) -> None:
    """Write a file of exemplars: the rows of `EXEMPLARS` of all parts, one after the other."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, bundle_schemas.EXEMPLARS) as file:
        for part in parts:
            file.write_table(part.cast(bundle_schemas.EXEMPLARS))
    folder.write(name, sink.getvalue())


def file_name(bucket: int) -> str:
    """Return the name of the file with the exemplars of a bucket."""
    return f"{FOLDER}/bucket-{bucket:05}.arrow"


def write_info(folder: Store, info: ExemplarInfo, model: bytes | None) -> None:
    """Write the extractor and, last, what the exemplars are."""
    if model is not None:
        folder.write(MODEL, model)
    folder.write_json(INFO, dataclasses.asdict(info))


def next_file(info: ExemplarInfo) -> str:
    """Return the name of a further file of exemplars."""
    last = max(info.files, default="-1.arrow")
    return file_name(int(last.rpartition("-")[2].removesuffix(".arrow")) + 1)


class Exemplars:
    """Verifies photos by the exemplars of a folder.

    Raises:
        UserError: There are none, or a file is missing or damaged.
    """

    def __init__(self, folder: Store, threads: int | None = None) -> None:
        """Map the files; `threads` are those of the extractor, as many as it likes when None."""
        info = exemplar_info(folder)
        if info is None:
            raise UserError(f"{folder.uri}/{INFO} is missing: run jobs/index.py first")
        self.info = info
        tables = [read_file(folder, name) for name in info.files]
        self._rows = pa.concat_tables([bundle_schemas.EXEMPLARS.empty_table(), *tables])
        self._check(folder)
        landmark = self._rows["landmark_id"].to_numpy()
        self._order = np.argsort(landmark, kind="stable")
        self._landmark = landmark[self._order]
        self._model = None
        if not info.sift:
            try:
                self._model = OnnxFeatures(
                    folder.read(MODEL),
                    max_features=info.max_features,
                    side=info.side,
                    threads=threads,
                )
            except (ValueError, FileNotFoundError) as error:
                raise UserError(f"{folder.uri}/{MODEL} is damaged: {error}") from None

    def _check(self, folder: Store) -> None:
        """Make sure that all exemplars have as many features as they say.

        Raises:
            UserError: One has not.
        """
        count = self._rows["count"].to_numpy()
        for name, width in (("keypoints", 4), ("descriptors", 1)):
            length = pc.binary_length(self._rows[name]).to_numpy()
            bad = np.flatnonzero((length % np.maximum(count * width, 1) != 0) | (length < count))
            if len(bad):
                row = self._rows.select(["image_id", "landmark_id"]).slice(bad[0], 1).to_pylist()[0]
                raise UserError(
                    f"{folder.uri}/{FOLDER}: the exemplar {row['image_id']} of landmark "
                    f"{row['landmark_id']} is damaged: its {name} have {length[bad[0]]} bytes for "
                    f"{count[bad[0]]} features: copy the bundle again, or export it"
                )

    def features(self, photo: NDArray[np.uint8]) -> ImageFeatures:
        """Compute the features of a photo [H, W, 3] uint8 RGB."""
        if self._model is None:
            return sift_features(photo, max_features=self.info.max_features, side=self.info.side)
        points, descriptors = self._model(photo)
        return ImageFeatures(points, quantise(descriptors), max(photo.shape[:2]))

    def features_of(self, file: bytes, limits: Limits | None) -> ImageFeatures:
        """Compute the features of a photo in a file.

        Raises:
            ImageError: The photo cannot be used.
        """
        return self.features(decode(file, self.info.side, limits))

    def inliers(
        self, features: ImageFeatures, landmarks: Sequence[int], without: str = ""
    ) -> dict[int, int]:
        """Match a photo with the exemplars of some landmarks.

        Args:
            features: The features of the photo.
            landmarks: The landmarks.
            without: Cluster of the photo, whose exemplars do not count; none when empty.

        Returns:
            Landmark -> most inliers with any of its exemplars. Landmarks without exemplars are left
            out.
        """
        found: dict[int, int] = {}
        for landmark in landmarks:
            rows = [row for row in self.rows(landmark) if row["cluster"] != (without or None)]
            if rows:
                exemplars = [self._stored(row) for row in rows]
                found[landmark] = most_inliers(features, exemplars, self.info.rule)
        return found

    def explain(self, photo: NDArray[np.uint8], landmark: int) -> list[ExemplarMatch]:
        """Match a photo [H, W, 3] uint8 RGB with each exemplar of a landmark, the best first."""
        features = self.features(photo)
        matches = []
        for row in self.rows(landmark):
            inliers, points = inlier_points(features, self._stored(row), self.info.rule)
            sizes = np.array([photo.shape[1::-1], (row["width"], row["height"])])
            # pixel centres are whole numbers, so a photo begins at -0.5
            shares = ((points[:MOST_POINTS] + 0.5) / sizes).clip(0, 1).astype(np.float32)
            shown = (row[name] for name in ("thumbnail", "author", "licence"))
            matches.append(ExemplarMatch(row["image_id"], inliers, shares, *shown))
        return matches

    def rows(self, landmark: int) -> list[dict[str, Any]]:
        """Return the exemplars of a landmark, rows of `EXEMPLARS`, the best first."""
        first, last = np.searchsorted(self._landmark, [landmark, landmark + 1])
        return self._rows.take(pa.array(self._order[first:last])).to_pylist()

    def _stored(self, row: dict[str, Any]) -> ImageFeatures:
        points = np.frombuffer(row["keypoints"], "<f2").astype(np.float32).tobytes()
        arrays = feature_arrays(row["count"], points, row["descriptors"])
        return ImageFeatures(*arrays, max(row["width"], row["height"]))


def read_file(folder: Store, name: str) -> pa.Table:
    """Map an Arrow file into memory, or read it where the folder is not on this machine.

    Raises:
        UserError: It is missing or damaged.
    """
    try:
        if folder.local:
            source = pa.memory_map(folder.path_of(name))
        else:
            source = pa.BufferReader(folder.read(name))
        return pa.ipc.open_file(source).read_all().cast(bundle_schemas.EXEMPLARS)
    except FileNotFoundError:
        raise UserError(f"{folder.uri}/{name} is missing: run jobs/index.py again") from None
    except (pa.ArrowException, ValueError, OSError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{folder.uri}/{name} is damaged: {reason}") from None
