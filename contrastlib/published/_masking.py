"""Masking and its measure, as coded."""

from typing import Literal

import torch
from torch import Tensor
from torchvision.transforms.functional import gaussian_blur

from contrastlib.contrast import original

Keep = Literal["positive", "negative"]


def count_to_replace(first: Tensor, second: Tensor, keep: Keep) -> Tensor:
    r"""How many pixels "equal blurring" replaces, from the maps of the two methods that are compared.

    To keep the positive pixels one has to replace the negative ones. The published count is that of the sign that
    should be *kept*: :math:`\min(\#_1^+, \#_2^+)` to keep the positive, :math:`\max(\#_1^-, \#_2^-)` to keep the
    negative pixels.

    Erratum 7; ``equal_blur`` in ``utils.py`` of the original's repository, line 148 in the review's.

    Args:
        first: relevance maps of one method, (N, 1, H, W).
        second: of the other, the same shape.
        keep: the sign that the caption says is kept.

    Returns:
        (N,) int64, the same number for both methods.
    """
    if keep == "positive":
        return torch.minimum(*((maps > 0).flatten(1).sum(-1) for maps in (first, second)))
    return torch.maximum(*((maps < 0).flatten(1).sum(-1) for maps in (first, second)))


def replaced(maps: Tensor, count: Tensor, keep: Keep) -> Tensor:
    """Which pixels "equal blurring" replaces, once their number is fixed.

    To keep the positive pixels, the ``count`` lowest are replaced. To keep the negative ones, those whose rank lies
    *above* ``H W - count``, counted from 0: one pixel less than asked for.

    Erratum 8; ``equal_blur`` in ``utils.py`` of the original's repository, line 148 in the review's. Ranks of equal
    values are left to the sort, as published.

    Args:
        maps: relevance (N, 1, H, W).
        count: how many to replace, (N,).
        keep: the sign that the caption says is kept.

    Returns:
        (N, 1, H, W) bool, True where the picture is replaced.
    """
    rank = maps.flatten(1).argsort(-1).argsort(-1)
    chosen = rank < count[:, None] if keep == "positive" else rank > rank.shape[-1] - count[:, None]
    return chosen.view(maps.shape)


def random_blur(images: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """The original's blurred baseline: a new width for every picture.

    Erratum 9; ``utils.py`` of the original's repository: sigma is drawn evenly from 10 to 20 pixels each time, in a
    window of 101 pixels. The review fixes it at 15.

    Args:
        images: (N, 3, H, W), H and W above 50.
        generator: of the draw.

    Returns:
        (N, 3, H, W), all images blurred with the sigma of this call.
    """
    sigma = 10 + 10 * torch.rand((), generator=generator).item()
    return gaussian_blur(images, [101, 101], [sigma, sigma])


def relative_probability(logits: Tensor, first: Tensor, second: Tensor) -> Tensor:
    r"""The probability of a class against one other, by exponentials as printed and as coded.

    .. math:: \frac{e^{y_1}}{e^{y_1} + e^{y_2}}

    Erratum 10; ``experiment.py``, line 28, of the review's repository. In float32 a logit above 88.7 gives infinity
    over infinity. Right is the same number written as the sigmoid of :math:`y_1 - y_2`.

    Args:
        logits: (N, C).
        first: the class whose share is wanted, (N,) int64.
        second: the other class, (N,) int64.

    Returns:
        (N,) in [0, 1], or NaN.
    """
    one, other = original(logits, first).exp(), original(logits, second).exp()
    return one / (one + other)
