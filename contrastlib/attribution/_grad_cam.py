"""Grad-CAM, signed."""

from torch import Tensor

from contrastlib.attribution._base import at_layer


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
