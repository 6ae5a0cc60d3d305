"""Strangers: photos of none of the landmarks. Without them no model knows when it doesn't know."""

import pyarrow.compute as pc

from landmark_ray.config import Config
from landmark_ray.data.examples import background_split
from landmark_ray.data.root import Root
from landmark_ray.kernels.calibration import FALLBACK_QUANTILE, FEW_STRANGERS


def learned(tables: Root, config: Config) -> dict[int, int]:
    """Group -> photos of anything but its landmarks that its model learns from."""
    examples = tables.dataset("examples").to_table(["landmark_id", "group", "split"]).to_pandas()
    photos = tables.dataset("background").to_table(
        ["image_id", "landmark_id"], filter=pc.field("landmark_id") >= 0
    )
    background = photos.to_pandas()
    background = background[background_split(photos["image_id"].to_numpy(), config.seed) == "train"]
    trains = examples[examples.split == "train"]
    most = config.train.others if config.train.other_share else 0
    return {
        int(group): min(
            int((trains.group != group).sum() + (~background.landmark_id.isin(own)).sum()), most
        )
        for group, own in examples.groupby("group").landmark_id.unique().items()
    }


def note(learned: dict[int, int]) -> list[str]:
    """A warning about groups that have next to nothing to tell their landmarks from."""
    few = [str(group) for group, photos in sorted(learned.items()) if photos < FEW_STRANGERS]
    if not few:
        return []
    return [
        f"group {', '.join(few)}: fewer than {FEW_STRANGERS} photos of anything but its landmarks "
        "to learn from: it takes nearly every photo for one of them"
    ]


def warning(learned: dict[int, int], validated: int, landmarks: int) -> str:
    """What people must know of models that can't tell strangers; empty where they can.

    Args:
        learned: of `learned`.
        validated: strangers among the validation photos.
        landmarks: that the models know.
    """
    few = {group: photos for group, photos in sorted(learned.items()) if photos < FEW_STRANGERS}
    why = [f"group {g} learned from {n} photos of anything else" for g, n in few.items()][:3]
    if validated < FEW_STRANGERS:
        why.append(f"{validated} validation photos show none of them")
    if not why:
        return ""
    known = f"any of the {landmarks:,} landmarks" if landmarks > 1 else "the one landmark"
    return (
        f"these models can't be trusted to know when a photo doesn't show {known}: "
        f"{', and '.join(why)}, where {FEW_STRANGERS} are needed. The threshold is no lower than "
        f"what {1 - FALLBACK_QUANTILE:.0%} of the right answers reach, whatever it lets in. Add "
        "photos of other things to the source: other landmarks, or photos that match nothing in "
        "their class"
    )
