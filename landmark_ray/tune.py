"""Search for better options of the heads with Ray Tune; ASHA stops bad trials early.

The heads learn from the vectors of the stage embed, so that a trial takes seconds. Its score is the
GAP of its answers to validation images. With `--tune.group`, the score is computed several times
while the head of this group trains. Otherwise, the heads of all groups are trained one after the
other, and the score is the mean over the groups so far. The best options are written to a toml file
for `--config`. Their score is slightly too high, because these images also chose them.
"""

import csv
import io
import os
import sys
from collections.abc import Sequence
from typing import Any

import pyarrow.compute as pc
import ray
from pydantic import Field
from ray import tune
from ray.tune.schedulers import ASHAScheduler
from ray.tune.search import BasicVariantGenerator
from rich.table import Table

from landmark_ray.config import Config
from landmark_ray.config.base import Count, StageConfig
from landmark_ray.data.root import Root
from landmark_ray.data.store import Store, split_uri
from landmark_ray.errors import UserError, redact_url, shortened
from landmark_ray.runtime import ray_private, receipts
from landmark_ray.runtime.progress import ProgressBar, console
from landmark_ray.runtime.ray_start import start_ray
from landmark_ray.runtime.resources import plan_workers
from landmark_ray.runtime.tasks import unwrap_ray_error
from landmark_ray.stages.embed import SEARCH
from landmark_ray.training.tune_trial import PARTS, Options, try_options
from landmark_ray.training.vectors import read_group
from landmark_ray.training.worker import storage_of

BEST = 5
"""Number of trials in the printed table."""


class TuneOptions(StageConfig):
    """Options of the search."""

    group: Count | None = Field(None, description="the group to train; all when not given")
    trials: Count = Field(30, description="number of trials; the first has the run's own options")


class TuneConfig(Config):
    """Options of jobs/tune.py; the options of the run are read from its ledger."""

    tune: TuneOptions = TuneOptions()
    output: str = Field("", description="toml file to write; ROOT/reports/tune.toml when not given")


def run(config: TuneConfig, root: Root) -> None:
    """Search, print the best options, and write them and a csv of all trials.

    Raises:
        UserError: The output may not be written, a group lacks validation images, all trials fail.
    """
    output = config.output or f"{root.uri}/reports/tune.toml"
    if not output.endswith(".toml"):
        raise UserError(f"--output: {output} must end in .toml")
    folder, name = split_uri(output)
    store, trials = Store(folder), f"{name.removesuffix('.toml')}.csv"
    receipts.check(root, (name, trials), store)
    groups = groups_of(config, root)
    rows = search(config, root, groups)
    texts = {name: as_toml(rows, config, groups), trials: as_csv(rows)}
    receipts.write(root, {n: text.encode() for n, text in texts.items()}, store)
    show(rows)
    redo = "embed" if rows[0]["views"] != config.train.views else "train"
    options = f"--config {redact_url(output)} --redo {redo}"
    print(f"\nThe best options are in {store.shown}/{name}; to use them, run with {options}")


def groups_of(config: TuneConfig, root: Root) -> list[int]:
    """List the groups to search for, the group with the fewest validation images first.

    Raises:
        UserError: No such group has validation images.
    """
    examples = root.dataset("examples").to_table(["group", "split"])
    groups = examples.filter(pc.equal(examples["split"], "validation"))["group"]
    counts = {row["values"]: row["counts"] for row in pc.value_counts(groups).to_pylist()}
    wanted = config.tune.group
    if wanted is None and counts:
        return sorted(counts, key=lambda group: (counts[group], group))
    if wanted is not None and wanted in counts:
        return [wanted]
    what = "no group" if wanted is None else f"--tune.group {wanted}: no landmark of this group"
    raise UserError(f"{root.uri}: {what} has validation images, which score the options")


def space(config: Config) -> Options:
    """Return the search space of Ray Tune: options of the heads on which no earlier stage depends.

    A trunk that was trained by the run depends on some, and would have to be trained anew.
    """
    options: Options = {
        "head_rate": tune.loguniform(3e-4, 3e-2),
        "dropout": tune.uniform(0, 0.6),
        "smoothing": tune.uniform(0, 0.2),
        "weight_decay": tune.loguniform(1e-6, 1e-2),
        "views": tune.randint(1, config.train.views + 1),
    }
    if config.train.head == "cosine":
        options["scale"] = tune.loguniform(4, 64)
    fixed = config.train.config_key("trunk")
    return {name: of for name, of in options.items() if f"train.{name}" not in fixed}


class Asha(ASHAScheduler):
    """ASHA (Li et al. 2020), except that it never stops the trial of the run's own options."""

    def __init__(self, present: Options, **rest: Any) -> None:
        """Take the run's own options, and the arguments of ASHAScheduler."""
        super().__init__(**rest)
        self.present = present

    def on_trial_result(self, tune_controller: Any, trial: Any, result: Options) -> str:
        """Decide whether a trial continues."""
        decision: str = super().on_trial_result(tune_controller, trial, result)
        return self.CONTINUE if trial.config == self.present else decision


