"""What computes a trunk with its heads: TensorFlow, or OpenVINO with a converted copy."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from landmark_ray.bundle.multihead import build_multihead, output_of
from landmark_ray.bundle.network_files import HeadInfo
from landmark_ray.bundle.reference import Logits, Network
from landmark_ray.data.store import Store
from landmark_ray.errors import UserError
from landmark_ray.serving.serve_options import Precision

TOLERANCE = {"f32": 0.02, "bf16": 0.1}
"""So far a logit may be from its reference, as a share of the span of its group's logits.

Seen: a millionth in f32, 0.006 in bf16; GPUs, which round to 10 bits, should lie between. Logits of
another group are far off.
"""


def on_tensorflow(bundle: Store, trunk: str, infos: list[HeadInfo]) -> Network:
    """A trunk with its heads as a compiled graph of TensorFlow, on a GPU where there is one."""
    import tensorflow as tf

    model = build_multihead(bundle, trunk, infos)
    call = tf.function(
        lambda photos: model(photos, training=False),
        input_signature=[tf.TensorSpec((None, *model.input_shape[1:]), tf.uint8)],
    )

    def network(photos: NDArray[np.uint8]) -> Logits:
        found = call(photos)
        return {info.group: found[output_of(info.group)].numpy() for info in infos}

    return network


def on_openvino(
    file: Path, infos: list[HeadInfo], precision: Precision, threads: int | None = None
) -> Network:
    """A converted trunk with its heads, on the CPU; threads: all when not given.

    Raises:
        UserError: it can't be read, or its outputs aren't those of the heads.
    """
    import openvino

    options: dict[str, str | int] = {
        "INFERENCE_PRECISION_HINT": precision,
        "PERFORMANCE_HINT": "LATENCY",
        "ENABLE_CPU_PINNING": "NO",  # or all networks would take the first cores
    }
    if threads:
        options["INFERENCE_NUM_THREADS"] = threads
    try:
        compiled = openvino.Core().compile_model(str(file), "CPU", options)
    except RuntimeError as error:
        why = " ".join(str(error).split())[:200]
        raise UserError(f"{file} can't be read by OpenVINO: {why}") from None
    have = [(sorted(out.get_names()), out.partial_shape.to_string()) for out in compiled.outputs]
    want = [([output_of(info.group)], f"[?,{info.logits}]") for info in infos]
    if sorted(have) != sorted(want):
        raise UserError(f"{file} has the outputs {sorted(have)}, its heads have {sorted(want)}")
    outputs = {info.group: compiled.output(output_of(info.group)) for info in infos}
    request = compiled.create_infer_request()

    def network(photos: NDArray[np.uint8]) -> Logits:
        found = request.infer([photos], share_inputs=True)
        return {group: np.array(found[output]) for group, output in outputs.items()}

    return network
