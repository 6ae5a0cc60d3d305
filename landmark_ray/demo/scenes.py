"""The photographs of the drawn dataset: a camera, weather and passers-by before a landmark.

A photo shows a landmark from anywhere in front of it, from near or far, in any light, against any
background. Colours are RGB, 0-255.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import ArrayLike

from landmark_ray.demo.building import Plane
from landmark_ray.demo.drawing import Floats, Image, Rng, blob, box, clouds, disc, to_image


@dataclass(frozen=True)
class Light:
    """A time of day and its weather.

    Attributes:
        zenith: colour of the sky overhead.
        low: colour of the sky above the horizon.
        sun: what it does to the three channels of everything under the sky.
        lamps: how brightly windows shine, 0-1.
        share: of the photos taken in it.
    """

    zenith: tuple[int, int, int]
    low: tuple[int, int, int]
    sun: tuple[float, float, float]
    lamps: float
    share: float


LIGHTS = (
    Light((70, 130, 215), (190, 215, 240), (1.05, 1.03, 1.0), 0.0, 0.45),
    Light((165, 172, 182), (208, 212, 216), (0.82, 0.84, 0.88), 0.0, 0.3),
    Light((120, 110, 160), (250, 180, 120), (1.0, 0.82, 0.62), 0.35, 0.17),
    Light((25, 35, 85), (130, 110, 150), (0.52, 0.55, 0.72), 0.9, 0.08),
)


def paint(image: Image, outline: Floats, colour: ArrayLike) -> None:
    """Fill an outline, in place, with one smooth-edged colour."""
    points = np.round(outline * 8).astype(np.int32)
    ink = np.clip(np.asarray(colour, float), 0, 255).tolist()
    cv2.fillPoly(image, [points], ink, cv2.LINE_AA, 3)


def landscape(rng: Rng, light: Light, width: int, height: int, horizon: float) -> Image:
    """Paint sky, distance and ground, (height, width, 3), with the horizon at a row."""
    fall = np.clip(np.linspace(0, height / max(horizon, 1.0), height), 0, 1)[:, None, None]
    image = np.asarray(light.zenith) * (1 - fall) + np.asarray(light.low) * fall
    haze = np.clip(clouds(rng, height, width, 20) - rng.uniform(-0.2, 0.8), 0, 1)[..., None]
    picture = to_image(image + haze * (250 - image) * 0.8)
    sun = np.asarray(light.sun)
    for distance in (0.75, 0.45):
        tone = rng.uniform((60, 90, 60), (120, 140, 110)) * (1 - distance) + 170 * distance
        if rng.random() < 0.5:
            walk = np.cumsum(rng.normal(0, 0.012 * height, 40))
            ridge = horizon - 0.12 * height * distance - np.abs(walk - walk.mean())
            line = np.stack([np.linspace(-2, width + 2, 40), ridge], 1)
            corners = [(width + 2, horizon + 9), (-2, horizon + 9)]
            paint(picture, np.vstack([line, corners]), tone * sun)
        else:
            for x in np.arange(0, width, 0.06 * width):
                rise = height * rng.uniform(0.02, 0.16)
                house = box(x, horizon - rise, width * rng.uniform(0.03, 0.07), rise + 9)
                paint(picture, house, (tone + rng.uniform(-14, 14)) * sun)
    ground = np.array((188, 176, 155) if rng.random() < 0.6 else (104, 146, 70))
    ground = ground * rng.uniform(0.6, 1.05) + rng.uniform(-12, 12, 3)
    top = int(np.clip(horizon, 0, height))
    if top < height:
        mottle = 1 + 0.12 * clouds(rng, height - top, width, 60)[..., None]
        picture[top:] = to_image(ground * sun * mottle)
    return picture


def place(image: Image, plane: Plane, camera: Floats, light: Light, gain: Floats) -> None:
    """Paint a plane, in place, as a (3, 3) map from its pixels to the photo's puts it."""
    high, wide = plane.picture.shape[:2]
    corners = np.array([[(0, 0), (wide, 0), (wide, high), (0, high)]], np.float32)
    spots = cv2.perspectiveTransform(corners, camera)[0]
    left, top = np.floor(np.clip(spots.min(0), 0, None)).astype(int)
    right, low = np.ceil(np.minimum(spots.max(0), image.shape[1::-1])).astype(int)
    if right <= left or low <= top:
        return
    shift = np.array([[1, 0, -left], [0, 1, -top], [0, 0, 1]])
    size = (int(right - left), int(low - top))
    seen = cv2.warpPerspective(plane.picture, shift @ camera, size)
    lit = seen[..., :3] * gain[top:low, left:right]
    if light.lamps:
        glow = cv2.warpPerspective(plane.glow, shift @ camera, size)[..., None] / np.float32(255)
        lit += glow * light.lamps * (np.array((255, 205, 120), np.float32) - 0.5 * lit)
    cover = seen[..., 3:] / np.float32(255)
    part = image[top:low, left:right]
    image[top:low, left:right] = to_image(part + (lit - part) * cover)


