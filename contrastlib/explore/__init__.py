"""Explorables of any classifier: computed here, shown and asked by :mod:`contrastlib.widgets`."""

from contrastlib.explore._blocks import blocks
from contrastlib.explore._contrasts import GRAD_CAM, LiveExplorer, Method, Photograph, contrasts, picture_of
from contrastlib.explore._masking import masking
from contrastlib.explore._pushing import pushing

__all__ = [
    "GRAD_CAM",
    "LiveExplorer",
    "Method",
    "Photograph",
    "blocks",
    "contrasts",
    "masking",
    "picture_of",
    "pushing",
]
