"""The landmarks of the drawn dataset as tables: their volumes, colours and roofs."""

from dataclasses import dataclass

import numpy as np


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
        Block(500, 400, 460, "gable*0.8", "rose frieze gate", 60),
        Block(270, 180, 570, "spire", "arches frieze arches slits gate"),
        Block(730, 180, 570, "spire", "arches frieze clock slits gate"),
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
        Block(500, 210, 680, "lantern", "clock arches frieze slits slits gate"),
    ),
    "Lighthouse": (
        Block(400, 190, 770, "lantern*0.9", "frieze bands bands slits bands bands", 70, True, 0.62),
        Block(640, 380, 180, "gable*0.6", "windows windows"),
    ),
    "Triumphal_Arch": (Block(500, 680, 620, "flat*1.5", "frieze frieze through"),),
    "Pagoda": (
        Block(500, 240, 770, "pagoda", "windows"),
        Block(500, 320, 610, "pagoda*0.6", "frieze windows"),
        Block(500, 420, 450, "pagoda*0.5", "frieze windows"),
        Block(500, 520, 290, "pagoda*0.45", "frieze windows gate"),
    ),
    "Exchange": (
        Block(500, 240, 740, "lantern*0.7", "glass", 120),
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
        Block(480, 300, 580, "cap", "bands slits windows windows gate", 40, True, 0.62),
        Block(760, 240, 150, "gable*0.6", "windows"),
    ),
    "Opera_House": (
        Block(500, 560, 470, "dome*0.6", "frieze arches arches", 130),
        Block(500, 860, 310, "crenels", "frieze columns columns"),
    ),
    "Town_Hall": (
        Block(500, 150, 690, "spire*0.8", "clock arches slits frieze slits", 80),
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
    "pagoda": (0.6, [(0.5, 0), (0.8, 0), (0.82, 0.16), (0.55, 0.3), (0.44, 0.62), (0.4, 1)]),
}
