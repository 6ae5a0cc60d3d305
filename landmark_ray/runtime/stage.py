"""What a stage is."""

from collections.abc import Callable
from dataclasses import dataclass

from landmark_ray.config import Config, StageName
from landmark_ray.data.root import Root
from landmark_ray.data.sources import Source
from landmark_ray.runtime import crash_log
from landmark_ray.runtime.counts import StageCounts


def no_inputs(config: Config, source: Source) -> dict[str, str]:
    """Return nothing, for a stage that reads only the tables of others."""
    return {}


def nothing_to_check(config: Config) -> None:
    """Accept every configuration."""


@dataclass(frozen=True)
class Stage:
    """A stage of the pipeline.

    Attributes:
        name: of its section of options, its job and its record in the ledger.
        reads: tables of other stages.
        writes: tables, and other folders of the root, that this stage alone writes.
        run: does the work, and returns what went in and came out.
        scratch: folders of the root that are of no use once the stage is finished.
        inputs: what the stage reads besides tables, by name, as checksums. A change makes the
            stage's tables outdated.
        check: raises a UserError for options that would fail after hours of work, such as the
            handle of a model that can't be loaded. It runs before the stage does.
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
        """All folders of a root that the stage writes."""
        return (*self.writes, *self.scratch, crash_log.folder_of(self.name))
