"""A relevance map over its photograph."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import CenteredNorm
from matplotlib.image import AxesImage
from numpy.typing import ArrayLike, NDArray

CMAP, ALPHA = "bwr", 0.5
"""The diverging colours and the opacity that the review draws maps with."""


def overlay(
    ax: Axes,
    image: ArrayLike,
    relevance: ArrayLike,
    *,
    cmap: str = CMAP,
    alpha: float = ALPHA,
    limit: float | None = None,
) -> AxesImage:
    """Draw a relevance map over its photograph, zero in the middle of the colours.

    Args:
        ax: where to draw.
        image: (H, W, 3), (3, H, W) or (1, 3, H, W), floats in [0, 1] or uint8.
        relevance: (h, w), (1, h, w) or (1, 1, h, w), signed; a coarser map is stretched over the image.
        cmap: a diverging colour map.
        alpha: opacity of the map, in [0, 1].
        limit: relevance of the strongest colour, positive; None for the largest absolute value of this map.

    Returns:
        the image of the map, for a colour bar.

    Raises:
        ValueError: the shapes are not those of a picture and a map, or the map is not finite.
    """
    picture, values = as_picture(image), as_map(relevance)
    height, width = picture.shape[:2]
    extent = (-0.5, width - 0.5, height - 0.5, -0.5)
    ax.imshow(picture, extent=extent)
    smooth = "nearest" if values.shape == (height, width) else "bilinear"
    norm = CenteredNorm(0, halfrange=largest(values) if limit is None else limit)
    drawn = ax.imshow(values, cmap=cmap, alpha=alpha, norm=norm, extent=extent, interpolation=smooth)
    ax.set_axis_off()
    return drawn


def as_picture(image: ArrayLike) -> NDArray[Any]:
    """A photograph as matplotlib wants it.

    Args:
        image: (H, W, 3), (3, H, W) or (1, 3, H, W), floats in [0, 1] or uint8.

    Returns:
        (H, W, 3), the same values.

    Raises:
        ValueError: another shape.
    """
    array = np.asarray(image)
    if array.ndim == 4 and len(array) == 1:
        array = array[0]
    if array.ndim == 3 and array.shape[0] == 3 and array.shape[2] != 3:
        array = np.moveaxis(array, 0, -1)
    if array.ndim != 3 or array.shape[2] != 3:
        raise ValueError(f"a photograph must be (H, W, 3) or (3, H, W), got shape {np.shape(image)}")
    return array


def as_map(relevance: ArrayLike) -> NDArray[Any]:
    """A relevance map without its leading axes of one.

    Args:
        relevance: (h, w), (1, h, w) or (1, 1, h, w).

    Returns:
        (h, w).

    Raises:
        ValueError: another shape, or a value is not finite.
    """
    array = np.asarray(relevance, dtype=float)
    while array.ndim > 2 and len(array) == 1:
        array = array[0]
    if array.ndim != 2:
        raise ValueError(f"a relevance map must be (h, w) or (1, 1, h, w), got shape {np.shape(relevance)}")
    if not np.isfinite(array).all():
        raise ValueError("a relevance map must be finite, this one has NaN or infinite values")
    return array


def largest(values: NDArray[Any]) -> float:
    """The relevance of the strongest colour of a map.

    Args:
        values: (h, w).

    Returns:
        the largest absolute value; 1 for a map of zeros, which is white on any scale.
    """
    return float(np.abs(values).max()) or 1.0
