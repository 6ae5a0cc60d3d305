"""Verification of photos by the exemplars of a folder."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from landmark_ray.bundle.exemplar_files import FOLDER, INFO, MODEL, exemplar_info, read_file
from landmark_ray.data import bundle_schemas
from landmark_ray.data.lookup import feature_arrays
from landmark_ray.data.store import Store
from landmark_ray.errors import UserError
from landmark_ray.kernels.exemplars import (
    LEADING,
    MOST_POINTS,
    ExemplarMatch,
    inlier_points,
    leading,
    most_inliers,
)
from landmark_ray.kernels.features import ImageFeatures
from landmark_ray.kernels.fusion import Candidates
from landmark_ray.kernels.image import ImageError, Limits, decode
from landmark_ray.kernels.local_features import LocalFeatures


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
        starts = np.flatnonzero(np.diff(landmark, prepend=-1, append=-1))
        order = np.argsort(landmark[starts[:-1]], kind="stable")
        self._landmarks = landmark[starts[:-1]][order]
        self._places = np.stack([starts[:-1], np.diff(starts)], axis=1)[order]
        try:
            self.features = LocalFeatures(
                None if info.sift else folder.read(MODEL),
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

    def features_of(self, file: bytes, limits: Limits | None) -> ImageFeatures | None:
        """Compute the features of a photo in a file.

        Returns:
            The features, or None where there are none: a photo that the networks can use, as it is
            decoded at a fraction of its size, can be too large here.
        """
        try:
            return self.features(decode(file, self.info.side, limits))
        except ImageError:
            return None

    def verified(
        self,
        found: Candidates,
        features: Sequence[ImageFeatures | None],
        clusters: Sequence[str] | None = None,
        most: int = LEADING,
    ) -> Candidates:
        """Return the candidates with the inliers of those that lead.

        Args:
            found: The candidates of N photos.
            features: [N] features of the photos; exemplars are not asked where they are None.
            clusters: [N] clusters of the photos, whose exemplars do not count; none when None.
            most: Largest number of candidates of a photo that are asked about.
        """
        asked = [
            self.inliers(own, landmarks, cluster) if own else {}
            for own, landmarks, cluster in zip(
                features, leading(found, most), clusters or [""] * len(features), strict=True
            )
        ]
        return found.with_inliers(asked)

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
        """Match a photo [H, W, 3] uint8 RGB with each exemplar of a landmark, the best first.

        Raises:
            ImageError: The photo has no usable features.
        """
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
        places = self._places[slice(*np.searchsorted(self._landmarks, [landmark, landmark + 1]))]
        # slices copy nothing; `take` would copy all exemplars, and fails on more than 2 GB
        return [row for place in places for row in self._rows.slice(*place).to_pylist()]

    def _stored(self, row: dict[str, Any]) -> ImageFeatures:
        points = np.frombuffer(row["keypoints"], "<f2").astype(np.float32).tobytes()
        arrays = feature_arrays(row["count"], points, row["descriptors"])
        return ImageFeatures(*arrays, max(row["width"], row["height"]))
