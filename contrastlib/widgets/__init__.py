"""Explorables: anywidgets whose JavaScript runs on live state in a notebook and on embedded state in a built page."""

from contrastlib.widgets._blocks import BlockExplorer
from contrastlib.widgets._compact import Compact
from contrastlib.widgets._explorable import Explorable, photograph
from contrastlib.widgets._explorer import ContrastExplorer, picture
from contrastlib.widgets._masking import MaskingExplorer, masked_picture
from contrastlib.widgets._pushing import PushingExplorer, pushed_picture

__all__ = [
    "BlockExplorer",
    "Compact",
    "ContrastExplorer",
    "Explorable",
    "MaskingExplorer",
    "PushingExplorer",
    "masked_picture",
    "photograph",
    "picture",
    "pushed_picture",
]
