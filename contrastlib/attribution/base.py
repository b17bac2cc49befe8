"""What all attributions share: how they are called, and one forward pass cut at a layer."""

import functools
import sys
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from contrastlib import contrast as contrasts
from contrastlib import relevance
from contrastlib.attribution.class_maps import ClassMaps, Combine, class_maps, movable
from contrastlib.contrast import Contrast, Target, original
from contrastlib.models import Classifier, NoMapError, resolve
from contrastlib.relevance import at_least_float32

Place = str | nn.Module | None
Named = Target | str | Sequence[str]  # classes by index, or by name where a classifier knows its classes

_ROUNDING = 1e-4  # of the terms: on 19 networks maps were above 2e-3, and where a norm undoes them below 1e-5

_alone = threading.RLock()  # of the passes that change for a while what all threads see of a network


class BaseAttribution(ABC):
    """How the gradient of a score becomes a signed relevance map: what all attributions have in common.

    The model is left as it was found: mode, gradients, hooks, statistics. It works under ``torch.no_grad()`` and
    autocast and with frozen parameters, and threads may share a network.
    """

    name: str
    reads: str
    instead = ""  # of a layer

    def __repr__(self) -> str:
        return f"<attribution {self.name}, reads the {self.reads}>"

    def __call__(self, classifier: Classifier, images: Tensor, target: Named, contrast: Contrast = original, *,
                 layer: str | nn.Module | None = None, upsample: bool = True) -> Tensor:
        """Explain one class of each image.

        Args:
            classifier: images in [0, 1] to logits.
            images: (N, 3, H, W) in [0, 1].
            target: the class to explain: one for all images, or one per image (N,), integers in [0, C) or names.
            contrast: which score of the logits is explained.
            layer: where the map is read: a name, a module, or None for the classifier's default layer. Only what
                reads one layer takes it.
            upsample: False keeps the resolution at which the map is made: of the layer, or of the patch tokens.

        Returns:
            signed relevance maps (N, 1, H, W), at least float32, without gradient; positive speaks for the score.

        Raises:
            ValueError: images, target, layer or contrast do not fit; the message says what would.
            TypeError: the target is made neither of integers nor of names.
            RuntimeError: the score does not depend through anything differentiable on what is read.
        """
        self._check_layer(layer)
        with torch.inference_mode(False), torch.enable_grad():
            maps = self._maps(classifier, images, as_target(classifier, target, images), contrast, layer)
            if not maps.isfinite().all():
                raise ValueError(f"a map of {self.name} is not finite: the gradient has NaN or infinite values")
            return relevance.upsample(maps, size_of(images)) if upsample else maps

    @abstractmethod
    def _maps(self, classifier: Classifier, images: Tensor, target: Tensor, contrast: Contrast, layer: Place) -> Tensor:
        """The maps (N, 1, h, w) at the resolution at which they are made."""

    def _check_layer(self, layer: Place) -> None:
        if layer is not None and self.reads != "layer":
            raise ValueError(f"{self.name} reads the {self.reads} and takes no layer, got layer={layer!r}"
                             f"{self.instead}")


