"""Gradient times input."""

from torch import Tensor

from contrastlib.attribution._base import at_input


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
