"""Explorables: widgets that work in a notebook and, from the state in it, in a page without a kernel.

A function computes the state of each, from a classifier and photographs; its explorer holds and shows it.
"""

from contrastlib.explorables.base import decode, encode, photograph
from contrastlib.explorables.block_explorer import BlockExplorer, block_picture, blocks
from contrastlib.explorables.contrast_explorer import ContrastExplorer, LiveExplorer, contrasts, picture, picture_of
from contrastlib.explorables.masking_explorer import MaskingExplorer, masked_picture, masking
from contrastlib.explorables.pushing_explorer import PushingExplorer, pushed_picture, pushing

__all__ = ["BlockExplorer", "ContrastExplorer", "LiveExplorer", "MaskingExplorer", "PushingExplorer", "block_picture",
           "blocks", "contrasts", "decode", "encode", "masked_picture", "masking", "photograph", "picture",
           "picture_of", "pushed_picture", "pushing"]
