"""Figures for the book, from arrays: no torch, no state of pyplot.

Red speaks for what is explained, blue against it, white is zero, as :cite:t:`eriksson2025reproducibility` draw it. A
figure shows itself in a notebook when it is the last value of a cell; ``figure.savefig(...)`` keeps it.
"""

from contrastlib.plotting._curves import curves
from contrastlib.plotting._gallery import confusion, gallery
from contrastlib.plotting._grid import compare, map_grid
from contrastlib.plotting._overlay import as_map, as_picture, overlay
from contrastlib.plotting._style import AGAINST, FAINT, FOR, INK, WIDTH, BookFigure, shorten, style, titled
from contrastlib.plotting._weights import weights_bar

__all__ = [
    "AGAINST",
    "FAINT",
    "FOR",
    "INK",
    "WIDTH",
    "BookFigure",
    "as_map",
    "as_picture",
    "compare",
    "confusion",
    "curves",
    "gallery",
    "map_grid",
    "overlay",
    "shorten",
    "style",
    "titled",
    "weights_bar",
]
