"""What becomes of pictures that are pushed, step by step, along the gradient of a score."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from contrastlib import contrast, evaluation
from contrastlib.contrast import Contrast
from contrastlib.models import Classifier
from contrastlib.perturbation import gradient_sign, logits_of
from contrastlib.widgets import PushingExplorer, pushed_picture

PUSHES: Mapping[str, Contrast] = {
    "original": contrast.original, "weighted": contrast.weighted, "max": contrast.max,
}

CLASSES = 4
"""Classes of the shown picture whose probabilities are followed."""

CHUNK = 16
"""Images that are pushed at a time."""


def pushing(
    classifier: Classifier,
    images: Tensor,
    targets: Tensor | Sequence[int],
    contrasts: Mapping[str, Contrast] = PUSHES,
    *,
    size: float = 0.0003,
    count: int = 10,
    shown: int = 0,
    louder: float = 20,
    **choices: Any,
) -> PushingExplorer:
    r"""An explorer of accuracy, :math:`p_t` and :math:`y_t` as images are pushed further and further.

    One step is ``gradient_sign(..., epsilon=size, steps=1)``, from where the last one ended. After i of them the images
    are those of ``gradient_sign(..., epsilon=i * size, steps=i)``, the update of the papers: its bound is i steps wide,
    and i steps do not leave it. With the default values the last is the papers' strength of 0.003 in 10 steps.

    Args:
        classifier: in evaluation mode, of two classes at least.
        images: (N, 3, H, W) in [0, 1], as ``classifier.prepare`` makes them.
        targets: the class that is pushed up in each, (N,) integers; in the papers the true label.
        contrasts: scores by name.
        size: largest change of a pixel in one step, in (0, 1].
        count: number of steps, at least 1.
        shown: index of the image that is shown.
        louder: what its change is amplified by, for the eye.
        choices: initial ones: ``step``, how many steps were taken, and ``contrast``.

    Returns:
        the explorer; it goes on working in a page without a kernel.

    Raises:
        ValueError: images, targets or a number do not fit, there is no contrast, or what the classifier refuses.
    """
    truth = _checked(classifier, images, targets, contrasts)
    if count < 1 or not 0 < size <= 1:
        raise ValueError(f"pushing() takes at least one step of a size in (0, 1], got count={count}, size={size}")
    if not 0 <= shown < len(images):
        raise ValueError(f"shown must lie in [0, {len(images)}), got {shown}")
    before = torch.cat([logits_of(classifier, chunk) for chunk in images.split(CHUNK)])
    target = int(truth[shown])
    rivals = [c for c in before[shown].argsort(descending=True).tolist() if c != target]
    classes = [target, *rivals[:CLASSES - 1]]
    averages, errors, frames, chances = {}, {}, [], []
    for name, score in contrasts.items():
        logits, moved = _pushed(classifier, images, truth, score, size, count, shown)
        averages[name], errors[name] = _summary([before, *logits], truth)
        frames.append([_louder(images[shown], one, louder) for one in moved])
        chances.append(torch.stack([y[shown].softmax(-1)[classes] for y in (before, *logits)]))
    names = [classifier.class_name(c) for c in classes]
    picture = pushed_picture(_array(images[shown]), frames, names, torch.stack(chances).float().cpu().numpy(),
                             louder=louder)
    return PushingExplorer(averages, errors, picture, size=size, images=len(images), **choices)


def _pushed(classifier: Classifier, images: Tensor, truth: Tensor, score: Contrast, size: float, count: int, shown: int,
            ) -> tuple[list[Tensor], list[Tensor]]:
    """After each step the logits (N, C) of all images, and the shown one itself (3, H, W)."""
    moved, logits, frames = list(images.split(CHUNK)), [], []
    for _ in range(count):
        moved = [gradient_sign(classifier, chunk, t, score, epsilon=size, steps=1)
                 for chunk, t in zip(moved, truth.split(CHUNK))]
        logits.append(torch.cat([logits_of(classifier, chunk) for chunk in moved]))
        frames.append(moved[shown // CHUNK][shown % CHUNK])
    return logits, frames


def _summary(logits: Sequence[Tensor], truth: Tensor) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Averages of accuracy, p_t and the change of y_t after 0 to S steps, standard errors of changes; (S + 1, 3)."""
    outcomes = torch.stack([evaluation.outcome(y, truth).double() for y in logits])  # (S + 1, N, 3)
    changes = outcomes - outcomes[:1]
    averages = torch.cat([outcomes[..., :2], changes[..., 2:]], dim=-1).mean(1)
    errors = torch.stack([evaluation.standard_error(row) for row in changes])
    return averages.float().cpu().numpy(), errors.float().cpu().numpy()


def _louder(before: Tensor, after: Tensor, factor: float) -> NDArray[np.float32]:
    return _array((before + factor * (after - before)).clamp(0, 1))


def _array(image: Tensor) -> NDArray[np.float32]:
    return image.detach().float().cpu().numpy()


def _checked(classifier: Classifier, images: Tensor, targets: Tensor | Sequence[int], contrasts: Mapping[str, Contrast],
             ) -> Tensor:
    """The targets as (N,) int64 beside the images."""
    if not contrasts:
        raise ValueError("pushing() needs at least one contrast, such as {'weighted': contrast.weighted}")
    if images.ndim != 4 or not len(images):
        raise ValueError(f"images must be (N, 3, H, W), at least one, got shape {tuple(images.shape)}")
    truth = torch.as_tensor(targets, device=images.device)
    if truth.shape != (len(images),) or truth.is_floating_point() or truth.dtype == torch.bool:
        raise ValueError(f"{len(images)} images need as many targets, whole numbers ({len(images)},), got "
                         f"{truth.dtype} of shape {tuple(truth.shape)}")
    if truth.min() < 0 or truth.max() >= classifier.num_classes:
        raise ValueError(f"targets must lie in [0, {classifier.num_classes}), got {sorted(set(truth.tolist()))}")
    return truth.long()
