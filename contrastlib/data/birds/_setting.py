"""What stands behind the birds and in front of them."""

import numpy as np
from numpy.typing import NDArray

from contrastlib.data.birds._anatomy import Colour, darker
from contrastlib.data.birds._draws import Draws
from contrastlib.data.birds._raster import Outline
from contrastlib.data.birds._shapes import Placement, disc, smooth, stroke
from contrastlib.data.birds.scene import Leaf

Pixels = NDArray[np.float32]

_PALETTES: dict[str, tuple[Colour, Colour]] = {
    "sky": ((150, 190, 226), (222, 232, 238)),
    "leaves": ((70, 104, 62), (150, 176, 104)),
    "reeds": ((150, 146, 96), (206, 200, 158)),
    "dusk": ((118, 98, 128), (238, 178, 140)),
    "bark": ((104, 88, 76), (168, 150, 132)),
}
_STALK = smooth([(-0.5, 0.0), (-0.2, -0.2), (0.15, -0.19), (0.5, 0.0), (0.15, 0.19), (-0.2, 0.2)])
_VEIN = stroke([(-0.62, 0.0), (0.42, 0.0)], 0.05, 0.015)


def field(draws: Draws, size: int, cells_x: int, cells_y: int) -> Pixels:
    """Smooth noise: random values on a grid, blended in between.

    Args:
        draws: where the values come from.
        size: side of the result.
        cells_x: cells of the grid from left to right.
        cells_y: cells from top to bottom.

    Returns:
        (size, size) in [0, 1].
    """
    grid = draws.array(cells_y + 1, cells_x + 1).astype(np.float32)
    column, fx = _cells(size, cells_x)
    row, fy = _cells(size, cells_y)
    across = grid[:, column] + (grid[:, column + 1] - grid[:, column]) * fx
    return across[row] + (across[row + 1] - across[row]) * fy[:, None]


def _cells(size: int, cells: int) -> tuple[NDArray[np.int64], Pixels]:
    place = np.arange(size) * (cells / size)
    cell = place.astype(np.int64)
    share = place - cell
    return cell, (share * share * (3 - 2 * share)).astype(np.float32)


def backdrop(draws: Draws, kind: str, size: int) -> Pixels:
    """The background's tone before anything stands in it.

    Args:
        draws: where the textures come from.
        kind: one of ``BACKGROUNDS``.
        size: side of the picture.

    Returns:
        (3, size, size) in [0, 255].
    """
    low, high = (np.array(colour, np.float32)[:, None, None] for colour in _PALETTES[kind])
    grain = {"reeds": (26, 3), "bark": (14, 4)}.get(kind, (5, 5))
    coarse, fine = field(draws, size, *grain), field(draws, size, grain[0] * 3, grain[1] * 3)
    height = np.arange(size, dtype=np.float32)[:, None] * np.float32(1 / size)
    slope = {"sky": 0.55, "dusk": 0.7}.get(kind, 0.1)
    tone = (1 - slope) * (0.68 * coarse + 0.32 * fine) + slope * height
    return low + (high - low) * tone


def things(draws: Draws, kind: str, size: int) -> list[tuple[list[Outline], Colour]]:
    """What stands in the background: clouds, leaves out of focus, reeds, hills, cracks.

    Args:
        draws: where they come from.
        kind: one of ``BACKGROUNDS``.
        size: side of the picture.

    Returns:
        groups of outlines with their colour, back to front.
    """
    makers = {"sky": _clouds, "leaves": _foliage, "reeds": _reeds, "dusk": _hills, "bark": _cracks}
    return [([outline * size for outline in outlines], colour) for outlines, colour in makers[kind](draws)]


Things = list[tuple[list[Outline], Colour]]


