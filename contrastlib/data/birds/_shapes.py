"""Outlines: smooth curves, discs, strokes, and where they are moved to. Exact arithmetic only; see `_raster`."""

from collections.abc import Sequence

import numpy as np

from contrastlib.data.birds._raster import Outline

Point = tuple[float, float]


def _quarter(steps: int) -> list[Point]:
    """A quarter of the unit circle, without its end, from the rational parametrisation by the half angle's tangent."""
    full = 0.41421356237309503  # tan(pi / 8): half of the quarter, mirrored for the other half
    half = [i * full / steps for i in range(steps + 1)]
    first = [((1 - t * t) / (1 + t * t), 2 * t / (1 + t * t)) for t in half]
    return first + [(y, x) for x, y in reversed(first[1:-1])]


def _circle(steps: int) -> Outline:
    quarter = _quarter(steps)
    turns = (lambda x, y: (x, y), lambda x, y: (-y, x), lambda x, y: (-x, -y), lambda x, y: (y, -x))
    return np.array([turn(x, y) for turn in turns for x, y in quarter])


_CIRCLE = _circle(3)  # 24 corners
_SPLINE = np.array([[0.0], [0.25], [0.5], [0.75]])


def smooth(points: Sequence[Point]) -> Outline:
    """A closed curve through points (uniform Catmull-Rom), as a polygon of four corners for each point.

    Args:
        points: at least three.

    Returns:
        the outline.
    """
    p1 = np.array(points, dtype=np.float64)[:, None, :]
    p0, p2, p3 = (np.roll(p1, shift, axis=0) for shift in (1, -1, -2))
    t = _SPLINE
    t2, t3 = t * t, t * t * t
    curve = 0.5 * (2 * p1 + t * (p2 - p0) + t2 * (2 * p0 - 5 * p1 + 4 * p2 - p3) + t3 * (3 * p1 - p0 - 3 * p2 + p3))
    return np.asarray(curve.reshape(-1, 2))


def disc(x: float, y: float, rx: float, ry: float | None = None) -> Outline:
    """An ellipse.

    Args:
        x: centre.
        y: centre.
        rx: half its width.
        ry: half its height; None for a circle.

    Returns:
        the outline.
    """
    return _CIRCLE * np.array([rx, rx if ry is None else ry]) + np.array([x, y])


def stroke(points: Sequence[Point], width: float, end_width: float | None = None) -> Outline:
    """A line with a width, tapering to another one.

    Args:
        points: corners of the line, at least two, no two in a row alike.
        width: at its beginning.
        end_width: at its end; None for the same.

    Returns:
        the outline.
    """
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
    """An outline turned around a point of the drawing.

    Args:
        outline: (V, 2).
        pivot: the point that stays.
        tangent: of half the angle, clockwise.

    Returns:
        the outline.
    """
    place = Placement(pivot[0], pivot[1], 1.0, tangent)
    return place(outline - place.origin)
