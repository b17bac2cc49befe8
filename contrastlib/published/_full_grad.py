"""FullGrad as its public implementations post-process it, and as the review shows it."""

from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor

from contrastlib import contrast as contrasts
from contrastlib.attribution import _base
from contrastlib.attribution._bias_terms import Bias, record
from contrastlib.contrast import Contrast, original
from contrastlib.models import Classifier
from contrastlib.published._maps import upsample

Rescaled = Literal["layer", "channel"]

# What is added to the largest value before dividing by it, in the two implementations.
_EPS: dict[Rescaled, float] = {"layer": 1e-6, "channel": 1e-7}


def full_grad(
    classifier: Classifier,
    images: Tensor,
    target: _base.Target,
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
    parameters = dict(classifier.model.named_parameters())

    def processed(values: Tensor) -> Tensor:
        return _psi(values, absolute, rescaled).sum(1, keepdim=True)

    def reduce(bias: Bias, gradient: Tensor) -> Tensor:
        if bias.kind not in kinds or gradient.ndim != 4:
            return gradient.new_zeros(0)
        if bias.kind == "batch norm" and batch_norm == "beta":
            beta = parameters.get(f"{bias.name}.bias")
            bias = replace(bias, value=torch.zeros_like(bias.value) if beta is None else beta.detach())
        return processed(bias.by_channel(gradient))

    _base.check_images(images)
    classes = _base.as_target(target, len(images), images.device)
    with torch.inference_mode(False), torch.enable_grad():
        recording = record(classifier, images)
        weights = contrasts.weights(contrast, recording.logits, classes)
        gradient, kept = recording.back(weights, reduce)
        maps = [one for _, one in kept if one.numel()]
        if input_term:
            maps.append(processed(gradient * recording.image.detach()))
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
