"""Augmentation as Keras layers, which run on the accelerator inside a model or in tf.data.

Keras's own layers resample a photo three times for zoom, shift and rotation, and convert it to HSV
and back for colour, which takes as long as the training step of a small network. Here, one affine
map does all geometry, and one 3x3 matrix does all colour.
"""

import math
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from landmark_ray.models.layers import Tensor, register
from landmark_ray.models.specs import AugmentationOptions

ERASED = (0.02, 0.12)
"""Smallest and largest share of a photo's area that is painted over."""

_YIQ = np.array([[0.299, 0.587, 0.114], [0.5959, -0.2746, -0.3213], [0.2115, -0.5227, 0.3112]])
"""Matrix from RGB to luma and two axes of colour (NTSC)."""


def build_augmentation(options: AugmentationOptions, seed: int) -> keras.Model:
    """Build a model that augments photos if it is called with training=True.

    Args:
        options: How much each property of a photo changes.
        seed: Equal seeds give equal sequences of batches.

    Returns:
        A model from [B, H, W, 3] in 0..255 to the same shape and range, float32. Without
        training=True it returns the photos as they are.
    """
    inputs = x = keras.Input((None, None, 3), dtype="float32", name="photos")
    if options.flip or options.crop or options.rotation:
        x = RandomView(options.flip, options.crop, options.rotation, seed=seed, name="view")(x)
    if options.colour:
        x = RandomColour(options.colour, seed=seed + 1, name="colour")(x)
    if options.erase:
        x = RandomErase(options.erase, seed=seed + 2, name="erase")(x)
    return keras.Model(inputs, x, name="augmentation")


