"""Attention rollout weighted by gradients, signed."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor
from torch.nn import functional

from contrastlib.attribution._attention import AttentionAttribution, Attentions

Fusion = Literal["mean", "max", "min"]

_FUSE: dict[Fusion, Callable[[Tensor, int], Tensor]] = {"mean": torch.mean, "max": torch.amax, "min": torch.amin}


@dataclass(frozen=True)
class AttentionRollout(AttentionAttribution):
    r"""Attention rollout :cite:p:`abnar2020quantifying`, each layer weighted by the gradient of the score.

    .. math:: A_l = \operatorname*{fuse}_{\text{heads}} \Big( P_l \odot \frac{1}{s}
        \frac{\partial\, \text{score}}{\partial P_l} \Big), \qquad
        B_l = \frac{A_l + I}{\lVert A_l + I \rVert_1}, \qquad R = B_L \cdots B_1

    P are the attention probabilities, the norm is that of each row, and the map is R from the tokens that the head
    reads to the patch tokens. Without rectifier and for a contrastive score this is the contrastive rollout of
    :cite:t:`eriksson2025reproducibility`.

    Paper: rows are divided by their sum. Here: by the sum of absolute values, which is the same for a rectified matrix
    and, unlike the sum, cannot cancel to nothing in a signed one.

    Paper: gradients as they come beside an identity of fixed size, so that a score with ten times the gradient has
    another map, and a probability, whose gradient carries :math:`p_t (1 - p_t) \le 1/4`, has not that of the log-odds.
    Here: one number s for each image puts them in proportion: the largest sum of absolute values in a row of any
    layer's fused matrix. No token then takes more from the others than it keeps, and the one that takes most takes as
    much, as every token does in rollout without gradients, whose rows sum to 1. The map depends on the direction of the
    gradient only; what one layer counts against another is not touched.

    The layers multiply, so that two negative steps make a positive one. A token that speaks against what speaks against
    the score is marked like one that speaks for it.

    Args:
        relu: whether negative entries are set to zero after the heads are fused. Off, the map is signed.
        fusion: how the heads become one matrix.
        discard: share of each fused matrix's entries that is set to zero, in [0, 1): the smallest, by absolute value.
            The class token's entry for itself stays.
        scaled: False leaves s at 1, the literal formula.

    Raises:
        ValueError: an option has no such value.
    """

    relu: bool = False
    fusion: Fusion = "mean"
    discard: float = 0.0
    scaled: bool = True

    name: ClassVar[str] = "attention_rollout"

    def __post_init__(self) -> None:
        if self.fusion not in _FUSE:
            raise ValueError(f"fusion must be one of {', '.join(_FUSE)}, got {self.fusion!r}")
        if not 0 <= self.discard < 1:
            raise ValueError(f"discard is a share in [0, 1), got {self.discard}")

    def rollout(self, found: Attentions, from_block: int = 0) -> Tensor:
        """The map from attentions that have been read already.

        Args:
            found: from :func:`attentions`.
            from_block: the first layer that takes part, counted from 0; 0 takes all. The scale is that of all layers
                in any case.

        Returns:
            relevance (N, 1, h, w), dimensionless; positive speaks for the score.

        Raises:
            ValueError: there is no such block.
        """
        return self._maps(found, from_block)

    def matrices(self, found: Attentions) -> list[Tensor]:
        """The matrix B of each layer.

        Args:
            found: from :func:`attentions`.

        Returns:
            first layer first, each (N, L, L); the absolute values of a row sum to 1.
        """
        return [functional.normalize(matrix, p=1, dim=-1) for matrix in self.unnormalised(found)]

    def unnormalised(self, found: Attentions) -> list[Tensor]:
        """The matrix (A + I) / 2 of each layer, before its rows are normalised; as :meth:`matrices`."""
        fused = [self._fused(p, g, found.prefix) for p, g in zip(found.probabilities, found.gradients)]
        if self.scaled:
            scale = _scale(fused)
            fused = [matrix / scale for matrix in fused]
        identity = torch.eye(fused[0].shape[-1], dtype=fused[0].dtype, device=fused[0].device)
        return [(matrix + identity) / 2 for matrix in fused]

    def _fused(self, probabilities: Tensor, gradient: Tensor, prefix: int) -> Tensor:
        weighted = probabilities * gradient
        matrix = _FUSE[self.fusion](weighted, 1)
        if self.relu:
            matrix = matrix.relu()
        count = int(self.discard * matrix[0].numel())
        return _without_smallest(matrix, count, keep_first=prefix > 0) if count else matrix


def _without_smallest(matrix: Tensor, count: int, *, keep_first: bool) -> Tensor:
    """Set so many entries of each matrix (N, L, L) to zero, the smallest; those that tie with the largest too."""
    size = matrix.abs().flatten(1)
    small = (size <= size.kthvalue(count, dim=-1, keepdim=True).values).view(matrix.shape)
    if keep_first:
        small[:, 0, 0] = False
    return matrix.masked_fill(small, 0)


def _scale(fused: Sequence[Tensor]) -> Tensor:
    """The largest sum of absolute values in a row, of any layer, (N, 1, 1); 1 where nothing moves the score."""
    largest = torch.stack([matrix.abs().sum(-1).amax(-1) for matrix in fused]).amax(0)
    return torch.where(largest > 0, largest, 1)[:, None, None]


attention_rollout = AttentionRollout()
