"""A trunk and the heads of all groups that share it, as one Keras network."""

from typing import TYPE_CHECKING

from landmark_ray.bundle.network_files import GROUPS, HeadInfo, head_infos, read_head, read_trunk
from landmark_ray.data.store import Store

if TYPE_CHECKING:
    import keras


def by_trunk(bundle: Store) -> dict[str, list[HeadInfo]]:
    """Trunk -> the heads of the groups that share it."""
    found: dict[str, list[HeadInfo]] = {}
    for info in head_infos(bundle, GROUPS):
        found.setdefault(info.trunk, []).append(info)
    return found


def output_of(group: int) -> str:
    """The name of a group's logits among the outputs of a network, whatever runs it.

    Runtimes order outputs as they like: OpenVINO by their names, as text. Only names count.
    """
    return f"group_{group}"


def build_multihead(bundle: Store, trunk: str, infos: list[HeadInfo]) -> "keras.Model":
    """Photos [B, H, W, 3] uint8 to logits [B, C] of each head, by the names of `output_of`.

    Raises:
        UserError: a network is missing or damaged.
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
