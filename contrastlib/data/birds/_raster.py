"""Filled outlines with soft edges, the same to the last bit on every machine.

Only additions, multiplications, divisions and square roots are used, each by itself: IEEE 754 fixes their results. No
sine, no matrix product, no sum whose order a library may choose.
"""

import numpy as np
from numpy.typing import NDArray

Outline = NDArray[np.float64]
"""A closed polygon, (V, 2): x to the right and y downwards, in pixels."""

_LINES = 4  # scan lines for each row of pixels; along a line the covered length is exact


class Cover:
    """How much of each pixel is covered, inside the smallest box that holds all of it.

    Attributes:
        amount: (h, w) float32 in [0, 1].
        top: first row of the box.
        left: first column of the box.
    """

    __slots__ = ("amount", "left", "top")

    def __init__(self, amount: NDArray[np.float32], top: int, left: int) -> None:
        self.amount, self.top, self.left = amount, top, left

    @property
    def box(self) -> tuple[slice, slice]:
        """The rows and the columns of the box."""
        h, w = self.amount.shape
        return slice(self.top, self.top + h), slice(self.left, self.left + w)

    def within(self, other: "Cover") -> "Cover":
        """What both cover; `other` taken as opaque where it covers.

        Args:
            other: the form that cuts this one.

        Returns:
            the product, in the box that both share.
        """
        top, left = max(self.top, other.top), max(self.left, other.left)
        bottom = min(self.top + self.amount.shape[0], other.top + other.amount.shape[0])
        right = min(self.left + self.amount.shape[1], other.left + other.amount.shape[1])
        bottom, right = max(bottom, top), max(right, left)
        mine = self.amount[top - self.top: bottom - self.top, left - self.left: right - self.left]
        its = other.amount[top - other.top: bottom - other.top, left - other.left: right - other.left]
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
    low, high = start.min(axis=0), start.max(axis=0)
    left, top = (int(min(max(v, 0), size)) for v in np.floor(low))
    right, bottom = (int(min(max(v, 0), size)) for v in np.ceil(high))
    if right <= left or bottom <= top:
        return Cover(np.zeros((0, 0), np.float32), top, left)
    height, width = bottom - top, right - left
    line, x, sign = _crossings(start, end, top, height)
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
    starts, ends = [], []
    for outline in outlines:
        following = np.concatenate([outline[1:], outline[:1]])
        area = (outline[:, 0] * following[:, 1] - following[:, 0] * outline[:, 1]).sum()
        starts.append(outline if area >= 0 else following)
        ends.append(following if area >= 0 else outline)
    return np.concatenate(starts), np.concatenate(ends)


def _crossings(
    start: Outline, end: Outline, top: int, height: int
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    """Where edges cross the scan lines: number of the line, x, and whether the inside begins (1) or ends (-1)."""
    y = top + (np.arange(height * _LINES) + 0.5) * (1 / _LINES)
    above = start[:, 1:] <= y
    edge, line = np.nonzero(above != (end[:, 1:] <= y))
    rise = end[edge, 1] - start[edge, 1]
    x = start[edge, 0] + (y[line] - start[edge, 1]) * ((end[edge, 0] - start[edge, 0]) / rise)
    return line, x, np.where(rise > 0, -1.0, 1.0)
