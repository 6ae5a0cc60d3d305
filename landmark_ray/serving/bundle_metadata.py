"""What the ingress knows of a bundle: its manifest, and its landmarks by their ids."""

from functools import cached_property

import numpy as np

from landmark_ray.bundle.manifest import LANDMARKS, Bundle, Manifest
from landmark_ray.kernels.landmark_names import link, readable
from landmark_ray.serving.api_models import Landmark


class BundleMetadata:
    """Of one version.

    Raises:
        UserError: there is no bundle, or it is damaged.
    """

    def __init__(self, uri: str) -> None:
        """Read it; the networks are left to the models' replicas."""
        bundle = Bundle(uri, read=lambda name: name == LANDMARKS)
        self.manifest: Manifest = bundle.manifest
        self.rows = bundle.names().sort_by("landmark_id")

    @cached_property
    def _ids(self) -> "np.ndarray[tuple[int], np.dtype[np.int64]]":
        return np.asarray(self.rows["landmark_id"].to_numpy())

    def landmark(self, landmark_id: int) -> Landmark | None:
        """What it is; None for one that the models don't know."""
        row = int(np.searchsorted(self._ids, landmark_id))
        if row == len(self._ids) or self._ids[row] != landmark_id:
            return None
        found = self.rows.slice(row, 1).to_pylist()[0]
        return Landmark(
            landmark_id=landmark_id,
            name=readable(found["name"]),
            category=link(found["name"]),
            group=found["group"],
            images=found["images"],
            model_version=self.manifest.version,
        )
