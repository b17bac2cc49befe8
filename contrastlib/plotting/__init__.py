"""Figures for the book, from arrays and from tidy rows: no torch, no state of pyplot.

Red speaks for what is explained, blue against it, white is zero, as :cite:t:`eriksson2025reproducibility` draw it. A
figure shows itself in a notebook when it is the last value of a cell; ``figure.savefig(...)`` keeps it.
"""

from contrastlib.plotting._adds_up import adds_up
from contrastlib.plotting._blocks import by_block
from contrastlib.plotting._changes import changes
from contrastlib.plotting._curves import curves
from contrastlib.plotting._flips import flips
from contrastlib.plotting._gallery import confusion, gallery
from contrastlib.plotting._grid import compare, map_grid
from contrastlib.plotting._log_odds import by_log_odds
from contrastlib.plotting._masking import masked
from contrastlib.plotting._norms import PUBLISHED_NORMS, norms
from contrastlib.plotting._overlay import as_map, as_picture, overlay
from contrastlib.plotting._palette import CONTRAST_COLOURS, colour_of
from contrastlib.plotting._removal import removal_curves
from contrastlib.plotting._style import AGAINST, FAINT, FOR, INK, WIDTH, BookFigure, shorten, style, titled
from contrastlib.plotting._weights import weights_bar

__all__ = [
    "AGAINST",
    "CONTRAST_COLOURS",
    "FAINT",
    "FOR",
    "INK",
    "PUBLISHED_NORMS",
    "WIDTH",
    "BookFigure",
    "adds_up",
    "as_map",
    "as_picture",
    "by_block",
    "by_log_odds",
    "changes",
    "colour_of",
    "compare",
    "confusion",
    "curves",
    "flips",
    "gallery",
    "map_grid",
    "masked",
    "norms",
    "overlay",
    "removal_curves",
    "shorten",
    "style",
    "titled",
    "weights_bar",
]
