"""Where maps are read, how they are enlarged and shown, and how averages are taken, as coded."""

import torch
from torch import Tensor
from torch.nn import functional

LAYERS = {"vgg16_bn": "features.40", "alexnet": "features.10"}
"""The layers that both published codes read their maps from (erratum 2; ``utils.py``, ``get_saliency``).

In VGG-16-BN this is the last convolution *before* its BatchNorm and its ReLU. In AlexNet it is a convolution too, but
the ReLU behind it works in place and overwrites what the hook has kept, so that the maps are read after the ReLU.
"""


def upsample(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Maps at the resolution of the image with the corners aligned.

    Erratum 12; ``utils.py`` in both repositories. The outermost cell centres are put on the edge of the image, which
    stretches the map; right is :func:`contrastlib.relevance.upsample`.

    Args:
        maps: (N, K, h, w).
        size: (H, W) in pixels.

    Returns:
        (N, K, H, W).
    """
    return functional.interpolate(maps, size=size, mode="bilinear", align_corners=True)


def as_bytes(mask: Tensor) -> Tensor:
    """A signed map as the grey levels of a colour table for positive values.

    Erratum 13; the display in ``rollout_vit.ipynb`` of the review's repository, in a notebook and not in the figures.
    A negative value wraps around: -0.1 becomes 231 of 255, near the end that means strongly positive.

    Args:
        mask: values in [-1, 1], any shape.

    Returns:
        uint8, the same shape.
    """
    # Written out, because what a cast of a negative float to uint8 gives depends on the processor.
    return ((255 * mask).trunc().to(torch.int64) % 256).to(torch.uint8)


def mean_of_batch_means(values: Tensor, batch_size: int) -> Tensor:
    """The average over a data set as the average of its batches' averages.

    Erratum 11; ``grad_sign_perturbation.py`` of the review's repository, batches of 64. The last batch of 50,000 images
    has 16, and each of them counts four times.

    Args:
        values: one number per image, (n,).
        batch_size: images in a full batch.

    Returns:
        a scalar.
    """
    return torch.stack([batch.mean() for batch in values.split(batch_size)]).mean()
