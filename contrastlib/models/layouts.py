"""How the output of a layer is read as a map: channels first, channels last, or tokens on a grid."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

Kind = Literal["channels first", "channels last", "tokens"]
Size = tuple[int, int]

MOST_PREFIX_TOKENS = 32
"""More tokens in front of the patches than any known network has: class, distillation and register tokens."""

_ASPECT = 1.35  # how far a grid's cells may be from square: rounding at the border of small maps


@dataclass(frozen=True)
class Layout:
    """How a layer's output is read as a map.

    Attributes:
        kind: ``channels first`` (N, K, h, w), ``channels last`` (N, h, w, K) or ``tokens`` (N, prefix + h w, K).
        grid: (h, w) of the map.
        prefix: tokens in front of the patch tokens, which have no place in the picture: class token, distillation
            token, registers.
    """

    kind: Kind
    grid: Size
    prefix: int = 0

    def __str__(self) -> str:
        h, w = self.grid
        if self.kind != "tokens":
            return f"{h} x {w} map, {self.kind}"
        behind = "" if not self.prefix else f" behind {self.prefix} prefix token{'s' if self.prefix > 1 else ''}"
        return f"{h} x {w} patch tokens{behind}"

    def to_map(self, output: Tensor) -> Tensor:
        """The layer's output as a map (N, K, h, w); prefix tokens are left out.

        Args:
            output: in this layout.

        Returns:
            a view of it where possible.
        """
        if self.kind == "channels first":
            return output
        if self.kind == "channels last":
            return output.movedim(-1, 1)
        return output[:, self.prefix:].transpose(1, 2).unflatten(2, self.grid)

    def from_map(self, maps: Tensor, output: Tensor) -> Tensor:
        """A map put back in the place of the layer's output; prefix tokens are taken from that.

        Args:
            maps: (N, K, h, w).
            output: what the layer gave.

        Returns:
            a copy, in this layout.
        """
        if self.kind == "channels first":
            return maps.clone()
        if self.kind == "channels last":
            return maps.movedim(1, -1).clone(memory_format=torch.contiguous_format)
        patches = maps.flatten(2).transpose(1, 2)
        return torch.cat([output[:, :self.prefix], patches], dim=1)


def read(shape: tuple[int, ...], image: Size, grids: Iterable[Size] = ()) -> Layout:
    """How an output of a given shape is read as a map of an image.

    With four axes, a map is channels first or last, whichever gives cells that are about square. With three, the
    tokens must be a grid that the network itself had as a map before (the patch embedding's), with some prefix tokens
    in front.

    Args:
        shape: of the output, with the batch.
        image: (H, W) in pixels.
        grids: (h, w) of the maps that came before the layer.

    Returns:
        the layout.

    Raises:
        ValueError: the output is no map; says what was found and what would be one.
    """
    if len(shape) == 4:
        return _four(shape, image)
    if len(shape) == 3:
        return _tokens(shape[1], list(dict.fromkeys(grids)))
    raise ValueError(f"an output of shape {shape} is no map: a map has shape (N, K, h, w), (N, h, w, K), or "
                     "(N, tokens, K) with the tokens on a grid")


def square_enough(grid: Size, image: Size) -> bool:
    """Whether a grid over an image has cells that are about square, each at least a pixel large."""
    (h, w), (height, width) = grid, image
    if not (0 < h <= height and 0 < w <= width):
        return False
    ratio = (height / h) / (width / w)
    return 1 / _ASPECT <= ratio <= _ASPECT


def _four(shape: tuple[int, ...], image: Size) -> Layout:
    first, last = (shape[2], shape[3]), (shape[1], shape[2])
    both = [Layout("channels first", first), Layout("channels last", last)]
    fits = [layout for layout in both if square_enough(layout.grid, image)]
    if len(fits) == 1:
        return fits[0]
    if fits and shape[1] == shape[3] and first != last:
        raise ValueError(f"an output of shape {shape} may be channels first or channels last: both readings give a "
                         f"grid for an image of {image[0]} x {image[1]} pixels; name a layer with another number of "
                         "channels")
    # A small map of a large number of channels, or one that fits neither way, is what torch's own layers give.
    return Layout("channels first", first)


def _tokens(length: int, grids: list[Size]) -> Layout:
    fits = [(h, w) for h, w in grids if h * w > 1 and 0 <= length - h * w <= MOST_PREFIX_TOKENS]
    if not fits:
        seen = ", ".join(f"{h} x {w}" for h, w in grids) or "none"
        raise ValueError(f"{length} tokens are no grid: the network's own maps are {seen}, and none of them leaves "
                         f"between 0 and {MOST_PREFIX_TOKENS} prefix tokens")
    grid = max(fits, key=lambda g: g[0] * g[1])
    return Layout("tokens", grid, length - grid[0] * grid[1])
