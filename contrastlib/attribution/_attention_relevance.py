"""Generic attention relevance, signed."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from contrastlib.attribution._attention import AttentionAttribution, Attentions


@dataclass(frozen=True)
class AttentionRelevance(AttentionAttribution):
    r"""Relevance through self-attention as in :cite:t:`chefer2021generic`.

    .. math:: \bar A_l = \frac{1}{\text{heads}} \sum_{\text{heads}}
        \Big( P_l \odot \frac{\partial\, \text{score}}{\partial P_l} \Big)^+, \qquad
        R \leftarrow R + \bar A_l R

    Started at the identity and taken from the first layer to the last, so that
    :math:`R = (I + \bar A_L) \cdots (I + \bar A_1)`; P are the attention probabilities. The map is R from the tokens
    that the head reads to the patch tokens. No row is normalised: a score with twice the gradient has not twice the
    map, because paths through several layers multiply.

    Args:
        relu: False leaves the sign of each head's product: this project's signed variant, in which two negative steps
            make a positive one.
    """

    relu: bool = True

    name: ClassVar[str] = "attention_relevance"

    def relevance(self, found: Attentions, from_block: int = 0) -> Tensor:
        """The map from attentions that have been read already.

        Args:
            found: from :func:`attentions`.
            from_block: the first layer that takes part, counted from 0; 0 takes all.

        Returns:
            relevance (N, 1, h, w); the paths through one layer alone are in units of the score.

        Raises:
            ValueError: there is no such block.
        """
        return self._maps(found, from_block)

    def matrices(self, found: Attentions) -> list[Tensor]:
        r"""The matrix :math:`I + \bar A` of each layer.

        Args:
            found: from :func:`attentions`.

        Returns:
            first layer first, each (N, L, L).
        """
        weighted = [p * g for p, g in zip(found.probabilities, found.gradients)]
        fused = [(product.relu() if self.relu else product).mean(1) for product in weighted]
        identity = torch.eye(fused[0].shape[-1], dtype=fused[0].dtype, device=fused[0].device)
        return [identity + matrix for matrix in fused]


attention_relevance = AttentionRelevance()
