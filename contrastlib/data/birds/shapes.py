"""Random numbers, outlines, colours, and the pixels that outlines cover: the same to the last bit on every machine.

Only additions, multiplications, divisions and square roots are used, each by itself: IEEE 754 fixes their results. No
sine, no matrix product, no sum whose order a library may choose.
"""

from collections.abc import Sequence
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

# A closed polygon, (V, 2): x to the right and y downwards, in pixels or in units of a drawing.
Outline = NDArray[np.float64]
Point = tuple[float, float]
Colour = tuple[float, float, float]  # red, green, blue in [0, 255]

T = TypeVar("T")

_LINES = 4  # scan lines for each row of pixels; along a line the covered length is exact


class Draws:
    """Uniform draws from PCG64, whose raw integers numpy promises never to change.

    Args:
        key: non-negative integers that name the stream.
    """

    def __init__(self, *key: int) -> None:
        self._bits = np.random.PCG64(np.random.SeedSequence(list(key)))

    def uniform(self, low: float = 0.0, high: float = 1.0) -> float:
        """A number in [low, high)."""
        return low + (high - low) * ((int(self._bits.random_raw()) >> 11) * 2.0**-53)

    def array(self, rows: int, columns: int) -> NDArray[np.float64]:
        """Numbers in [0, 1)."""
        raw: NDArray[np.uint64] = np.asarray(self._bits.random_raw(rows * columns))
        return np.asarray((raw >> np.uint64(11)) * 2.0**-53, np.float64).reshape(rows, columns)

    def bytes(self, rows: int, columns: int) -> NDArray[np.uint8]:
        """Integers in [0, 256), eight for each draw."""
        count = rows * columns
        raw = np.asarray(self._bits.random_raw((count + 7) // 8), dtype="<u8")
        return raw.view(np.uint8)[:count].reshape(rows, columns)

    def chance(self, probability: float) -> bool:
        """Whether something of this probability happens."""
        return self.uniform() < probability

    def choice(self, options: Sequence[T]) -> T:
        """One of the options, all equally probable."""
        return options[int(self.uniform() * len(options))]


def _circle(steps: int) -> Outline:
    """The unit circle, from the rational parametrisation by the half angle's tangent."""
    full = 0.41421356237309503  # tan(pi / 8): half of a quarter, mirrored for the other half
    half = [i * full / steps for i in range(steps + 1)]
    first = [((1 - t * t) / (1 + t * t), 2 * t / (1 + t * t)) for t in half]
    quarter = first + [(y, x) for x, y in reversed(first[1:-1])]
    return np.array([*quarter, *((-y, x) for x, y in quarter), *((-x, -y) for x, y in quarter),
                     *((y, -x) for x, y in quarter)])


_CIRCLE = _circle(3)  # 24 corners


def smooth(points: Sequence[Point]) -> Outline:
    """A closed curve through at least three points (uniform Catmull-Rom), as a polygon of four corners for each."""
    p1 = np.array(points, dtype=np.float64)[:, None, :]
    p0, p2, p3 = (np.roll(p1, shift, axis=0) for shift in (1, -1, -2))
    t = np.array([[0.0], [0.25], [0.5], [0.75]])
    t2, t3 = t * t, t * t * t
    curve = 0.5 * (2 * p1 + t * (p2 - p0) + t2 * (2 * p0 - 5 * p1 + 4 * p2 - p3) + t3 * (3 * p1 - p0 - 3 * p2 + p3))
    return np.asarray(curve.reshape(-1, 2))


def disc(x: float, y: float, rx: float, ry: float | None = None) -> Outline:
    """An ellipse around (x, y) with half its width and half its height; a circle without the latter."""
    return _CIRCLE * np.array([rx, rx if ry is None else ry]) + np.array([x, y])


def stroke(points: Sequence[Point], width: float, end_width: float | None = None) -> Outline:
    """A line through at least two points, no two in a row alike, whose width may taper to another one."""
    line = np.array(points, dtype=np.float64)
    along = np.concatenate([line[1:2] - line[:1], line[2:] - line[:-2], line[-1:] - line[-2:-1]])
    length = np.sqrt(along[:, :1] * along[:, :1] + along[:, 1:] * along[:, 1:])
    share = (np.arange(len(line)) / (len(line) - 1))[:, None]
    half = 0.5 * (width + ((width if end_width is None else end_width) - width) * share)
    across = np.concatenate([-along[:, 1:], along[:, :1]], axis=1) / length * half
    return np.concatenate([line + across, (line - across)[::-1]])


class Placement:
    """Where a drawing goes: turned, scaled, mirrored, moved.

    Args:
        x: of the origin, in pixels.
        y: of the origin, in pixels.
        scale: pixels for one unit of the drawing.
        tangent: of half the angle it is turned by, clockwise; the angle's sine and cosine follow by division.
        mirrored: left and right swapped, before it is turned.
    """

    def __init__(self, x: float, y: float, scale: float, tangent: float = 0.0, mirrored: bool = False) -> None:
        self.origin = np.array([x, y])
        self.scale, self.mirrored = scale, mirrored
        norm = 1 + tangent * tangent
        self.cosine, self.sine = (1 - tangent * tangent) / norm, 2 * tangent / norm

    def __call__(self, outline: Outline) -> Outline:
        """An outline of the drawing, in pixels."""
        x, y = outline[:, 0] * (-1.0 if self.mirrored else 1.0), outline[:, 1]
        turned = np.stack([self.cosine * x - self.sine * y, self.sine * x + self.cosine * y], axis=1)
        return turned * self.scale + self.origin


def turned(outline: Outline, pivot: Point, tangent: float) -> Outline:
    """An outline turned clockwise around a point that stays, by twice the angle of that tangent."""
    place = Placement(*pivot, 1.0, tangent)
    return place(outline - place.origin)


def darker(colour: Colour, share: float = 0.72) -> Colour:
    """A colour with less light."""
    return (colour[0] * share, colour[1] * share, colour[2] * share)


class Cover(NamedTuple):
    """How much of each pixel is covered, inside the smallest box that holds all of it.

    Attributes:
        amount: (h, w) float32 in [0, 1].
        top: first row of the box.
        left: first column of the box.
    """

    amount: NDArray[np.float32]
    top: int
    left: int

    @property
    def box(self) -> tuple[slice, slice]:
        """The rows and the columns of the box."""
        h, w = self.amount.shape
        return slice(self.top, self.top + h), slice(self.left, self.left + w)

    def within(self, other: "Cover") -> "Cover":
        """What both cover, as the product in the box that both share."""
        top, left = max(self.top, other.top), max(self.left, other.left)
        bottom, right = (max(min(a.stop, b.stop), low) for a, b, low in zip(self.box, other.box, (top, left)))
        mine, its = (c.amount[top - c.top: bottom - c.top, left - c.left: right - c.left] for c in (self, other))
        return Cover(mine * its, top, left)


def cover(outlines: list[Outline], size: int) -> Cover:
    """The pixels that outlines cover together.

    Args:
        outlines: closed polygons that do not cross themselves; they may overlap each other.
        size: side of the picture in pixels.

    Returns:
        covered share of each pixel in the smallest box, which is empty if all lies outside the picture.
    """
    start, end = _edges(outlines)
    left, top = (int(min(max(v, 0), size)) for v in np.floor(start.min(axis=0)))
    right, bottom = (int(min(max(v, 0), size)) for v in np.ceil(start.max(axis=0)))
    if right <= left or bottom <= top:
        return Cover(np.zeros((0, 0), np.float32), top, left)
    height, width = bottom - top, right - left
    # Where edges cross the scan lines: number of the line, x, and whether the inside begins (1) or ends (-1).
    y = top + (np.arange(height * _LINES) + 0.5) * (1 / _LINES)
    above = start[:, 1:] <= y
    edge, line = np.nonzero(above != (end[:, 1:] <= y))
    rise = end[edge, 1] - start[edge, 1]
    x = start[edge, 0] + (y[line] - start[edge, 1]) * ((end[edge, 0] - start[edge, 0]) / rise)
    sign = np.where(rise > 0, -1.0, 1.0)
    # How far the inside begun there fills the pixel of the crossing, and all that follow.
    x = np.minimum(np.maximum(x - left, 0.0), width)
    column = x.astype(np.int64)
    beyond = (x - column) * sign
    place = (line // _LINES) * (width + 2) + column
    count = height * (width + 2)
    steps = np.bincount(place, sign - beyond, count) + np.bincount(place + 1, beyond, count)
    filled = np.cumsum(steps.reshape(height, width + 2), axis=1)[:, :width]
    return Cover(np.minimum(np.abs(filled) * (1 / _LINES), 1.0).astype(np.float32), top, left)


def _edges(outlines: list[Outline]) -> tuple[Outline, Outline]:
    """Start and end of every edge, all outlines turned the same way round, so that overlaps add up."""
    edges = []
    for outline in outlines:
        following = np.concatenate([outline[1:], outline[:1]])
        area = (outline[:, 0] * following[:, 1] - following[:, 0] * outline[:, 1]).sum()
        edges.append((outline, following) if area >= 0 else (following, outline))
    return np.concatenate([start for start, _ in edges]), np.concatenate([end for _, end in edges])
