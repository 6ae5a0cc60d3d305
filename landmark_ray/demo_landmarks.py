"""The landmarks of the drawn dataset: a table of buildings, and how one is put up from it.

A building is drawn once, as flat pieces (fronts, and the side walls behind their edges) with detail
that no other place has: every stone, window, frieze and ornament differs from the next.
"""

from dataclasses import dataclass, replace

import numpy as np

from landmark_ray.demo_drawing import (
    SIDE,
    STOREYS,
    Floats,
    Image,
    Materials,
    Rng,
    Sheet,
    bays,
    blob,
    box,
    disc,
    masonry,
    rgb,
    window,
)


@dataclass(frozen=True)
class Block:
    """One volume of a building: a front of `width` x `height` px, centred at `x`, under a roof.

    Attributes:
        x: centre, in pixels from the left.
        width: of the walls, in pixels.
        height: of the walls, in pixels.
        roof: a key of `ROOFS`, with an optional stretch of its height, as in "spire*0.5".
        storeys: what the walls carry, from top to bottom; keys of `STOREYS`.
        depth: how far the front stands behind the foremost one, in pixels.
        round: shaded as a cylinder.
        taper: width at the top over the width at the bottom.
    """

    x: int
    width: int
    height: int
    roof: str
    storeys: str
    depth: int = 0
    round: bool = False
    taper: float = 1.0


BUILDINGS: dict[str, tuple[Block, ...]] = {
    "Cathedral": (
        Block(500, 330, 480, "gable", "rose frieze gate", 60),
        Block(270, 180, 600, "spire", "arches frieze arches slits gate"),
        Block(730, 180, 600, "spire", "arches frieze clock slits gate"),
    ),
    "Mosque": (
        Block(500, 430, 430, "dome", "frieze arches", 160),
        Block(500, 620, 300, "flat", "frieze arches gate"),
        Block(130, 66, 760, "spire", "slits bands slits bands slits", 80, True),
        Block(870, 66, 760, "spire", "slits bands slits bands slits", 80, True),
    ),
    "Palace": (
        Block(500, 900, 330, "mansard*0.16", "windows arches windows", 90),
        Block(120, 200, 380, "mansard", "windows arches gate"),
        Block(880, 200, 380, "mansard", "windows arches gate"),
        Block(500, 280, 400, "pediment", "frieze columns gate"),
    ),
    "Temple": (
        Block(500, 760, 430, "pediment*0.8", "frieze columns columns columns"),
        Block(500, 900, 60, "flat", "bands"),
    ),
    "Castle": (
        Block(500, 240, 640, "crenels", "slits windows slits frieze slits", 150),
        Block(500, 720, 330, "crenels", "slits frieze gate", 50),
        Block(150, 200, 470, "cone", "slits bands windows slits", 0, True),
        Block(850, 200, 530, "cone", "windows slits bands slits", 0, True),
    ),
    "Clock_Tower": (
        Block(500, 560, 190, "flat", "windows gate", 60),
        Block(500, 210, 720, "lantern", "clock arches frieze slits slits gate"),
    ),
    "Lighthouse": (
        Block(400, 190, 770, "lantern*0.9", "frieze bands bands slits bands bands", 70, True, 0.62),
        Block(640, 380, 180, "gable*0.6", "windows windows"),
    ),
    "Triumphal_Arch": (Block(500, 680, 620, "flat*1.5", "frieze frieze through"),),
    "Pagoda": (
        Block(500, 240, 770, "pagoda*0.8", "windows"),
        Block(500, 320, 610, "pagoda*0.4", "frieze windows"),
        Block(500, 420, 450, "pagoda*0.35", "frieze windows"),
        Block(500, 520, 290, "pagoda*0.3", "frieze windows gate"),
    ),
    "Exchange": (
        Block(500, 240, 820, "lantern*0.7", "glass", 120),
        Block(500, 420, 600, "flat", "glass", 60),
        Block(500, 600, 330, "flat", "glass frieze gate"),
    ),
    "Guildhalls": (
        Block(190, 270, 480, "stepped", "windows windows windows gate"),
        Block(480, 300, 560, "stepped", "rose arches windows gate", 20),
        Block(790, 310, 440, "gable", "windows windows frieze gate", 10),
    ),
    "Monastery": (
        Block(500, 210, 600, "onion", "arches slits frieze", 140, True),
        Block(250, 140, 480, "onion", "arches bands slits", 70, True),
        Block(750, 140, 440, "onion", "arches bands slits", 70, True),
        Block(500, 700, 300, "flat", "frieze arches gate"),
    ),
    "Aqueduct": (Block(500, 960, 520, "flat*0.4", "frieze through through"),),
    "Windmill": (
        Block(480, 300, 580, "cap", "sails slits windows windows gate", 40, True, 0.62),
        Block(760, 240, 150, "gable*0.6", "windows"),
    ),
    "Opera_House": (
        Block(500, 560, 470, "dome*0.6", "frieze arches arches", 130),
        Block(500, 860, 310, "crenels", "frieze columns columns"),
    ),
    "Town_Hall": (
        Block(500, 150, 830, "spire*0.8", "clock arches slits frieze slits", 80),
        Block(500, 760, 400, "mansard*0.3", "windows frieze arches gate"),
    ),
}

