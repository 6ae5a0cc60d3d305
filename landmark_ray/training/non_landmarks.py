"""Check that the models learned from enough photos that show none of their landmarks.

Without such photos, a model cannot know when a photo shows none of its landmarks.
"""

import pyarrow.compute as pc

from landmark_ray.config import Config
from landmark_ray.data.examples import background_split
from landmark_ray.data.root import Root
from landmark_ray.kernels.calibration import FALLBACK_QUANTILE, FEW_STRANGERS


def learned(root: Root, config: Config) -> dict[int, int]:
    """Count the photos without its landmarks that the model of each group learns from.

    Returns:
        Group -> number of photos, of other groups and of the background.
    """
    examples = root.dataset("examples").to_table(["landmark_id", "group", "split"]).to_pandas()
    photos = root.dataset("background").to_table(
        ["image_id", "landmark_id"], filter=pc.field("landmark_id") >= 0
    )
    background = photos.to_pandas()
    split = background_split(
        background.image_id.to_numpy(object),
        background.landmark_id.to_numpy(),
        examples.landmark_id.unique(),
        config.seed,
    )
    background = background[split == "train"]
    trains = examples[examples.split == "train"]
    most = config.train.others if config.train.other_share else 0
    return {
        int(group): min(
            int((trains.group != group).sum() + (~background.landmark_id.isin(own)).sum()), most
        )
        for group, own in examples.groupby("group").landmark_id.unique().items()
    }


def note(learned: dict[int, int]) -> list[str]:
    """Return a warning about the groups with fewer than FEW_STRANGERS such photos, if any.

    Args:
        learned: The result of `learned`.
    """
    few = [str(group) for group, photos in sorted(learned.items()) if photos < FEW_STRANGERS]
    if not few:
        return []
    return [
        f"group {', '.join(few)}: fewer than {FEW_STRANGERS} photos of anything but its landmarks "
        "were available for training, so that it takes nearly every photo for one of them"
    ]


def warning(learned: dict[int, int], validated: int, landmarks: int) -> str:
    """Return a warning if the models cannot be relied on to reject photos without a landmark.

    Args:
        learned: The result of `learned`.
        validated: The number of validation photos without a landmark.
        landmarks: The number of landmarks that the models know.

    Returns:
        The warning, or an empty string.
    """
    few = {group: photos for group, photos in sorted(learned.items()) if photos < FEW_STRANGERS}
    reasons = [f"group {g} learned from {n} photos of anything else" for g, n in few.items()][:3]
    if validated < FEW_STRANGERS:
        reasons.append(f"{validated} validation photos show none of them")
    if not reasons:
        return ""
    rule = (
        f"Therefore, the threshold is at least the confidence that {1 - FALLBACK_QUANTILE:.0%} of "
        "the right answers reach, regardless of what else reaches it. "
        if validated < FEW_STRANGERS
        else ""
    )
    known = f"any of the {landmarks:,} landmarks" if landmarks > 1 else "the one landmark"
    return (
        f"these models can't be trusted to know when a photo doesn't show {known}: "
        f"{', and '.join(reasons)}, but {FEW_STRANGERS} are needed. {rule}Add photos of other "
        "landmarks to the source, or photos that match no other photo of their class"
    )
