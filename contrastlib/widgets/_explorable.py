"""What all explorables share: style, and a still for readers whose page runs no script."""

import base64
import io
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import ArrayLike
from PIL import Image

from contrastlib.plotting import as_picture
from contrastlib.widgets._bundle import HERE

try:
    import anywidget
except ModuleNotFoundError as missing:
    raise ModuleNotFoundError("the explorables need the package anywidget, which is not installed; install it with: "
                              "pip install anywidget") from missing

SIDE = 224
"""Pixels of the longer side of an embedded photograph."""


class Explorable(anywidget.AnyWidget):
    """An anywidget that also shows itself as a figure where it cannot run.

    A subclass sets ``_esm`` and says what its :meth:`still` is.
    """

    _css = (HERE / "explorables.css").read_text(encoding="utf8")

    def still(self) -> Figure | None:
        """The figure that stands for the explorable where no script runs; None if there is nothing to show yet."""
        raise NotImplementedError

    def _repr_mimebundle_(self, **options: Any) -> tuple[dict[str, Any], dict[str, Any]] | None:
        """The widget, and beside it its still: what shows depends on what the reader's page can do."""
        bundle = super()._repr_mimebundle_(**options)
        figure = self.still()
        if bundle is None or figure is None:
            return bundle
        data, metadata = bundle
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=100, bbox_inches="tight")
        return {**data, "image/png": base64.b64encode(buffer.getvalue()).decode()}, metadata


def photograph(photo: Image.Image | ArrayLike, *, quality: int = 80) -> str:
    """A photograph as a data address, small enough for a page.

    Args:
        photo: a PIL image, or an array (H, W, 3) or (3, H, W), floats in [0, 1] or uint8.
        quality: of the JPEG, 1 to 95.

    Returns:
        the address of a JPEG whose longer side has at most 224 pixels.

    Raises:
        ValueError: the array is no picture, or its floats leave [0, 1].
    """
    image = as_image(photo).convert("RGB")
    image.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()


def as_image(photo: Image.Image | ArrayLike) -> Image.Image:
    """A photograph as a PIL image; see :func:`photograph`."""
    if isinstance(photo, Image.Image):
        return photo
    pixels = as_picture(photo)
    if pixels.dtype != np.uint8:
        if not (pixels.min() >= 0 and pixels.max() <= 1):
            raise ValueError(f"the floats of a photograph must lie in [0, 1], these reach from {pixels.min():.3g} to "
                             f"{pixels.max():.3g}")
        pixels = np.round(pixels * 255).astype(np.uint8)
    return Image.fromarray(pixels)


def from_address(address: str) -> Image.Image:
    """The picture in a data address of :func:`photograph`."""
    return Image.open(io.BytesIO(base64.b64decode(address.split(",", 1)[1])))
