"""The maps of K classes of a batch from one forward pass."""

import logging
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.autograd.graph import GradientEdge, Node

from contrastlib import contrast as contrasts
from contrastlib.contrast import Contrast, Target
from contrastlib.relevance import at_least_float32

Combine = Callable[[Tensor, Tensor], Tensor]
_Transposed = tuple[Tensor, Tensor]  # the Jacobian of the pixels (h w, N, C), and the pixels (N, h w) of one row

_LOG = logging.getLogger(__name__)

# Bytes of the rows of gradients that are alive at once. On a CPU they should fit the cache: chunks of 8 MB were
# measured two to three times faster than chunks of 200 MB.
_ON_CPU, _ELSEWHERE = 8 * 2**20, 128 * 2**20
_ROUNDING = 1e-3  # of the largest pixel: how far the Jacobian may be from what it is of


@dataclass(frozen=True)
class ClassMaps:
    """Relevance maps of K classes, each for its own logit.

    Attributes:
        maps: (N, K, h, w), signed, in logits, at the resolution of the layer; zero for a class that cannot occur, whose
            logit of minus infinity nothing moves.
        classes: (N, K) int64, which class each map explains.
        logits: (N, C) of all classes.
    """

    maps: Tensor
    classes: Tensor
    logits: Tensor

    def combine(self, contrast: Contrast, target: Target, *, normalised: bool = False) -> Tensor:
        r"""The map of any contrast, as a weighted sum of class maps.

        .. math:: \phi_{\text{contrast}} = \sum_c \frac{\partial\,\text{score}}{\partial y_c} \, \phi^c

        Args:
            contrast: which score to explain.
            target: as in a call.
            normalised: divide each class's map by its Euclidean norm before weighting, which
                :cite:t:`eriksson2025reproducibility` propose for predictions with one dominating class. The sum is
                then no gradient of any score.

        Returns:
            relevance (N, 1, h, w), in units of the score; equal to the attribution called with the contrast. With
            `normalised` it has no unit.

        Raises:
            ValueError: the contrast gives weight to a class whose map is not here, or what it refuses.
            TypeError: the target is not made of integers.
        """
        row = contrasts.weights(contrast, self.logits, target)
        here = row.gather(-1, self.classes)
        named = torch.zeros_like(row).scatter_add(-1, self.classes, torch.ones_like(here))
        here = here / named.gather(-1, self.classes)  # the maps of a class that stands there twice share its weight
        missing = row.scatter(-1, self.classes, 0).abs().sum(-1)
        share = (missing / row.abs().sum(-1).clamp_min(torch.finfo(row.dtype).tiny)).max().item()
        if share > 1e-6:
            raise ValueError(f"this contrast puts {share:.2g} of its weight on classes whose maps were not computed; "
                             "ask class_maps() for those classes too, or for all of them with classes=None")
        if normalised:
            norm = self.maps.norm(dim=(-2, -1))
            here = here / torch.where(norm > 0, norm, torch.ones_like(norm))
        with torch.autocast(here.device.type, enabled=False):
            return torch.einsum("nk,nkij->nij", here, self.maps).unsqueeze(1)


def class_maps(logits: Tensor, point: Tensor, classes: Tensor, combine: Combine) -> ClassMaps:
    """Differentiate K logits of each image with respect to a layer and combine each gradient to a map.

    A map has h w pixels and depends linearly on the row of C weights that is back-propagated. That linear function
    can be read off by rows or by columns: K backward passes give the maps of K classes; h w passes through the
    *transposed* function give the maps of all C classes. The cheaper is taken: at a 7 x 7 layer before pooling and a
    linear head, 49 passes do for a thousand classes, and small ones. Where convolutions follow the layer it is class
    by class, since torch transposes a convolution's gradient some hundred times more slowly than it computes it.

    Args:
        logits: (N, C), depending on ``point``.
        point: (N, k, h, w), the leaf.
        classes: (N, K) int64.
        combine: the attribution's rule.

    Returns:
        the class maps.
    """
    # The rule computes in float32 at least, as it does in a call.
    activation = at_least_float32(point.detach())
    maps, every = None, logits.detach()
    logits = movable(logits)
    if point[0, 0].numel() <= classes.shape[1] and not any("conv" in node.name().lower() for node in _nodes(logits)):
        maps = _transposed(logits, point, activation, classes, combine)
    if maps is None:
        maps = _class_by_class(logits, point, activation, classes, combine)
    return ClassMaps(maps, classes, every)


def movable(logits: Tensor) -> Tensor:
    """Logits with a constant in the place of minus infinity, which marks a class that cannot occur."""
    return logits.masked_fill(logits == -torch.inf, 0)


def _nodes(logits: Tensor) -> dict[Node, list[Node]]:
    """The graph between the layer and the logits: every node with the nodes that use its output."""
    users: dict[Node, list[Node]] = {}
    waiting = [] if logits.grad_fn is None else [logits.grad_fn]
    while waiting:
        node = waiting.pop()
        for child, _ in node.next_functions:
            if child is not None:
                waiting += [] if child in users else [child]
                users.setdefault(child, []).append(node)
    return users


