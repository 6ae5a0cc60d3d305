"""The features of the images of a class, read on demand with bounded memory."""

import functools
from bisect import bisect_right
from collections.abc import Iterator
from itertools import accumulate

import numpy as np
import pyarrow as pa

from landmark_ray.data.lookup import image_features
from landmark_ray.data.root import Root
from landmark_ray.errors import UserError
from landmark_ray.kernels.features import ImageFeatures

COLUMNS = ["width", "height", "count", "keypoints", "descriptors"]


class FeatureShard:
    """A shard of the table `features`; the row groups that were used last stay in memory."""

    def __init__(self, root: Root, bucket: int, shard: int, memory_mb: float) -> None:
        """Read the ids and clusters of the images of the shard.

        Args:
            root: The root.
            bucket: Bucket of the shard.
            shard: Number of the shard.
            memory_mb: Memory for features, in MB; at least one row group stays in memory.

        Raises:
            UserError: The file is missing or damaged; the text names the classes.
        """
        self.bucket, self.shard = bucket, shard
        self.name = root.name("features", bucket, shard)
        try:
            self._file = root.open_table(self.name)
            names = self._file.read(["landmark_id", "image_id"])
        except (UserError, pa.ArrowException, OSError) as error:
            classes = ", ".join(map(str, root.classes(bucket, shard)))
            raise UserError(f"features of landmarks {classes}: {error}") from None
        self._ids = names["image_id"].to_pylist()
        duplicates = root.read_shard("duplicates", bucket, shard, ["image_id", "cluster"])
        pairs = (duplicates[name].to_pylist() for name in duplicates.column_names)
        self._clusters = dict(zip(*pairs, strict=True))
        self._landmarks = names["landmark_id"].to_numpy()
        groups = [self._file.metadata.row_group(i) for i in range(self._file.num_row_groups)]
        self._starts = list(accumulate((group.num_rows for group in groups), initial=0))
        largest = max((group.total_byte_size for group in groups), default=1)
        self._group = functools.lru_cache(max(int(memory_mb * 1e6 / largest), 1))(self._read)

    def _read(self, group: int) -> list[ImageFeatures]:
        return [
            image_features(row) for row in self._file.read_row_group(group, COLUMNS).to_pylist()
        ]

    def classes(self) -> list["ClassImages"]:
        """Return the classes of the shard."""
        landmarks, first = np.unique(self._landmarks, return_index=True)
        return [
            ClassImages(self, landmark, start, self._ids[start:stop])
            for landmark, start, stop in zip(
                landmarks.tolist(),
                first.tolist(),
                [*first[1:].tolist(), len(self._ids)],
                strict=True,
            )
        ]

    def cluster(self, image_id: str) -> str:
        """Return the cluster of an image: equal for all images that show the same photo."""
        return self._clusters.get(image_id, image_id)

    def features(self, row: int) -> ImageFeatures:
        """Return the features of the image in a row of the file.

        Raises:
            pa.ArrowException, OSError, ValueError: The file is damaged.
        """
        group = bisect_right(self._starts, row) - 1
        return self._group(group)[row - self._starts[group]]


class ClassImages:
    """The images of one class, sorted by id; `images[i]` returns the features of image i.

    Attributes:
        landmark_id: The class.
        ids: [n] image ids.
        location: Bucket, shard and landmark_id, with which another process finds the class.
    """

    def __init__(self, shard: FeatureShard, landmark_id: int, first: int, ids: list[str]) -> None:
        """Use the class whose n images begin in row `first` of a shard."""
        self.landmark_id, self.ids = landmark_id, ids
        self.location = shard.bucket, shard.shard, landmark_id
        self._shard, self._first = shard, first
        self._clusters = [shard.cluster(image_id) for image_id in ids]

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.ids)

    def __getitem__(self, image: int) -> ImageFeatures:
        """Return the features of an image.

        Raises:
            UserError: They are damaged; the text names the class.
        """
        try:
            return self._shard.features(self._first + image)
        except (pa.ArrowException, OSError, ValueError) as error:
            raise UserError(
                f"features of landmark {self.landmark_id}, image {self.ids[image]}: "
                f"{self._shard.name} is damaged ({error}): run its stage with --redo extract"
            ) from None

    def duplicates(self, a: int, b: int) -> bool:
        """Return whether two images show the same photo, so that neither can verify the other."""
        return self._clusters[a] == self._clusters[b]

    def __iter__(self) -> Iterator[ImageFeatures]:
        """Yield the features of all images in order."""
        return (self[image] for image in range(len(self)))

    def mean_descriptors(self) -> np.ndarray:
        """Return the mean descriptor [n, D] float32 of each image; zeros without features."""
        means = [f.descriptors.mean(0) if len(f.descriptors) else None for f in self]
        width = next((len(mean) for mean in means if mean is not None), 0)
        return np.array([np.zeros(width) if m is None else m for m in means], np.float32)