class Attribution(BaseAttribution):
    """An attribution that is linear in the gradient of the score.

    Made from its rule ``combine(activation, gradient) -> (N, 1, h, w)`` by :func:`at_layer` or :func:`at_input`.
    """

    def __init__(self, combine: Combine, reads: Literal["layer", "input"]) -> None:
        self.combine = combine
        self.reads = reads
        self.name = getattr(combine, "__name__", "attribution")
        functools.update_wrapper(self, combine)

    def __reduce__(self) -> str | tuple[Any, ...]:
        """Pickled as functions are, by its name: what bears that is no longer the rule."""
        named = getattr(sys.modules.get(self.combine.__module__), self.name, None)
        return self.name if named is self else (type(self), (self.combine, self.reads))

    def class_maps(self, classifier: Classifier, images: Tensor, classes: Sequence[int | str] | Tensor | None = None, *,
                   layer: str | nn.Module | None = None) -> ClassMaps:
        """Explain the logits of K classes of each image at once.

        The trunk runs once, without gradient; only what follows the layer is differentiated.

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
        self._check_layer(layer)
        check_images(images)
        with torch.inference_mode(False), torch.enable_grad():
            logits, point = self._run(classifier, images, layer)
            if point.name or not logits.requires_grad:
                likely = movable(logits).abs().amax(-1).sum()  # a logit that something depends on, if any does
                self._check_point(classifier, point, _gradient(likely, point, again=True))
            return class_maps(logits, point.leaf, as_classes(classifier, classes, logits), self.combine)

    def cancels(self, activation: Tensor, gradient: Tensor) -> bool:
        """Whether the terms of the maps cancel at every place, so that only rounding errors are left of them.

        So it is where what reads the layer cannot see the sum that the rule takes. LayerNorm does not see the scale of
        a token, and the products of a token's channels with their gradients add up to zero before it, but for its
        small epsilon. The maps are compared with those of the absolute values, to which the same terms would add up
        if none cancelled.

        Args:
            activation: the layer's output, (N, K, h, w).
            gradient: of a score with respect to it, the same shape.

        Returns:
            True where the largest value of the maps lies below 0.0001 of that, or the rounding of half precision.
        """
        rounding = max(_ROUNDING, torch.finfo(activation.dtype).eps / 2)
        a, g = at_least_float32(activation.detach()), at_least_float32(gradient)
        left, terms = self.combine(a, g).abs().max(), self.combine(a.abs(), g.abs()).max()
        return bool(left < rounding * terms)

    def _check_point(self, classifier: Classifier, point: "Point", gradient: Tensor) -> None:
        """Refuse a layer at which the rule has no map."""
        if not point.name:
            return
        if point.prefix and not gradient.any():
            _refuse_unread(classifier, point)
        if self.cancels(point.leaf, gradient):
            raise ValueError(f"at layer '{point.name}' the terms of {self.name} cancel at every place and leave only "
                             "rounding errors, because what reads the layer cannot see their sum: a normalisation does "
                             f"not see the scale of what it divides. {_behind(classifier, point.name)}")

    def _maps(self, classifier: Classifier, images: Tensor, target: Tensor, contrast: Contrast, layer: Place) -> Tensor:
        logits, point = self._run(classifier, images, layer)
        gradient = _gradient(contrast(logits, target).sum(), point)
        self._check_point(classifier, point, gradient)
        return self.combine(at_least_float32(point.leaf.detach()), at_least_float32(gradient))

    def _run(self, classifier: Classifier, images: Tensor, layer: Place) -> tuple[Tensor, "Point"]:
        if self.reads == "layer":
            logits, point = cut(classifier, images, layer)
        else:
            point = Point(images.detach().clone().requires_grad_())
            logits = classifier(point.leaf)
        return at_least_float32(logits), point


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


def _gradient(score: Tensor, point: Point, *, again: bool = False) -> Tensor:
    """Of a score with respect to what was found at a point."""
    found = None
    if score.requires_grad:
        (found,) = torch.autograd.grad(score, point.leaf, allow_unused=True, retain_graph=again)
    if found is None:
        read = f"layer '{point.name}'" if point.name else "the images"
        raise RuntimeError(f"the logits do not depend on {read} through anything differentiable")
    return found


def _refuse_unread(classifier: Classifier, point: Point) -> None:
    """Refuse a layer whose patch tokens nothing reads: the class token alone is read behind it."""
    works = classifier.layers().recommended
    if works != point.name:  # else the logits depend on nothing: an untrained head of zeros
        h, w = point.leaf.shape[-2:]
        raise ValueError(f"at layer '{point.name}' the {h} x {w} patch tokens get no gradient: behind it only the "
                         f"prefix token is read. Layer '{works}' works; print(classifier.layers()) lists them all")


def _behind(classifier: Classifier, name: str) -> str:
    """Which layer to read instead of one that is read through a normalisation: that one's output, as a rule."""
    report = classifier.layers()
    later = list(report)[[layer.name for layer in report].index(name) + 1:]
    norms = [layer.name for layer in later if "norm" in layer.kind.lower() and layer.layout and not layer.problem]
    works = [*norms, report.recommended][0]
    listed = "print(classifier.layers().table(parts=True)) lists all layers"
    return listed if works == name else f"Read it behind that, at layer '{works}' for one; {listed}"


def cut(classifier: Classifier, images: Tensor, layer: Place) -> tuple[Tensor, Point]:
    """Run a network cut at a layer: no gradient before it, gradient with respect to its output after it.

    The layer's output is kept as a leaf that requires gradient, and a *copy* of it goes on through the network, so that
    an in-place activation behind the layer cannot overwrite what is explained. What runs before the layer builds no
    graph, which is why a map costs little more than a forward pass. The hook is gone afterwards, also after an
    exception.

    Args:
        classifier: images in [0, 1] to logits.
        images: (N, 3, H, W) in [0, 1].
        layer: runs exactly once in the forward pass; None for the default layer.

    Returns:
        logits (N, C), and where the network was cut.

    Raises:
        ValueError: the layer's output is no map, or it does not run once.
    """
    name, module = resolve(classifier.model, classifier.layer_name if layer is None else layer)
    points: list[Point] = []
    asking = False

    def keep(_module: nn.Module, _args: object, output: object) -> object:
        nonlocal asking
        if asking:  # a pass of the network inside this one, by which the classifier learns how the layer is read
            return output
        if points:
            raise ValueError(f"layer '{name}' runs more than once in a forward pass (a reused module), so its output "
                             "is not one map; choose a layer that runs once, such as the block around it")
        given, others = _tensor_of(output, name, len(images))
        asking = True
        try:
            layout = classifier.read_as(given.shape, size_of(images), name)
        except NoMapError as error:
            raise ValueError(f"layer '{name}': {error}") from None
        asking = False
        maps = layout.to_map(given.detach())
        same = maps.shape == given.shape and maps.stride() == given.stride()
        leaf = (maps if same else maps.contiguous()).requires_grad_()
        points.append(Point(leaf, name, layout.prefix))
        torch.set_grad_enabled(True)  # the no_grad() around the pass puts the mode back
        handed_on = layout.from_map(leaf, given.detach())
        return (handed_on, *others) if isinstance(output, tuple) else handed_on

    handle = module.register_forward_hook(only_here(keep))
    try:
        with torch.no_grad():
            logits = forward(classifier, images)
    finally:
        handle.remove()
    if not points:
        raise ValueError(f"layer '{name}' did not run in the forward pass, so there is nothing to read there")
    return logits, points[0]


