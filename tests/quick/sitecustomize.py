"""In every Python whose PYTHONPATH has this folder: it starts with less processor time.

The tests start hundreds of processes, which import a lot and soon end. Python imports this by
itself.
"""

import gc
import os
import sys

gc.set_threshold(100_000, 50, 50)
"""What imports make stays: looking for garbage in it is a fifth of the time of an import."""

if os.environ.get("KERAS_BACKEND") != "jax" and "pytest" not in sys.orig_argv:
    sys.modules["jax"] = None
    """TensorFlow imports jax wherever that is installed, which in production it is not."""
