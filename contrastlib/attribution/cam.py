"""Five rules by which a gradient becomes a map, side by side; each is linear in the gradient."""

import torch
from torch import Tensor

from contrastlib.attribution.base import Attribution, at_input, at_layer


@at_input
def gradient(image: Tensor, gradient: Tensor) -> Tensor:  # noqa: ARG001 - every rule is called with both
    r"""The gradient of the score with respect to the pixels, summed over the colours.

    .. math:: \phi_{ij} = \sum_{c} \frac{\partial \text{score}}{\partial x^c_{ij}}

    Pixels lie in [0, 1], before the classifier's normalisation. The sum over colours keeps the sign and stays linear;
    it answers what making this pixel brighter would do.

    Args:
        image: (N, 3, H, W) in [0, 1].
        gradient: of the score with respect to it, the same shape.

    Returns:
        relevance (N, 1, H, W), in units of the score per unit of brightness.
    """
    return gradient.sum(1, keepdim=True)


@at_input
def gradient_x_input(image: Tensor, gradient: Tensor) -> Tensor:
    r"""The gradient with respect to the pixels times the pixels, summed over the colours.

    .. math:: \phi_{ij} = \sum_{c} \frac{\partial \text{score}}{\partial x^c_{ij}} \, x^c_{ij}

    Pixels lie in [0, 1], before the classifier's normalisation, so the reference is a black image.

    Args:
        image: (N, 3, H, W) in [0, 1].
        gradient: of the score with respect to it, the same shape.

    Returns:
        relevance (N, 1, H, W), in units of the score; positive speaks for it.
    """
    return (gradient * image).sum(1, keepdim=True)


@at_layer
def linear_approximation(activation: Tensor, gradient: Tensor) -> Tensor:
    r"""Linear approximation at a layer :cite:p:`fong2019torchray`, the same as HiResCAM :cite:p:`draelos2020hirescam`.

    .. math:: \phi_{ij} = \sum_k \frac{\partial \text{score}}{\partial a^k_{ij}} \, a^k_{ij}

    What the score would lose, to first order, if this place of the layer were set to zero.

    Args:
        activation: the layer's output, (N, K, h, w).
        gradient: of the score with respect to it, the same shape.

    Returns:
        relevance (N, 1, h, w), in units of the score; positive speaks for it.
    """
    return (gradient * activation).sum(1, keepdim=True)


hirescam = linear_approximation


@at_layer
def grad_cam(activation: Tensor, gradient: Tensor) -> Tensor:
    r"""Grad-CAM without the final ReLU :cite:p:`selvaraju2017gradcam`.

    .. math:: \phi_{ij} = \sum_k \Big( \frac{1}{hw} \sum_{pq}
        \frac{\partial \text{score}}{\partial a^k_{pq}} \Big) a^k_{ij}

    The channels of the layer are summed with the mean of their gradient as weight. The rectifier of the original
    method would throw the evidence against the class away, so it is left out, as in both papers' experiments.

    Args:
        activation: the layer's output, (N, K, h, w).
        gradient: of the score with respect to it, the same shape.

    Returns:
        relevance (N, 1, h, w), in units of the score; positive speaks for it.
    """
    # One long axis: torch reduces it several times faster than (h, w), and this is the inner loop of all class maps.
    weights = gradient.flatten(2).sum(-1, keepdim=True) / (gradient.shape[-2] * gradient.shape[-1])
    return (weights * activation.flatten(2)).sum(1).unflatten(-1, activation.shape[-2:]).unsqueeze(1)


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


METHODS: dict[str, Attribution] = {
    method.name: method for method in (gradient, gradient_x_input, linear_approximation, grad_cam, xgrad_cam)
}
"""Those that read one layer, or the image, by name."""