def _tensor_of(output: object, name: str, n: int) -> tuple[Tensor, list[object]]:
    """What a layer gives for n images, and what else: an attention module may give (output, weights)."""
    given, *others = output if isinstance(output, tuple) and output else (output,)
    if not isinstance(given, Tensor) or any(isinstance(other, Tensor) for other in others):
        raise ValueError(f"layer '{name}' gives a {type(output).__name__}, not a map (N, K, h, w)")
    if not given.is_floating_point():
        raise ValueError(f"layer '{name}' gives {given.dtype} values, a map needs floating point")
    if given.ndim and len(given) != n:
        raise ValueError(f"layer '{name}': an output of shape {tuple(given.shape)} has another batch than the {n} "
                         "images (windows of them?), so it is no map of each; name the block around it")
    return given, others


def only_here(hook: Callable[..., object]) -> Callable[..., object]:
    """A hook that acts in the thread that makes it, and on no pass that runs meanwhile in another."""
    here = threading.get_ident()
    return lambda *args: hook(*args) if threading.get_ident() == here else None


@contextmanager
def follow(model: nn.Module, start: Callable[..., object] | None = None) -> Iterator[list[str]]:
    """The names of the modules that run in this thread, the innermost last; none before the network itself runs.

    Other passes that are followed wait, so that within a network may be changed as long as its logits stay.

    Args:
        model: the network.
        start: a hook on what the network is given, the last to see it.
    """
    running: list[str] = []

    def enter(name: str) -> Callable[..., None]:
        return lambda *_: running.append(name)

    def leave(*_: object) -> None:
        running.pop()

    with _alone, ExitStack() as undo:
        if start is not None:
            undo.callback(model.register_forward_pre_hook(only_here(start)).remove)
        for name, module in model.named_modules():
            if not isinstance(module, torch.jit.ScriptModule):  # it takes no hooks
                undo.callback(module.register_forward_pre_hook(only_here(enter(name))).remove)
                undo.callback(module.register_forward_hook(only_here(leave)).remove)
        yield running


def size_of(maps: Tensor) -> tuple[int, int]:
    """(h, w) of maps or images."""
    return maps.shape[-2], maps.shape[-1]


def forward(classifier: Classifier, images: Tensor) -> Tensor:
    """The logits of images whose own graph, if they have one, does not matter."""
    check_images(images)
    logits: Tensor = classifier(images.clone() if images.is_inference() else images.detach())
    return logits


def check_images(images: Tensor) -> None:
    """Refuse what is no batch before anything is read off its shape; the classifier checks the values."""
    if not isinstance(images, Tensor):
        raise TypeError(f"images must be a tensor (N, 3, H, W), got {type(images).__name__}; "
                        "classifier.prepare() makes one from files, arrays and PIL images")
    if images.ndim != 4:
        raise ValueError(f"images must be (N, 3, H, W), got shape {tuple(images.shape)}; one image needs images[None]")


def as_target(classifier: Classifier, target: Named, images: Tensor) -> Tensor:
    """The target classes of a batch as (N,) int64: one class for all images, or one per image."""
    check_images(images)
    return contrasts.as_targets(_indices(classifier, target), images)


def as_classes(classifier: Classifier, classes: Sequence[int | str] | Tensor | None, logits: Tensor) -> Tensor:
    """The classes to map as (N, K) int64."""
    n, c = logits.shape
    if classes is None:
        return torch.arange(c, device=logits.device).expand(n, -1)
    chosen = contrasts.as_integers(_indices(classifier, classes), "classes").to(logits.device)
    if chosen.ndim not in (1, 2) or (chosen.ndim == 2 and len(chosen) != n):
        raise ValueError(f"classes must be (K,) or ({n}, K), got shape {tuple(chosen.shape)}")
    if not chosen.numel() or chosen.min() < 0 or chosen.max() >= c:
        raise ValueError(f"classes must be at least one of those in [0, {c}), got {chosen.unique().tolist()}")
    return chosen.expand(n, -1)


def _indices(classifier: Classifier, classes: Any) -> Any:
    """The same with an index in the place of each name."""
    if isinstance(classes, str):
        return classifier.index(classes)
    several = isinstance(classes, Sequence) and any(isinstance(one, str) for one in classes)
    return [classifier.index(one) for one in classes] if several else classes
