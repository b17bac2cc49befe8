r"""Changes made to an image on the word of a map: small steps along a gradient's sign, and pixels put out of sight.

Images are (N, 3, H, W) in [0, 1], before the classifier's normalisation. What a change does to the prediction is
measured by :mod:`contrastlib.evaluation`.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torchvision.transforms.functional import gaussian_blur

from contrastlib.contrast import Contrast, Target, as_targets
from contrastlib.models import Classifier
from contrastlib.relevance import at_least_float32

Sign = Literal["positive", "negative"]
Order = Literal["highest", "lowest"]
Key = tuple[str, float, int]
"""Contrast, strength epsilon, number of steps."""

BLUR_KERNEL, BLUR_SIGMA = 101, 15.0
"""Window and width in pixels of the papers' blur, at 224 x 224 pixels."""


def gradient_sign(
    classifier: Classifier, images: Tensor, target: Target, contrast: Contrast, *, epsilon: float, steps: int,
) -> Tensor:
    r"""Push images along the sign of the gradient of a score.

    .. math:: x^{i+1} = \mathrm{clamp}\Big(x^i + \frac{\epsilon}{n} \operatorname{sign} \nabla_x s(x^i),\;
        \max(x^0 - \epsilon, 0),\; \min(x^0 + \epsilon, 1)\Big), \qquad i = 0 \dots n - 1

    The update of :cite:t:`eriksson2025reproducibility`, who corrected that of :cite:t:`wang2022why`. A pixel without
    gradient stays where it is.

    Args:
        classifier: in evaluation mode.
        images: (N, 3, H, W) in [0, 1].
        target: the class whose score is pushed up, one for all images or one for each, (N,) integers.
        contrast: which score :math:`s` of the logits.
        epsilon: largest change of a pixel, in (0, 1]; the papers' are 0.003 and 0.001.
        steps: n, at least 1; the papers' are 1, 2 and 10.

    Returns:
        moved images, the same shape, in [0, 1] and at most epsilon from the images in every pixel.

    Raises:
        ValueError: epsilon or steps out of range, or what the classifier and the contrast refuse.
    """
    _check_steps([epsilon], [steps])
    images, target = images.detach(), as_targets(target, images)
    with _frozen(classifier):
        _, signs = _first_signs(classifier, images, target, {"": contrast})
        return _pushed(classifier, images, target, contrast, signs[""], epsilon, steps)


@dataclass(frozen=True)
class Sweep:
    """What pushing does, for many settings at once.

    Attributes:
        before: logits (N, C) of the images themselves.
        after: logits (N, C) of the moved images for each setting.
    """

    before: Tensor
    after: dict[Key, Tensor]


def gradient_sign_sweep(
    classifier: Classifier, images: Tensor, target: Target, contrasts: Mapping[str, Contrast], *,
    epsilons: Sequence[float] = (3e-3, 1e-3), steps: Sequence[int] = (1, 2, 10),
) -> Sweep:
    """The logits after :func:`gradient_sign` in every combination of contrast, strength and number of steps.

    All settings begin at the same image, so one forward pass gives the logits before and, with one backward pass for
    each contrast, the first step of every setting. Parameters need no gradient while it runs.

    Args:
        classifier: in evaluation mode.
        images: (N, 3, H, W) in [0, 1].
        target: as :func:`gradient_sign` takes it.
        contrasts: scores by name.
        epsilons: strengths, in (0, 1].
        steps: numbers of steps, each at least 1.

    Returns:
        logits before and after, float32 at least, without gradient.

    Raises:
        ValueError: as :func:`gradient_sign`, or nothing is asked for.
    """
    _check_steps(epsilons, steps)
    if not contrasts:
        raise ValueError("gradient_sign_sweep() needs at least one contrast")
    images, target, after = images.detach(), as_targets(target, images), {}
    with _frozen(classifier):
        before, signs = _first_signs(classifier, images, target, contrasts)
        for name, contrast in contrasts.items():
            for epsilon in epsilons:
                for n in steps:
                    moved = _pushed(classifier, images, target, contrast, signs[name], epsilon, n)
                    after[name, epsilon, n] = logits_of(classifier, moved)
    return Sweep(before, after)


def logits_of(classifier: Classifier, images: Tensor) -> Tensor:
    """Logits (N, C) without a graph, at least float32.

    Args:
        classifier: in evaluation mode.
        images: (N, 3, H, W) in [0, 1].

    Returns:
        (N, C).
    """
    with torch.no_grad():
        return at_least_float32(classifier(images))


