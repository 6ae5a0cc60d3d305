"""Reference answers: a few photos with the logits that the trained networks gave them.

`export` stores some in each bundle. Whatever answers in place of those networks, on whatever
runtime and machine, is compared with them before it serves.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from landmark_ray.data import schemas
from landmark_ray.data.store import Store
from landmark_ray.errors import UserError

Logits = dict[int, NDArray[np.float32]]
"""Group -> logits [N, C] of the same N photos."""

Network = Callable[[NDArray[np.uint8]], Logits]
"""Photos [N, H, W, 3], RGB, to the logits of some groups."""


@dataclass(frozen=True)
class Reference:
    """Photos and their logits.

    Attributes:
        photos: [N, S, S, 3], RGB.
        logits: of every group.
    """

    photos: NDArray[np.uint8]
    logits: Logits

    def write(self, folder: Store, name: str) -> None:
        """Store them as a Parquet file."""
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
        folder.write_table(name, pa.Table.from_pylist(rows, schemas.REFERENCE))

    @classmethod
    def read(cls, folder: Store, name: str, size: int) -> "Reference":
        """What `write` stored of photos of `size` x `size` pixels.

        Raises:
            UserError: the file is missing or damaged.
        """
        rows = folder.read_table(name)
        try:
            columns = rows.cast(schemas.REFERENCE).to_pydict()
            pixels = np.frombuffer(b"".join(columns["pixels"]), np.uint8)
            photos = pixels.reshape(rows.num_rows, size, size, 3)
            answers = [{a["group"]: a["logits"] for a in row} for row in columns["answers"]]
            groups = sorted(set().union(*answers))
            logits = {g: np.array([row[g] for row in answers], np.float32) for g in groups}
        except (pa.ArrowException, ValueError, KeyError, TypeError) as error:
            why = " ".join(str(error).split())[:200]
            raise UserError(f"{folder.uri}/{name} is damaged: {why}") from None
        return cls(photos, logits)

    def check(self, network: Network, groups: Iterable[int], tolerance: float) -> None:
        """Compare a network's answers: to the first photo alone, and to the others in a batch.

        Args:
            network: what is to serve.
            groups: those that it must answer for; it may answer for others, too.
            tolerance: see `Difference.within`.

        Raises:
            Disagreement: the group whose logits differ most, and by how much.
        """
        parts = [network(photos) for photos in (self.photos[:1], self.photos[1:]) if len(photos)]
        found = [
            difference(group, [part.get(group) for part in parts], self.logits.get(group))
            for group in groups
        ]
        worst = max(found, key=lambda d: d.share, default=None)
        if worst and not worst.share <= tolerance:
            raise Disagreement(worst, tolerance)


@dataclass(frozen=True)
class Difference:
    """Of a group's logits from its reference.

    Attributes:
        group: its number.
        largest: the largest difference of a logit; infinite where they can't be compared.
        span: from the reference's smallest logit to its largest, 1 at least: a softmax hardly
            tells logits apart that all lie closer.
    """

    group: int
    largest: float
    span: float

    @property
    def share(self) -> float:
        """The largest difference as a share of the span."""
        return self.largest / self.span


class Disagreement(Exception):
    """A network doesn't answer as the reference says; the text names the group."""

    def __init__(self, worst: Difference, tolerance: float) -> None:
        """The group that differs most."""
        super().__init__(
            f"group {worst.group}: its logits differ by up to {worst.largest:.3g} from those of "
            f"the trained network, which span {worst.span:.3g}; {tolerance:.0%} of that is allowed"
        )
        self.worst = worst


def difference(
    group: int, parts: list[NDArray[np.float32] | None], wanted: NDArray[np.float32] | None
) -> Difference:
    """Of logits [N, C], which come in parts, from those wanted; NaN or none is far off."""
    if wanted is None or any(p is None or p.shape[1:] != wanted.shape[1:] for p in parts):
        return Difference(group, np.inf, 1.0)
    found = np.concatenate([part for part in parts if part is not None])
    apart = float(np.abs(found.astype(np.float64) - wanted).max())
    return Difference(group, apart if np.isfinite(apart) else np.inf, max(float(np.ptp(wanted)), 1))
