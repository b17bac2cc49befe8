"""How the book's figures look."""

from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO

import matplotlib as mpl
from matplotlib.figure import Figure

FOR, AGAINST, INK, FAINT = "#c0392b", "#2c5fa8", "#222222", "#8a8a8a"
"""The house's colours: what speaks for, what speaks against, text, and what stays in the background."""

WIDTH = 7.4
"""Inches of a figure: the width of a page's column at 100 pixels an inch."""


class BookFigure(Figure):
    """A figure that shows itself in a notebook, whatever backend is set and without a copy kept in pyplot."""

    def _repr_png_(self) -> bytes:
        buffer = BytesIO()
        self.savefig(buffer, format="png")
        return buffer.getvalue()


@contextmanager
def style() -> Iterator[None]:
    """The house's style for everything drawn inside the context, also by other functions of matplotlib.

    Yields:
        nothing.
    """
    with mpl.rc_context({
        "font.family": "sans-serif", "font.sans-serif": ["DejaVu Sans"], "font.size": 8.5, "axes.titlesize": 8.5,
        "axes.titlepad": 4, "axes.labelsize": 8.5, "xtick.labelsize": 8, "ytick.labelsize": 8, "text.color": INK,
        "axes.labelcolor": INK, "axes.edgecolor": FAINT, "xtick.color": INK, "ytick.color": INK,
        "axes.spines.top": False, "axes.spines.right": False, "figure.facecolor": "white", "figure.dpi": 150,
        "savefig.dpi": 150, "savefig.facecolor": "white", "legend.frameon": False, "text.usetex": False,
    }):
        yield


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
