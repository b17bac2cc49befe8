"""Attention rollout as the review's notebook computes it, one slip at a time."""

from collections.abc import Collection
from dataclasses import replace

from torch import Tensor

from contrastlib.attribution import AttentionRollout, Attentions, attentions
from contrastlib.attribution._attention import through_layers
from contrastlib.attribution._base import Target
from contrastlib.contrast import Contrast, original, probability
from contrastlib.models import Classifier

SLIPS = ("reversed gradients", "gradient of scores", "columns normalised", "probability", "twice")
"""The slips of the published rollout, errata 40, 41, 42, 43 and 45, in the order in which they act on the numbers."""


def gradient_rollout(
    classifier: Classifier,
    images: Tensor,
    target: Target,
    contrast: Contrast = original,
    *,
    slips: Collection[str] = SLIPS,
    relu: bool = False,
) -> Tensor:
    """Gradient-weighted attention rollout with the slips that one asks for.

    Erratum 40; ``rollout_vit.ipynb`` in the review's repository, which copies a public implementation: the layers'
    gradients stand in the wrong order (``reversed gradients``). The other slips are errata of their own: another
    gradient (41, ``gradient of scores``), columns in place of rows (42, ``columns normalised``), the probability as
    the score whatever the contrast (43, ``probability``), and a call that still holds the attention of the one before,
    here of the same images (45, ``twice``). The published maps "without ReLU" have all of them but the last two. With
    none this is :class:`contrastlib.attribution.AttentionRollout` with ``scaled=False``.

    Args:
        classifier: images in [0, 1] to logits; a transformer.
        images: (N, 3, H, W) in [0, 1].
        target: the class to explain, one for all images or one per image.
        contrast: which score is explained, unless ``probability`` is among the slips.
        slips: which of :data:`SLIPS`.
        relu: whether negative entries of each layer are set to zero, as in the maps called standard.

    Returns:
        (N, 1, h, w), at the resolution of the patch tokens.

    Raises:
        ValueError: there is no such slip, or as :func:`contrastlib.attribution.attentions`.
    """
    unknown = sorted(set(slips) - set(SLIPS))
    if unknown:
        raise ValueError(f"unknown slip {unknown[0]!r}; choose from {', '.join(SLIPS)}")
    return with_slips(attentions(classifier, images, target, probability if "probability" in slips else contrast),
                      slips, relu=relu)


def with_slips(found: Attentions, slips: Collection[str], *, relu: bool) -> Tensor:
    """The same from attentions that have been read already, so that one pass serves all slips but that of the score.

    Erratum 40; see :func:`gradient_rollout`, whose slip ``probability`` is a matter of the score and does nothing here.

    Args:
        found: of the score that is explained.
        slips: which of :data:`SLIPS`.
        relu: whether negative entries of each layer are set to zero.

    Returns:
        (N, 1, h, w), at the resolution of the patch tokens.
    """
    if "gradient of scores" in slips:
        found = gradient_of_scores(found)
    if "reversed gradients" in slips:
        found = reversed_gradients(found)
    if "twice" in slips:
        found = attentions_of_two_calls(found, found)
    rollout = AttentionRollout(relu=relu, scaled=False)
    if "columns normalised" in slips:
        return through_layers(found, [columns_normalised(matrix) for matrix in rollout.unnormalised(found)])
    return rollout.rollout(found)


def reversed_gradients(found: Attentions) -> Attentions:
    r"""Each layer's attention with another layer's gradient.

    .. math:: P_l \odot \frac{\partial\, \text{score}}{\partial P_{L+1-l}}

    Erratum 40; ``rollout_vit.ipynb`` in the review's repository. Attentions are collected on the way forward, from
    the first layer to the last, gradients on the way back, from the last to the first, and paired as they come.

    Args:
        found: attentions of L layers with their own gradients.

    Returns:
        the same with the gradients in reverse order.
    """
    return replace(found, gradients=found.gradients[::-1])


def gradient_of_scores(found: Attentions) -> Attentions:
    r"""The gradient with respect to what the softmax is applied to, in place of that of the attention.

    .. math:: \frac{\partial\, \text{score}}{\partial S_{ij}} =
        P_{ij} \Big( G_{ij} - \sum_k P_{ik} G_{ik} \Big), \qquad G = \frac{\partial\, \text{score}}{\partial P}

    Erratum 41; ``rollout_vit.ipynb`` in the review's repository. The module that is hooked does nothing outside
    training, so that the old kind of backward hook sits on the softmax before it and is handed the gradient of the
    softmax's input. Its rows sum to zero: what it says of one token is relative to the others.

    Args:
        found: attentions with their own gradients.

    Returns:
        the same with the gradients of the scores before the softmax.
    """
    def of_scores(p: Tensor, g: Tensor) -> Tensor:
        return p * (g - (p * g).sum(-1, keepdim=True))

    return replace(found, gradients=tuple(map(of_scores, found.probabilities, found.gradients)))


def columns_normalised(matrix: Tensor) -> Tensor:
    r"""A layer's matrix with its columns divided by the sums of its rows.

    .. math:: \frac{B_{ij}}{\sum_k B_{jk}}

    Erratum 42; ``rollout_vit.ipynb`` in the review's repository: ``a / a.sum(dim=-1)``. The sums have lost the last
    axis, and (1, L, L) by (1, L) is divided column by column. For more than one image it stops with an error, or, if
    there are as many images as tokens, divides the rows of each image by the sums of another; here each image is
    divided as it would be alone. Without rectifier the sums, which are not those of absolute values, may have any sign.

    Args:
        matrix: (N, L, L).

    Returns:
        (N, L, L).
    """
    return matrix / matrix.sum(-1)[:, None, :]


def attentions_of_two_calls(first: Attentions, second: Attentions) -> Attentions:
    """What the lists hold when a rollout object is called a second time: the layers of both calls, 2L of them.

    Erratum 45; ``rollout_vit.ipynb`` in the review's repository. Neither hooks nor lists are ever removed, so that the
    second map is a product of the layers of the second call *and* the first. (With reversed gradients each call has
    its own order.)

    Args:
        first: attentions of the first call.
        second: of the second, of the same network and as many images.

    Returns:
        the layers of the first, then those of the second; the tokens and logits of the second.
    """
    return replace(second, probabilities=first.probabilities + second.probabilities,
                   gradients=first.gradients + second.gradients)
