"""trunk: the network's weights in one place, for all groups: downloaded, or from a file."""

import ray
from ray.exceptions import RayTaskError

from landmark_ray.config import Config
from landmark_ray.errors import UserError
from landmark_ray.funnel import Funnel
from landmark_ray.sources import Source
from landmark_ray.stages.shards import start_ray, unwrapped
from landmark_ray.storage import Folder, Tables

READS = ("group",)
WRITES = ("models/trunk",)


def inputs(source: Source) -> dict[str, str]:
    """What the stage reads besides other stages' tables."""
    return {}


def run(config: Config, tables: Tables, source: Source) -> Funnel:
    """Write `models/trunk`."""
    if config.train.from_scratch:
        raise UserError("--train.weights none: a trunk cannot be trained from scratch yet")
    start_ray(config)
    try:
        features = ray.get(ray.remote(store).options(max_retries=0).remote(config, tables))
    except RayTaskError as error:
        raise unwrapped(error) from None
    images = tables.dataset("examples").count_rows()
    funnel = Funnel(images, images)
    funnel.facts["features"] = features
    return funnel


def store(config: Config, tables: Tables) -> int:
    """Build the trunk and store it; the number of its features."""
    from landmark_ray.bundle import TRUNK, write_trunk
    from landmark_ray.models.networks import build_trunk

    options = config.train
    trunk = build_trunk(
        options.network,
        weights=options.weights,
        input_size=config.resize.size,
        pooling=options.pooling,
    )
    write_trunk(Folder(f"{tables.uri}/models"), TRUNK, trunk)
    return int(trunk.output_shape[-1])
