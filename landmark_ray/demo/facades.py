"""What the walls of a drawn building carry: windows, columns, clocks, gates, friezes.

Every one is furnished like no other: this is what a photo of the building can be recognised by.
A place is a box (x, y, width, height) on a sheet, in pixels.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from landmark_ray.demo.drawing import Floats, Image, Rng, Sheet, arch, blob, box, disc

Place = tuple[float, float, float, float]


@dataclass(frozen=True)
class Materials:
    """What a building is made of: planes of masonry, (SIDE, SIDE, 3), and one colour, (3,).

    Attributes:
        wall: of most walls.
        accent: of bands and round towers.
        roof: tiles.
        trim: of frames, cornices and ornaments.
        paint: of doors and shutters, (3,).
    """

    wall: Image
    accent: Image
    roof: Image
    trim: Image
    paint: Floats


def window(sheet: Sheet, stuff: Materials, rng: Rng, place: Place, arched: bool = False) -> None:
    """Draw a window, furnished like no other."""
    x, y, width, height = place
    outline = arch if arched else box
    rim = 0.14 * width
    pane = outline(x, y, width, height)
    sheet.fill(outline(x - rim, y - rim, width + 2 * rim, height + 2 * rim), stuff.trim, 0.95)
    sheet.fill(pane, rng.uniform((25, 35, 50), (85, 100, 120)))
    for side in (0.0, 0.65):
        if rng.random() < 0.6:
            drop = rng.uniform(0.2, 0.65) * height
            curtain = box(x + side * width, y + 0.3 * height, 0.35 * width, drop)
            sheet.fill(curtain, rng.uniform(70, 250, 3), 0.9)
    sheet.light(pane, rng.choice([0, 0, 90, 170, 240]))
    for share in np.linspace(0, 1, rng.integers(2, 5))[1:-1]:
        sheet.fill(box(x + share * width - 2, y + 3, 4, height - 3), stuff.trim)
    for share in rng.uniform(0.15, 0.9, rng.integers(0, 4)):
        sheet.fill(box(x + 2, y + share * height, width - 4, 4), stuff.trim)
    if not arched and rng.random() < 0.6:
        for reach in rng.uniform(0.15, 0.42, 2) * width * (-1, 1):
            hinge = x + min(reach, 0) if reach < 0 else x + width
            sheet.fill(box(hinge, y, abs(reach), height), stuff.paint, rng.uniform(0.6, 1.1))
    sheet.fill(box(x - 1.5 * rim, y + height, width + 3 * rim, 7), stuff.trim, 0.8)
    for _ in range(rng.choice([0, 0, 9])):
        bloom = blob(rng, x + rng.uniform(0, width), y + height - rng.uniform(0, 12), 6)
        sheet.fill(bloom, rng.uniform((60, 60, 20), (255, 180, 120)))


def bays(place: Place, pitch: float, width: float, height: float) -> list[Place]:
    """Spread boxes, `width` of a bay and `height` of the storey, about `pitch` px apart."""
    left, top, across, up = place
    count = max(1, round(across / pitch))
    bay = across / count
    inset = (bay * (1 - width) / 2, up * (1 - height) * 0.6)
    return [
        (left + i * bay + inset[0], top + inset[1], bay * width, up * height) for i in range(count)
    ]


def windows(sheet: Sheet, stuff: Materials, rng: Rng, place: Place) -> None:
    """Draw a row of square-headed windows."""
    for bay in bays(place, 85, 0.42, 0.62):
        window(sheet, stuff, rng, bay)


def arches(sheet: Sheet, stuff: Materials, rng: Rng, place: Place) -> None:
    """Draw a row of tall round-headed windows."""
    for bay in bays(place, 75, 0.5, 0.74):
        window(sheet, stuff, rng, bay, arched=True)


def slits(sheet: Sheet, stuff: Materials, rng: Rng, place: Place) -> None:
    """Scatter narrow windows."""
    for x, y, width, height in bays(place, 90, 0.25, 0.4):
        shift = rng.uniform(-0.8, 0.8, 2) * (width, height / 2)
        window(sheet, stuff, rng, (x + shift[0], y + shift[1], width, height), arched=True)


def frieze(sheet: Sheet, stuff: Materials, rng: Rng, place: Place) -> None:
    """Carve a band of ornaments, each of its own shape."""
    x, y, width, height = place
    sheet.fill(box(x - 4, y, width + 8, height), stuff.accent)
    sheet.fill(box(x - 8, y, width + 16, 7), stuff.trim, 1.05)
    sheet.fill(box(x - 8, y + height - 7, width + 16, 7), stuff.trim, 0.75)
    size = 0.32 * height
    for centre in np.arange(x + size, x + width - size, 2.3 * size):
        for ink in (stuff.trim, stuff.paint):
            mark = blob(rng, centre + rng.uniform(-3, 3), y + height / 2, size)
            sheet.fill(mark[:: rng.integers(1, 4)], ink, rng.uniform(0.6, 1.1))
            size *= rng.uniform(0.5, 0.8)
        size = 0.32 * height


def bands(sheet: Sheet, stuff: Materials, rng: Rng, place: Place) -> None:
    """Lay a stripe of the second stone."""
    x, y, width, height = place
    sheet.fill(box(x, y + 0.2 * height, width, 0.5 * height), stuff.accent, 0.95, round=True)


def columns(sheet: Sheet, stuff: Materials, rng: Rng, place: Place) -> None:
    """Stand a row of columns before a shaded wall with windows."""
    x, y, width, height = place
    sheet.fill(box(x, y, width, height), stuff.wall, 0.5)
    for bay in bays((x, y, width, height), 95, 0.34, 0.6):
        window(sheet, stuff, rng, bay, arched=True)
    for left, top, across, up in bays((x - 47, y, width + 94, height), 95, 0.38, 1.0):
        sheet.fill(box(left, top, across, up), stuff.trim, rng.uniform(0.85, 1.0), round=True)
        for end in (top, top + up - 14):
            sheet.fill(box(left - 6, end, across + 12, 14), stuff.accent, rng.uniform(0.8, 1.1))


def clock(sheet: Sheet, stuff: Materials, rng: Rng, place: Place) -> None:
    """Hang a clock that stands at a time of its own."""
    x, y, width, height = place
    cx, cy, radius = x + width / 2, y + height / 2, 0.44 * min(width, height)
    sheet.fill(disc(cx, cy, 1.12 * radius), stuff.paint)
    sheet.fill(disc(cx, cy, radius), rng.uniform(200, 250, 3))
    sheet.light(disc(cx, cy, radius), 200)
    for hour in np.arange(12) * np.pi / 6:
        sheet.fill(
            disc(
                cx + 0.82 * radius * np.sin(hour),
                cy - 0.82 * radius * np.cos(hour),
                radius * rng.uniform(0.05, 0.12),
            ),
            (30, 30, 40),
        )
    for reach in (0.5, 0.75):
        turn = rng.uniform(0, 2 * np.pi)
        tip = np.array([np.sin(turn), -np.cos(turn)]) * radius
        side = 0.08 * tip[::-1] * (-1, 1)
        hand = np.array([side - 0.1 * tip, reach * tip, -side - 0.1 * tip]) + (cx, cy)
        sheet.fill(hand.astype(np.float32), (30, 30, 40))


def rose(sheet: Sheet, stuff: Materials, rng: Rng, place: Place) -> None:
    """Glaze a rose window with petals of any colour."""
    x, y, width, height = place
    cx, cy, radius = x + width / 2, y + height / 2, 0.46 * min(width, height)
    sheet.fill(disc(cx, cy, 1.15 * radius), stuff.trim)
    sheet.fill(disc(cx, cy, radius), (40, 40, 55))
    count = rng.integers(6, 13)
    for ring, size in ((0.72, 0.24), (0.36, 0.17)):
        for turn in np.arange(count) * 2 * np.pi / count:
            petal = disc(
                cx + ring * radius * np.cos(turn),
                cy + ring * radius * np.sin(turn),
                size * radius * rng.uniform(0.7, 1.1),
            )
            sheet.fill(petal, rng.uniform(30, 255, 3))
            sheet.light(petal, 160)


def gate(sheet: Sheet, stuff: Materials, rng: Rng, place: Place) -> None:
    """Open a door in the middle, and windows beside it where there is room."""
    x, y, width, height = place
    door = min(0.5 * width, 0.75 * height, 130) * rng.uniform(0.75, 1.0)
    left = x + (width - door) / 2
    if width > 3 * door:
        for side in (x, left + 1.4 * door):
            windows(sheet, stuff, rng, (side, y, left - 0.4 * door - x, height))
    outline = arch if rng.random() < 0.7 else box
    for rim, ink in (
        (rng.uniform(14, 34), stuff.trim),
        (rng.uniform(4, 14), stuff.accent),
        (0, stuff.paint),
    ):
        reveal = outline(left - rim, y + 0.12 * height - rim, door + 2 * rim, height + rim)
        sheet.fill(reveal, ink, rng.uniform(0.65, 1.05))
    for turn in np.linspace(np.pi, 2 * np.pi, rng.integers(5, 14)):
        stone = (
            left + door * (0.5 + 0.6 * np.cos(turn)),
            y + 0.12 * height + door * (0.5 + 0.6 * np.sin(turn)),
        )
        sheet.fill(blob(rng, *stone, 0.08 * door), stuff.trim, rng.uniform(0.6, 1.1))
    for share in np.linspace(0, 1, rng.integers(4, 8))[1:-1]:
        plank = box(left + share * door, y + 0.4 * height, 4, 0.6 * height)
        sheet.fill(plank, stuff.paint, rng.uniform(0.3, 1.1))
    fanlight = outline(left + 8, y + 0.12 * height + 8, door - 16, rng.uniform(0.16, 0.34) * height)
    sheet.fill(fanlight, rng.uniform(60, 220, 3))
    sheet.light(fanlight, 200)
    for _ in range(rng.integers(2, 7)):
        knob = (left + rng.uniform(0.1, 0.9) * door, y + rng.uniform(0.2, 1.0) * height)
        sheet.fill(blob(rng, *knob, 0.06 * door), rng.uniform(40, 240, 3))


def through(sheet: Sheet, stuff: Materials, rng: Rng, place: Place) -> None:
    """Pierce a row of arches that one looks through."""
    for x, y, width, height in bays(place, 240, 0.62, 0.86):
        low = height * 1.2
        sheet.fill(arch(x - 16, y - 16, width + 32, low + 16), stuff.trim, rng.uniform(0.8, 1.0))
        for rim in (0.16, 0.84):
            sheet.fill(disc(x + rim * width, y - 8, 16), stuff.paint, rng.uniform(0.5, 1.2))
        sheet.cut(arch(x, y, width, low))


def glass(sheet: Sheet, stuff: Materials, rng: Rng, place: Place) -> None:
    """Hang a curtain of panes, each reflecting something else."""
    x, y, width, height = place
    rows = max(2, round(height / 42))
    for row in range(rows):
        for left, top, across, up in bays(
            (x, y + row * height / rows, width, height / rows), 48, 0.86, 0.8
        ):
            pane = box(left, top, across, up)
            sheet.fill(pane, stuff.roof, rng.uniform(0.7, 2.2))
            sheet.light(pane, rng.choice([0, 0, 0, 120, 230]))


STOREYS: dict[str, tuple[float, Callable[[Sheet, Materials, Rng, Place], None]]] = {
    "windows": (1.0, windows),
    "arches": (1.2, arches),
    "slits": (0.8, slits),
    "frieze": (0.4, frieze),
    "bands": (0.6, bands),
    "columns": (1.0, columns),
    "clock": (1.3, clock),
    "rose": (1.5, rose),
    "gate": (1.2, gate),
    "through": (1.6, through),
    "glass": (3.0, glass),
}
"""What a wall may carry: its share of the wall's height, and who draws it."""
