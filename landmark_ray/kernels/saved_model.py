"""Models of others: TF-Hub modules and SavedModels, called by their signature `default`."""

import contextlib
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray


class SavedModel:
    """A loaded model; calling it runs its signature `default`."""

    def __init__(
        self, handle: str, outputs: Sequence[str], example: str, threads: int | None = None
    ) -> None:
        """Load the model.

        Args:
            handle: TF-Hub address or SavedModel folder.
            outputs: that it must have; they alone are returned.
            example: an address that has them, for the error.
            threads: of TensorFlow; without effect where this process has already run it.

        Raises:
            ValueError: the handle can't be loaded, or lacks an output.
        """
        import tensorflow as tf

        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # it imports the old pkg_resources
            import tensorflow_hub as hub

        _set_up(tf, threads)
        instead = f"give a TF-Hub address such as {example}, or a SavedModel folder"
        try:
            self._model = hub.load(handle)  # the signature doesn't keep its variables alive
        except Exception as error:  # the network, a missing file, a broken protobuf: one remedy
            why = f"{type(error).__name__}: {error}".splitlines()[0]
            raise ValueError(f"model {handle!r} can't be loaded ({why}); {instead}") from error
        signatures = getattr(self._model, "signatures", {})
        if "default" not in signatures:
            has = ", ".join(signatures) or "none"
            raise ValueError(f"{handle!r} has no signature 'default' (it has: {has}); {instead}")
        self._run = signatures["default"]
        has = self._run.structured_outputs
        missing = [name for name in outputs if name not in has]
        if missing:
            raise ValueError(
                f"the signature 'default' of {handle!r} lacks the output "
                f"{', '.join(missing)} (it has: {', '.join(has)}); {instead}"
            )
        self._outputs = tuple(outputs)

    def __call__(self, *inputs: Any, **named: Any) -> dict[str, NDArray[Any]]:
        """The outputs for some tensors."""
        out = self._run(*inputs, **named)
        return {name: np.asarray(out[name]) for name in self._outputs}


def _set_up(tf: Any, threads: int | None) -> None:
    with contextlib.suppress(RuntimeError):  # already initialised: too late to change
        for gpu in tf.config.list_physical_devices("GPU"):
            tf.config.experimental.set_memory_growth(gpu, True)
        if threads:
            tf.config.threading.set_intra_op_parallelism_threads(threads)
            tf.config.threading.set_inter_op_parallelism_threads(threads)
