"""What all attributions share: one forward pass cut at a layer, one backward pass through the rest."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from contrastlib import hooks, relevance
from contrastlib.attribution._class_maps import ClassMaps, Combine, class_maps
from contrastlib.contrast import Contrast, original
from contrastlib.models import Classifier, Layout, resolve

Target = int | Sequence[int] | Tensor


class Attribution:
    """An attribution that is linear in the gradient of the score.

    Made from its rule ``combine(activation, gradient) -> (N, 1, h, w)`` by :func:`at_layer` or :func:`at_input`.
    The model is left as it was found: mode, gradients, hooks, statistics. It works under ``torch.no_grad()`` and
    autocast and with frozen parameters.
    """

    def __init__(self, combine: Combine, reads: Literal["layer", "input"]) -> None:
        self.combine = combine
        self.reads = reads
        self.name: str = getattr(combine, "__name__", "attribution")
        functools.update_wrapper(self, combine)

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
            layer: where the map is read: a name, a module, or None for the classifier's default layer. Methods that
                read the input take none.
            upsample: False keeps the layer's resolution (h, w).

        Returns:
            signed relevance maps (N, 1, H, W), at least float32, without gradient; positive speaks for the score.

        Raises:
            ValueError: images, target, layer or contrast do not fit; the message says what would.
            TypeError: the target is not made of integers.
            RuntimeError: the score does not depend on the layer through anything differentiable.
        """
        check_images(images)
        with torch.inference_mode(False), torch.enable_grad():
            classes = as_target(target, len(images), images.device)
            logits, point = self._run(classifier, images, layer)
            (gradient,) = torch.autograd.grad(contrast(logits, classes).sum(), point.leaf)
            point.check(classifier, gradient)
            maps = self.combine(at_least_float32(point.leaf.detach()), at_least_float32(gradient))
            return relevance.upsample(maps, (images.shape[-2], images.shape[-1])) if upsample else maps

    def class_maps(
        self,
        classifier: Classifier,
        images: Tensor,
        classes: Sequence[int] | Tensor | None = None,
        *,
        layer: str | nn.Module | None = None,
    ) -> ClassMaps:
        """Explain the logits of K classes of each image at once.

        The network's trunk runs once, without gradient; only what follows the layer is differentiated.

        Args:
            classifier: images in [0, 1] to logits.
            images: (N, 3, H, W) in [0, 1].
            classes: (K,) for all images, or (N, K), integers in [0, C); None for all C.
            layer: as in a call.

        Returns:
            the maps (N, K, h, w) at the layer's resolution with their logits; any contrast is a weighted sum of them.

        Raises:
            ValueError, TypeError, RuntimeError: as a call.
        """
        check_images(images)
        with torch.inference_mode(False), torch.enable_grad():
            logits, point = self._run(classifier, images, layer)
            if point.prefix:
                point.check(classifier, torch.autograd.grad(logits.sum(), point.leaf, retain_graph=True)[0])
            return class_maps(logits, point.leaf, as_classes(classes, logits), self.combine)

    def _run(self, classifier: Classifier, images: Tensor, layer: str | nn.Module | None) -> tuple[Tensor, "Point"]:
        if self.reads == "layer":
            return logits_at_layer(classifier, images, layer)
        if layer is not None:
            raise ValueError(f"{self.name} reads the input and takes no layer, got layer={layer!r}")
        return logits_at_input(classifier, images)


def at_layer(combine: Combine) -> Attribution:
    """Make an attribution that reads a layer from its rule ``combine(activation, gradient)``.

    Args:
        combine: (N, K, h, w) and the gradient of the score, the same shape, to (N, 1, h, w); linear in the gradient,
            each image by itself.
    """
    return Attribution(combine, "layer")


def at_input(combine: Combine) -> Attribution:
    """Make an attribution that reads the input from its rule ``combine(image, gradient)``; see :func:`at_layer`."""
    return Attribution(combine, "input")


