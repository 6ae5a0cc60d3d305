"""Matrix product of the descriptors of two images: int8 in, exact int32 out.

Integers are not rounded, so a product is the same on every machine, in any order and in any batch,
and so are the decisions that are based on it. On processors with VNNI, products of int8 are several
times as fast as products of float32.
"""

import functools
from collections.abc import Iterator
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

BLOCK = 1 << 18
"""Largest number of products in a block, unless one row has more: 1 MiB, which fits in the
second-level cache of a server's core."""


def product_blocks(
    a: NDArray[np.int8], b: NDArray[np.int8]
) -> Iterator[tuple[int, NDArray[np.int32]]]:
    """Yield the products of the rows of `a` [N, D] and `b` [M, D], some rows of `a` at a time.

    N, M and D must be at least 1. One thread is used.

    Yields:
        The first row of `a` in the block, and the block's products [rows, M] int32, which the next
        step overwrites. All blocks are of one shape, so the last one may repeat some rows.
    """
    rows = max(1, BLOCK // len(b))
    rows = -(-len(a) // -(-len(a) // rows))  # all blocks alike, if that is possible
    shifted, products = np.empty((rows, a.shape[1]), np.uint8), np.empty((rows, len(b)), np.int32)
    session, to_input = _fastest_exact()
    bound = session.io_binding()
    bound.bind_cpu_input("a", shifted)
    bound.bind_cpu_input(
        "b", to_input(cv2.transpose(b))
    )  # far faster than by NumPy or ONNX Runtime
    bound.bind_output("products", "cpu", 0, np.int32, products.shape, products.ctypes.data)
    for start in range(0, len(a), rows):
        start = min(start, len(a) - rows)
        _shifted(a[start : start + rows], shifted)
        session.run_with_iobinding(bound)
        yield start, products


def _shifted(values: NDArray[np.int8], out: NDArray[np.uint8] | None = None) -> NDArray[np.uint8]:
    """Shift numbers from -128..127 to 0..255, which MatMulInteger of ONNX takes as first input."""
    return np.bitwise_xor(values.view(np.uint8), np.uint8(128), out=out)


@functools.cache
def _fastest_exact() -> tuple[Any, Any]:
    """Return a session of ONNX Runtime, and the function that prepares its second input.

    With VNNI, a signed second input is faster. On processors without it, signed products saturate,
    so these get an unsigned input.
    """
    signed = _session(signed=True)
    extreme = np.full((16, 64), -127, np.int8)
    products = signed.run(None, {"a": _shifted(-extreme), "b": extreme.T.copy()})[0]
    if (products == -64 * 127 * 127).all():
        return signed, np.asarray
    return _session(signed=False), _shifted


def _session(*, signed: bool) -> Any:
    import onnxruntime as ort
    from onnx import TensorProto, helper

    second = TensorProto.INT8 if signed else TensorProto.UINT8
    graph = helper.make_graph(
        [helper.make_node("MatMulInteger", ["a", "b", "zero_a", "zero_b"], ["products"])],
        "products",
        [
            helper.make_tensor_value_info("a", TensorProto.UINT8, ["n", "d"]),
            helper.make_tensor_value_info("b", second, ["d", "m"]),
        ],
        [helper.make_tensor_value_info("products", TensorProto.INT32, ["n", "m"])],
        [
            helper.make_tensor("zero_a", TensorProto.UINT8, [], [128]),
            helper.make_tensor("zero_b", second, [], [0 if signed else 128]),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return ort.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