class _Random(keras.layers.Layer):  # type: ignore[misc]
    """A layer that draws random numbers in training, from its own sequence."""

    def __init__(self, *, seed: int, **kwargs: Any) -> None:
        super().__init__(**{"dtype": "float32"} | kwargs)
        self.seed = seed
        self.generator = keras.random.SeedGenerator(seed)

    def call(self, images: Tensor, training: bool = False) -> Tensor:
        """Augment the images [B, H, W, 3] in training, else return them."""
        return self.augment(images) if training else images

    def augment(self, images: Tensor) -> Tensor:
        """Augment the images [B, H, W, 3]."""
        raise NotImplementedError

    def draw(self, images: Tensor, low: float, high: float) -> Tensor:
        """Draw a uniform number [B] in low..high for each image."""
        return keras.random.uniform((ops.shape(images)[0],), low, high, seed=self.generator)

    def compute_output_shape(self, input_shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return the shape of the input."""
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor."""
        return super().get_config() | {"seed": self.seed}


@register
class RandomView(_Random):
    """Flip, random crop and rotation in one bilinear resampling; pixels outside are reflected."""

    def __init__(
        self, flip: bool, crop: float, rotation: float, *, seed: int, **kwargs: Any
    ) -> None:
        """Set how much the photos change.

        Args:
            flip: Mirror half of the photos, left to right.
            crop: Largest share of the area that is left out. The aspect ratio of the crop is that
                of the photo within a factor of exp(crop / 2).
            rotation: Largest rotation to either side, in degrees.
            seed: Seed of this layer's random numbers.
            **kwargs: Arguments of every Keras layer.
        """
        super().__init__(seed=seed, **kwargs)
        self.flip, self.crop, self.rotation = flip, crop, rotation

    def augment(self, images: Tensor) -> Tensor:
        """Compute where each output pixel comes from, then resample once."""
        cy, cx = ((ops.cast(length, "float32") - 1) / 2 for length in ops.shape(images)[1:3])
        area = self.draw(images, 1 - self.crop, 1)
        aspect = ops.exp(self.draw(images, -self.crop / 2, self.crop / 2))
        wide = ops.minimum(ops.sqrt(area * aspect), 1)
        high = ops.minimum(ops.sqrt(area / aspect), 1)
        dx = self.draw(images, -1, 1) * (1 - wide) * cx
        dy = self.draw(images, -1, 1) * (1 - high) * cy
        angle = self.draw(images, -1, 1) * math.radians(self.rotation)
        side = ops.sign(self.draw(images, -1, 1)) if self.flip else 1.0
        a = [ops.cos(angle) * wide * side, -ops.sin(angle) * high]
        b = [ops.sin(angle) * wide * side, ops.cos(angle) * high]
        a.append(cx + dx - a[0] * cx - a[1] * cy)
        b.append(cy + dy - b[0] * cx - b[1] * cy)
        return resample(images, a, b)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor."""
        config = {"flip": self.flip, "crop": self.crop, "rotation": self.rotation}
        return super().get_config() | config


def resample(images: Tensor, column: Sequence[Tensor], row: Sequence[Tensor]) -> Tensor:
    """Resample images by affine maps, bilinearly; pixels outside are reflected at the borders.

    It computes the same as `keras.ops.image.affine_transform`, to within 0.01 of 255, but by
    operations that XLA compiles.

    Args:
        images: [B, H, W, 3] float32.
        column: Three coefficients [B]: x, y and constant of the column that a pixel is read from.
        row: Those of the row.

    Returns:
        [B, H, W, 3] float32.
    """
    batch, height, width = (ops.shape(images)[axis] for axis in range(3))
    x = ops.cast(ops.arange(width, dtype="int32"), "float32")[None, None]
    y = ops.cast(ops.arange(height, dtype="int32"), "float32")[None, :, None]
    columns, right = _neighbours(column, x, y, width)
    rows, down = _neighbours(row, x, y, height)
    first = (ops.arange(batch, dtype="int32") * height)[:, None, None]
    pixels = ops.reshape(images, (-1, 3))
    upper, lower = (
        (1 - right) * ops.take(pixels, (first + near) * width + columns[0], axis=0)
        + right * ops.take(pixels, (first + near) * width + columns[1], axis=0)
        for near in rows
    )
    return (1 - down) * upper + down * lower


def _neighbours(
    coefficients: Sequence[Tensor], x: Tensor, y: Tensor, length: Tensor
) -> tuple[tuple[Tensor, Tensor], Tensor]:
    """Return the two pixels [B, H, W] beside each place on one axis, and the share of the second.

    Places outside of 0..length - 1 are reflected: -1 is 0, and -2 is 1.
    """
    along_x, along_y, constant = (c[:, None, None] for c in coefficients)
    place = along_x * x + along_y * y + constant
    before = ops.floor(place)

    def reflected(pixel: Tensor) -> Tensor:
        pixel = ops.mod(ops.cast(pixel, "int32"), 2 * length)
        return ops.minimum(pixel, 2 * length - 1 - pixel)

    return (reflected(before), reflected(before + 1)), (place - before)[..., None]


@register
class RandomColour(_Random):
    """Brightness, contrast, saturation and hue in one linear map of RGB, clipped to 0..255."""

    def __init__(self, strength: float, *, seed: int, **kwargs: Any) -> None:
        """Set how much the colours change.

        Args:
            strength: Brightness, contrast and saturation are multiplied by 1 - strength to
                1 + strength; hue turns by at most strength times a tenth of the colour circle.
            seed: Seed of this layer's random numbers.
            **kwargs: Arguments of every Keras layer.
        """
        super().__init__(seed=seed, **kwargs)
        self.strength = strength
        back = np.linalg.inv(_YIQ)
        self._grey, self._same, self._turned = (
            np.asarray(back @ middle @ _YIQ, np.float32)
            for middle in (
                np.diag([1.0, 0, 0]),
                np.diag([0, 1.0, 1]),
                np.array([[0, 0, 0], [0, 0, -1.0], [0, 1.0, 0]]),
            )
        )

    def augment(self, images: Tensor) -> Tensor:
        """Change the colours; saturation and hue keep luma, contrast keeps the mean luma."""
        share = self.strength
        gain, contrast, saturation = (self.draw(images, 1 - share, 1 + share) for _ in range(3))
        hue = self.draw(images, -share, share) * (0.2 * math.pi)

        def each(numbers: Tensor) -> Tensor:
            return ops.reshape(numbers, (-1, 1, 1))

        turned = each(ops.cos(hue)) * self._same + each(ops.sin(hue)) * self._turned
        matrix = each(gain * contrast) * (self._grey + each(saturation) * turned)
        luma = ops.matmul(ops.mean(images, axis=(1, 2)), np.float32(_YIQ[:1].T))
        offset = each(gain * (1 - contrast)) * luma[:, None]
        rows = ops.reshape(images, (ops.shape(images)[0], -1, 3))
        mapped = ops.matmul(rows, ops.transpose(matrix, (0, 2, 1))) + offset
        return ops.reshape(ops.clip(mapped, 0, 255), ops.shape(images))

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor."""
        return super().get_config() | {"strength": self.strength}


@register
class RandomErase(_Random):
    """Random erasing (Zhong et al. 2017): a rectangle of a random colour, its area in `ERASED`."""

    def __init__(self, probability: float, *, seed: int, **kwargs: Any) -> None:
        """Erase in a share `probability` of the photos, with random numbers from `seed`."""
        super().__init__(seed=seed, **kwargs)
        self.probability = probability

    def augment(self, images: Tensor) -> Tensor:
        """Paint rectangles with an aspect of 1:2 to 2:1; in the other photos, their width is 0."""
        chosen = self.draw(images, 0, 1) < self.probability
        area = ops.where(chosen, self.draw(images, *ERASED), 0.0)
        aspect = ops.exp(self.draw(images, -math.log(2), math.log(2)))
        inside = []
        for axis, share in ((1, ops.sqrt(area / aspect)), (2, ops.sqrt(area * aspect))):
            length = ops.shape(images)[axis]
            start = self.draw(images, 0, 1) * (1 - share)
            centre = (ops.cast(ops.arange(length), "float32") + 0.5) / ops.cast(length, "float32")
            inside.append((centre >= start[:, None]) & (centre < (start + share)[:, None]))
        colour = ops.stack([self.draw(images, 0, 255) for _ in range(3)], axis=-1)
        mask = inside[0][:, :, None, None] & inside[1][:, None, :, None]
        return ops.where(mask, colour[:, None, None], images)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor."""
        return super().get_config() | {"probability": self.probability}
