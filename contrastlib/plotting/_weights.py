"""The weights of contrasts as bars."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray

from contrastlib.plotting._style import AGAINST, FOR, INK, WIDTH, BookFigure, shorten, style


def weights_bar(
    weights: ArrayLike | Mapping[str, ArrayLike],
    class_names: Sequence[str],
    *,
    target: int,
    n: int = 8,
    width: float = WIDTH,
) -> Figure:
    """The weights that a contrast puts on the class explanations, as bars: the target and the n strongest others.

    Args:
        weights: (C,), or several of them by the name of their contrast, drawn side by side.
        class_names: C names.
        target: the class that is explained, in [0, C).
        n: how many other classes, at most C - 1; the strongest in any of the contrasts.
        width: inches.

    Returns:
        the figure.

    Raises:
        ValueError: the numbers of weights and names differ, or the target is out of range.
    """
    named = weights if isinstance(weights, Mapping) else {"": weights}
    rows = {k: np.asarray(v, float).reshape(-1) for k, v in named.items()}
    for name, row in rows.items():
        if len(row) != len(class_names):
            raise ValueError(f"{len(row)} weights {name!r} for {len(class_names)} class names")
    if not 0 <= target < len(class_names):
        raise ValueError(f"target must lie in [0, {len(class_names)}), got {target}")
    strength = np.max([np.abs(row) for row in rows.values()], axis=0)
    strength[target] = np.inf
    shown = np.argsort(-strength, kind="stable")[: n + 1]
    with style():
        figure = BookFigure(figsize=(width, 0.62 + 0.2 * len(shown)), layout="constrained")
        axes = figure.subplots(1, len(rows), sharey=True, sharex=True, squeeze=False)[0]
        for ax, (name, row) in zip(axes, rows.items()):
            _bars(ax, row[shown], name)
        axes[0].set_yticks(range(len(shown)), [shorten(class_names[i], 26) for i in shown])
        axes[0].get_yticklabels()[0].set_fontweight("bold")
        axes[0].invert_yaxis()
    return figure


def _bars(ax: Axes, values: NDArray[Any], title: str) -> None:
    ax.barh(range(len(values)), values, color=[FOR if v > 0 else AGAINST for v in values], height=0.7)
    ax.axvline(0, color=INK, linewidth=0.6)
    for i, value in enumerate(values):
        ax.annotate(_number(value), (value, i), (3 if value > 0 else -3, 0), textcoords="offset points", va="center",
                    ha="left" if value > 0 else "right", size=7, color=INK)
    ax.set_title(title)
    ax.margins(x=0.3)
    ax.spines["left"].set_visible(False)
    ax.tick_params(left=False)


def _number(value: float) -> str:
    """Two digits behind the point, or as many as a small weight needs to be seen, up to four."""
    digits = next((d for d in (2, 3, 4) if abs(value) >= 0.95 * 10.0**-d), 0)
    return f"{value:+.{digits}f}".replace("-", "−") if digits else "0" if value == 0 else "≈ 0"
