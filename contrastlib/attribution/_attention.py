"""Reading a transformer's attention, and the gradient of the score with respect to it.

Networks keep their attention to themselves: torch computes it in one fused step. Here that step is taken apart while
one forward pass runs. Nothing global is patched, and no module is changed for longer than that.
"""

import inspect
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from contrastlib import relevance
from contrastlib.attribution._base import Target, as_target, at_least_float32, check_images
from contrastlib.contrast import Contrast, original
from contrastlib.models import Classifier, Layout


@dataclass(frozen=True, eq=False)
class Attentions:
    """What every token of a transformer reads from every other, layer by layer, and how that moves the score.

    Made by :func:`attentions`. Every method over attention, with any of its options and from any block on, is computed
    from this.

    Attributes:
        probabilities: for each layer, first layer first, (N, heads, L, L); a row is a query and sums to 1.
        gradients: of the score with respect to them, the same shapes, in units of the score.
        grid: (h, w) of the patch tokens.
        prefix: tokens in front of the patch tokens: class token, distillation token, registers.
        read: positions of the tokens that the head reads, found by the gradient of the last layer.
        logits: (N, C).
    """

    probabilities: tuple[Tensor, ...]
    gradients: tuple[Tensor, ...]
    grid: tuple[int, int]
    prefix: int
    read: tuple[int, ...]
    logits: Tensor

    def __str__(self) -> str:
        heads = self.probabilities[0].shape[1]
        return (f"{len(self.probabilities)} layers, {heads} heads, {Layout('tokens', self.grid, self.prefix)}; "
                f"the head reads {self._read()}")

    def _read(self) -> str:
        patches = self.grid[0] * self.grid[1]
        if self.read == tuple(range(self.prefix, self.prefix + patches)):
            return f"all {patches} patch tokens"
        if len(self.read) > 3:
            return f"{len(self.read)} of {self.prefix + patches} tokens"
        return f"token{'s' if len(self.read) > 1 else ''} " + " and ".join(map(str, self.read))


