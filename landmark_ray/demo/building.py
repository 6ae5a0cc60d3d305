"""How a drawn building is put up from its table, as flat pieces that a camera then looks at."""

from dataclasses import dataclass, replace

import numpy as np

from landmark_ray.demo.drawing import SIDE, Floats, Image, Rng, Sheet, blob, box, disc, masonry, rgb
from landmark_ray.demo.facades import STOREYS, Materials, bays, window
from landmark_ray.demo.landmarks import BUILDINGS, PALETTES, ROOFS, Block


def crown(sheet: Sheet, stuff: Materials, rng: Rng, block: Block, tip: float) -> None:
    """Set on a roof what belongs to its kind: sails, merlons, dormers, carvings or a flag."""
    x, width, eaves = block.x, block.width * block.taper, SIDE - block.height
    if block.roof == "cap":
        for turn in rng.uniform(0, 1.5) + np.arange(4) * np.pi / 2:
            along = np.array([np.cos(turn), np.sin(turn)])
            aside = along[::-1] * (-1, 1)
            for rung in np.arange(40, 330, 26):
                cloth = [
                    rung * along,
                    rung * along + 66 * aside,
                    (rung + 22) * along + 66 * aside,
                    (rung + 22) * along,
                ]
                sheet.fill(
                    np.array(cloth, np.float32) + (x, eaves), stuff.trim, rng.uniform(0.5, 1.1)
                )
            spar = [-6 * aside, 340 * along - 6 * aside, 340 * along + 6 * aside, 6 * aside]
            sheet.fill(np.array(spar, np.float32) + (x, eaves), stuff.paint, 0.6)
        sheet.fill(disc(x, eaves, 22), stuff.paint)
    elif block.roof == "crenels":
        for left, top, across, up in bays(
            (x - 0.53 * width, tip - 34, 1.06 * width, 36), 44, 0.6, 1
        ):
            sheet.fill(box(left, top, across, up), stuff.accent, rng.uniform(0.8, 1.1))
    elif block.roof.startswith("mansard"):
        for bay in bays((x - 0.36 * width, tip, 0.72 * width, eaves - tip), 120, 0.25, 0.55):
            window(sheet, stuff, rng, bay)
    elif block.roof.startswith(("pediment", "gable", "stepped")):
        for _ in range(8):
            mark = blob(
                rng, x + rng.normal(0, 0.1 * width), eaves - 0.3 * (eaves - tip), 0.05 * width
            )
            sheet.fill(mark, stuff.trim if rng.random() < 0.7 else stuff.paint, rng.uniform(0.5, 1))
    elif not block.roof.startswith(("flat", "pagoda*")):
        sheet.fill(box(x - 3, tip - 46, 6, 50), stuff.paint, 0.6)
        sheet.fill(disc(x, tip - 6, 9), stuff.trim)
        flag = np.array([(0, 0), (44, rng.uniform(4, 16)), (0, 26)], np.float32)
        sheet.fill(flag * (rng.choice([-1, 1]), 1) + (x, tip - 46), rng.uniform(40, 255, 3))