# Wall, second wall, roof and trim.
PALETTES: tuple[tuple[str, str, str, str], ...] = (
    ("d8b878", "b88a50", "b5532e", "f2e2b8"),
    ("a8452f", "8a3324", "4a5560", "f0e6d8"),
    ("eeeae0", "c9c3d2", "c99a2e", "b8b0a0"),
    ("8d9096", "6d7178", "5fa58c", "c8ccd0"),
    ("e0a030", "c47820", "6b3a20", "fff0c8"),
    ("e8a8a8", "c87f88", "7a4a5c", "fff0f0"),
    ("a8c8e4", "7fa5c8", "38506e", "ffffff"),
    ("4a4448", "6a3038", "a83030", "c8a878"),
    ("78a890", "4f7f72", "2f4a44", "e0f0d8"),
    ("f4f4f8", "6f9fd8", "2860b8", "d8e0f0"),
    ("c8b060", "2f8080", "186060", "f0e8b0"),
    ("9a70a8", "6f4a88", "3f2858", "e8d0f0"),
    ("c87048", "e8c898", "386848", "f8e8d0"),
    ("b8b090", "88805f", "8a8a40", "e8e4c8"),
    ("d0604f", "f0d8b0", "303848", "ffe8b0"),
)

_ARC = np.linspace(0, np.pi / 2, 16)

# Roof outlines: height over width, then half widths (over the width) at heights (over the height).
ROOFS: dict[str, tuple[float, list[tuple[float, float]]]] = {
    "flat": (0.06, [(0.53, 0), (0.53, 0.5), (0.51, 0.5), (0.51, 1)]),
    "crenels": (0.06, [(0.53, 0), (0.53, 1)]),
    "gable": (0.55, [(0.56, 0), (0, 1)]),
    "pediment": (0.24, [(0.55, 0), (0.55, 0.12), (0, 1)]),
    "mansard": (0.6, [(0.55, 0), (0.42, 0.75), (0.36, 0.85), (0.3, 1)]),
    "spire": (1.7, [(0.58, 0), (0.3, 0.25), (0, 1)]),
    "cone": (1.1, [(0.6, 0), (0, 1)]),
    "dome": (0.55, [(0.5 * np.cos(a), 0.94 * np.sin(a)) for a in _ARC] + [(0.02, 1)]),
    "cap": (0.45, [(0.4 * np.cos(a), np.sin(a)) for a in _ARC]),
    "onion": (
        1.25,
        [(0.42, 0), (0.44, 0.06)]
        + [(0.58 * np.cos(a), 0.27 + 0.25 * np.sin(a)) for a in np.linspace(-0.7, 1.0, 14)]
        + [(0.16, 0.6), (0.05, 0.75), (0.02, 1)],
    ),
    "lantern": (
        0.95,
        [(0.6, 0), (0.6, 0.08), (0.33, 0.1), (0.33, 0.5), (0.42, 0.52), (0.25, 0.75), (0, 1)],
    ),
    "stepped": (0.62, [(0.52 - 0.1 * (i // 2), 0.2 * ((i + 1) // 2)) for i in range(10)]),
    "pagoda": (0.55, [(0.85, 0.1), (0.8, 0), (0.55, 0.18), (0.3, 0.5), (0.2, 0.8), (0.1, 1)]),
}


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
    elif not block.roof.startswith("flat"):
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
        made.append(wall.plane(np.array(frame, np.float32), back, edge))
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
            made.append(slope.plane(np.array(frame, np.float32), back, edge))
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
        planes.append(sheet.plane(np.array(frame, np.float32), SIDE))
    return planes
