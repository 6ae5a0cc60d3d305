"""The network that the options name, before any training, and the preset it may come from."""

from typing import TYPE_CHECKING

from landmark_ray.config import Config
from landmark_ray.models import presets
from landmark_ray.models.specs import is_preset
from landmark_ray.runtime.tasks import probe_on_cluster

if TYPE_CHECKING:  # drivers need only the files of a preset, and Keras takes seconds to import
    import keras


def preset_inputs(config: Config) -> dict[str, str]:
    """Return the checksum of what a network reads of its preset; nothing for other networks.

    Raises:
        UserError: The folder is no preset.
    """
    options = config.train
    if not is_preset(options.network):
        return {}
    weights = options.weights == "imagenet"
    return {"preset of train.network": presets.checksum(options.network, weights=weights)}


def check_preset(config: Config) -> None:
    """Build the network of a preset once on the cluster, so that a bad one fails before any work.

    Raises:
        UserError: It can't be built.
    """
    if is_preset(config.train.network):
        probe_on_cluster(config, _try, config)


def build_network(config: Config) -> "keras.Model":
    """Build the network that the options name, with its weights.

    Raises:
        UserError: It can't be built.
    """
    from landmark_ray.models.networks import build_trunk

    options = config.train
    return build_trunk(
        options.network,
        weights=None if options.from_scratch else options.weights,
        input_size=config.resize.size,
        pooling=options.pooling,
    )


def _try(config: Config) -> None:
    build_network(config)