def tree(image: Image, rng: Rng, x: float, ground: float, tall: float, sun: Floats) -> None:
    """Plant a tree of a height in pixels."""
    trunk = np.array([(-0.04, 0), (-0.015, -0.6), (0.015, -0.6), (0.04, 0)], np.float32)
    paint(image, trunk * tall + (x, ground), (85, 62, 45) * sun)
    green = rng.uniform((35, 70, 25), (110, 140, 60))
    middles = rng.normal((x, ground - 0.68 * tall), (0.14 * tall, 0.14 * tall), (130, 2))
    for middle in middles[np.argsort(-middles[:, 1])]:
        leaves = green * rng.uniform(0.6, 1.25) * sun
        paint(image, blob(rng, middle[0], middle[1], 0.055 * tall), leaves)


def person(image: Image, rng: Rng, x: float, ground: float, tall: float, sun: Floats) -> None:
    """Let a passer-by stand in the way."""
    skin = np.array((110, 75, 55)) + rng.uniform() * np.array((130, 125, 120))
    hair = rng.uniform(20, 140, 3)
    for leg in (-0.09, 0.02):
        paint(
            image, box(x + leg * tall, ground - 0.48 * tall, 0.08 * tall, 0.48 * tall), hair * sun
        )
    coat = disc(x, ground - 0.6 * tall, 0.14 * tall, 0.24 * tall)
    paint(image, coat, rng.uniform(30, 190, 3) * sun)
    paint(image, disc(x, ground - 0.91 * tall, 0.075 * tall, 0.09 * tall), hair * sun)
    paint(image, disc(x, ground - 0.89 * tall, 0.06 * tall, 0.075 * tall), skin * sun)


def car(image: Image, rng: Rng, x: float, ground: float, tall: float, sun: Floats) -> None:
    """Park a car."""
    body = rng.uniform(30, 235, 3) * sun
    roof = np.array([(-0.7, -0.6), (-0.45, -1), (0.4, -1), (0.75, -0.6)], np.float32)
    roof *= rng.uniform((0.7, 0.85), (1.4, 1.4))
    paint(image, roof * tall + (x, ground), body * 0.9)
    paint(image, roof * (0.85, 0.85) * tall + (x, ground - 0.12 * tall), (60, 75, 90) * sun)
    paint(image, box(x - 1.2 * tall, ground - 0.62 * tall, 2.4 * tall, 0.45 * tall), body)
    for wheel in rng.uniform((-0.95, 0.5), (-0.5, 0.95)):
        paint(image, disc(x + wheel * tall, ground - 0.16 * tall, 0.2 * tall), (25, 25, 28))
        paint(image, disc(x + wheel * tall, ground - 0.16 * tall, 0.09 * tall), (150, 150, 155))


def lamp(image: Image, rng: Rng, x: float, ground: float, tall: float, sun: Floats) -> None:
    """Put up a street lamp."""
    iron = rng.uniform(20, 70, 3) * sun
    width = rng.uniform(0.014, 0.03) * tall
    paint(image, box(x - width / 2, ground - tall, width, tall), iron)
    paint(image, disc(x, ground - tall, *(rng.uniform(0.03, 0.07, 2) * tall)), (250, 240, 200))
    paint(image, box(x - 0.06 * tall, ground - 1.07 * tall, 0.12 * tall, 0.03 * tall), iron)


def crowd(image: Image, rng: Rng, sun: Floats, scale: float, most: int) -> None:
    """Let up to `most` things stand before the camera; `scale` is pixels per storey or so."""
    height, width = image.shape[:2]
    things = ((tree, 2.6), (person, 0.75), (person, 0.75), (car, 0.55), (lamp, 2.2))
    grounds = np.sort(rng.uniform(0.9, 1.06, rng.integers(0, most + 1))) * height
    for ground in grounds:
        draw_thing, size = things[rng.integers(len(things))]
        tall = size * scale * rng.uniform(0.75, 1.7)
        draw_thing(image, rng, rng.uniform(0, 1) * width, ground, tall, sun)


