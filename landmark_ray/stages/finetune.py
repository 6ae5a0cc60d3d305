"""finetune: the whole network of each group learns, where --train.phases asks for it."""

from landmark_ray.config import Config
from landmark_ray.errors import UserError
from landmark_ray.funnel import Funnel
from landmark_ray.sources import Source
from landmark_ray.storage import Tables

READS = ("train", "trunk", "group")
WRITES = ("models/finetuned",)


def inputs(source: Source) -> dict[str, str]:
    """What the stage reads besides other stages' tables."""
    return {}


def run(config: Config, tables: Tables, source: Source) -> Funnel:
    """Write `models/finetuned`."""
    images = tables.dataset("examples").count_rows()
    funnel = Funnel(images, images)
    if "finetune" not in config.train.phases:
        funnel.facts["not asked for"] = 1
        return funnel
    raise UserError("--train.phases finetune is not there yet")
