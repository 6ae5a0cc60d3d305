"""export: all that predicts, in one folder: networks, landmarks, thresholds, checksums."""

from landmark_ray.config import Config
from landmark_ray.funnel import Funnel
from landmark_ray.sources import Source
from landmark_ray.storage import Tables

READS = ("evaluate", "train", "finetune", "trunk")
WRITES = ("bundle",)


def inputs(source: Source) -> dict[str, str]:
    """What the stage reads besides other stages' tables."""
    return {}


def run(config: Config, tables: Tables, source: Source) -> Funnel:
    """Write `bundle`."""
    raise NotImplementedError
