"""Gradient norms against logits, from rows."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray

from contrastlib.plotting._style import AGAINST, FAINT, FOR, INK, WIDTH, BookFigure, style
from contrastlib.rows import chosen, matching, number

PUBLISHED_NORMS = (4.245, 0.1864, 0.00883)
"""Constant, linear and quadratic term of the review's fit for VGG-16 on ImageNet, measured from its Figure 6."""

_COLUMNS = ("kind", "name", "at", "value", "low", "high")
_TERMS = ("constant", "linear", "quadratic")


def norms(
    rows: Iterable[Mapping[str, object]],
    *,
    points: tuple[ArrayLike, ArrayLike] | None = None,
    published: Sequence[float] | None = PUBLISHED_NORMS,
    width: float = WIDTH,
    **where: object,
) -> Figure:
    """Norm of a logit's gradient against the logit: bins, their 10-90 % range, and second-degree fits.

    Args:
        rows: of ``logit_norm.csv``, of one run.
        points: logits (P,) and norms (P,) of single explanations, drawn faintly.
        published: constant, linear and quadratic term of another network's fit; None for no such curve.
        width: inches.
        where: further columns that pick the rows, such as ``classifier="birds_vgg"``.

    Returns:
        the figure.

    Raises:
        ValueError: a column is missing, nothing has these values, the rows are of several runs or lack bins or a
            term of the fit, or the points are not as many logits as norms.
    """
    table = chosen(rows, _COLUMNS, where)
    bins = sorted([number(row[name]) for name in ("at", "value", "low", "high")]
                  for row in matching(table, "kind", "bin"))
    terms = [number(matching(matching(table, "kind", "fit"), "name", name)[0]["value"]) for name in _TERMS]
    at, mean, low, high = np.array(bins).T
    with style():
        figure = BookFigure(figsize=(width, 3.4), layout="constrained")
        ax = figure.subplots()
        logits = _draw_points(ax, points, at)
        ax.fill_between(at, low, high, color=AGAINST, alpha=0.16, linewidth=0, label="10–90 % of the norms in a bin")
        ax.plot(at, mean, "o", color=AGAINST, markersize=4.5, markeredgecolor="white", markeredgewidth=0.6, zorder=4,
                label="mean of a bin")
        over = np.linspace(logits.min(), logits.max(), 200)
        ax.plot(over, _parabola(terms, over), color=FOR, linewidth=1.8, zorder=3,
                label=f"this network's fit: {_equation(terms)}")
        if published is not None:
            ax.plot(over, _parabola(published, over), color=INK, linewidth=1.2, linestyle=(0, (4, 3)), zorder=2.5,
                    label=f"the review's fit, of another network (VGG-16): {_equation(published)}")
        ax.set(xlabel="logit $y$", ylabel="norm of its gradient $\\|\\nabla_x y\\|_2$", xmargin=0.02)
        ax.set_ylim(bottom=0)
        ax.legend(loc="upper left", fontsize=8, borderaxespad=0.2)
    return figure


def _draw_points(ax: Axes, points: tuple[ArrayLike, ArrayLike] | None, at: NDArray[np.float64]) -> NDArray[np.float64]:
    """The points, if any; the logits over which the fits are drawn."""
    if points is None:
        return at
    logits, sizes = (np.asarray(part, float).reshape(-1) for part in points)
    if logits.shape != sizes.shape:
        raise ValueError(f"points must be as many logits as norms, got {len(logits)} and {len(sizes)}")
    ax.plot(logits, sizes, ".", color=FAINT, alpha=0.25, markersize=3, markeredgewidth=0, zorder=1,
            label="single explanations", rasterized=True)
    return np.concatenate([at, logits])


def _parabola(terms: Sequence[float], y: NDArray[np.float64]) -> NDArray[np.float64]:
    constant, linear, quadratic = terms
    return constant + linear * y + quadratic * y**2


def _equation(terms: Sequence[float]) -> str:
    constant, linear, quadratic = terms
    parts = "".join(f" {'−' if term < 0 else '+'} {abs(term):.3g} {name}"
                    for term, name in ((linear, "$y$"), (quadratic, "$y^2$")))
    return f"{constant:.3g}".replace("-", "−") + parts
