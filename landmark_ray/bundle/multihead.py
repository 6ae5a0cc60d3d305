"""A trunk and the heads of all groups that share it, joined in one Keras network."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from landmark_ray.bundle.landmark_index import index_info
from landmark_ray.bundle.network_files import GROUPS, HeadInfo, head_infos, read_head, read_trunk
from landmark_ray.data.store import Store

if TYPE_CHECKING:
    import keras

FEATURES = 0
"""Stands among the groups of a network's outputs for the vectors of its trunk."""


@dataclass(frozen=True)
class Outputs:
    """What a network computes of a photo.

    Attributes:
        heads: The heads of the groups that share its trunk.
        features: Length of the trunk's vector, if the index needs it.
    """

    heads: list[HeadInfo]
    features: int | None = None

    @property
    def widths(self) -> dict[int, int]:
        """Return the number of logits of each group, and the length of the vector."""
        widths = {info.group: info.logits for info in self.heads}
        return widths if self.features is None else widths | {FEATURES: self.features}


def by_trunk(bundle: Store) -> dict[str, Outputs]:
    """Return the name of each trunk with the outputs of its network."""
    heads_of: dict[str, list[HeadInfo]] = {}
    for info in head_infos(bundle, GROUPS):
        heads_of.setdefault(info.trunk, []).append(info)
    networks = {trunk: Outputs(heads) for trunk, heads in heads_of.items()}
    if index := index_info(bundle):
        networks[index.trunk] = Outputs(heads_of.get(index.trunk, []), index.features)
    return networks


def output_of(group: int) -> str:
    """Return the name of a group's logits among a network's outputs, whatever the runtime.

    Outputs are found by name alone, since runtimes order them as they like: OpenVINO sorts them by
    their names, as text.
    """
    return "features" if group == FEATURES else f"group_{group}"


def build_multihead(bundle: Store, trunk: str, outputs: Outputs) -> "keras.Model":
    """Join a trunk with some of its heads.

    Returns:
        A network of photos [B, H, W, 3] uint8, RGB, whose outputs are the logits [B, C] of each
        head and, if asked for, the trunk's vectors [B, D], named by `output_of`.

    Raises:
        UserError: A network is missing or damaged.
    """
    import keras

    network = read_trunk(bundle, trunk)
    photos = keras.Input(network.input_shape[1:], dtype="uint8", name="photos")
    features = network(keras.ops.cast(photos, "float32"))
    computed = {}
    for info in outputs.heads:
        name = output_of(info.group)
        head = read_head(bundle, GROUPS, info)
        computed[name] = keras.Model(head.inputs, head.outputs[0], name=name)(features)
    if outputs.features is not None:
        name = output_of(FEATURES)
        computed[name] = keras.layers.Identity(name=name)(features)
    return keras.Model(photos, computed, name="networks")
