"""XGradCAM, signed, with the review's normaliser."""

import torch
from torch import Tensor

from contrastlib.attribution._base import at_layer


@at_layer
def xgrad_cam(activation: Tensor, gradient: Tensor) -> Tensor:
    r"""XGradCAM without the final ReLU :cite:p:`fu2020xgradcam`, with the review's normaliser.

    .. math:: \phi_{ij} = \sum_k \Big( \sum_{pq} \frac{a^k_{pq}}{\lVert a^k \rVert_1}
        \frac{\partial \text{score}}{\partial a^k_{pq}} \Big) a^k_{ij}

    The absolute values in the norm (:cite:t:`eriksson2025reproducibility`) keep the weight finite on layers whose
    output has both signs; on a rectified layer they change nothing. A channel that is zero everywhere contributes
    nothing.

    Args:
        activation: the layer's output, (N, K, h, w).
        gradient: of the score with respect to it, the same shape.

    Returns:
        relevance (N, 1, h, w), in units of the score; positive speaks for it.
    """
    flat = activation.flatten(2)
    norm = flat.abs().sum(-1, keepdim=True)
    weights = (gradient.flatten(2) * flat).sum(-1, keepdim=True) / torch.where(norm > 0, norm, torch.ones_like(norm))
    return (weights * flat).sum(1).unflatten(-1, activation.shape[-2:]).unsqueeze(1)