class AttentionAttribution(ABC):
    r"""An attribution that follows what is read through a chain of layers, from the head back to the patches.

    .. math:: R = M_L \cdots M_{b+1}, \qquad \phi_j = \frac{1}{|Q|} \sum_{q \in Q} R_{qj}

    M is the matrix (L, L) of one layer, which the method says, and Q are the tokens that the head reads. These methods
    are not linear in the gradient, so there are no class maps whose sum they would be. The model is left as it was
    found; it works under ``torch.no_grad()`` and autocast and with frozen parameters.
    """

    name: ClassVar[str]

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
            classifier: images in [0, 1] to logits; a transformer, see :func:`attentions`.
            images: (N, 3, H, W) in [0, 1].
            target: the class to explain: one for all images, or one per image (N,), integers in [0, C).
            contrast: which score of the logits is explained.
            layer: None; the map is made from all layers.
            upsample: False keeps the grid of the patch tokens (h, w).

        Returns:
            relevance maps (N, 1, H, W), dimensionless, at least float32, without gradient. Where the head reads patch
            tokens, what each of these passes on of itself is part of the map.

        Raises:
            ValueError: a layer is named, or as :func:`attentions`.
            TypeError, RuntimeError: as :func:`attentions`.
        """
        if layer is not None:
            raise ValueError(f"{self.name} reads the attention of all layers and takes no layer, got layer={layer!r}; "
                             "see from_block")
        maps = self._maps(attentions(classifier, images, target, contrast), from_block=0)
        return relevance.upsample(maps, (images.shape[-2], images.shape[-1])) if upsample else maps

    @abstractmethod
    def matrices(self, found: Attentions) -> list[Tensor]:
        """The matrix M of each layer, first layer first, (N, L, L)."""

    def _maps(self, found: Attentions, from_block: int) -> Tensor:
        with torch.autocast(found.logits.device.type, enabled=False):
            return through_layers(found, self.matrices(found), from_block)


def through_layers(found: Attentions, matrices: Sequence[Tensor], from_block: int = 0) -> Tensor:
    """The product of the layers' matrices, read where the head reads and where the patches are.

    Only the mean of the rows that the head reads is carried from layer to layer, which gives the same as the product
    of all matrices and costs a vector times a matrix for each.

    Args:
        found: whose tokens these are.
        matrices: one of each layer, first layer first, (N, L, L).
        from_block: the first layer that takes part, counted from 0.

    Returns:
        (N, 1, h, w).

    Raises:
        ValueError: there is no such block.
    """
    if not 0 <= from_block < len(matrices):
        raise ValueError(f"from_block must lie in [0, {len(matrices)}), got {from_block}")
    row = matrices[0].new_zeros(len(found.logits), 1, matrices[0].shape[-1])
    row[:, :, list(found.read)] = 1 / len(found.read)
    for matrix in reversed(matrices[from_block:]):
        row = row @ matrix
    return row[:, :, found.prefix:].unflatten(-1, found.grid)


def attentions(
    classifier: Classifier, images: Tensor, target: Target, contrast: Contrast = original
) -> Attentions:
    """The attention of every layer, and the gradient of the score with respect to it: one pass forward, one back.

    Read are ``torch.nn.functional.scaled_dot_product_attention``, which timm's transformers use, and the
    self-attention of ``torch.nn.MultiheadAttention``, which torchvision's use. The layers are those that ran, in
    their order; all must be attention between the same tokens. No graph is built before the first of them.

    Args:
        classifier: images in [0, 1] to logits.
        images: (N, 3, H, W) in [0, 1].
        target: the class to explain: one for all images, or one per image (N,), integers in [0, C).
        contrast: which score of the logits is explained.

    Returns:
        the attentions, at least float32, without gradient.

    Raises:
        ValueError: there is no attention, or none that can be read or chained (within windows, between other tokens,
            causal); says what was found and what works instead. Or images, target or contrast do not fit.
        TypeError: the target is not made of integers.
        RuntimeError: the logits do not depend on the attention through anything differentiable.
    """
    check_images(images)
    classes = as_target(target, len(images), images.device)
    with torch.inference_mode(False), torch.enable_grad():
        logits, read = _forward(classifier, images)
        layout = _layout(classifier, images, read)
        gradients = _gradients(contrast(logits, classes), read)
        moved = gradients[-1] if gradients[-1].any() else _moved_at_all(classifier, images)
    # The queries that nothing reads have gradient zero exactly, in every image.
    tokens = (moved != 0).any(-1).flatten(0, 1).any(0).nonzero().flatten().tolist()
    if not tokens:
        raise RuntimeError("the logits do not depend on the last attention: nothing uses it, or the head is all zeros")
    probabilities = tuple(p.detach() for p in read)
    return Attentions(probabilities, gradients, layout.grid, layout.prefix, tuple(tokens), logits.detach())


def _forward(classifier: Classifier, images: Tensor) -> tuple[Tensor, list[Tensor]]:
    """Logits (N, C), and the attention probabilities they depend on, the first as a leaf."""
    reader = _Reader()
    # Compiled, a network would hand out its attention but not run its backward pass through it.
    with torch.compiler.set_stance("force_eager"), torch.no_grad(), _fused(classifier.model), reader:
        logits = classifier(images.clone() if images.is_inference() else images.detach())
    return at_least_float32(logits), reader.probabilities


def _gradients(score: Tensor, read: list[Tensor]) -> tuple[Tensor, ...]:
    """Of the score (N,) with respect to each of the probabilities; zero for an attention that nothing uses."""
    if not score.requires_grad:
        raise RuntimeError("the logits do not depend on the attention through anything differentiable")
    return torch.autograd.grad(score.sum(), read, allow_unused=True, materialize_grads=True)


def _moved_at_all(classifier: Classifier, images: Tensor) -> Tensor:
    """How the last layer moves the logits where it does not move the score (a probability that is 1 in float32)."""
    logits, read = _forward(classifier, images)
    return _gradients(logits.sum(-1), read)[-1]


class _Reader(TorchFunctionMode):
    """While it is active, attention is computed step by step and its probabilities (N, heads, L, L) are kept."""

    def __init__(self) -> None:
        super().__init__()
        self.probabilities: list[Tensor] = []

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func is functional.scaled_dot_product_attention:
            return self._scaled_dot_product(*args, **(kwargs or {}))
        if func is functional.multi_head_attention_forward:
            given = inspect.signature(func).bind(*args, **(kwargs or {}))
            given.apply_defaults()
            return self._multi_head(given.arguments)
        return func(*args, **(kwargs or {}))

    def _attend(self, query: Tensor, key: Tensor, value: Tensor, scale: float, mask: Tensor | None = None) -> Tensor:
        with torch.autocast(query.device.type, enabled=False):  # it would round the products of what is raised here
            q, k, v = (at_least_float32(t) for t in (query, key, value))
            scores = (q * scale) @ k.transpose(-2, -1)
            if mask is not None:
                scores = scores.masked_fill(~mask, -torch.inf) if mask.dtype == torch.bool else scores + mask
            probabilities = scores.softmax(-1)
            if not probabilities.requires_grad:  # the first, before which nothing is recorded
                probabilities = probabilities.detach().requires_grad_()
                torch.set_grad_enabled(True)  # the caller's no_grad() context puts the mode back
            self.probabilities.append(probabilities)
            return (probabilities @ v).to(query.dtype)

    def _scaled_dot_product(
        self, query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None, dropout_p: float = 0.0,
        is_causal: bool = False, *, scale: float | None = None, enable_gqa: bool = False,
    ) -> Tensor:
        unusual = {"is_causal": is_causal, "enable_gqa": enable_gqa, "dropout_p": dropout_p}
        _refuse([f"{name}={value}" for name, value in unusual.items() if value])
        return self._attend(query, key, value, query.shape[-1] ** -0.5 if scale is None else scale, attn_mask)

    def _multi_head(self, given: dict[str, Any]) -> tuple[Tensor, Tensor | None]:
        """Plain self-attention from the arguments of ``multi_head_attention_forward``, tokens first: (L, N, K)."""
        x, heads = given["query"], given["num_heads"]
        _refuse(_unusual(given))
        length, n, width = x.shape
        packed = functional.linear(x, given["in_proj_weight"], given["in_proj_bias"])
        q, k, v = packed.view(length, n, 3, heads, width // heads).permute(2, 1, 3, 0, 4)
        out = self._attend(q, k, v, (width // heads) ** -0.5).permute(2, 0, 1, 3).reshape(length, n, width)
        weights = self.probabilities[-1] if given["need_weights"] else None
        if weights is not None and given["average_attn_weights"]:
            weights = weights.mean(1)
        return functional.linear(out, given["out_proj_weight"], given["out_proj_bias"]), weights


def _unusual(given: dict[str, Any]) -> list[str]:
    """What there is in the arguments of ``multi_head_attention_forward`` beyond plain self-attention."""
    absent = ("key_padding_mask", "attn_mask", "bias_k", "bias_v", "static_k", "static_v")
    off = ("add_zero_attn", "use_separate_proj_weight", "is_causal")
    unusual = [name for name in absent if given[name] is not None] + [name for name in off if given[name]]
    if given["key"] is not given["query"] or given["value"] is not given["query"]:
        unusual.append("other tokens as keys (cross-attention)")
    if given["query"].ndim != 3:
        unusual.append(f"an input of shape {tuple(given['query'].shape)}")
    return unusual


def _refuse(unusual: list[str]) -> None:
    if unusual:
        raise ValueError(f"only plain self-attention can be read, this network's has {', '.join(unusual)}; "
                         "use grad_cam at a layer")


@contextmanager
def _fused(model: nn.Module) -> Iterator[None]:
    """Let timm's modules call torch's attention, also those that were told to compute it themselves."""
    modules = [module for module in model.modules() if vars(module).get("fused_attn") is False]
    try:
        for module in modules:
            vars(module)["fused_attn"] = True
        yield
    finally:
        for module in modules:
            vars(module)["fused_attn"] = False


def _layout(classifier: Classifier, images: Tensor, read: list[Tensor]) -> Layout:
    """Where the tokens lie, after a check that all layers are attention between the same tokens of one image."""
    if not read:
        raise ValueError(_nothing_read(classifier))
    n = len(images)
    for shape in (tuple(p.shape) for p in read):
        if len(shape) == 4 and shape[0] != n and shape[0] % n == 0:
            raise ValueError(f"attention within windows of {shape[-1]} tokens, {n} x {shape[0] // n} of them, does not "
                             f"connect all tokens of an image; {_instead(classifier)}")
        if len(shape) != 4 or shape[0] != n:
            raise ValueError(f"attention of shape {shape} is not (N, heads, L, L) with N = {n}; {_instead(classifier)}")
        if shape[2] != shape[3]:
            raise ValueError(f"attention of {shape[2]} to {shape[3]} tokens is not self-attention (pooling by "
                             f"attention, say); {_instead(classifier)}")
    lengths = list(dict.fromkeys(p.shape[-1] for p in read))
    if len(lengths) > 1:
        raise ValueError(f"the layers attend between {', '.join(map(str, lengths))} tokens in turn, and only attention "
                         f"between the same tokens can be chained; {_instead(classifier)}")
    layout: Layout = classifier.read_as((n, lengths[0], 1), (images.shape[-2], images.shape[-1]))
    return layout


def _nothing_read(classifier: Classifier) -> str:
    names = [type(module).__name__ for module in classifier.model.modules()]
    found = [name for name in names if "attn" in name.lower() or "attention" in name.lower()]
    if found:
        return (f"attention of {found[0]} cannot be read: it does not go through torch's scaled_dot_product_attention; "
                f"{_instead(classifier)}")
    return f"no attention ran in {type(classifier.model).__name__} that could be read; {_instead(classifier)}"


def _instead(classifier: Classifier) -> str:
    try:
        return f"use grad_cam, at layer {classifier.layer_name!r} for one"
    except ValueError:  # not even a default layer
        return "use grad_cam at a layer whose output is a map"
