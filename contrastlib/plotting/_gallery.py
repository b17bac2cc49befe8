"""Pictures side by side, and a table of confusions with pictures instead of names."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray

from contrastlib.plotting._grid import fitted
from contrastlib.plotting._overlay import as_picture
from contrastlib.plotting._style import AGAINST, FOR, INK, WIDTH, BookFigure, style

_GAP, _LINE, _SIZE = 0.08, 0.14, 7.5  # inches between pictures and of a line of text; points
_COUNTS = LinearSegmentedColormap.from_list("counts", ["#ffffff", "#e9b8b1", FOR])


def gallery(
    images: Sequence[ArrayLike],
    titles: Sequence[str] = (),
    *,
    columns: int = 4,
    marks: Sequence[ArrayLike | None] = (),
    row_labels: Sequence[str] = (),
    width: float = WIDTH,
) -> Figure:
    """Pictures in rows, with titles above them.

    Args:
        images: N pictures; see :func:`overlay`.
        titles: N titles, wrapped and cut where they are too long.
        columns: pictures in a row.
        marks: N masks (H, W), each drawn as an outline, or None for no outline.
        row_labels: a label for each row, at its left.
        width: inches of the figure.

    Returns:
        the figure.

    Raises:
        ValueError: the numbers do not agree, or there is no picture.
    """
    pictures = [as_picture(image) for image in images]
    rows = -(-len(pictures) // columns) if columns > 0 else 0
    for given, wanted, what in ((titles, len(pictures), "titles"), (marks, len(pictures), "marks"),
                                (row_labels, rows, "row_labels")):
        if len(given) not in (0, wanted):
            raise ValueError(f"{len(given)} {what} for {wanted}")
    if not rows:
        raise ValueError(f"a gallery needs pictures and columns, got {len(pictures)} and {columns}")
    left = 0.22 if row_labels else 0.0
    side = (width - left - _GAP * (columns - 1)) / columns
    words = [fitted(title, side, _SIZE) for title in titles]
    above = [max((w.count("\n") + 1 for w in words[r * columns:(r + 1) * columns]), default=0) * _LINE + 0.05
             for r in range(rows)]
    height = sum(above) + rows * side + (rows - 1) * _GAP * 0.5
    with style():
        figure = BookFigure(figsize=(width, height))
        top = 0.0
        for r in range(rows):
            top += above[r]
            for c, i in enumerate(range(r * columns, min((r + 1) * columns, len(pictures)))):
                x = left + c * (side + _GAP)
                ax = figure.add_axes((x / width, 1 - (top + side) / height, side / width, side / height))
                _draw(ax, pictures[i], marks[i] if marks else None)
                figure.text((x + side / 2) / width, 1 - (top - 0.04) / height, words[i] if words else "",
                            ha="center", va="bottom", size=_SIZE, linespacing=1.2)
            if row_labels:
                figure.text(0.12 / width, 1 - (top + side / 2) / height, row_labels[r], rotation=90, ha="center",
                            va="center", size=_SIZE + 0.5)
            top += side + _GAP * 0.5
    return figure


def confusion(
    counts: ArrayLike, pictures: Sequence[ArrayLike], *, groups: Sequence[str] = (), width: float = WIDTH,
) -> Figure:
    """A table of confusions: a row for each class as it is, a column for each as it is taken for.

    Args:
        counts: (C, C), how often class r was taken for class c.
        pictures: C pictures, which stand for the classes at both edges.
        groups: C words; a line parts neighbours that differ.
        width: inches of the figure.

    Returns:
        the figure.

    Raises:
        ValueError: the counts are not square, or the pictures or groups are not as many.
    """
    table = np.asarray(counts)
    classes = len(table)
    if table.shape != (classes, classes) or not classes:
        raise ValueError(f"counts must be (C, C), got shape {table.shape}")
    if len(pictures) != classes or len(groups) not in (0, classes):
        raise ValueError(f"{len(pictures)} pictures and {len(groups)} groups for {classes} classes")
    cell = width / (classes + 1.6)
    height = cell * (classes + 1.6)
    with style():
        figure = BookFigure(figsize=(width, height))
        ax = figure.add_axes((1.6 * cell / width, 0, classes * cell / width, classes * cell / height))
        _draw_counts(ax, table, groups)
        for i, picture in enumerate(as_picture(p) for p in pictures):
            for x, y in ((0.55 * cell, height - (i + 2.6) * cell), ((i + 1.6) * cell, height - 1.55 * cell)):
                small = figure.add_axes((x / width, y / height, 0.95 * cell / width, 0.95 * cell / height))
                _draw(small, picture, None)
        figure.text((1.6 * cell + classes * cell / 2) / width, 1 - 0.3 * cell / height, "taken for",
                    ha="center", va="center")
        figure.text(0.25 * cell / width, classes * cell / 2 / height, "is", rotation=90, ha="center", va="center")
    return figure


def _draw_counts(ax: Axes, table: NDArray[Any], groups: Sequence[str]) -> None:
    wrong = np.where(np.eye(len(table), dtype=bool), 0, table)
    ax.imshow(wrong, cmap=_COUNTS, vmin=0, vmax=max(wrong.max(), 1), aspect="auto")
    ax.set_axis_off()
    for r, row in enumerate(table):
        for c, count in enumerate(row):
            if count:
                strong = r != c and count > 0.6 * wrong.max()
                ax.text(c, r, str(count), ha="center", va="center", size=_SIZE,
                        color="white" if strong else "#9a9a9a" if r == c else INK)
    for i in range(1, len(table)):
        apart = bool(groups) and groups[i] != groups[i - 1]
        colour, thick = (INK, 0.9) if apart else ("#e4e4e4", 0.4)
        ax.axhline(i - 0.5, color=colour, linewidth=thick)
        ax.axvline(i - 0.5, color=colour, linewidth=thick)


def _draw(ax: Axes, picture: NDArray[Any], mark: ArrayLike | None) -> None:
    ax.imshow(picture)
    ax.set_axis_off()
    if mark is None:
        return
    mask = np.asarray(mark, dtype=float)
    if mask.shape != picture.shape[:2]:
        raise ValueError(f"a mark must be {picture.shape[:2]} like its picture, got {mask.shape}")
    if mask.any():
        for colour, thick in (("white", 2.2), (AGAINST, 1.1)):
            ax.contour(mask, levels=[0.5], colors=[colour], linewidths=[thick])
