"""Explorables: anywidgets whose JavaScript runs on live state in a notebook and on embedded state in a built page."""

from contrastlib.widgets._blocks import ASKED, BlockExplorer, BlockMethod, Reading, block_picture
from contrastlib.widgets._compact import Compact
from contrastlib.widgets._explorable import Explorable, photograph
from contrastlib.widgets._explorer import ContrastExplorer, picture
from contrastlib.widgets._masking import MaskingExplorer, check_step, masked_picture
from contrastlib.widgets._pushing import PushingExplorer, pushed_picture

__all__ = [
    "ASKED",
    "BlockExplorer",
    "BlockMethod",
    "Compact",
    "ContrastExplorer",
    "Explorable",
    "MaskingExplorer",
    "PushingExplorer",
    "Reading",
    "block_picture",
    "check_step",
    "masked_picture",
    "photograph",
    "picture",
    "pushed_picture",
]
