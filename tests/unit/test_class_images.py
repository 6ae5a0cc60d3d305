import tracemalloc

import numpy as np
import pyarrow as pa
import pytest

from landmark_ray.data import schemas
from landmark_ray.data.class_features import FeatureShard
from landmark_ray.data.root import Root

FEATURES = 400
IMAGE_BYTES = FEATURES * (8 + 128)


def write(folder, sizes):
    """A shard of `features` with classes 0, 1, ... of such sizes; features are random."""
    rng = np.random.default_rng(0)
    rows = [
        {
            "image_id": f"{landmark}-{image:04d}",
            "landmark_id": landmark,
            "width": 640,
            "height": 480,
            "count": FEATURES,
            "keypoints": rng.uniform(0, 480, (FEATURES, 2)).astype(np.float32).tobytes(),
            "descriptors": rng.integers(-60, 60, (FEATURES, 128)).astype(np.int8).tobytes(),
        }
        for landmark, size in enumerate(sizes)
        for image in range(size)
    ]
    root = Root(str(folder))
    root.commit("features", 0, 0, pa.Table.from_pylist(rows, schemas.FEATURES), "")
    root.commit("duplicates", 0, 0, schemas.DUPLICATES.empty_table(), "")
    return root, rows


@pytest.mark.parametrize("memory_mb", [0.001, 8, 1000])
def test_features_are_the_files_whatever_the_memory(tmp_path, memory_mb):
    root, rows = write(tmp_path, [70, 3, 90])
    classes = FeatureShard(root, 0, 0, memory_mb).classes()
    assert [(c.landmark_id, len(c), c.location) for c in classes] == [
        (0, 70, (0, 0, 0)),
        (1, 3, (0, 0, 1)),
        (2, 90, (0, 0, 2)),
    ]
    first = dict(zip(range(3), (0, 70, 73), strict=True))
    for landmark, image in ((2, 89), (0, 0), (1, 2), (0, 69), (2, 0), (0, 1)):
        row = rows[first[landmark] + image]
        found = classes[landmark][image]
        assert classes[landmark].ids[image] == row["image_id"]
        assert found.keypoints.tobytes() == row["keypoints"]
        assert found.descriptors.tobytes() == row["descriptors"]
        assert found.longest_side == 640


def test_memory_does_not_grow_with_the_class(tmp_path):
    peaks = []
    for n in (256, 1024):
        root, _ = write(tmp_path / str(n), [n])
        tracemalloc.start()
        (images,) = FeatureShard(root, 0, 0, memory_mb=8).classes()
        images.mean_descriptors()
        for image in np.random.default_rng(1).integers(0, n, 50).tolist():
            assert len(images[image].keypoints) == FEATURES
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    group = 64 * IMAGE_BYTES
    assert peaks[1] < 8e6 + 2 * group  # one more while it is read
    assert peaks[1] < 1.2 * peaks[0]


def test_mean_descriptors_are_zero_for_an_image_without_features(tmp_path):
    root, rows = write(tmp_path, [3])
    rows[1] |= {"count": 0, "keypoints": b"", "descriptors": b""}
    table = pa.Table.from_pylist(rows, schemas.FEATURES)
    root.commit("features", 0, 0, table, "")
    (images,) = FeatureShard(root, 0, 0, 8).classes()
    means = images.mean_descriptors()
    assert means.shape == (3, 128) and means.dtype == np.float32
    assert not means[1].any() and means[0].any()
    np.testing.assert_allclose(means[2], images[2].descriptors.mean(0), rtol=1e-5)