@dataclass(frozen=True)
class Point:
    """Where a network was cut.

    Attributes:
        leaf: what was found there, as the leaf that the logits depend on, (N, K, h, w).
        name: of the layer; empty for the input.
        prefix: tokens in front of the patch tokens, which the leaf leaves out.
    """

    leaf: Tensor
    name: str = ""
    prefix: int = 0

    def check(self, classifier: Classifier, gradient: Tensor) -> None:
        """Refuse a layer whose patch tokens nothing reads: the class token alone is read behind it.

        Raises:
            ValueError: the gradient is zero everywhere; names a layer where it is not.
        """
        if not self.prefix or gradient.any():
            return
        works = classifier.layers().recommended
        if works != self.name:  # else the logits depend on nothing: an untrained head of zeros
            h, w = gradient.shape[-2:]
            raise ValueError(f"at layer '{self.name}' the {h} x {w} patch tokens get no gradient: behind it only the "
                             f"prefix token is read. Layer '{works}' works; "
                             "print(classifier.layers()) lists them all")


def logits_at_layer(classifier: Classifier, images: Tensor, layer: str | nn.Module | None) -> tuple[Tensor, Point]:
    """Logits (N, C), and the layer's output as the leaf they depend on."""
    name, module = resolve(classifier.model, classifier.layer_name if layer is None else layer)
    size = (images.shape[-2], images.shape[-1])

    def read_as(shape: tuple[int, ...]) -> Layout:
        if shape and shape[0] != len(images):
            raise ValueError(f"an output of shape {shape} has another batch than the {len(images)} images (windows of "
                             "them?), so it is no map of each; name the block around it")
        return classifier.read_as(shape, size)

    with hooks.cut(module, name, read_as) as found:
        logits = classifier(images.clone() if images.is_inference() else images.detach())
    if found.output is None:
        raise ValueError(f"layer '{name}' did not run in the forward pass, so there is nothing to read there")
    if not logits.requires_grad:
        raise RuntimeError(f"the logits do not depend on layer '{name}' through anything differentiable")
    return at_least_float32(logits), Point(found.output, name, getattr(found.reading, "prefix", 0))


def logits_at_input(classifier: Classifier, images: Tensor) -> tuple[Tensor, Point]:
    """Logits (N, C), and the images as the leaf they depend on."""
    leaf = images.detach().clone().requires_grad_()
    logits = classifier(leaf)
    if not logits.requires_grad:
        raise RuntimeError("the logits do not depend on the images through anything differentiable")
    return at_least_float32(logits), Point(leaf)


def at_least_float32(tensor: Tensor) -> Tensor:
    """Half precision is raised to float32, anything finer is kept: maps are sums of many small terms."""
    return tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor


def check_images(images: Tensor) -> None:
    """Refuse what is no batch before anything is read off its shape; the classifier checks the values."""
    if not isinstance(images, Tensor):
        raise TypeError(f"images must be a tensor (N, 3, H, W), got {type(images).__name__}; "
                        "classifier.prepare() makes one from files, arrays and PIL images")
    if images.ndim != 4:
        raise ValueError(f"images must be (N, 3, H, W), got shape {tuple(images.shape)}; one image needs images[None]")


def as_target(target: Target, n: int, device: torch.device) -> Tensor:
    """Target classes as (n,) int64: one class for all images, or one per image."""
    classes = _as_integers(target, "target").to(device)
    if classes.ndim == 0:
        return classes.expand(n).contiguous()
    if classes.shape != (n,):
        raise ValueError(f"target must be one class or one per image, shape ({n},), got shape {tuple(classes.shape)}")
    return classes


def as_classes(classes: Sequence[int] | Tensor | None, logits: Tensor) -> Tensor:
    """The classes to map as (N, K) int64."""
    n, c = logits.shape
    if classes is None:
        return torch.arange(c, device=logits.device).expand(n, -1)
    chosen = _as_integers(classes, "classes").to(logits.device)
    if chosen.ndim == 1:
        chosen = chosen.expand(n, -1)
    if chosen.ndim != 2 or len(chosen) != n:
        raise ValueError(f"classes must be (K,) or ({n}, K), got shape {tuple(torch.as_tensor(classes).shape)}")
    if chosen.numel() == 0:
        raise ValueError("classes must name at least one class, got none")
    if chosen.min() < 0 or chosen.max() >= c:
        raise ValueError(f"classes must lie in [0, {c}), got {chosen.unique().tolist()}")
    return chosen


def _as_integers(values: Target, what: str) -> Tensor:
    tensor = torch.as_tensor(values)
    if tensor.is_floating_point() or tensor.is_complex() or tensor.dtype == torch.bool:
        raise TypeError(f"{what} must be class indices (integers), got {tensor.dtype}")
    tensor = tensor.long()
    return tensor.clone() if tensor.is_inference() else tensor  # autograd keeps no inference tensors
