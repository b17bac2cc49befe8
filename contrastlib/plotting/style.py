"""How the book's figures look, and the page that every figure is drawn on."""

import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from math import inf
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.gridspec import SubplotSpec
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from contrastlib.plotting.colours import FAINT, INK

WIDTH = 7.4
"""Inches of a figure: the width of a page's column at 100 pixels an inch."""

_LETTER = 0.61  # of the font's size: the width of a letter, on average


class BookFigure(Figure):
    """A figure that shows itself in a notebook, whatever backend is set and without a copy kept in pyplot."""

    def _repr_png_(self) -> bytes:
        buffer = BytesIO()
        self.savefig(buffer, format="png")
        return buffer.getvalue()


@contextmanager
def style() -> Iterator[None]:
    """The house's style for everything drawn inside the context, also by other functions of matplotlib.

    Text is drawn as it is written: a dollar sign in a name is a dollar sign and begins no formula.

    Yields:
        nothing.
    """
    with mpl.rc_context({
        "font.family": "sans-serif", "font.sans-serif": ["DejaVu Sans"], "font.size": 8.5, "axes.titlesize": 8.5,
        "axes.titlepad": 5, "axes.labelsize": 8.5, "xtick.labelsize": 8, "ytick.labelsize": 8, "text.color": INK,
        "axes.labelcolor": INK, "axes.edgecolor": FAINT, "xtick.color": INK, "ytick.color": INK,
        "axes.spines.top": False, "axes.spines.right": False, "figure.facecolor": "white", "figure.dpi": 150,
        "savefig.dpi": 150, "savefig.facecolor": "white", "legend.frameon": False, "text.usetex": False,
        "text.parse_math": False, "figure.labelsize": 8.5, "axes.axisbelow": True, "grid.color": "#ececec",
        "grid.linewidth": 0.6,
    }):
        yield


def page(rows: int = 1, *, width: float = WIDTH, gap: float = 0.05) -> BookFigure:
    """An empty page for some rows of panels, with so many inches around each; the layout makes room for all texts."""
    layout = ConstrainedLayoutEngine(w_pad=gap, h_pad=gap, wspace=0, hspace=0)
    return BookFigure(figsize=(width, 2 + 3 * rows), layout=layout)


def fit(figure: Figure, ax: Axes, *, height: float = 0, aspect: float = 0, widest: float = inf) -> None:
    """Lay a finished page out so that a panel is `height` inches high, or `aspect` times as high as it is wide."""
    engine, place = figure.get_layout_engine(), place_of(ax)
    assert engine is not None
    pictures = [one for one in figure.axes if one.images] if aspect else []
    for one in pictures:
        one.set_aspect("auto")  # fills its cell, so that its title stands above the cell
    engine.execute(figure)
    across, down = figure.get_size_inches()
    wide, high = across * ax.get_position().width, down * ax.get_position().height
    grid = place.get_gridspec()
    # What is written beside the panels keeps its size: what the page gains or loses is theirs, in equal parts.
    more = min(wide, widest) - wide, (height or aspect * min(wide, widest)) - high
    widths, heights = (np.asarray(ratios, float) for ratios in (grid.get_width_ratios(), grid.get_height_ratios()))
    figure.set_size_inches(across + more[0] * sum(widths) / widths[place.colspan.start],
                           down + more[1] * sum(heights) / heights[place.rowspan.start])
    engine.execute(figure)
    for one in pictures:
        one.set_aspect("equal")
    figure.set_layout_engine("none")  # saving it would lay it out again


def place_of(ax: Axes) -> SubplotSpec:
    """Where a panel stands on its page."""
    place = ax.get_subplotspec()
    assert place is not None
    return place


def columns_of(panels: int) -> int:
    """How many panels stand side by side, at most three."""
    return 2 if panels == 4 else min(panels, 3)


def titled(name: str, probability: float) -> str:
    """The title of a column: a class and below it its probability.

    Args:
        name: of the class.
        probability: in [0, 1].

    Returns:
        two lines, such as ``tiger cat`` and ``p = 0.39``.
    """
    return f"{name}\np = {probability:.2f}"


def shorten(text: str, width: int) -> str:
    """A text of at most `width` characters, cut with an ellipsis where it is longer.

    Args:
        text: any.
        width: characters, at least 1.

    Returns:
        the text or its beginning.
    """
    return text if len(text) <= width else text[: width - 1].rstrip() + "…"


def fitted(text: str, inches: float, size: float = 8.5) -> str:
    """Each line of a text in at most two lines of this length, the second cut where it must be."""
    room, found = max(4, int(inches * 72 / (size * _LETTER))), []
    for line in text.split("\n"):
        first, *rest = textwrap.wrap(line, room) or [""]
        found += [first, *([shorten(" ".join(rest), room)] if rest else [])]
    return "\n".join(found)


def write(ax: Axes, at: tuple[float, float], aside: tuple[float, float], text: str, *, across: str = "axes fraction",
          down: str = "axes fraction", **options: Any) -> None:
    """A text some points aside of a place, whose parts are shares of the axes or in data."""
    ax.annotate(text, at, aside, xycoords=(across, down), textcoords="offset points", **options)


def key(label: str, colour: str, **look: Any) -> Line2D:
    """A line of a legend."""
    return Line2D([0, 1], [0, 0], label=label, color=colour, **look)


def from_zero(ax: Axes, ticks: int = 5) -> None:
    """A panel whose rows start at a line at zero, with at most so many round numbers below them."""
    ax.axvline(0, color=INK, linewidth=0.7, zorder=1)
    ax.spines["left"].set_visible(False)
    ax.tick_params(axis="y", length=0)
    ax.xaxis.set_major_locator(MaxNLocator(ticks, steps=[1, 2, 2.5, 5, 10]))
