"""Pictures, and how far apart they are as the models see them."""

import io

import numpy as np
from PIL import Image

from landmark_ray.kernels import image as kernel
from landmark_ray.kernels.image import Limits

SIZE = 64


def saved(image: Image.Image, kind: str, **options) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def scene(width: int = 192, height: int = 128, seed: int = 0) -> Image.Image:
    """Smooth colours that no turn leaves alike."""
    rng = np.random.default_rng(seed)
    return Image.fromarray(rng.integers(10, 246, (4, 6, 3), np.uint8)).resize((width, height))


def apart(data: bytes, wanted: Image.Image) -> float:
    """Mean difference of what serving sees from a reference, after seeing training see the same."""
    served = kernel.model_input(data, SIZE, Limits()).astype(int)
    trained = np.asarray(kernel.square(kernel.normalise(data, Limits()).jpeg, SIZE), int)
    assert np.abs(served - trained).mean() < 4, "training and serving differ"
    reference = kernel.model_input(saved(wanted.convert("RGB"), "PNG"), SIZE, Limits())
    return float(np.abs(served - reference).mean())
