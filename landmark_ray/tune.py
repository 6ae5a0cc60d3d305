"""Search the heads' options: Ray Tune tries some, ASHA ends the worse ones early.

The heads learn from the vectors that the stage embed has made, so a trial takes seconds. It is
scored by the GAP of its answers to the validation images: of one group (`--tune.group`), after each
part of its epochs; of all, by the mean over the groups so far, one after the other. The best
options go into a toml file for `--config`. Their score is a little too good: they were chosen by
these images.
"""

import csv
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow.compute as pc
import ray
from pydantic import Field
from ray import tune
from ray.tune.schedulers import ASHAScheduler
from ray.tune.search import BasicVariantGenerator
from rich.console import Console
from rich.table import Table

from landmark_ray.config import Config
from landmark_ray.config.base import Count, StageConfig
from landmark_ray.data.root import Root
from landmark_ray.data.store import Store
from landmark_ray.errors import UserError, redact_url
from landmark_ray.kernels.calibration import softmax
from landmark_ray.kernels.metrics import global_average_precision
from landmark_ray.runtime import ray_private, receipts
from landmark_ray.runtime.progress import ProgressBar
from landmark_ray.runtime.ray_start import start_ray
from landmark_ray.runtime.resources import pin_tensorflow, plan_workers
from landmark_ray.runtime.tasks import unwrap_ray_error
from landmark_ray.stages.embed import SEARCH
from landmark_ray.training.fit_head import fit_head, logits_of, new_head
from landmark_ray.training.vectors import GroupVectors, read_group
from landmark_ray.training.worker import storage_of

PARTS = 6
"""Of the epochs of a single group; after each, ASHA may end the trial."""

BEST = 5
"""Trials in the table on the screen."""

Options = dict[str, Any]


class TuneOptions(StageConfig):
    """How the search goes."""

    group: Count | None = Field(None, description="the group to search for; all when not given")
    trials: Count = Field(30, description="options to try; the first are those of the run")


class TuneConfig(Config):
    """Options of jobs/tune.py; those of the run come from its ledger."""

    tune: TuneOptions = TuneOptions()
    output: str = Field("", description="toml to write; ROOT/reports/tune.toml when not given")


def run(config: TuneConfig, root: Root) -> None:
    """Search, print the best options, write them and a csv of all trials.

    Raises:
        UserError: anything that a person can mend.
    """
    output = config.output or f"{root.uri}/reports/tune.toml"
    if not output.endswith(".toml"):
        raise UserError(f"--output: {output} must end in .toml")
    folder, _, name = output.rpartition("/")
    place, trials = Store(folder or "."), f"{name.removesuffix('.toml')}.csv"
    receipts.check(root, (name, trials), place)
    groups = groups_of(config, root)
    rows = search(config, root, groups)
    texts = {name: as_toml(rows, config, groups), trials: as_csv(rows)}
    receipts.write(root, {n: text.encode() for n, text in texts.items()}, place)
    show(rows)
    again = "embed" if rows[0]["views"] != config.train.views else "train"
    given = f"--config {redact_url(output)} --redo {again}"
    print(f"\nBest options in {place.shown}/{name}: run with {given}")


def groups_of(config: TuneConfig, root: Root) -> list[int]:
    """The groups to search for, the one with fewest images first.

    Raises:
        UserError: there is none with validation images.
    """
    examples = root.dataset("examples").to_table(["group", "split"])
    own = examples.filter(pc.equal(examples["split"], "validation"))
    counts = {row["values"]: row["counts"] for row in pc.value_counts(own["group"]).to_pylist()}
    wanted = config.tune.group
    if wanted is None and counts:
        return sorted(counts, key=lambda group: (counts[group], group))
    if wanted is not None and wanted in counts:
        return [wanted]
    what = "no group has" if wanted is None else f"--tune.group {wanted}: it has no landmark with"
    raise UserError(f"{root.uri}: {what} validation images to judge options by")


def space(config: Config) -> Options:
    """What is searched, and how."""
    options: Options = {
        "head_rate": tune.loguniform(3e-4, 3e-2),
        "dropout": tune.uniform(0, 0.6),
        "smoothing": tune.uniform(0, 0.2),
        "weight_decay": tune.loguniform(1e-6, 1e-2),
        "views": tune.randint(1, config.train.views + 1),
    }
    return options | ({"scale": tune.loguniform(4, 64)} if config.train.head == "cosine" else {})


class Asha(ASHAScheduler):
    """ASHA (Li et al. 2020) that never stops a trial of the options that all are compared with."""

    def __init__(self, present: Options, **rest: Any) -> None:
        """present: these options; the rest is ASHA's."""
        super().__init__(**rest)
        self.present = present

    def on_trial_result(self, tune_controller: Any, trial: Any, result: Options) -> str:
        """Whether a trial goes on."""
        says: str = super().on_trial_result(tune_controller, trial, result)
        return self.CONTINUE if trial.config == self.present else says