def adorn(sheet: Sheet, stuff: Materials, rng: Rng, block: Block) -> None:
    """Leave on a wall the marks of its history: ivy, banners and patches of other stone."""
    left, top = block.x - block.width * block.taper / 2, SIDE - block.height
    for _ in range(2 + block.width * block.height // 60000):
        x = left + rng.uniform(0.05, 0.85) * block.width * block.taper
        y = top + rng.uniform(0.1, 0.8) * block.height
        kind = rng.integers(3)
        if kind == 0:
            for _ in range(40):
                leaf = blob(rng, rng.normal(x, 16), rng.normal(min(y + 60, SIDE), 34), 7)
                sheet.fill(leaf, rng.uniform((20, 60, 15), (90, 150, 60)))
        elif kind == 1:
            sheet.fill(box(x, y, 26, 84), rng.uniform(40, 240, 3))
            for part in range(3):
                sheet.fill(blob(rng, x + 13, y + 16 + 26 * part, 10), rng.uniform(40, 240, 3))
        else:
            sheet.fill(
                blob(rng, x, y, 26),
                stuff.accent if rng.random() < 0.5 else stuff.wall,
                rng.uniform(0.65, 1.2),
            )


def front(sheet: Sheet, stuff: Materials, rng: Rng, block: Block) -> None:
    """Draw one block of a building as it looks from straight ahead."""
    kind, _, stretch = block.roof.partition("*")
    rise, profile = ROOFS[kind]
    eaves = SIDE - block.height
    top_width = block.width * block.taper
    tip = eaves - rise * float(stretch or 1) * top_width
    half = np.array([block.width, top_width, -top_width, -block.width]) / 2
    levels = np.array([SIDE, eaves, eaves, SIDE])
    wall = np.stack([block.x + half, levels], 1).astype(np.float32)
    sheet.fill(wall, stuff.accent if block.round else stuff.wall, round=block.round)
    right = np.array(profile) * (top_width, tip - eaves) + (block.x, eaves)
    outline = np.vstack([right, (right * (-1, 1) + (2 * block.x, 0))[::-1]]).astype(np.float32)
    curved = kind in ("dome", "onion", "cone", "lantern", "spire", "cap")
    walled = kind in ("flat", "crenels", "stepped", "pediment")
    sheet.fill(outline, stuff.wall if walled else stuff.roof, 0.92, round=curved)
    names = block.storeys.split()
    ends = (
        eaves
        + 12
        + (block.height - 12)
        * np.cumsum([0.0] + [STOREYS[n][0] for n in names])
        / sum(STOREYS[n][0] for n in names)
    )
    for name, y, low in zip(names, ends, ends[1:], strict=False):
        width = np.interp((y + low) / 2, (eaves, SIDE), (top_width, block.width))
        STOREYS[name][1](sheet, stuff, rng, (block.x - width / 2, y, width, low - y))
    sheet.fill(box(block.x - top_width / 2 - 8, eaves - 6, top_width + 16, 14), stuff.trim, 0.9)
    crown(sheet, stuff, rng, block, tip)
    if "through" not in names:
        adorn(sheet, stuff, rng, block)


@dataclass(frozen=True)
class Plane:
    """One flat piece of a finished building.

    Attributes:
        picture: (height, width, 4), colour and cover.
        glow: (height, width), how brightly lamps light a pixel after dark.
        frame: (3, 3), from (column, row, 1) to the place in space, in pixels: to the right of the
            middle, down from the ground, away from the viewer.
        edge: a piece seen from one side only faces the side it lies on; this is its place to the
            right of the middle, and 0 for a front, seen from anywhere.
    """

    picture: Image
    glow: Image
    frame: Floats
    edge: float = 0.0

    def half(self) -> "Plane":
        """Reduce the picture to half its size."""
        return replace(self, picture=self.picture[::2, ::2], glow=self.glow[::2, ::2])


def materials(rng: Rng, palette: int) -> Materials:
    """Choose stone, tiles and paint: a palette's colours, in courses of any size."""
    wall, accent, roof, trim = (
        rgb(code) * rng.uniform(0.93, 1.07, 3) for code in PALETTES[palette % len(PALETTES)]
    )
    course = int(rng.integers(14, 34))
    return Materials(
        wall=masonry(rng, wall, course, course * int(rng.integers(1, 4)), 0.1),
        accent=masonry(rng, accent, 20, 44, 0.1),
        roof=masonry(rng, roof, 12, 16, 0.14),
        trim=masonry(rng, trim, 60, 30, 0.06),
        paint=rng.uniform(30, 190, 3).astype(np.float32),
    )


def sides(stuff: Materials, rng: Rng, block: Block) -> list[Plane]:
    """Draw the two walls, and the roof slopes over them, that run back from a block's edges."""
    made = []
    kind, _, stretch = block.roof.partition("*")
    rise = ROOFS[kind][0] * float(stretch or 1) * block.width
    for half in (-block.width / 2, block.width / 2):
        edge, back = block.x + half - SIDE / 2, int(min(240, 0.6 * block.width))
        wall = Sheet()
        wall.fill(box(0, SIDE - block.height, back, block.height), stuff.wall, 0.78)
        for name, share in (("windows", 0.1), ("slits", 0.5)):
            place = (10.0, SIDE - (1 - share) * block.height, back - 20.0, 0.35 * block.height)
            STOREYS[name][1](wall, stuff, rng, place)
        frame = [[0, 0, edge], [0, 1, -SIDE], [1, 0, block.depth]]
        made.append(
            Plane(wall.picture()[:, :back], wall.glow[:, :back], np.array(frame, np.float32), edge)
        )
        if kind in ("gable", "pediment", "mansard", "stepped"):
            inner = 0.6 if kind == "mansard" else 0.0
            slope = Sheet()
            slope.fill(box(0, 0, back, SIDE), stuff.roof, 0.85)
            run = half * (1.06 - inner) / SIDE
            frame = [
                [0, run, edge - half * (1 - inner)],
                [0, rise / SIDE, -block.height - rise],
                [1, 0, block.depth],
            ]
            made.append(
                Plane(
                    slope.picture()[:, :back],
                    slope.glow[:, :back],
                    np.array(frame, np.float32),
                    edge,
                )
            )
    return made


def build(rng: Rng, kind: str, palette: int) -> list[Plane]:
    """Put up a building: a kind of `BUILDINGS` in proportions and stone of its own."""
    stuff = materials(rng, palette)
    wide, high = rng.uniform(0.86, 1.06), rng.uniform(0.88, 1.04)
    mirror = rng.choice([-1, 1])
    planes = []
    for plan in sorted(BUILDINGS[kind], key=lambda block: -block.depth):
        block = replace(
            plan,
            x=int(500 + mirror * wide * (plan.x - 500)),
            width=int(wide * plan.width * rng.uniform(0.96, 1.04)),
            height=int(high * plan.height * rng.uniform(0.96, 1.04)),
        )
        if not block.round and kind not in ("Pagoda", "Aqueduct", "Triumphal_Arch"):
            planes += sides(stuff, rng, block)
        sheet = Sheet()
        front(sheet, stuff, rng, block)
        frame = [[1, 0, -SIDE / 2], [0, 1, -SIDE], [0, 0, block.depth]]
        planes.append(Plane(sheet.picture(), sheet.glow, np.array(frame, np.float32)))
    return planes
