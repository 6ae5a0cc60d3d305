"""Train all groups, as many at a time as there is room for."""

import pyarrow.compute as pc

from landmark_ray.bundle.network_files import head_info
from landmark_ray.config import Config
from landmark_ray.data.root import Root
from landmark_ray.runtime.counts import StageCounts
from landmark_ray.runtime.progress import ProgressBar
from landmark_ray.training import non_landmarks, worker
from landmark_ray.training.checkpoints import STAGING


def over_groups(
    title: str, place: str, loop: worker.Loop, config: Config, root: Root, passes: int = 1
) -> StageCounts:
    """Train all groups that have landmarks, except finished ones, whose head is stored.

    Args:
        title: The title of the progress bar.
        place: The folder of `models` in which the loop stores heads.
        loop: Trains a group.
        config: All options.
        root: The root.
        passes: The largest number of times that a training uses each image, for the progress bar.

    Returns:
        The counts of the stage.

    Raises:
        UserError: A training raised it, or lost more workers than --train.retries.
    """
    examples = root.dataset("examples").to_table(["landmark_id", "group"])
    per_group = pc.value_counts(examples["group"]).to_pylist()
    sizes = {row["values"]: row["counts"] * passes for row in per_group}
    classes = examples.group_by(["landmark_id", "group"]).aggregate([])["group"]
    counts = StageCounts(examples.num_rows, examples.num_rows, len(classes), len(classes))
    empty = [str(g) for g in range(1, len(config.group.edges) + 1) if g not in sizes]
    if empty:
        counts.notes.append(f"no landmark is in group {', '.join(empty)}: it has no model")
    counts.notes += non_landmarks.note(non_landmarks.learned(root, config))
    todo = {g: size for g, size in sizes.items() if head_info(root.models, place, g) is None}
    images = sum(sizes.values())
    with ProgressBar(title, images, done=images - sum(todo.values())) as progress_bar:
        if todo:
            worker.run_trainings(todo, loop, config, root, progress_bar)
    root.delete(STAGING)
    return counts