def search(config: TuneConfig, root: Root, groups: list[int]) -> list[Options]:
    """All trials, the best first: options, score, steps, `present` where they are the run's."""
    ray_private.plain_tune_output()
    start_ray(config)
    workers = plan_workers(config, "train.", config.train)
    read = ray.remote(read_group)
    data = {group: read.remote(root, group, config) for group in groups}
    searched = space(config)
    root.delete(SEARCH)  # Ray Tune would unpickle what it knows of earlier trials
    present = {name: getattr(config.train, name) for name in searched}
    with ProgressBar("tune", config.tune.trials, unit="trials") as progress_bar:

        class Watch(tune.Callback):
            """Counts trials."""

            def on_trial_complete(self, iteration: int, trials: Any, trial: Any, **_: Any) -> None:
                progress_bar.add(1)

            def on_trial_error(self, iteration: int, trials: Any, trial: Any, **_: Any) -> None:
                progress_bar.add(1)

        trial = tune.with_parameters(
            try_options, config=config, data=data, on_cpus=not workers.gpus
        )
        tuner = tune.Tuner(
            tune.with_resources(trial, workers.each),
            param_space=searched,
            tune_config=tune.TuneConfig(
                metric="score",
                mode="max",
                num_samples=config.tune.trials,
                search_alg=BasicVariantGenerator(
                    points_to_evaluate=[present],
                    max_concurrent=workers.count,
                    random_state=config.seed,
                ),
                scheduler=Asha(
                    present,
                    max_t=PARTS + 1 if len(groups) == 1 else len(groups),
                    grace_period=1,
                    reduction_factor=3,
                ),
                reuse_actors=True,
            ),
            run_config=tune.RunConfig(
                name="trials",
                storage_path=storage_of(root, SEARCH),
                verbose=0,
                callbacks=[Watch()],
            ),
        )
        try:
            found = tuner.fit()
        except Exception as error:
            raise unwrap_ray_error(error) from None
        finally:
            root.delete(SEARCH)
    if not found.num_terminated:
        raise unwrap_ray_error(found.errors[0]) from None
    rows = [
        {**(result.config or {}), "score": result.metrics["score"]}
        | {"steps": result.metrics["training_iteration"], "present": result.config == present}
        for result in (found[number] for number in range(len(found)))
        if result.metrics and "score" in result.metrics
    ]
    return sorted(rows, key=lambda row: (-row["steps"], -row["score"]))


def try_options(
    options: Options, *, config: Config, data: dict[int, Any], on_cpus: bool = True
) -> None:
    """A trial, in a worker: train heads with some options, and report their score step by step."""
    if on_cpus:
        pin_tensorflow()
    tried = config.model_copy(update={"train": config.train.model_copy(update=options)})
    scores: list[float] = []
    for group, found in data.items():
        vectors: GroupVectors = ray.get(found)
        train = vectors.train.where(vectors.train.view < options["views"])
        vectors = GroupVectors(vectors.landmarks, vectors.other, train, vectors.validation)
        head = new_head(vectors, group, tried)
        if len(data) == 1:
            fit_head(head, vectors, tried, _reported(vectors), reports=PARTS)
        else:
            fit_head(head, vectors, tried, lambda *_: None, reports=1)
            scores.append(score(logits_of(head, vectors), vectors))
            tune.report({"score": float(np.mean(scores))})


def _reported(data: GroupVectors) -> Any:
    def report(epoch: int, logs: dict[str, float], head: Any) -> None:
        tune.report({"score": score(logits_of(head, data), data)})

    return report


def score(logits: np.ndarray, data: GroupVectors) -> float:
    """GAP of a group's answers to validation images, those of others included; from 0 to 1.

    Args:
        logits: [N, C] or [N, C + 1] of the validation images; ones that are not finite score 0.
        data: the group.
    """
    if not np.isfinite(logits).all():
        return 0.0
    y, classes = data.validation.y, len(data.landmarks)
    sure = softmax(logits)[:, :classes]
    ids = [f"{i:08d}" for i in range(len(y))]
    solution = {i: {int(n)} if n < classes else set() for i, n in zip(ids, y, strict=True)}
    return global_average_precision(ids, sure.argmax(axis=1), sure.max(axis=1), solution)


def as_toml(rows: Sequence[Options], config: TuneConfig, groups: Sequence[int]) -> str:
    """The best options as a file for `--config`."""
    best = rows[0]
    which = f"group {groups[0]}" if config.tune.group else f"{len(groups)} groups"
    lines = [f"# jobs/tune.py: the best of {len(rows)} trials for {which}."]
    lines.append(f"# GAP on validation images {best['score']:.4f}{_against(rows)}.")
    lines += ["", "[train]", *(f"{name} = {value!r}" for name, value in options_of(best).items())]
    return "\n".join(lines) + "\n"


def _against(rows: Sequence[Options]) -> str:
    own = next((row for row in rows if row["present"]), None)
    if own is None:  # its trial failed
        return ""
    return ", by the run's own" if own is rows[0] else f"; the run's own: {own['score']:.4f}"


def options_of(row: Options) -> Options:
    """Of a trial; numbers rounded to what matters."""
    names = [name for name in row if name not in ("score", "steps", "present")]
    return {n: int(row[n]) if n == "views" else float(f"{row[n]:.4g}") for n in sorted(names)}


def as_csv(rows: Sequence[Options]) -> str:
    """All trials, the best first."""
    out = io.StringIO()
    writer = csv.DictWriter(out, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()


def show(rows: Sequence[Options]) -> None:
    """Print the best trials, and that of the run's own options."""
    table = Table(title="Trials by GAP on validation images")
    names = list(options_of(rows[0]))
    for column in ("", "GAP", "steps", *names):
        table.add_column(column, justify="right")
    for place, row in enumerate(rows, 1):
        if place <= BEST or row["present"]:
            own = options_of(row)
            cells = [f"{row['score']:.4f}", str(row["steps"]), *(f"{own[n]:g}" for n in names)]
            table.add_row("present" if row["present"] else str(place), *cells)
    console = Console()
    if not console.is_terminal:
        console = Console(width=140)
    console.print(table)
