"""TF-Hub modules and SavedModels, called by their signature `default`."""

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
            outputs: Names of the outputs that the model must have, and that are returned.
            example: Address of a model that has them, for error messages.
            threads: Threads of TensorFlow, unless it has already run in this process.

        Raises:
            ValueError: The handle cannot be loaded, or the model lacks the signature or an output.
        """
        import tensorflow as tf

        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # it imports pkg_resources, which is old
            import tensorflow_hub as hub

        _set_up(tf, threads)
        instead = f"give a TF-Hub address such as {example}, or a SavedModel folder"
        try:
            self._model = hub.load(handle)  # kept, since it keeps the signature's variables alive
        except Exception as error:  # no network, a missing file or a broken file: same remedy
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
        """Run the model, and return its outputs by name."""
        out = self._run(*inputs, **named)
        return {name: np.asarray(out[name]) for name in self._outputs}


def _set_up(tf: Any, threads: int | None) -> None:
    with contextlib.suppress(RuntimeError):  # TensorFlow runs already, so it is too late
        for gpu in tf.config.list_physical_devices("GPU"):
            tf.config.experimental.set_memory_growth(gpu, True)
        if threads:
            tf.config.threading.set_intra_op_parallelism_threads(threads)
            tf.config.threading.set_inter_op_parallelism_threads(threads)
