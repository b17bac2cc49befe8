"""Linear approximation, also known as HiResCAM."""

from torch import Tensor

from contrastlib.attribution._base import at_layer


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
