r"""What the two papers really computed, slips included.

The rest of the library holds the corrected formulas and carries no switches for old mistakes. Here each slip that can
be written down is derived again from its description, one function per erratum, so that its effect can be measured
rather than guessed. The numbers are those of the book's page of errata; only chapters and tests call these functions.

Erratum 1 needs no function of its own: it is :func:`contrastlib.contrast.probability` in float32.
"""

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional
from torchvision.transforms.functional import gaussian_blur

from contrastlib.contrast import original

Keep = Literal["positive", "negative"]

LAYERS = {"vgg16_bn": "features.40", "alexnet": "features.10"}
"""The layers that both published codes read their maps from (erratum 2; ``utils.py``, ``get_saliency``).

In VGG-16-BN this is the last convolution *before* its BatchNorm and its ReLU. In AlexNet it is a convolution too, but
the ReLU behind it works in place and overwrites what the hook has kept, so that the maps are read after the ReLU.
"""


def mean_without_factor(logits: Tensor, target: Tensor) -> Tensor:
    r"""Mean contrast as the review's text prints it: the sum over the other classes, not their average.

    .. math:: y_t - \sum_{s \ne t} y_s

    Erratum 3; the section on the input space in :cite:t:`eriksson2025reproducibility`. Its code divides. Right is
    :func:`contrastlib.contrast.mean`.

    Args:
        logits: (N, C).
        target: (N,) int64.

    Returns:
        score (N,), in logits.
    """
    logit = original(logits, target)
    return logit - (logits.sum(-1) - logit)


def mean_over_all_classes(logits: Tensor, target: Tensor) -> Tensor:
    r"""Mean contrast as the review's code for maps computes it: the divisor counts the target too.

    .. math:: y_t - \frac{1}{C} \sum_{s \ne t} y_s

    Erratum 4; ``utils.py``, line 95, of the review's repository, with C = 200. Args and result as
    :func:`mean_without_factor`.
    """
    logit = original(logits, target)
    return logit - (logits.sum(-1) - logit) / logits.shape[-1]


def mean_with_wrong_sign(logits: Tensor, target: Tensor) -> Tensor:
    r"""Mean contrast as an early, later deleted run of the review computed it.

    .. math:: y_{nt} \Big( 1 + \frac{1}{1-C} \Big) - \frac{1}{1-C} \sum_{m=1}^{N} \sum_{s} y_{ms}

    Erratum 5; the runs headed "OLD" in ``grad_sign_pertubation_results.ipynb``, in the history of the review's
    repository. Since 1 - C is negative, the other classes are *added*; and the sum runs over the whole batch, so that
    each of the N scores adds all of them: together they weigh N times their mean. Args and result as
    :func:`mean_without_factor`.
    """
    factor = 1 / (1 - logits.shape[-1])
    return original(logits, target) * (1 + factor) - factor * logits.sum()


def weighted_with_attached_weights(logits: Tensor, target: Tensor) -> Tensor:
    r"""Weighted contrast as a score whose weights are differentiated too.

    .. math:: y_t - \sum_{s \ne t} \alpha_s y_s, \qquad
        \frac{\partial}{\partial y_s} = -\alpha_s \Big( 1 + y_s - \sum_{k \ne t} \alpha_k y_k \Big)

    Erratum 6: what comes out if the printed formula of the weighted contrast is handed to automatic differentiation as
    it stands, which an independent implementation does :cite:p:`yang2023recalibrating`. The value is right, its
    gradient is not. Right is :func:`contrastlib.contrast.weighted`. Args and result as :func:`mean_without_factor`.
    """
    is_target = torch.arange(logits.shape[-1], device=logits.device) == target[:, None]
    alpha = logits.masked_fill(is_target, -torch.inf).softmax(-1)
    return original(logits, target) - (alpha * logits).sum(-1)


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


