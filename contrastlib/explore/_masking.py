"""What is left of a class when the pixels that a map ranks highest, or lowest, are removed."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, get_args

import numpy as np
import torch
from torch import Tensor, nn

from contrastlib import contrast, perturbation, relevance
from contrastlib.attribution import grad_cam
from contrastlib.contrast import Contrast
from contrastlib.evaluation import relative_probability
from contrastlib.explore._contrasts import Photograph, by_title, prepared
from contrastlib.models import Classifier
from contrastlib.perturbation import Order, logits_of
from contrastlib.widgets import MaskingExplorer, check_step, masked_picture

CONTRASTS: Mapping[str, Contrast] = {"original": contrast.original, "weighted": contrast.weighted}

BATCH = 8
"""Masked pictures that the network sees at a time."""


def masking(
    classifier: Classifier,
    photographs: Photograph | Mapping[str, Photograph] | Sequence[Photograph],
    method: Callable[..., Tensor] = grad_cam,
    *,
    layer: str | nn.Module | None = None,
    contrasts: Mapping[str, Contrast] = CONTRASTS,
    step: int = 5,
    pairs: Sequence[Sequence[int]] = (),
    **choices: Any,
) -> MaskingExplorer:
    """An explorer of what is left of a class when pixels are removed in the order of a map.

    For the most probable class t1 against the second one t2, and for t2 against t1, each contrast's map ranks the
    pixels; from either end more and more of them are replaced by the blurred picture, and the network says how likely
    the class is against the other. With two contrasts and steps of 5 % that is 154 forward passes for a picture.

    Args:
        classifier: in evaluation mode, of two classes at least.
        photographs: one, several, or several by title; see :func:`contrastlib.explore.picture_of`.
        method: an attribution, also one over attention.
        layer: where the map is read; None for the classifier's default layer.
        contrasts: scores by name, whose maps rank the pixels, for t1 as for t2: none can have one of the two as foil.
        step: per cent of the pixels between two computed values; divides 100.
        pairs: for each photograph two classes t1 and t2, such as the true one and the predicted one, in the place of
            the two most probable; none for those.
        choices: initial ones, such as ``target``, ``removed`` or ``share``.

    Returns:
        the explorer; it goes on working in a page without a kernel. A method that reads the input has maps of full
        resolution, 100 kB each at 224 x 224 pixels.

    Raises:
        ValueError: there is no photograph or no contrast, the step does not divide 100, the pairs are not as many as
            the photographs or no pairs of classes, or what classifier and attribution refuse.
        UnknownNameError: the network has no such layer.
    """
    check_step(step)
    if not contrasts:
        raise ValueError("masking() needs at least one contrast, such as {'weighted': contrast.weighted}")
    if classifier.num_classes < 2:
        raise ValueError(f"masking() holds two classes against each other, the classifier has {classifier.num_classes}")
    named = by_title(photographs)
    _check_pairs(pairs, len(named), classifier.num_classes)
    chosen = iter(pairs)
    pictures = [_masked(classifier, prepared(classifier, photo), title, method, layer, contrasts, step,
                        next(chosen, None)) for title, photo in named]
    return MaskingExplorer(pictures, list(contrasts), step=step, **choices)


def _masked(classifier: Classifier, image: Tensor, title: str, method: Callable[..., Tensor],
            layer: str | nn.Module | None, contrasts: Mapping[str, Contrast], step: int,
            pair: Sequence[int] | None) -> dict[str, Any]:
    """The state of one picture, whose image is (1, 3, H, W)."""
    instead = perturbation.blur(image)
    ends = logits_of(classifier, torch.cat([image, instead]))
    classes = ends[0].topk(2).indices if pair is None else torch.tensor(list(pair), device=image.device)
    maps, curves = [], []
    for target, other in ((classes[:1], classes[1:]), (classes[1:], classes[:1])):
        found = torch.cat([method(classifier, image, target, score, layer=layer, upsample=False)
                           for score in contrasts.values()])
        rank = perturbation.ranks(relevance.upsample(found, (image.shape[-2], image.shape[-1])))
        maps.append(found[:, 0].float().cpu().numpy())
        curves.append([[_curve(classifier, image, instead, ends, one[None], removed, step, target, other)
                        for one in rank] for removed in get_args(Order)])
    names = [classifier.class_name(int(c)) for c in classes]
    return masked_picture(image[0].float().cpu().numpy(), instead[0].float().cpu().numpy(), names, np.stack(maps),
                          np.array(curves), title=title)


def _curve(classifier: Classifier, image: Tensor, instead: Tensor, ends: Tensor, rank: Tensor, removed: Order,
           step: int, target: Tensor, other: Tensor) -> list[float]:
    """The relative probability at 0, step, ... 100 %; `ends` are the logits (2, C) at the first and the last."""
    masks = [perturbation.remaining(rank, share / 100, removed) for share in range(step, 100, step)]
    between = [logits_of(classifier, perturbation.keep(image, instead, torch.cat(masks[i:i + BATCH])))
               for i in range(0, len(masks), BATCH)]
    logits = torch.cat([ends[:1], *between, ends[1:]])
    n = len(logits)
    return relative_probability(logits, target.expand(n), other.expand(n)).tolist()


def _check_pairs(pairs: Sequence[Sequence[int]], photographs: int, classes: int) -> None:
    if len(pairs) not in (0, photographs):
        raise ValueError(f"{photographs} photographs need as many pairs of classes, got {len(pairs)}")
    for pair in pairs:
        if len(set(pair)) != 2 or len(pair) != 2 or not all(0 <= c < classes for c in pair):
            raise ValueError(f"a pair is two different classes in [0, {classes}), got {list(pair)}")
