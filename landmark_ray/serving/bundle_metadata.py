"""What the ingress reads of a bundle: its manifest and its table of landmarks."""

from functools import cached_property

import numpy as np

from landmark_ray.bundle.exemplar_files import INFO, exemplar_info
from landmark_ray.bundle.landmark_index import FUSION, read_fusion
from landmark_ray.bundle.manifest import LANDMARKS, Bundle, Manifest
from landmark_ray.config.base import Witness
from landmark_ray.kernels.landmark_names import link, readable
from landmark_ray.serving.api_models import Landmark


class BundleMetadata:
    """The manifest and the landmarks of one version of a bundle.

    Raises:
        UserError: There is no bundle, or it is damaged.
    """

    def __init__(self, uri: str, witnesses: Witness = "fused") -> None:
        """Read them, with the threshold of those that answer; only the shards read the networks."""
        bundle = Bundle(uri, read=lambda name: name in (LANDMARKS, FUSION, INFO))
        self.manifest: Manifest = bundle.manifest.for_witnesses(witnesses)
        self.fusion = read_fusion(bundle)
        self.exemplars = exemplar_info(bundle)
        self._landmarks = bundle.names().sort_by("landmark_id")

    @cached_property
    def _ids(self) -> "np.ndarray[tuple[int], np.dtype[np.int64]]":
        return np.asarray(self._landmarks["landmark_id"].to_numpy())

    def landmark(self, landmark_id: int) -> Landmark | None:
        """Return a landmark, or None when the models don't know it."""
        index = int(np.searchsorted(self._ids, landmark_id))
        if index == len(self._ids) or self._ids[index] != landmark_id:
            return None
        row = self._landmarks.slice(index, 1).to_pylist()[0]
        return Landmark(
            landmark_id=landmark_id,
            name=readable(row["name"]),
            category=link(row["name"]),
            group=row["group"],
            images=row["images"],
            model_version=self.manifest.version,
        )
