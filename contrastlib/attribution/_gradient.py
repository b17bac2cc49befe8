"""The plain gradient with respect to the pixels."""

from torch import Tensor

from contrastlib.attribution._base import at_input


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
