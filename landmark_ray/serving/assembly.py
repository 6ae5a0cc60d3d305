"""A trunk and the heads of all groups that share it, as one Keras network."""

from typing import TYPE_CHECKING

from landmark_ray.bundle import GROUPS, HeadInfo, head_infos, read_head, read_trunk
from landmark_ray.storage import Folder

if TYPE_CHECKING:
    import keras


def by_trunk(bundle: Folder) -> dict[str, list[HeadInfo]]:
    """Trunk -> the heads of the groups that share it."""
    found: dict[str, list[HeadInfo]] = {}
    for info in head_infos(bundle, GROUPS):
        found.setdefault(info.trunk, []).append(info)
    return found


def assembled(bundle: Folder, trunk: str, infos: list[HeadInfo]) -> "keras.Model":
    """Photos [B, H, W, 3] uint8 to a list of logits [B, C], one for each head.

    Raises:
        UserError: a network is missing or damaged.
    """
    import keras

    network = read_trunk(bundle, trunk)
    photos = keras.Input(network.input_shape[1:], dtype="uint8", name="photos")
    features = network(keras.ops.cast(photos, "float32"))
    logits = []
    for info in infos:
        head = read_head(bundle, GROUPS, info)
        named = keras.Model(head.inputs, head.outputs, name=f"group_{info.group}")
        logits += named(features)
    return keras.Model(photos, logits, name="networks")
