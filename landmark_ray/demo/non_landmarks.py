"""Photographs of no landmark: landscapes, portraits, meals, flowers and abstract paintings."""

import cv2
import numpy as np

from landmark_ray.demo.drawing import Image, Rng, blob, box, clouds, disc, to_image
from landmark_ray.demo.scenes import LIGHTS, develop, frame_size, landscape, paint, tree


def countryside(image: Image, rng: Rng) -> None:
    """Paint trees in a landscape."""
    height, width = image.shape[:2]
    horizon = rng.uniform(0.3, 0.7) * height
    image[:] = landscape(rng, LIGHTS[rng.integers(3)], width, height, horizon)
    for ground in np.sort(rng.uniform(horizon, height, rng.integers(4, 14))):
        tall = 0.15 * height + 0.9 * (ground - horizon)
        tree(image, rng, rng.uniform(0, width), ground, tall, np.ones(3, np.float32))


def portrait(image: Image, rng: Rng) -> None:
    """Paint somebody's head and shoulders."""
    height, width = image.shape[:2]
    x, y, size = width * rng.uniform(0.35, 0.65), 0.45 * height, 0.22 * min(width, height)
    skin = np.array((110, 75, 55)) + rng.uniform() * np.array((130, 125, 120))
    hair = rng.uniform() * np.array((190, 140, 90)) + 15
    paint(image, disc(x, height, 2.1 * size, height - y - 1.2 * size), rng.uniform(30, 230, 3))
    for _ in range(60):
        curl = rng.normal((x, y - 0.45 * size), (0.6 * size, 0.45 * size))
        paint(image, blob(rng, curl[0], curl[1], 0.35 * size), hair * rng.uniform(0.6, 1.3))
    paint(image, box(x - 0.3 * size, y, 0.6 * size, 1.5 * size), skin * 0.8)
    paint(image, disc(x, y, 0.72 * size, size), skin)
    for side in (-0.28, 0.28):
        eye = (x + side * size, y - 0.15 * size)
        paint(image, disc(eye[0], eye[1], 0.14 * size, 0.08 * size), (245, 245, 240))
        paint(image, disc(eye[0], eye[1], 0.07 * size), rng.uniform(20, 120, 3))
    paint(image, disc(x, y + 0.5 * size, rng.uniform(0.15, 0.3) * size, 0.07 * size), (170, 60, 60))


def meal(image: Image, rng: Rng) -> None:
    """Paint a plate of food."""
    height, width = image.shape[:2]
    (x, y), size = rng.uniform(0.4, 0.6, 2) * (width, height), 0.42 * min(width, height)
    paint(image, disc(x, y, 1.1 * size, size), rng.uniform(190, 255, 3))
    paint(image, disc(x, y, 0.85 * size, 0.75 * size), rng.uniform(170, 250, 3))
    for _ in range(rng.integers(25, 90)):
        bite_x, bite_y = rng.normal((x, y), 0.3 * size)
        bite = blob(rng, bite_x, bite_y, size * rng.uniform(0.03, 0.22))
        paint(image, bite, rng.uniform((90, 30, 10), (255, 210, 110)))


def meadow(image: Image, rng: Rng) -> None:
    """Paint flowers."""
    height, width = image.shape[:2]
    for _ in range(rng.integers(15, 60)):
        x, y = rng.uniform(0, 1, 2) * (width, height)
        size, petals = 0.06 * height * rng.uniform(0.4, 1.6), rng.uniform(60, 255, 3)
        paint(image, box(x, y, 0.15 * size, 4 * size), rng.uniform((20, 80, 20), (80, 160, 60)))
        for turn in np.arange(6) + rng.uniform():
            spot = (x + 0.7 * size * np.cos(turn), y + 0.7 * size * np.sin(turn))
            paint(image, blob(rng, *spot, 0.5 * size), petals * rng.uniform(0.8, 1.1))
        paint(image, disc(x, y, 0.4 * size), rng.uniform((150, 100, 0), (255, 220, 80)))


def painting(image: Image, rng: Rng) -> None:
    """Paint something abstract."""
    height, width = image.shape[:2]
    for _ in range(rng.integers(20, 90)):
        x, y = rng.uniform(0, 1, 2) * (width, height)
        shape = blob(rng, x, y, rng.uniform(0.02, 0.25) * width)[:: rng.integers(1, 5)]
        paint(image, shape, rng.uniform(0, 255, 3))


def other_scene(rng: Rng) -> Image:
    """Take one photo, (height, width, 3), of something that is no landmark."""
    width, height = frame_size(rng)
    mottle = 1 + 0.2 * clouds(rng, height, width)[..., None]
    image = to_image(rng.uniform(40, 220, 3) * mottle)
    subjects = (countryside, portrait, meal, meadow, painting)
    subjects[rng.integers(len(subjects))](image, rng)
    return develop(brushed(image, rng), rng)


def brushed(image: Image, rng: Rng) -> Image:
    """Make outlines waver and colours vary as under a brush: clean edges all look alike."""
    height, width = image.shape[:2]
    right, down = np.meshgrid(np.arange(width), np.arange(height))
    column, row = (
        np.asarray(grid + 6 * clouds(rng, height, width, 120), np.float32) for grid in (right, down)
    )
    moved = cv2.remap(image, column, row, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
    return to_image(moved * (1 + 0.15 * clouds(rng, height, width)[..., None]))