def _first_signs(
    classifier: Classifier, images: Tensor, target: Tensor, contrasts: Mapping[str, Contrast],
) -> tuple[Tensor, dict[str, Tensor]]:
    """Logits, and for each contrast the sign of the gradient, from one forward pass."""
    with torch.inference_mode(False), torch.enable_grad():
        leaf = images.detach().clone(memory_format=torch.preserve_format).requires_grad_()
        logits = at_least_float32(classifier(leaf))
        signs = {name: torch.autograd.grad(contrast(logits, target).sum(), leaf, retain_graph=True)[0].sign_()
                 for name, contrast in contrasts.items()}
    return logits.detach(), signs


def _pushed(classifier: Classifier, images: Tensor, target: Tensor, contrast: Contrast, first: Tensor,
            epsilon: float, steps: int) -> Tensor:
    low, high = (images - epsilon).clamp_min_(0), (images + epsilon).clamp_max_(1)
    moved = (images + epsilon / steps * first).clamp_(low, high)
    for _ in range(steps - 1):
        _, signs = _first_signs(classifier, moved, target, {"": contrast})
        moved = signs[""].mul_(epsilon / steps).add_(moved).clamp_(low, high)
    return moved


def _check_steps(epsilons: Sequence[float], steps: Sequence[int]) -> None:
    if not epsilons or not all(0 < epsilon <= 1 for epsilon in epsilons):
        raise ValueError(f"epsilon must lie in (0, 1], the range of a pixel, got {list(epsilons)}")
    if not steps or not all(n >= 1 for n in steps):
        raise ValueError(f"the number of steps must be at least 1, got {list(steps)}")


@contextmanager
def _frozen(module: nn.Module) -> Iterator[None]:
    """No parameter needs a gradient while the context is open: less is computed, and less is kept for it."""
    with ExitStack() as undo:
        for parameter in [parameter for parameter in module.parameters() if parameter.requires_grad]:
            undo.callback(parameter.requires_grad_(False).requires_grad_)
        yield


# --- what is put in the place of pixels ------------------------------------------------------------------------------


def blur(images: Tensor, classifier: Classifier | None = None) -> Tensor:  # noqa: ARG001 - all baselines take both
    """The picture itself, blurred beyond recognition: a Gaussian of 15 pixels in a window of 101.

    The review's width :cite:p:`eriksson2025reproducibility`, meant for 224 x 224 pixels; smaller images get it in
    proportion. It is done along rows and then along columns, which gives the same numbers as in two dimensions.

    Args:
        images: (N, 3, H, W) in [0, 1].
        classifier: not used.

    Returns:
        (N, 3, H, W) in [0, 1].
    """
    scale = min(1.0, min(images.shape[-2:]) / 224)
    sigma, kernel = BLUR_SIGMA * scale, 2 * round((BLUR_KERNEL - 1) / 2 * scale) + 1
    with torch.autocast(images.device.type, enabled=False):
        rows = gaussian_blur(images, [kernel, 1], [sigma, sigma])
        # The weights of the window add up to one only to seven digits: white would become a little whiter than white.
        return gaussian_blur(rows, [1, kernel], [sigma, sigma]).clamp_(0, 1)


def mean_colour(images: Tensor, classifier: Classifier) -> Tensor:
    """The colour that the classifier's normalisation maps to zero: the papers' "zeros" (erratum 24).

    Args:
        images: (N, 3, H, W) in [0, 1].
        classifier: whose mean it is.

    Returns:
        (N, 3, H, W), one colour.
    """
    return classifier.mean.to(images).expand_as(images)


def black(images: Tensor, classifier: Classifier | None = None) -> Tensor:  # noqa: ARG001
    """Black.

    Args:
        images: (N, 3, H, W) in [0, 1].
        classifier: not used.

    Returns:
        (N, 3, H, W) of zeros.
    """
    return torch.zeros_like(images)


def channel_mean(images: Tensor, classifier: Classifier | None = None) -> Tensor:  # noqa: ARG001
    """Each picture's own mean colour: the papers' "channel-wise mean".

    Args:
        images: (N, 3, H, W) in [0, 1].
        classifier: not used.

    Returns:
        (N, 3, H, W), one colour for each image.
    """
    return images.mean((-2, -1), keepdim=True).expand_as(images)


BASELINES: dict[str, Callable[[Tensor, Classifier], Tensor]] = {
    "blur": blur, "mean colour": mean_colour, "black": black, "channel mean": channel_mean,
}
"""What can be put in the place of pixels, by name."""