def _clouds(draws: Draws) -> Things:
    found: Things = []
    for _ in range(2):
        x, y, r = draws.uniform(0, 1), draws.uniform(0.05, 0.9), draws.uniform(0.07, 0.14)
        puffs = [disc(x + dx * r, y + dy * r, s * r * 1.3, s * r) for dx, dy, s in
                 ((-1.2, 0.2, 0.7), (0, 0, 1.0), (1.2, 0.25, 0.75))]
        found.append((puffs, (236, 242, 248)))
    return found


def _foliage(draws: Draws) -> Things:
    found: Things = []
    for tone in (0.75, 1.0, 1.25):
        blobs = [_leaf_outline(draws.uniform(), draws.uniform(), draws.uniform(0.1, 0.3), draws.uniform(-1, 1))
                 for _ in range(4)]
        found.append((blobs, (86 * tone, 132 * tone, 66 * tone)))
    return found


def _leaf_outline(x: float, y: float, length: float, lean: float) -> Outline:
    return Placement(x, y, length, lean)(_STALK)


def _reeds(draws: Draws) -> Things:
    found: Things = []
    for tone in (0.8, 1.05):
        stems = []
        for _ in range(5):
            x, lean = draws.uniform(), draws.uniform(-0.15, 0.15)
            stems.append(stroke([(x, 1.05), (x + 0.4 * lean, 0.5), (x + lean, draws.uniform(-0.1, 0.3))], 0.035, 0.008))
        found.append((stems, (128 * tone, 134 * tone, 66 * tone)))
    return found


def _hills(draws: Draws) -> Things:
    sun = disc(draws.uniform(0.1, 0.9), draws.uniform(0.15, 0.6), draws.uniform(0.07, 0.12))
    found: Things = [([sun], (252, 224, 178))]
    for base, colour in ((0.66, (124, 96, 128)), (0.82, (84, 72, 104))):
        tops = [(x / 4, base + draws.uniform(-0.08, 0.08)) for x in range(5)]
        found.append(([np.array([(-0.1, 1.1), (-0.1, base), *tops, (1.1, base), (1.1, 1.1)])], colour))
    return found


def _cracks(draws: Draws) -> Things:
    cracks = []
    for _ in range(6):
        x, y = draws.uniform(), draws.uniform(-0.1, 0.8)
        cracks.append(stroke([(x, y), (x + draws.uniform(-0.03, 0.03), y + 0.15), (x, y + draws.uniform(0.2, 0.4))],
                             0.022, 0.006))
    return [(cracks, (74, 60, 52))]


def perch(draws: Draws, x: float, y: float, scale: float) -> Things:
    """A branch under a bird's feet.

    Args:
        draws: where its shape comes from.
        x: of the feet, in [0, 1].
        y: of the feet, in [0, 1].
        scale: of the bird.

    Returns:
        groups of outlines in units of the picture's side.
    """
    thick = scale * draws.uniform(0.10, 0.17)
    tilt, bend = draws.uniform(-0.12, 0.12), draws.uniform(-0.04, 0.04)
    middle = y + 0.5 * thick
    line = [(-0.05, middle - tilt * (x + 0.05)), (0.5 * x, middle - tilt * 0.5 * x + bend), (x, middle),
            (1.05, middle + tilt * (1.05 - x) + bend)]
    colour: Colour = draws.choice([(112, 84, 60), (134, 112, 90), (92, 78, 70)])
    upper = [(px, py - 0.25 * thick) for px, py in line]
    return [([stroke(line, thick, 0.7 * thick)], darker(colour, 0.8)),
            ([stroke(upper, 0.4 * thick, 0.25 * thick)], colour)]


def leaf(what: Leaf) -> Things:
    """A leaf in front of everything.

    Args:
        what: where it hangs.

    Returns:
        groups of outlines in units of the picture's side.
    """
    place = Placement(what.x, what.y, what.length, what.lean)
    colour: Colour = (92 * what.shade, 148 * what.shade, 60 * what.shade)
    return [([place(_STALK)], colour), ([place(_VEIN)], darker(colour, 0.74))]
