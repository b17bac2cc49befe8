"""FullGrad, signed and complete: all its terms add up to the score."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from contrastlib import contrast as contrasts
from contrastlib import relevance
from contrastlib.attribution._base import Target, as_classes, as_target, check_images
from contrastlib.attribution._bias_terms import Bias, Recording, record
from contrastlib.attribution._class_maps import ClassMaps
from contrastlib.contrast import Contrast, original
from contrastlib.models import Classifier, Layout, square_enough

Size = tuple[int, int]
Layouts = Callable[[tuple[int, ...]], Layout | None]

_WARN = 1e-3  # relative residual above which a call warns
_SHARE = 0.01  # of all terms' absolute values: a score that is smaller is no measure for the residual


class IncompleteError(ValueError):
    """The terms do not add up to the score."""


class IncompleteWarning(UserWarning):
    """The terms of a map do not add up to the score: the network is not piecewise linear."""


@dataclass(frozen=True)
class FullGradTerms:
    r"""The terms of which a score is the sum.

    .. math:: \text{score} = \Big\langle \frac{\partial\,\text{score}}{\partial \hat x}, \hat x \Big\rangle
        + \sum_b \Big\langle \frac{\partial\,\text{score}}{\partial z_b}, b \Big\rangle
        + \Big( \text{score} - \sum_c \frac{\partial\,\text{score}}{\partial y_c} y_c \Big) + \text{residual}

    All in units of the score. Maps have the precision of the network, numbers (N,) are added up in float64.

    Attributes:
        score: what is explained, (N,).
        input: the input's term, (N, 1, H, W): gradient times *normalised* image, added up over its channels.
        placed: for each bias that acts at places, its map (N, 1, h, w) at the resolution where it acts.
        unplaced: for each bias without a place in the image, its number (N,); of tokens, that of the prefix tokens.
            ``contrast`` is what remains because the score itself is not linear in the logits.
        leaves: what the network does that is not piecewise linear and leaves a residual, such as "gelu in blocks.0".
        kinds: for each bias what kind of operation adds it: ``convolution``, ``linear``, ``batch norm``, ``norm``,
            ``knee`` (of a ReLU6) or ``addition`` (of a constant).
    """

    score: Tensor
    input: Tensor
    placed: dict[str, Tensor]
    unplaced: dict[str, Tensor]
    leaves: tuple[str, ...]
    kinds: dict[str, str]

    @property
    def total(self) -> Tensor:
        """The sum of all terms, (N,) in float64."""
        return sum(self.unplaced.values(), start=sum(_sums(self._maps()), start=torch.zeros_like(self.score)))

    @property
    def residual(self) -> Tensor:
        """What the terms leave of the score, (N,), which is zero for a piecewise linear network."""
        return self.score - self.total

    @property
    def relative_residual(self) -> Tensor:
        """The residual's size as a share of the score's, (N,)."""
        return (self.residual.abs() / self.score.abs()).nan_to_num(nan=0.0, posinf=torch.inf)

    def by_kind(self) -> dict[str, Tensor]:
        """The terms added up by what adds them, place or no place: ``input``, the kinds of bias, ``contrast``.

        Returns:
            numbers (N,) in float64 that add up to :attr:`total`, in the order in which the kinds first act.
        """
        found = {"input": next(iter(_sums([self.input])))}
        numbers = [*zip(self.placed, _sums(self.placed.values())), *self.unplaced.items()]
        order = {name: i for i, name in enumerate(self.kinds)}
        for name, number in sorted(numbers, key=lambda pair: order.get(pair[0], len(order))):
            kind = self.kinds.get(name, name)
            found[kind] = found[kind] + number if kind in found else number
        return found

    def map(self, size: Size | None = None) -> Tensor:
        """All terms that have a place as one map. The sum of its pixels is the sum of those terms.

        Args:
            size: (H, W) of the map; None for the image's.

        Returns:
            signed relevance (N, 1, H, W), in units of the score for each pixel.
        """
        of_size: dict[Size, Tensor] = {}
        for one in self._maps():
            at = _size(one)
            of_size[at] = of_size[at] + one if at in of_size else one
        wanted = _size(self.input) if size is None else size
        return torch.stack([relevance.spread(one, wanted) for one in of_size.values()]).sum(0)

    def check(self, tolerance: float = 1e-4) -> None:
        """Refuse terms that do not add up to the score.

        Args:
            tolerance: largest residual, as a share of the score; where the score is next to nothing beside the terms
                it is made of, of a hundredth of their absolute sum.

        Raises:
            IncompleteError: an image has a larger residual; says which, how large, and what leaves it.
        """
        message = self._incomplete(tolerance)
        if message is not None:
            raise IncompleteError(message)

    def _incomplete(self, tolerance: float) -> str | None:
        """What is wrong with the worst image, if it is beyond the tolerance."""
        size = sum(_sums(one.abs() for one in self._maps()), start=torch.zeros_like(self.score))
        size = sum((number.abs() for number in self.unplaced.values()), start=size)
        residual = self.residual
        share = residual.abs() / torch.maximum(self.score.abs(), _SHARE * size).clamp_min(torch.finfo(size.dtype).tiny)
        worst = int(share.argmax())
        if share[worst] <= tolerance:
            return None
        return (f"the terms of image {worst} add up to {self.total[worst]:.6g} and its score is "
                f"{self.score[worst]:.6g}: a residual of {residual[worst]:.3g} is left by {_counted(self.leaves)}")

    def _maps(self) -> list[Tensor]:
        return [self.input, *self.placed.values()]


class FullGrad:
    r"""FullGrad without the absolute values of its published form :cite:p:`srinivas2019fullgrad`.

    .. math:: \phi = \frac{\partial\,\text{score}}{\partial \hat x} \odot \hat x
        + \sum_b S\Big( \sum_k \frac{\partial\,\text{score}}{\partial z_b^k} \, b^k \Big)

    :math:`\hat x` is the normalised image that the network itself sees. :math:`z_b` is the output of an operation that
    adds the bias :math:`b`: biases of convolutions and linear layers, what BatchNorm subtracts and adds in evaluation
    mode, the explicit biases of other norms, the height of a ReLU6 beyond its knees, added constants such as position
    embeddings. :math:`S` enlarges a map and keeps its sum (:func:`contrastlib.relevance.spread`).

    Paper: each layer's terms are made absolute and rescaled before they are added. Here: nothing is done to them, so
    that the map keeps its sign, is linear in the gradient, and adds up to the score, but for the terms without a place
    (:meth:`terms`).
    """

    name = "full_grad"
    reads: Literal["input"] = "input"

    def __repr__(self) -> str:
        return f"<attribution {self.name}, reads the {self.reads}>"

    def __call__(
        self,
        classifier: Classifier,
        images: Tensor,
        target: Target,
        contrast: Contrast = original,
        *,
        layer: str | nn.Module | None = None,
        upsample: bool = True,
    ) -> Tensor:
        """Explain one class of each image.

        Args:
            classifier: images in [0, 1] to logits.
            images: (N, 3, H, W) in [0, 1].
            target: the class to explain: one for all images, or one per image (N,), integers in [0, C).
            contrast: which score of the logits is explained.
            layer: none can be named.
            upsample: makes no difference, the map has the resolution of the image.

        Returns:
            signed relevance maps (N, 1, H, W) without gradient, in units of the score for each pixel; positive speaks
            for the score.

        Raises:
            ValueError: images or target do not fit, a layer is named, the network has no bias, its parameters are not
                all float32 or all float64, or autocast is on.
            TypeError: the target is not made of integers.
            RuntimeError: the logits do not depend on the images through anything differentiable.

        Warns:
            IncompleteWarning: the terms do not add up to the score within 0.1 %; says what the network does that is
                not piecewise linear.
        """
        self._check_layer(layer)
        del upsample  # there is no layer whose resolution could be kept
        terms = self.terms(classifier, images, target, contrast)
        _warn(terms)
        return terms.map()

    def terms(
        self, classifier: Classifier, images: Tensor, target: Target, contrast: Contrast = original
    ) -> FullGradTerms:
        """The terms that the map is made of, with those that have no place in it, and what is left of the score.

        Args:
            classifier: images in [0, 1] to logits.
            images: (N, 3, H, W) in [0, 1].
            target: as in a call.
            contrast: as in a call.

        Returns:
            the terms.

        Raises:
            ValueError, TypeError, RuntimeError: as a call.
        """
        recording = _record(classifier, images)
        return _terms(recording, _layouts(classifier, _size(images)), target, contrast)

    def class_maps(
        self,
        classifier: Classifier,
        images: Tensor,
        classes: Sequence[int] | Tensor | None = None,
        *,
        layer: str | nn.Module | None = None,
        size: Size | None = None,
    ) -> ClassMaps:
        """Explain the logits of K classes of each image: one forward pass, and a backward pass for each class.

        Args:
            classifier: images in [0, 1] to logits.
            images: (N, 3, H, W) in [0, 1].
            classes: (K,) for all images, or (N, K), integers in [0, C); None for all C.
            layer: none can be named.
            size: (h, w) of the maps, whose sums do not depend on it; None for the image's.

        Returns:
            the maps (N, K, h, w) with their logits; any contrast is a weighted sum of them.

        Raises:
            ValueError, TypeError, RuntimeError: as a call.

        Warns:
            IncompleteWarning: as a call.
        """
        self._check_layer(layer)
        recording = _record(classifier, images)
        layouts = _layouts(classifier, _size(images))
        maps, warned = [], False
        with torch.inference_mode(False):
            chosen = as_classes(classes, recording.logits)
            for column in chosen.unbind(1):
                terms = _terms(recording, layouts, column, original, again=True)
                warned = warned or _warn(terms)
                maps.append(terms.map(size))
            return ClassMaps(torch.cat(maps, dim=1), chosen, recording.logits.detach())

    def _check_layer(self, layer: str | nn.Module | None) -> None:
        if layer is not None:
            raise ValueError(f"{self.name} reads the input and takes no layer, got layer={layer!r}")


full_grad = FullGrad()
"""Signed FullGrad; see :class:`FullGrad`."""


def _record(classifier: Classifier, images: Tensor) -> Recording:
    check_images(images)
    _check_precision(classifier, images)
    with torch.inference_mode(False), torch.enable_grad():
        recording = record(classifier, images)
    if not recording.biases:
        raise ValueError(f"{classifier.name} has no bias, so its map is gradient x input; call gradient_x_input")
    return recording


def _layouts(classifier: Classifier, size: Size) -> Layouts:
    """How tokens of a given shape lie in the image, None if they do not. Asked once, as it may run the network."""
    @functools.cache
    def layout(shape: tuple[int, ...]) -> Layout | None:
        try:
            return classifier.read_as(shape, size)
        except ValueError:
            return None

    return layout


def _terms(
    recording: Recording, layouts: Layouts, target: Target, contrast: Contrast, *, again: bool = False
) -> FullGradTerms:
    with torch.inference_mode(False):
        logits = recording.logits.detach()
        classes = as_target(target, len(logits), logits.device)
        score = contrast(logits, classes).double()
        weights = contrasts.weights(contrast, logits, classes)
        gradient, kept = recording.back(weights, again=again)
        image = recording.image.detach()
        placed: dict[str, Tensor] = {}
        unplaced: dict[str, Tensor] = {}
        for bias, places in kept:
            at, nowhere = _place(bias, places, image, layouts)
            if at is not None:
                placed[bias.name] = _together(placed[bias.name], at) if bias.name in placed else at
            if nowhere is not None:
                unplaced[bias.name] = unplaced.get(bias.name, 0) + nowhere
        products = weights.double() * logits.double()
        rest = score - products.sum(-1)  # for the log-odds, minus the entropy of alpha
        if (rest.abs() > 4 * torch.finfo(logits.dtype).eps * products.abs().sum(-1)).any():  # more than rounding
            unplaced["contrast"] = rest
        kinds = {bias.name: bias.kind for bias, _ in kept}
        return FullGradTerms(score, (gradient * image).sum(1, keepdim=True), placed, unplaced, recording.leaves, kinds)


def _place(bias: Bias, places: Tensor, image: Tensor, layouts: Layouts) -> tuple[Tensor | None, Tensor | None]:
    """A bias's products as a map (N, 1, h, w), as numbers (N,) where they have no place, or some of them as either."""
    n = len(image)
    if len(places) == n and places.ndim == 3 and places[0].numel() > 1 and (
            bias.channels == 1 or (bias.channels == -1 and square_enough(_size(places), _size(image)))):
        return places.unsqueeze(1), None
    if len(places) == n and places.ndim == 2 and bias.channels == -1:
        layout = layouts(bias.shape)
        if layout is not None and layout.kind == "tokens":
            patches = places[:, layout.prefix:].unflatten(1, layout.grid).unsqueeze(1)
            return patches, places[:, :layout.prefix].sum(1, dtype=torch.float64) if layout.prefix else None
    # What is not laid out as the image is has its parts in the order of the batch.
    return None, places.reshape(n, -1).sum(1, dtype=torch.float64)