def develop(image: Image, rng: Rng) -> Image:
    """Give a picture the haze, the blur and the grain of a photo."""
    height, width = image.shape[:2]
    if rng.random() < 0.4:
        image = np.asarray(cv2.GaussianBlur(image, (0, 0), rng.uniform(0.4, 1.3)), np.uint8)
    haze = rng.uniform(0, 0.35) if rng.random() < 0.3 else 0.0
    fine = rng.integers(-6, 7, (height, width), dtype=np.int8).astype(np.float32)
    coarse = rng.integers(-6, 7, (height // 3, width // 3), dtype=np.int8).astype(np.float32)
    grain = fine + cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    return to_image(image * (1 - haze) + 190 * haze + grain[..., None])


def frame_size(rng: Rng) -> tuple[int, int]:
    """Choose the width and the height of a photo."""
    longest = int(rng.choice([320, 400, 480, 512, 560, 600, 640]))
    shortest = int(longest * rng.choice([0.75, 0.75, 0.67, 0.85, 1.0]))
    return (longest, shortest) if rng.random() < 0.5 else (shortest, longest)


def stand(
    rng: Rng, width: int, height: int, wide: float, tall: float
) -> tuple[Floats, Floats, float]:
    """Choose where a photo of `width` x `height` is taken, of a building `wide` x `tall`.

    Returns:
        The eye's place in space, (3,), as in `Plane.frame`; the map (3, 3) from a direction in
        space to the photo's pixels; and how much larger the building is than fills the photo.
    """
    yaw, roll = rng.uniform(-0.6, 0.6), rng.normal(0, 0.04)
    away, zoom = rng.uniform(1700, 2600), rng.uniform(0.55, 1.7)
    eye = np.array([away * np.sin(yaw), -rng.uniform(30, 260), -away * np.cos(yaw)])
    focal = zoom * 0.85 * away * min(width / wide, height / tall)
    seen_wide, seen_tall = width * away / focal, height * away / focal
    rise = rng.uniform(0.38, 0.46) * seen_tall if rng.random() < 0.7 else 0.5 * tall
    aim = np.array([rng.normal(0, 0.16) * min(wide, seen_wide), -min(rise, 0.6 * tall), 40.0])

    ahead = (aim - eye) / np.linalg.norm(aim - eye)
    right = np.array([ahead[2], 0, -ahead[0]]) / np.hypot(ahead[0], ahead[2])
    turn = np.array([[np.cos(roll), -np.sin(roll), 0], [np.sin(roll), np.cos(roll), 0], [0, 0, 1]])
    lens = np.array([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]])
    return eye, lens @ turn @ np.stack([right, np.cross(ahead, right), ahead]), zoom


def photograph(planes: list[Plane], rng: Rng) -> Image:
    """Take one photo of a building, (height, width, 3), from a place that chance chooses."""
    width, height = frame_size(rng)
    light = LIGHTS[rng.choice(len(LIGHTS), p=[light.share for light in LIGHTS])]
    covers = [plane.picture[..., 3] > 0 for plane in planes if not plane.edge]
    wide, tall = (int(np.any([c.any(axis) for c in covers], axis=0).sum()) for axis in (0, 1))
    eye, look, zoom = stand(rng, width, height, wide, tall)

    level = look @ np.array([-eye[0], 0.0, -eye[2]])
    image = landscape(rng, light, width, height, level[1] / level[2])
    lean = rng.uniform(-0.2, 0.2)
    across = np.linspace(1 - lean, 1 + lean, width).reshape(1, -1, 1) * rng.uniform(0.82, 1.15)
    gain = np.broadcast_to(np.float32(across * light.sun), (height, width, 3))
    for plane in (shadow(wide), *planes):
        if plane.edge * (eye[0] - plane.edge) >= 0:
            frame = plane.frame.astype(float)
            frame[:, 2] -= eye
            place(image, plane, look @ frame, light, gain)
    crowd(image, rng, np.array(light.sun), 0.13 * height * zoom, 6)
    return develop(image, rng)


def shadow(wide: float) -> Plane:
    """Lay a shadow on the ground before a building."""
    dark = np.full((2, 2, 4), (0, 0, 0, 110), np.uint8)
    strip = np.array([[wide / 2, 0, -wide / 2], [0, 0, 0], [0, 60, -40]])
    return Plane(dark, np.zeros((2, 2), np.uint8), strip)
