"""Define what a stage is."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import get_args

from landmark_ray.config import Config, StageName
from landmark_ray.config.training import Program
from landmark_ray.data import layout
from landmark_ray.data.root import Root
from landmark_ray.data.sources import Source
from landmark_ray.runtime import crash_log
from landmark_ray.runtime.counts import StageCounts


def no_inputs(config: Config, source: Source) -> dict[str, str]:
    """Return no inputs, for a stage that reads only the tables of other stages."""
    return {}


def nothing_to_check(config: Config) -> None:
    """Accept every configuration, for a stage that checks nothing."""


@dataclass(frozen=True)
class Stage:
    """A stage of the pipeline.

    Attributes:
        name: The name, also of its section of options, its job and its record in the ledger.
        reads: The tables of other stages that it reads.
        writes: The tables and other folders of the root that only this stage writes.
        run: Does the work, and returns the counts.
        scratch: The folders of the root that are not needed after the stage is finished.
        inputs: Returns what the stage reads besides tables: name -> checksum. A change makes its
            tables outdated.
        check: Runs before the first stage of a run, and before anything is deleted. It raises a
            UserError for options that would fail after hours of work, such as the handle of a model
            that cannot be loaded.
    """

    name: StageName
    reads: tuple[str, ...]
    writes: tuple[str, ...]
    run: Callable[[Config, Root, Source], StageCounts]
    scratch: tuple[str, ...] = ()
    inputs: Callable[[Config, Source], dict[str, str]] = no_inputs
    check: Callable[[Config], None] = nothing_to_check

    @property
    def folders(self) -> tuple[str, ...]:
        """Return all folders of a root that the stage writes."""
        logs = (layout.log_folder(program, self.name) for program in get_args(Program))
        return (*self.writes, *self.scratch, crash_log.folder_of(self.name), *logs)