def _together(one: Tensor, other: Tensor) -> Tensor:
    """The maps of a bias that acts twice, at the finer of their resolutions."""
    (h, w), (height, width) = _size(one), _size(other)
    size = (max(h, height), max(w, width))
    return relevance.spread(one, size) + relevance.spread(other, size)


def _check_precision(classifier: Classifier, images: Tensor) -> None:
    """The sum of the terms proves nothing if it is rounded to three digits."""
    if torch.is_autocast_enabled(images.device.type):
        raise ValueError("full_grad adds its terms up to the score, which half precision cannot show; leave autocast, "
                         "for instance with torch.autocast(device_type, enabled=False)")
    first: dict[torch.dtype, str] = {}
    for name, parameter in classifier.model.named_parameters():
        if parameter.is_floating_point():
            first.setdefault(parameter.dtype, name)
    found = ", ".join(f"'{name}' is {dtype}" for dtype, name in first.items())
    if len(first) > 1:
        raise ValueError(f"full_grad needs all parameters in one precision: {found}; call .float() on the classifier")
    if first and torch.finfo(*first).bits < 32:
        raise ValueError(f"full_grad adds its terms up to the score, which needs float32 or finer: {found}; call "
                         ".float() on the classifier")


def _warn(terms: FullGradTerms) -> bool:
    message = terms._incomplete(_WARN)
    if message is not None:
        warnings.warn(message, IncompleteWarning, stacklevel=3)
    return message is not None


def _counted(leaves: Sequence[str]) -> str:
    """How often each function left something, and where first."""
    if not leaves:
        return "something that was not seen: a part of the network that is scripted, compiled or not made by torch"
    where: dict[str, list[str]] = {}
    for leaf in leaves:
        function, _, module = leaf.partition(" in ")
        where.setdefault(function, []).append(module)
    return ", ".join(f"{function} ({len(modules)} x, first in {modules[0] or 'the network'})" if len(modules) > 1
                     else f"{function} in {modules[0] or 'the network'}" for function, modules in where.items())


def _sums(maps: Iterable[Tensor]) -> Iterable[Tensor]:
    return (one.flatten(1).sum(1, dtype=torch.float64) for one in maps)


def _size(maps: Tensor) -> Size:
    return maps.shape[-2], maps.shape[-1]
