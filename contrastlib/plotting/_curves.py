"""Lines over one axis."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from contrastlib.plotting._style import WIDTH, BookFigure, style


def curves(
    x: ArrayLike,
    panels: Mapping[str, Mapping[str, ArrayLike]],
    *,
    xlabel: str,
    logarithmic: str = "",
    width: float = WIDTH,
) -> Figure:
    """Curves over the same axis, in panels side by side.

    Args:
        x: (P,).
        panels: for each panel, by the label of its vertical axis, its curves (P,) by name; one curve needs no name.
        xlabel: label of the horizontal axis.
        logarithmic: which axes are: ``x``, ``y``, ``xy`` or none.
        width: inches.

    Returns:
        the figure.

    Raises:
        ValueError: a curve has another length than x.
    """
    at = np.asarray(x, float)
    with style():
        figure = BookFigure(figsize=(width, 2.8), layout="constrained")
        for axes, (ylabel, lines) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels.items()):
            axes.set(xlabel=xlabel, ylabel=ylabel, **_scales(logarithmic))
            for name, line in lines.items():
                y = np.asarray(line, float)
                if y.shape != at.shape:
                    raise ValueError(f"curve {name!r} has shape {y.shape}, the horizontal axis {at.shape}")
                axes.plot(at, y, label=name)
            if len(lines) > 1:
                axes.legend()
    return figure


def _scales(logarithmic: str) -> dict[str, Any]:
    return {f"{axis}scale": "log" for axis in logarithmic}