def search(config: TuneConfig, root: Root, groups: list[int]) -> list[Options]:
    """Run all trials, and return a row for each, the best first.

    A row has the options, `score` (GAP), `steps` (number of scores before the trial ended) and
    `present` (whether these are the run's own options). If all trials fail, the error is raised.
    """
    ray_private.plain_tune_output()
    os.environ["TUNE_DISABLE_SIGINT_HANDLER"] = "1"  # else Ctrl-C publishes what is half done
    start_ray(config)
    workers = plan_workers(config, "train.", config.train)
    read = ray.remote(num_cpus=0.1)(read_group)  # fits beside the trials if it must run again
    data = {group: read.remote(root, group, config) for group in groups}
    searched = space(config)
    root.delete(SEARCH)  # Ray Tune would unpickle what it knows of earlier trials
    present = {name: getattr(config.train, name) for name in searched}
    with ProgressBar("tune", config.tune.trials, unit="trials") as progress_bar:

        class Watch(tune.Callback):
            """A callback that counts the trials that ended."""

            def on_trial_complete(self, iteration: int, trials: Any, trial: Any, **_: Any) -> None:
                progress_bar.add(1)

            def on_trial_error(self, iteration: int, trials: Any, trial: Any, **_: Any) -> None:
                progress_bar.add(1)

        trial = tune.with_parameters(
            try_options, config=config, data=data, on_cpus=not workers.gpus
        )
        tuner = tune.Tuner(
            tune.with_resources(trial, workers.resources),
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
            results = tuner.fit()
        except Exception as error:
            raise unwrap_ray_error(error) from None
        finally:
            root.delete(SEARCH)
    return rows_of([results[number] for number in range(len(results))], present)


def rows_of(results: Sequence[tune.Result], present: Options) -> list[Options]:
    """Return a row for each trial that did not fail, the best first; warn if some did.

    Args:
        results: The results of all trials.
        present: The run's own options.

    Raises:
        Exception: The error of a trial, if all failed.
    """
    errors = [unwrap_ray_error(result.error) for result in results if result.error]
    rows = [
        {**(result.config or {}), "score": result.metrics["score"]}
        | {"steps": result.metrics["training_iteration"], "present": result.config == present}
        for result in results
        if not result.error and result.metrics and "score" in result.metrics
    ]
    if errors and not rows:
        raise errors[0] from None
    if errors:
        print(
            f"warning: {len(errors)} of {len(results)} trials failed: {shortened(errors[0])}",
            file=sys.stderr,
        )
    return sorted(rows, key=lambda row: (-row["steps"], -row["score"]))


def as_toml(rows: Sequence[Options], config: TuneConfig, groups: Sequence[int]) -> str:
    """Return the options of the best trial as text of a toml file for `--config`."""
    best = rows[0]
    which = f"group {groups[0]}" if config.tune.group else f"{len(groups)} groups"
    lines = [f"# jobs/tune.py: the best of {len(rows)} trials for {which}."]
    lines.append(f"# GAP on validation images {best['score']:.4f}{_comparison(rows)}.")
    lines += ["", "[train]", *(f"{name} = {value!r}" for name, value in options_of(best).items())]
    return "\n".join(lines) + "\n"


def _comparison(rows: Sequence[Options]) -> str:
    """Compare the best trial with that of the run's own options; empty if that one failed."""
    own = next((row for row in rows if row["present"]), rows[0])
    if own is not rows[0]:
        return f"; the run's own options: {own['score']:.4f}"
    return "; these are the run's own options" if own["present"] else ""


def options_of(row: Options) -> Options:
    """Return the options of a trial, with numbers rounded to four digits."""
    names = [name for name in row if name not in ("score", "steps", "present")]
    return {n: int(row[n]) if n == "views" else float(f"{row[n]:.4g}") for n in sorted(names)}


def as_csv(rows: Sequence[Options]) -> str:
    """Return all trials as text of a csv file, the best first."""
    out = io.StringIO()
    writer = csv.DictWriter(out, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()


def show(rows: Sequence[Options]) -> None:
    """Print the best trials and the trial of the run's own options as a table."""
    table = Table(title="Trials by GAP on validation images")
    names = list(options_of(rows[0]))
    for column in ("", "GAP", "steps", *names):
        table.add_column(column, justify="right")
    for rank, row in enumerate(rows, 1):
        if rank <= BEST or row["present"]:
            options = options_of(row)
            cells = [f"{row['score']:.4f}", str(row["steps"]), *(f"{options[n]:g}" for n in names)]
            table.add_row("present" if row["present"] else str(rank), *cells)
    console().print(table)