def keep(images: Tensor, baseline: Tensor, mask: Tensor) -> Tensor:
    """Images of which only the marked pixels are left.

    Args:
        images: (N, 3, H, W).
        baseline: what takes the place of the others, (N, 3, H, W).
        mask: True where the picture stays, (N, 1, H, W) bool.

    Returns:
        (N, 3, H, W), in the memory layout of the images.

    Raises:
        TypeError: the mask is not boolean.
    """
    if mask.dtype != torch.bool:
        raise TypeError(f"a mask must be boolean, True where the picture stays, got {mask.dtype}")
    kept = torch.where(mask, images, baseline)
    layout = torch.channels_last if images.is_contiguous(memory_format=torch.channels_last) else torch.contiguous_format
    return kept.contiguous(memory_format=layout)


# --- which pixels ----------------------------------------------------------------------------------------------------


def ranks(maps: Tensor) -> Tensor:
    """The rank of each pixel's relevance in its map, 0 for the lowest; equal values keep the order of the pixels.

    Args:
        maps: relevance (N, 1, H, W).

    Returns:
        (N, 1, H, W) int64, each of 0 to H W - 1 once.
    """
    order = maps.flatten(1).argsort(dim=-1, stable=True)
    places = torch.arange(order.shape[-1], device=maps.device).expand_as(order)
    return torch.empty_like(order).scatter_(-1, order, places).view(maps.shape)


def remaining(rank: Tensor, share: float, removed: Order) -> Tensor:
    """The pixels that are left when a share of them is removed, the highest or the lowest first.

    Args:
        rank: of :func:`ranks`, (N, 1, H, W).
        share: of the pixels, in [0, 1]; rounded to whole pixels.
        removed: which end goes first.

    Returns:
        (N, 1, H, W) bool.

    Raises:
        ValueError: the share or the end is none.
    """
    if not 0 <= share <= 1:
        raise ValueError(f"a share of the pixels must lie in [0, 1], got {share}")
    if removed not in ("highest", "lowest"):
        raise ValueError(f"removed must be 'highest' or 'lowest', got {removed!r}")
    pixels = rank[0].numel()
    count = round(share * pixels)
    return rank >= count if removed == "lowest" else rank < pixels - count


def only(first: Tensor, second: Tensor, sign: Sign) -> tuple[Tensor, Tensor]:
    r"""Keep only pixels of one sign, and equally many for both maps: what the caption of Table 1 says.

    The number is :math:`\min(\#_1, \#_2)` with :math:`\#` the pixels of that sign; the map that has more of them
    keeps its strongest. Zero belongs to neither sign.

    Args:
        first: relevance of one method, (N, 1, H, W).
        second: of the other, the same shape.
        sign: which pixels are kept.

    Returns:
        two masks (N, 1, H, W), True where the picture stays.

    Raises:
        ValueError: the shapes differ, or the sign is none.
    """
    one, two = _signed(first, second, sign)
    count = torch.minimum(_positive(one), _positive(two))
    return _highest(one, count), _highest(two, count)


def without_opposite(first: Tensor, second: Tensor, sign: Sign) -> tuple[Tensor, Tensor]:
    r"""Remove pixels of the opposite sign only, equally many for both maps: "equal blurring" with its signs put right.

    The number removed is :math:`\min(\#_1, \#_2)` with :math:`\#` the pixels that do not have the sign; the map that
    has more of them loses its strongest. So no pixel of the sign is lost, and one map keeps some of the other sign.

    Args:
        first: relevance of one method, (N, 1, H, W).
        second: of the other, the same shape.
        sign: which pixels must stay.

    Returns:
        two masks (N, 1, H, W), True where the picture stays.

    Raises:
        ValueError: the shapes differ, or the sign is none.
    """
    one, two = _signed(first, second, sign)
    count = torch.maximum(_positive(one), _positive(two))
    return _highest(one, count), _highest(two, count)


def _signed(first: Tensor, second: Tensor, sign: Sign) -> tuple[Tensor, Tensor]:
    if first.shape != second.shape or first.ndim != 4 or first.shape[1] != 1:
        raise ValueError("two maps (N, 1, H, W) of one shape are compared, got "
                         f"{tuple(first.shape)} and {tuple(second.shape)}")
    if sign not in ("positive", "negative"):
        raise ValueError(f"the sign must be 'positive' or 'negative', got {sign!r}")
    return (first, second) if sign == "positive" else (-first, -second)


def _positive(maps: Tensor) -> Tensor:
    return (maps > 0).flatten(1).sum(-1)


def _highest(maps: Tensor, count: Tensor) -> Tensor:
    return ranks(maps) >= maps[0].numel() - count[:, None, None, None]
