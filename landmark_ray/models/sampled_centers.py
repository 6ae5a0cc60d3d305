"""Centers of all landmarks where they do not fit beside the network: steps train samples.

Source: An et al., "Killing Two Birds with One Stone: Efficient and Robust Training of Face
Recognition CNNs by Partial FC" (CVPR 2022).
"""

import threading
from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from landmark_ray.kernels.whitening import unit_length
from landmark_ray.models.arcface import Batch
from landmark_ray.models.classification import split_classifier
from landmark_ray.models.embedding import Embedder

CHUNK = 4096
"""Number of classes whose cosines are computed at a time."""


class SampledCenters(keras.callbacks.Callback):  # type: ignore[misc]
    """Centers and their moments in main memory; the layer of the model holds those of a step.

    Before each step, the centers of the photos' classes and of others at random go to the layer,
    their moments to the optimizer, and afterwards they return. What is not in the sample neither
    learns nor decays. Main memory holds C * k * D float32 three times (AdamW).

    Attributes:
        centers: [C, k, D] float32, of all classes.
    """

    def __init__(self, seed: int) -> None:
        """Take the seed of the samples; the first centers are set, or loaded, before training."""
        super().__init__()
        self.centers, self._seed = np.zeros((0, 0, 0), np.float32), seed
        self._moments: list[NDArray[np.float32]] = []
        self._source: Iterator[tuple[int, Batch]] = iter(())
        self._size, self._lock = 0, threading.Lock()
        self._samples: deque[NDArray[np.int64]] = deque()
        self._labelled: deque[Batch] = deque()
        self._rows = np.zeros(0, np.int64)
        self._network: Embedder | None = None
        self._lengths: NDArray[np.float32] | None = None

    def batches(self, batches: Iterable[Batch], size: int, first: int = 0) -> Iterator[Batch]:
        """Draw a sample of `size` classes for each batch, and number its labels by the sample.

        Args:
            batches: Photos, labels [B, 2] of `ArcFace`, and weights.
            size: Number of classes of the model's layer.
            first: Number of the first step.
        """
        self._source, self._size = enumerate(batches, first), size
        while True:
            with self._lock:
                if not self._labelled and not self._draw():
                    return
                batch = self._labelled.popleft()
            yield batch

    def _draw(self) -> bool:
        """Take the next batch and draw its sample; return whether there was one.

        Keras asks for a batch before it says that the step begins, or after, or in another thread.
        """
        step, batch = next(self._source, (0, None))
        if batch is None:
            return False
        photos, labels, weights = batch
        y = labels[:, 0].astype(np.int64)
        rng = np.random.default_rng([self._seed, step])
        rows = sample(y, len(self.centers), self._size, rng)
        labels = np.stack([np.searchsorted(rows, y).astype(np.float32), labels[:, 1]], axis=1)
        self._samples.append(rows)
        self._labelled.append((photos, labels, weights))
        return True

    def on_train_batch_begin(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Bring the sample of this step to the model."""
        self._synchronise()
        with self._lock:
            if not self._samples and not self._draw():
                return
            self._rows = self._samples.popleft()
        kernel, *moments = self._variables()
        if not self._moments:
            self._moments = [np.zeros_like(self.centers) for _ in moments]
        for variable, array in zip([kernel, *moments], self._arrays(), strict=True):
            variable.assign(array[self._rows])

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Bring it back."""
        self._synchronise()
        self._lengths = None
        for variable, array in zip(self._variables(), self._arrays(), strict=True):
            array[self._rows] = keras.ops.convert_to_numpy(variable)

    def save(self, folder: str) -> None:
        """Write the centers and their moments into the folder of a checkpoint."""
        for number, array in enumerate(self._arrays()):
            np.save(Path(folder) / f"centers_{number}.npy", array)

    def load(self, folder: str) -> None:
        """Read them from the folder of a checkpoint."""
        files = sorted(Path(folder).glob("centers_*.npy"))
        self._lengths = None
        self.centers, *self._moments = (np.load(file, allow_pickle=False) for file in files)

    def logits(self, model: keras.Model, photos: NDArray[Any]) -> NDArray[np.float32]:
        """Return the scaled cosines [N, C] of photos [N, H, W, 3] with the centers of all classes.

        Args:
            model: The classifier, with the trunk as it is now.
            photos: RGB in 0..255.
        """
        trunk, head = split_classifier(model)
        if self._network is None or self._network.network is not trunk:
            self._network = Embedder(trunk)
        vectors = unit_length(self._network.embed(photos))
        if self._lengths is None:  # until the next step changes the centers
            self._lengths = np.maximum(np.linalg.norm(self.centers, axis=-1), 1e-9)
        result = np.empty((len(photos), len(self.centers)), np.float32)
        for start in range(0, len(self.centers), CHUNK):
            centers = self.centers[start : start + CHUNK]
            cosines = vectors @ centers.reshape(-1, vectors.shape[1]).T
            cosines /= self._lengths[start : start + CHUNK].reshape(-1)
            nearest = cosines.reshape(len(photos), len(centers), -1).max(axis=-1)
            result[:, start : start + CHUNK] = nearest
        return head.layers[-1].scale * result

    def _arrays(self) -> list[NDArray[np.float32]]:
        return [self.centers, *self._moments]

    def _variables(self) -> list[keras.Variable]:
        """The kernel of the layer, and the optimizer's moments of it."""
        kernel = split_classifier(self.model)[1].layers[-1].kernel
        name = kernel.path.replace("/", "_")
        moments = [v for v in self.model.optimizer.variables if v.name.startswith(f"{name}_")]
        return [kernel, *(v for v in moments if not v.name.endswith("_average"))]

    def _synchronise(self) -> None:
        """Let the model's variables hold the state of the training, which JAX keeps elsewhere."""
        if hasattr(self.model, "jax_state_sync"):
            self.model.jax_state_sync()


def sample(
    y: NDArray[np.int64], classes: int, size: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Draw `size` of `classes` numbers, all those in y among them; they are different, and rise."""
    order = rng.permutation(classes)
    own = np.unique(y)
    others = order[~np.isin(order, own)][: size - len(own)]
    return np.sort(np.concatenate([own, others]))
