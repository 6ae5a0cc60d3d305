"""The two runtimes that compute a trunk with its heads: TensorFlow and OpenVINO."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from landmark_ray.bundle.multihead import Outputs, build_multihead, output_of
from landmark_ray.bundle.reference import Logits, Network
from landmark_ray.data.store import Store
from landmark_ray.errors import UserError, shortened
from landmark_ray.serving.serve_options import Precision

TOLERANCE = {"f32": 0.02, "bf16": 0.1}
"""How far a logit may be from its reference, as a share of the span of its group's logits.

Measured: 1e-6 in f32 and 0.006 in bf16; GPUs, which round to 10 bits, should lie between. The
logits of another group differ by far more.
"""


def load_tensorflow(bundle: Store, trunk: str, wanted: Outputs) -> Network:
    """Compile a trunk with its heads as a TensorFlow graph, on a GPU where there is one."""
    import tensorflow as tf

    model = build_multihead(bundle, trunk, wanted)
    graph = tf.function(
        lambda photos: model(photos, training=False),
        input_signature=[tf.TensorSpec((None, *model.input_shape[1:]), tf.uint8)],
    )

    def network(photos: NDArray[np.uint8]) -> Logits:
        outputs = graph(photos)
        return {group: outputs[output_of(group)].numpy() for group in wanted.widths}

    return network


def load_openvino(
    file: Path, wanted: Outputs, precision: Precision, threads: int | None = None
) -> Network:
    """Compile a converted trunk with its heads for the CPU.

    Args:
        file: The converted network, an .xml file beside its .bin file.
        wanted: The outputs that the file must have.
        precision: Numeric precision of the computation.
        threads: Number of threads; as many as there are cores when None.

    Raises:
        UserError: The file can't be read, or its outputs are others.
    """
    import openvino

    options: dict[str, str | int] = {
        "INFERENCE_PRECISION_HINT": precision,
        "PERFORMANCE_HINT": "LATENCY",
        "ENABLE_CPU_PINNING": "NO",  # pinned, all networks would run on the first cores
    }
    if threads:
        options["INFERENCE_NUM_THREADS"] = threads
    try:
        compiled = openvino.Core().compile_model(str(file), "CPU", options)
    except RuntimeError as error:
        raise UserError(f"{file} can't be read by OpenVINO: {shortened(error)}") from None
    actual = [(sorted(out.get_names()), out.partial_shape.to_string()) for out in compiled.outputs]
    expected = [([output_of(group)], f"[?,{width}]") for group, width in wanted.widths.items()]
    if sorted(actual) != sorted(expected):
        raise UserError(
            f"{file} has the outputs {sorted(actual)}, but its bundle needs {sorted(expected)}"
        )
    outputs = {group: compiled.output(output_of(group)) for group in wanted.widths}
    request = compiled.create_infer_request()

    def network(photos: NDArray[np.uint8]) -> Logits:
        results = request.infer([photos], share_inputs=True)
        return {group: np.array(results[output]) for group, output in outputs.items()}

    # OpenVINO's binding sets itself up in the first call: two threads in it wait for each other
    _, *sides = compiled.input(0).partial_shape
    network(np.zeros((1, *(side.get_length() for side in sides)), np.uint8))
    return network
