"""A training for each group, as many side by side as there is room for."""

from concurrent.futures import ThreadPoolExecutor, as_completed

import pyarrow.compute as pc

from landmark_ray.bundle.network_files import head_info
from landmark_ray.config import Config
from landmark_ray.data.root import Root
from landmark_ray.data.store import Store
from landmark_ray.runtime.counts import StageCounts
from landmark_ray.runtime.progress import ProgressBar
from landmark_ray.training import non_landmarks, worker


def over_groups(
    title: str, place: str, loop: worker.Loop, config: Config, tables: Root, passes: int = 1
) -> StageCounts:
    """Train all groups that have landmarks, but for the finished ones: whose head is stored.

    Args:
        title: of the meter.
        place: of the heads that the loop stores.
        loop: trains a group; its argument has `group` and `told`, a `trainer.Done`.
        config: all options.
        tables: the root.
        passes: times that an image counts as seen, at most.
    """
    folder = Store(f"{tables.uri}/models")
    examples = tables.dataset("examples").to_table(["landmark_id", "group"])
    counts = pc.value_counts(examples["group"]).to_pylist()
    sizes = {row["values"]: row["counts"] * passes for row in counts}
    classes = examples.group_by(["landmark_id", "group"]).aggregate([])["group"]
    funnel = StageCounts(examples.num_rows, examples.num_rows, len(classes), len(classes))
    empty = [str(g) for g in range(1, len(config.group.edges) + 1) if g not in sizes]
    if empty:
        funnel.notes.append(f"no landmark in group {', '.join(empty)}: no model")
    funnel.notes += non_landmarks.note(non_landmarks.learned(tables, config))
    done = {group for group in sizes if head_info(folder, place, group) is not None}
    todo = sorted(set(sizes) - done, key=lambda group: -sizes[group])
    before = sum(sizes[group] for group in done)
    with ProgressBar(title, examples.num_rows * passes, done=before) as meter:
        if todo:
            _side_by_side(todo, sizes, loop, config, tables, meter)
    tables.delete(worker.STAGING)
    return funnel


def _side_by_side(
    groups: list[int],
    sizes: dict[int, int],
    loop: worker.Loop,
    config: Config,
    tables: Root,
    meter: ProgressBar,
) -> None:
    names = {group: f"group-{group}" for group in groups}
    with worker.watched(meter, {names[g]: sizes[g] for g in groups}, config) as told:
        room = min(worker.side_by_side(config), len(groups))
        work = worker.work_of(config, tables, told, room)
        pool = ThreadPoolExecutor(room)
        try:
            running = [
                pool.submit(worker.train, names[group], loop, {**work, "group": group})
                for group in groups
            ]
            for one in as_completed(running):
                one.result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
