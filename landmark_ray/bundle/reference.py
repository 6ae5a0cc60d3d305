"""Reference answers: a few photos with the trained networks' logits.

`export` writes them into each bundle. Networks that serve, on whatever runtime and machine, are
compared with the reference answers first.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from landmark_ray.bundle.multihead import FEATURES
from landmark_ray.data import bundle_schemas
from landmark_ray.data.store import Store
from landmark_ray.errors import UserError, shortened

Logits = dict[int, NDArray[np.float32]]
"""Group -> logits [N, C] of the same N photos."""

Network = Callable[[NDArray[np.uint8]], Logits]
"""Computes the logits of some groups from photos [N, H, W, 3], RGB."""


@dataclass(frozen=True)
class Reference:
    """Photos and their logits.

    Attributes:
        photos: Photos [N, S, S, 3], RGB.
        logits: The logits of every group.
    """

    photos: NDArray[np.uint8]
    logits: Logits

    def write(self, folder: Store, name: str) -> None:
        """Write the photos and logits into a Parquet file."""
        rows = [
            {
                "pixels": photo.tobytes(),
                "answers": [
                    {"group": group, "logits": logits[number].tolist()}
                    for group, logits in sorted(self.logits.items())
                ],
            }
            for number, photo in enumerate(self.photos)
        ]
        folder.write_table(name, pa.Table.from_pylist(rows, bundle_schemas.REFERENCE))

    @classmethod
    def read(cls, folder: Store, name: str, size: int) -> "Reference":
        """Read a file of `write`; its photos have `size` x `size` pixels.

        Raises:
            UserError: The file is missing or damaged.
        """
        rows = folder.read_table(name)
        try:
            columns = rows.cast(bundle_schemas.REFERENCE).to_pydict()
            pixels = np.frombuffer(b"".join(columns["pixels"]), np.uint8)
            photos = pixels.reshape(rows.num_rows, size, size, 3)
            answers = [{a["group"]: a["logits"] for a in row} for row in columns["answers"]]
            groups = sorted(set().union(*answers))
            logits = {g: np.array([row[g] for row in answers], np.float32) for g in groups}
        except (pa.ArrowException, ValueError, KeyError, TypeError) as error:
            raise UserError(f"{folder.uri}/{name} is damaged: {shortened(error)}") from None
        return cls(photos, logits)

    def check(self, network: Network, groups: Iterable[int], tolerance: float) -> None:
        """Compare a network's logits: of the first photo alone, and of the others in a batch.

        Args:
            network: The network to compare.
            groups: Groups that the network must have; it may have others, too.
            tolerance: Largest `Difference.share` that passes.

        Raises:
            Disagreement: A group differs by more; it names the group that differs most.
        """
        parts = [network(photos) for photos in (self.photos[:1], self.photos[1:]) if len(photos)]
        differences = [
            difference(group, [part.get(group) for part in parts], self.logits.get(group))
            for group in groups
        ]
        worst = max(differences, key=lambda d: d.share, default=None)
        if worst and not worst.share <= tolerance:
            raise Disagreement(worst, tolerance)


@dataclass(frozen=True)
class Difference:
    """How far a group's logits are from its reference.

    Attributes:
        group: Number of the group.
        largest: Largest difference of a logit; infinite where the logits can't be compared.
        span: From the reference's smallest logit to its largest, and at least 1: logits that are
            closer together have almost the same softmax.
    """

    group: int
    largest: float
    span: float

    @property
    def share(self) -> float:
        """The largest difference as a share of the span."""
        return self.largest / self.span


class Disagreement(Exception):
    """A network's logits differ from the reference; the message names a group."""

    def __init__(self, worst: Difference, tolerance: float) -> None:
        """Describe the group that differs most, and the tolerance that it exceeds."""
        of_trunk, of_group = "the trunk: its vectors", f"group {worst.group}: its logits"
        super().__init__(
            f"{of_trunk if worst.group == FEATURES else of_group} differ by up to "
            f"{worst.largest:.3g} from those of "
            f"the trained network, which span {worst.span:.3g}; {tolerance:.0%} of that is allowed"
        )
        self.worst = worst


def difference(
    group: int, batches: list[NDArray[np.float32] | None], expected: NDArray[np.float32] | None
) -> Difference:
    """Compare a group's logits with those of the reference.

    Args:
        group: Number of the group.
        batches: The logits [N, C], in batches; None where the network lacks the group.
        expected: Logits [N, C] of the reference; None where it lacks the group.

    Returns:
        The difference, which is infinite where logits are missing, NaN or of another shape.
    """
    if expected is None or any(b is None or b.shape[1:] != expected.shape[1:] for b in batches):
        return Difference(group, np.inf, 1.0)
    logits = np.concatenate([batch for batch in batches if batch is not None])
    largest = float(np.abs(logits.astype(np.float64) - expected).max())
    span = max(float(np.ptp(expected)), 1)
    return Difference(group, largest if np.isfinite(largest) else np.inf, span)
