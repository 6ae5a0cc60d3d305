"""What becomes of an image whose features can't be used."""

import numpy as np
import pyarrow as pa

from landmark_ray.data import schemas
from landmark_ray.data.root import Root
from landmark_ray.kernels.features import quantise
from landmark_ray.runtime.shards import ShardReader
from landmark_ray.stages.extract import features_of


def test_features_that_are_not_finite_are_rejects_and_all_others_stay(tmp_path):
    names = ["fine", "nan descriptor", "nan keypoint", "none"]
    images = pa.Table.from_pylist(
        [
            {"image_id": name, "landmark_id": 5, "width": 64, "height": 48, "jpeg": b""}
            for name in names
        ],
        schemas.IMAGES,
    )

    def features(image):
        n = 0 if image["image_id"] == "none" else 3
        points, descriptors = np.ones((n, 2), np.float32), np.ones((n, 40), np.float32)
        if image["image_id"] == "nan descriptor":
            descriptors[1, 7] = np.nan
        if image["image_id"] == "nan keypoint":
            points[2, 0] = np.nan
        return points, quantise(descriptors)

    root = Root(str(tmp_path))
    root.commit("images", 0, 0, images, "")
    result = features_of(ShardReader(root, "extract", 0, 0, 4), features)
    rows = result.rows.to_pylist()
    assert [(row["image_id"], row["count"]) for row in rows] == [("fine", 3), ("none", 0)]
    assert [(row["image_id"], row["reason"]) for row in result.rejects.to_pylist()] == [
        ("nan descriptor", "bad features: descriptors must be finite numbers, got NaN or infinity"),
        ("nan keypoint", "bad features: keypoints must be finite numbers, got NaN or infinity"),
    ]
    assert result.counts.reject_reasons == {"bad features": 2}
