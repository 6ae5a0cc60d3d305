"""A trunk and the heads of all groups that share it, joined in one Keras network."""

from typing import TYPE_CHECKING

from landmark_ray.bundle.network_files import GROUPS, HeadInfo, head_infos, read_head, read_trunk
from landmark_ray.data.store import Store

if TYPE_CHECKING:
    import keras


def by_trunk(bundle: Store) -> dict[str, list[HeadInfo]]:
    """Return each trunk's name with the heads of the groups that share it."""
    heads_of: dict[str, list[HeadInfo]] = {}
    for info in head_infos(bundle, GROUPS):
        heads_of.setdefault(info.trunk, []).append(info)
    return heads_of


def output_of(group: int) -> str:
    """Return the name of a group's logits among a network's outputs, whatever the runtime.

    Outputs are found by name alone, since runtimes order them as they like: OpenVINO sorts them by
    their names, as text.
    """
    return f"group_{group}"


def build_multihead(bundle: Store, trunk: str, infos: list[HeadInfo]) -> "keras.Model":
    """Join a trunk with some of its heads.

    Returns:
        A network of photos [B, H, W, 3] uint8, RGB, whose outputs are the logits [B, C] of each
        head, named by `output_of`.

    Raises:
        UserError: A network is missing or damaged.
    """
    import keras

    network = read_trunk(bundle, trunk)
    photos = keras.Input(network.input_shape[1:], dtype="uint8", name="photos")
    features = network(keras.ops.cast(photos, "float32"))
    logits = {}
    for info in infos:
        name = output_of(info.group)
        head = read_head(bundle, GROUPS, info)
        logits[name] = keras.Model(head.inputs, head.outputs[0], name=name)(features)
    return keras.Model(photos, logits, name="networks")
