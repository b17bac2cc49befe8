"""Figures for the book, from arrays and from tables of measured rows: no torch, no state of pyplot.

Red speaks for what is explained, blue against it, white is zero, as :cite:t:`eriksson2025reproducibility` draw it. A
figure shows itself in a notebook when it is the last value of a cell; ``figure.savefig(...)`` keeps it.
"""

from contrastlib.plotting.colours import AGAINST, CONTRAST_COLOURS, FAINT, FOR, INK, colour_of
from contrastlib.plotting.dots import changes, gains, masked
from contrastlib.plotting.lines import by_block, by_log_odds, curves, flips, lines, norms, removal_curves
from contrastlib.plotting.maps import as_map, as_picture, compare, confusion, gallery, map_grid, overlay
from contrastlib.plotting.style import WIDTH, BookFigure, shorten, style, titled
from contrastlib.plotting.terms import adds_up, weights_bar

__all__ = [
    "AGAINST", "CONTRAST_COLOURS", "FAINT", "FOR", "INK", "WIDTH", "BookFigure", "adds_up", "as_map", "as_picture",
    "by_block", "by_log_odds", "changes", "colour_of", "compare", "confusion", "curves", "flips", "gains", "gallery",
    "lines", "map_grid", "masked", "norms", "overlay", "removal_curves", "shorten", "style", "titled", "weights_bar",
]
