r"""What the two papers really computed, slips included.

The rest of the library holds the corrected formulas and carries no switches for old mistakes. Here each slip that can
be written down is derived again from its description, one function per erratum, so that its effect can be measured
rather than guessed. The numbers are those of the book's page of errata; only chapters, tests and the experiments that
compute a table as published call these functions.

Erratum 1 needs no function of its own: it is :func:`contrastlib.contrast.probability` in float32.
"""

from collections.abc import Collection
from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional
from torchvision.transforms.functional import gaussian_blur

from contrastlib.attribution import (
    AttentionRollout,
    Attentions,
    Bias,
    Recording,
    Target,
    attentions,
    through_layers,
)
from contrastlib.contrast import Contrast, original, probability
from contrastlib.models import Classifier

Keep = Literal["positive", "negative"]
Rescaled = Literal["layer", "channel"]

LAYERS = {"vgg16_bn": "features.40", "alexnet": "features.10"}
"""The layers that both published codes read their maps from (erratum 2; ``utils.py``, ``get_saliency``).

In VGG-16-BN this is the last convolution *before* its BatchNorm and its ReLU. In AlexNet it is a convolution too, but
the ReLU behind it works in place and overwrites what the hook has kept, so that the maps are read after the ReLU.
"""

SLIPS = ("reversed gradients", "gradient of scores", "columns normalised", "probability", "twice")
"""The slips of the published rollout, errata 40, 41, 42, 43 and 45, in the order in which they act on the numbers."""

# What is added to the largest value before dividing by it, in the two implementations.
_EPS: dict[Rescaled, float] = {"layer": 1e-6, "channel": 1e-7}


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
    sigma = 10 + 10 * torch.rand((), generator=generator, dtype=torch.float32).item()
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


def full_grad(
    classifier: Classifier,
    images: Tensor,
    target: Target,
    contrast: Contrast = original,
    *,
    absolute: bool = True,
    rescaled: Rescaled | None = "layer",
    input_term: bool = True,
    convolutions: bool = True,
    batch_norm: Literal["whole", "beta"] | None = "whole",
) -> Tensor:
    r"""FullGrad with the post-processing of its public implementations, or parts of it.

    Erratum 18; ``_postProcess`` in ``saliency/fullgrad.py`` of the FullGrad repository (``rescaled="layer"``) and
    ``scale_accross_batch_and_channels`` in pytorch-grad-cam (``rescaled="channel"``). The review says that it removed
    the absolute value and found fully negative maps. Its code was not available to this project, so each step can be
    left out here. Right is :func:`contrastlib.attribution.full_grad`.

    .. math:: \phi = \sum_{l} \sum_k U\big(\psi(\nabla z_l \odot b_l)\big)_k, \qquad
        \psi(a) = \frac{|a| - \min |a|}{\max(|a| - \min |a|) + \epsilon}

    Args:
        classifier: images in [0, 1] to logits.
        images: (N, 3, H, W) in [0, 1].
        target: the class to explain: one for all images, or one per image (N,), integers in [0, C).
        contrast: which score of the logits is explained.
        absolute: take absolute values first.
        rescaled: from 0 to 1 over all channels of a layer together, over each channel by itself, or not at all.
        input_term: count gradient times normalised image.
        convolutions: count the biases of convolutions.
        batch_norm: what counts as the bias of BatchNorm: all that it adds, as in both implementations, only its
            parameter beta, or nothing.

    Returns:
        maps (N, 1, H, W), enlarged with aligned corners; without a unit if rescaled. Fully connected layers have none.

    Raises:
        ValueError: nothing is left to be counted.
    """
    kinds = {kind for kind, wanted in (("convolution", convolutions), ("batch norm", batch_norm)) if wanted}
    betas = {name.removesuffix(".bias"): value for name, value in classifier.model.named_parameters()}

    def processed(values: Tensor) -> Tensor:
        return _psi(values, absolute, rescaled).sum(1, keepdim=True)

    def reduce(bias: Bias, gradient: Tensor) -> Tensor:
        if bias.kind not in kinds or gradient.ndim != 4:
            return gradient.new_zeros(0)
        if bias.kind == "batch norm" and batch_norm == "beta":
            beta = betas.get(bias.name)
            bias = replace(bias, constant=torch.zeros_like(bias.constant) if beta is None else beta.detach())
        return processed(bias.by_channel(gradient))

    recording = Recording(classifier, images)
    with torch.inference_mode(False):
        of_input, kept = recording.back(target, contrast, reduce)
        maps = [one for _, one in kept if one.numel()] + ([processed(of_input)] if input_term else [])
        if not maps:
            wanted = " and ".join(sorted(kinds)) or "no kind of bias"
            raise ValueError(f"nothing to count in {classifier.name}: {wanted} was asked for, without the input's term")
        return torch.stack([upsample(one, (images.shape[-2], images.shape[-1])) for one in maps]).sum(0)


def white_at_mid_range(maps: Tensor) -> Tensor:
    r"""Maps as the review's FullGrad figure colours them: red at the largest value, blue at the smallest.

    .. math:: 2 \, \frac{\phi - \min \phi}{\max \phi - \min \phi} - 1

    Erratum 19; found by inverting the published figure, whose panels reach both ends of the colours. White, which is
    zero in all other figures, is the middle between the two, so that the colour no longer tells the sign. Right is
    :func:`contrastlib.relevance.normalise`.

    Args:
        maps: (N, K, h, w).

    Returns:
        (N, K, h, w) in [-1, 1], each map with both ends; zero for a constant map.
    """
    least, most = maps.amin((-2, -1), keepdim=True), maps.amax((-2, -1), keepdim=True)
    extent = torch.where(most > least, most - least, torch.ones_like(most))
    return torch.where(most > least, 2 * (maps - least) / extent - 1, torch.zeros_like(maps))


def _psi(values: Tensor, absolute: bool, rescaled: Rescaled | None) -> Tensor:
    values = values.abs() if absolute else values
    if rescaled is None:
        return values
    axes = (1, 2, 3) if rescaled == "layer" else (2, 3)
    values = values - values.amin(axes, keepdim=True)
    return values / (values.amax(axes, keepdim=True) + _EPS[rescaled])


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