def _pooled(logits: Tensor, point: Tensor) -> GradientEdge | None:
    """Where the layer's output has been averaged over its places, if that is the only thing done with it."""
    users = _nodes(logits)
    at = next((node for node in users if getattr(node, "variable", None) is point), None)
    for name in ("CloneBackward", "MeanBackward"):  # the copy that base.cut() hands on, then the average
        following = users.get(at, []) if at is not None else []
        at = following[0] if len(following) == 1 and following[0].name().startswith(name) else None
    # Over both axes of places and no other; torch keeps a negative axis as what it lacks to 2**64, which 4 divides.
    over = {axis % 4 for axis in getattr(at, "_saved_dim", ())}
    return GradientEdge(at, 0) if at is not None and over == {2, 3} else None


def _class_by_class(logits: Tensor, point: Tensor, activation: Tensor, classes: Tensor, combine: Combine) -> Tensor:
    maps = []
    for column in classes.unbind(1):
        (gradient,) = torch.autograd.grad(logits.gather(-1, column[:, None]).sum(), point, retain_graph=True)
        maps.append(combine(activation, gradient.to(activation.dtype)))
    return torch.cat(maps, dim=1)


def _transposed(logits: Tensor, point: Tensor, activation: Tensor, classes: Tensor, combine: Combine) -> Tensor | None:
    """Maps of the classes, pixel by pixel: one row of the Jacobian of the map with respect to the weights at a time.

    A function of the network's own whose backward pass torch cannot follow would be left out of the Jacobian in
    silence, so that is multiplied with some weights and compared with their map.
    """
    row = torch.linspace(-1, 2, logits.shape[1]).to(logits).repeat(len(logits), 1).requires_grad_()
    try:
        columns, pixels = (_behind_pooling(logits, point, activation, row, combine)
                           or _anywhere(logits, point, activation, row, combine))
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:  # an operation behind the layer cannot be differentiated twice or batched
        _LOG.info("class maps go class by class: %s", error)
        return None
    off = (torch.einsum("pnc,nc->np", columns.to(pixels), row.detach().to(pixels)) - pixels).abs().max()
    if not off <= max(_ROUNDING, 8 * torch.finfo(point.dtype).eps) * pixels.abs().max():
        _LOG.info("class maps go class by class: something behind the layer cannot be differentiated twice")
        return None
    chosen = columns.gather(-1, classes.expand(len(columns), -1, -1))
    return chosen.permute(1, 2, 0).unflatten(-1, point.shape[-2:])


def _anywhere(logits: Tensor, point: Tensor, activation: Tensor, row: Tensor, combine: Combine) -> _Transposed:
    """Every pixel of the map differentiated with respect to the row of weights over classes."""
    (gradient,) = torch.autograd.grad(logits, point, row, create_graph=True)
    pixels = combine(activation, gradient.to(activation.dtype)).flatten(1)
    basis = torch.eye(pixels.shape[1], dtype=pixels.dtype, device=pixels.device)
    return torch.cat([
        torch.autograd.grad(pixels, row, part, retain_graph=True, is_grads_batched=True)[0]
        for part in basis[:, None, :].expand(-1, len(logits), -1).split(_chunk(activation))
    ]), pixels.detach()


def _behind_pooling(logits: Tensor, point: Tensor, activation: Tensor, row: Tensor, combine: Combine,
                    ) -> _Transposed | None:
    """The same as :func:`_anywhere` without a gradient of the layer's full size, where that is possible.

    Behind an average over all places the gradient is the same at every place. A rule that adds its channels up, as
    most do, then needs one number for each channel; whether it does is tried out, not assumed.
    """
    edge = _pooled(logits, point)
    if edge is None:
        return None
    (pooled,) = torch.autograd.grad(logits, [edge], row, create_graph=True)
    n, k, h, w = activation.shape
    if pooled.shape[:2] != (n, k) or pooled.numel() != n * k:
        return None
    share = torch.full_like(activation, 1 / (h * w)).flatten(0, 1).unsqueeze(1)
    channels = combine(activation.flatten(0, 1).unsqueeze(1), share).reshape(n, k, h * w)
    trial = torch.linspace(-1, 2, k, dtype=activation.dtype, device=activation.device)
    together = combine(activation, (trial / (h * w)).reshape(1, k, 1, 1).expand_as(activation)).flatten(1)
    if not torch.allclose(torch.einsum("k,nkp->np", trial, channels), together,
                          rtol=1e-4, atol=1e-5 * together.abs().max().item()):
        return None
    tangents = channels.permute(2, 0, 1).reshape(h * w, *pooled.shape).to(pooled.dtype)
    pixels = torch.einsum("nk,nkp->np", pooled.detach().reshape(n, k).to(channels), channels)
    return torch.autograd.grad(pooled, row, tangents, is_grads_batched=True)[0], pixels


def _chunk(activation: Tensor) -> int:
    budget = _ON_CPU if activation.device.type == "cpu" else _ELSEWHERE
    return max(1, budget // activation.nbytes)
