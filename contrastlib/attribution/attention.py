"""Reading a transformer's attention, and the gradient of the score with respect to it.

Networks keep their attention to themselves: torch computes it in one fused step. Here that step is taken apart while
one forward pass runs. Nothing global is patched, and no module is changed for longer than that.
"""

import inspect
from abc import abstractmethod
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from contrastlib.attribution.base import BaseAttribution, Named, Place, as_target, follow, forward
from contrastlib.contrast import Contrast, original
from contrastlib.models import Classifier, Layout
from contrastlib.relevance import at_least_float32


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


class AttentionAttribution(BaseAttribution):
    r"""An attribution that follows what is read through a chain of layers, from the head back to the patches.

    .. math:: R = M_L \cdots M_{b+1}, \qquad \phi_j = \frac{1}{|Q|} \sum_{q \in Q} R_{qj}

    M is the matrix (L, L) of one layer, which the method says, and Q are the tokens that the head reads. These methods
    are not linear in the gradient, so there are no class maps whose sum they would be. A map is dimensionless; where
    the head reads patch tokens, what each of these passes on of itself is part of it. A call raises what
    :func:`attentions` raises.
    """

    reads = "attention of all layers"
    instead = "; see from_block"

    @abstractmethod
    def matrices(self, found: Attentions) -> list[Tensor]:
        """The matrix M of each layer.

        Args:
            found: from :func:`attentions`.

        Returns:
            first layer first, each (N, L, L).
        """

    def from_attentions(self, found: Attentions, from_block: int = 0) -> Tensor:
        """The map from attentions that have been read already.

        Args:
            found: from :func:`attentions`.
            from_block: the first layer that takes part, counted from 0; 0 takes all.

        Returns:
            relevance (N, 1, h, w); positive speaks for the score.

        Raises:
            ValueError: there is no such block.
        """
        with torch.autocast(found.logits.device.type, enabled=False):
            return through_layers(found, self.matrices(found), from_block)

    def _maps(self, classifier: Classifier, images: Tensor, target: Tensor, contrast: Contrast, _: Place) -> Tensor:
        return self.from_attentions(attentions(classifier, images, target, contrast))


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


Fusion = Literal["mean", "max", "min"]

_FUSE: dict[Fusion, Callable[[Tensor, int], Tensor]] = {"mean": torch.mean, "max": torch.amax, "min": torch.amin}


@dataclass(frozen=True)
class AttentionRollout(AttentionAttribution):
    r"""Attention rollout :cite:p:`abnar2020quantifying`, each layer weighted by the gradient of the score.

    .. math:: A_l = \operatorname*{fuse}_{\text{heads}} \Big( P_l \odot \frac{1}{s}
        \frac{\partial\, \text{score}}{\partial P_l} \Big), \qquad
        B_l = \frac{A_l + I}{\lVert A_l + I \rVert_1}, \qquad R = B_L \cdots B_1

    P are the attention probabilities, the norm is that of each row, and the map is R from the tokens that the head
    reads to the patch tokens. Without rectifier and for a contrastive score this is the contrastive rollout of
    :cite:t:`eriksson2025reproducibility`.

    Paper: rows are divided by their sum. Here: by the sum of absolute values, which is the same for a rectified matrix
    and, unlike the sum, cannot cancel to nothing in a signed one.

    Paper: gradients as they come beside an identity of fixed size, so that a score with ten times the gradient has
    another map, and a probability, whose gradient carries :math:`p_t (1 - p_t) \le 1/4`, has not that of the log-odds.
    Here: one number s for each image puts them in proportion: the largest sum of absolute values in a row of any
    layer's fused matrix. No token then takes more from the others than it keeps, and the one that takes most takes as
    much, as every token does in rollout without gradients, whose rows sum to 1. The map depends on the direction of the
    gradient only; what one layer counts against another is not touched.

    The layers multiply, so that two negative steps make a positive one. A token that speaks against what speaks against
    the score is marked like one that speaks for it.

    Args:
        relu: whether negative entries are set to zero after the heads are fused. Off, the map is signed.
        fusion: how the heads become one matrix.
        discard: share of each fused matrix's entries that is set to zero, in [0, 1): the smallest, by absolute value.
            The class token's entry for itself stays.
        scaled: False leaves s at 1, the literal formula.

    Raises:
        ValueError: an option has no such value.
    """

    relu: bool = False
    fusion: Fusion = "mean"
    discard: float = 0.0
    scaled: bool = True

    name = "attention_rollout"

    def __post_init__(self) -> None:
        if self.fusion not in _FUSE:
            raise ValueError(f"fusion must be one of {', '.join(_FUSE)}, got {self.fusion!r}")
        if not 0 <= self.discard < 1:
            raise ValueError(f"discard is a share in [0, 1), got {self.discard}")

    rollout = AttentionAttribution.from_attentions

    def matrices(self, found: Attentions) -> list[Tensor]:
        """The matrix B of each layer, (N, L, L), first layer first; the absolute values of a row sum to 1."""
        return [functional.normalize(matrix, p=1, dim=-1) for matrix in self.unnormalised(found)]

    def unnormalised(self, found: Attentions) -> list[Tensor]:
        """The matrix (A + I) / 2 of each layer, before its rows are normalised; as :meth:`matrices`."""
        fused = [self._fused(p, g, found.prefix) for p, g in zip(found.probabilities, found.gradients)]
        if self.scaled:  # by the largest sum of absolute values in a row of any layer, unless nothing moves the score
            largest = torch.stack([matrix.abs().sum(-1).amax(-1) for matrix in fused]).amax(0)
            scale = torch.where(largest > 0, largest, 1)[:, None, None]
            fused = [matrix / scale for matrix in fused]
        return [(matrix + _identity(matrix)) / 2 for matrix in fused]

    def _fused(self, probabilities: Tensor, gradient: Tensor, prefix: int) -> Tensor:
        """The heads as one matrix (N, L, L), without its smallest entries and those that tie with the last of them."""
        matrix = _FUSE[self.fusion](probabilities * gradient, 1)
        matrix = matrix.relu() if self.relu else matrix
        count = int(self.discard * matrix[0].numel())
        if not count:
            return matrix
        size = matrix.abs().flatten(1)
        small = (size <= size.kthvalue(count, dim=-1, keepdim=True).values).view(matrix.shape)
        if prefix:
            small[:, 0, 0] = False
        return matrix.masked_fill(small, 0)


def _identity(matrix: Tensor) -> Tensor:
    return torch.eye(matrix.shape[-1]).to(matrix)


attention_rollout = AttentionRollout()


@dataclass(frozen=True)
class AttentionRelevance(AttentionAttribution):
    r"""Relevance through self-attention as in :cite:t:`chefer2021generic`.

    .. math:: \bar A_l = \frac{1}{\text{heads}} \sum_{\text{heads}}
        \Big( P_l \odot \frac{\partial\, \text{score}}{\partial P_l} \Big)^+, \qquad
        R \leftarrow R + \bar A_l R

    Started at the identity and taken from the first layer to the last, so that
    :math:`R = (I + \bar A_L) \cdots (I + \bar A_1)`; P are the attention probabilities. The map is R from the tokens
    that the head reads to the patch tokens. No row is normalised: a score with twice the gradient has not twice the
    map, because paths through several layers multiply.

    Args:
        relu: False leaves the sign of each head's product: this project's signed variant, in which two negative steps
            make a positive one.
    """

    relu: bool = True

    name = "attention_relevance"

    relevance = AttentionAttribution.from_attentions

    def matrices(self, found: Attentions) -> list[Tensor]:
        r"""The matrix :math:`I + \bar A` of each layer, (N, L, L), first layer first."""
        weighted = [p * g for p, g in zip(found.probabilities, found.gradients)]
        fused = [(product.relu() if self.relu else product).mean(1) for product in weighted]
        return [_identity(matrix) + matrix for matrix in fused]


attention_relevance = AttentionRelevance()


def attentions(classifier: Classifier, images: Tensor, target: Named, contrast: Contrast = original) -> Attentions:
    """The attention of every layer, and the gradient of the score with respect to it: one pass forward, one back.

    Read are ``torch.nn.functional.scaled_dot_product_attention``, which timm's transformers use, and the
    self-attention of ``torch.nn.MultiheadAttention``, which torchvision's use. The layers are those that ran, in
    their order; all must be attention between the same tokens, and from one to the next every token goes its own way.
    No graph is built before the first of them.

    Args:
        classifier: images in [0, 1] to logits.
        images: (N, 3, H, W) in [0, 1].
        target: the class to explain: one for all images, or one per image (N,), integers in [0, C).
        contrast: which score of the logits is explained.

    Returns:
        the attentions, at least float32, without gradient.

    Raises:
        ValueError: there is no attention, or none that can be read or chained (within windows, between other tokens,
            side by side, with something else that mixes tokens in between, causal); says what was found and what works
            instead. Or images, target or contrast do not fit.
        TypeError: the target is not made of integers.
        RuntimeError: the logits do not depend on the attention through anything differentiable.
    """
    with torch.inference_mode(False), torch.enable_grad():
        classes = as_target(classifier, target, images)
        logits, reader = _forward(classifier, images)
        read = reader.probabilities
        layout = _layout(classifier, images, read)
        gradients = _gradients(contrast(logits, classes), read)
        chained = _CHAINED.setdefault(classifier.model, set())
        if images.shape[1:] not in chained:
            _check_chain(classifier, images[:1])
            chained.add(images.shape[1:])
        moved = gradients[-1]
        if not moved.any():  # the logits may depend on what does not move the score: a probability is 1 in float32
            logits, again = _forward(classifier, images)
            moved = _gradients(logits.sum(-1), again.probabilities)[-1]
    # The queries that nothing reads have gradient zero exactly, in every image.
    tokens = (moved != 0).any(-1).flatten(0, 1).any(0).nonzero().flatten().tolist()
    if not tokens:
        raise RuntimeError("the logits do not depend on the last attention: nothing uses it, or the head is all zeros")
    probabilities = tuple(p.detach() for p in read)
    return Attentions(probabilities, gradients, layout.grid, layout.prefix, tuple(tokens), logits.detach())


def _forward(classifier: Classifier, images: Tensor, *, steps: bool = False) -> tuple[Tensor, "_Reader"]:
    """Logits (N, C), and what has read the attention they depend on, the first as a leaf."""
    with follow(classifier.model) as running, ExitStack() as undo:
        reader = _Reader(running, steps)
        for module in classifier.model.modules():  # timm's modules that were told to compute attention themselves
            if vars(module).get("fused_attn") is False:
                vars(module)["fused_attn"] = True
                undo.callback(vars(module).update, fused_attn=False)
        # Compiled, a network would hand out its attention but not run its backward pass through it.
        with torch.compiler.set_stance("force_eager"), torch.no_grad(), reader:
            logits = forward(classifier, images)
    lengths = {p.shape[-1] for p in reader.probabilities}
    left_out = [name for name, length in reader.left_out.items() if length in lengths]
    if left_out:
        raise ValueError(f"the attention of {', '.join(left_out)} is computed step by step and cannot be read, and "
                         f"without it the others do not make a map; {_instead(classifier)}")
    return at_least_float32(logits), reader


def _gradients(score: Tensor, read: list[Tensor]) -> tuple[Tensor, ...]:
    """Of the score (N,) with respect to each of the probabilities; zero for an attention that nothing uses."""
    if not score.requires_grad:
        raise RuntimeError("the logits do not depend on the attention through anything differentiable")
    return torch.autograd.grad(score.sum(), read, materialize_grads=True)


# Networks whose layers of attention follow each other token by token, with the shapes of images where that was seen.
_CHAINED: WeakKeyDictionary[nn.Module, set[torch.Size]] = WeakKeyDictionary()
_BETWEEN = ("softmax", "log_softmax", "matmul", "bmm", "baddbmm", "einsum")  # what makes a matrix between tokens


class _Reader(TorchFunctionMode):
    """While it is active, attention is computed step by step and its probabilities (N, heads, L, L) are kept."""

    def __init__(self, running: list[str], keep_steps: bool) -> None:
        super().__init__()
        self.running, self.keep_steps = running, keep_steps
        self.probabilities: list[Tensor] = []
        self.steps: list[tuple[str, Tensor, Tensor]] = []  # of each: the module, what its middle token gets, and output
        self.left_out: dict[str, int] = {}  # modules with a matrix between so many tokens of their own

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is functional.scaled_dot_product_attention:
            return self._scaled_dot_product(*args, **(kwargs or {}))
        if func is functional.multi_head_attention_forward:
            given, unusual = given_to_multi_head(args, kwargs or {})
            _refuse(unusual)
            return multi_head(given, self._attend)
        output = func(*args, **(kwargs or {}))
        if getattr(func, "__name__", "").strip("_") in _BETWEEN and output.ndim > 2 and len({*output.shape[-2:]}) == 1:
            self.left_out[self._here()] = output.shape[-1]
        return output

    def _here(self) -> str:
        return (self.running or [""])[-1] or "the network itself"

    def _attend(self, query: Tensor, key: Tensor, value: Tensor, scale: float, mask: Tensor | None = None,
                ) -> tuple[Tensor, Tensor]:
        with torch.autocast(query.device.type, enabled=False):  # it would round the products of what is raised here
            q, k, v = (at_least_float32(t) for t in (query, key, value))
            scores = (q * scale) @ k.transpose(-2, -1)
            if mask is not None:
                scores = scores.masked_fill(~mask, -torch.inf) if mask.dtype == torch.bool else scores + mask
            probabilities = scores.softmax(-1)
            if not probabilities.requires_grad:  # the first, before which nothing is recorded
                probabilities = probabilities.detach().requires_grad_()
                torch.set_grad_enabled(True)  # the caller's no_grad() context puts the mode back
            output = probabilities @ v
            self.probabilities.append(probabilities)
            if self.keep_steps:
                token = torch.stack([t.select(-2, t.shape[-2] // 2).sum() for t in (q, k, v)]).sum()
                self.steps.append((self._here(), token, output))
            return output.to(query.dtype), probabilities

    def _scaled_dot_product(self, query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None,
                            dropout_p: float = 0.0, is_causal: bool = False, *, scale: float | None = None,
                            enable_gqa: bool = False) -> Tensor:
        options = {"is_causal": is_causal, "enable_gqa": enable_gqa, "dropout_p": dropout_p}
        _refuse([f"{name}={value}" for name, value in options.items() if value])
        return self._attend(query, key, value, query.shape[-1] ** -0.5 if scale is None else scale, attn_mask)[0]


def given_to_multi_head(args: Any, kwargs: Any) -> tuple[dict[str, Any], list[str]]:
    """The arguments of ``multi_head_attention_forward`` by name, and what among them is beyond plain self-attention."""
    bound = inspect.signature(functional.multi_head_attention_forward).bind(*args, **kwargs)
    bound.apply_defaults()
    given = bound.arguments
    absent = ("key_padding_mask", "attn_mask", "bias_k", "bias_v", "static_k", "static_v")
    off = ("add_zero_attn", "use_separate_proj_weight", "is_causal")
    unusual = [name for name in absent if given[name] is not None] + [name for name in off if given[name]]
    if given["key"] is not given["query"] or given["value"] is not given["query"]:
        unusual.append("other tokens as keys (cross-attention)")
    if given["query"].ndim != 3:
        unusual.append(f"an input of shape {tuple(given['query'].shape)}")
    return given, unusual


def multi_head(given: dict[str, Any], attend: Callable[[Tensor, Tensor, Tensor, float], tuple[Tensor, Tensor]],
               ) -> tuple[Tensor, Tensor | None]:
    """Plain self-attention step by step, from what ``multi_head_attention_forward`` is given; tokens first: (L, N, K).

    Args:
        given: the arguments, of which nothing is unusual.
        attend: from query, key and value, each (N, heads, L, k), and a scale to the output and the probabilities.
    """
    x, heads = given["query"], given["num_heads"]
    length, n, width = x.shape
    packed = functional.linear(x.transpose(0, 1), given["in_proj_weight"], given["in_proj_bias"])
    q, k, v = packed.view(n, length, 3, heads, width // heads).permute(2, 0, 3, 1, 4)
    out, weights = attend(q, k, v, (width // heads) ** -0.5)
    out = functional.linear(out.transpose(1, 2).flatten(2), given["out_proj_weight"], given["out_proj_bias"])
    if given["average_attn_weights"]:
        weights = weights.mean(1)
    return out.transpose(0, 1), weights if given["need_weights"] else None


def _refuse(found: list[str]) -> None:
    if found:
        raise ValueError(f"only plain self-attention can be read, this network's has {', '.join(found)}; "
                         "use grad_cam at a layer")


def _layout(classifier: Classifier, images: Tensor, read: list[Tensor]) -> Layout:
    """Where the tokens lie, after a check that all layers are attention between the same tokens of one image."""
    lengths = list(dict.fromkeys(p.shape[-1] for p in read))
    problems = [_problem(tuple(p.shape), len(images)) for p in read] or [_nothing_read(classifier.model)]
    if len(lengths) > 1:
        problems.append(f"the layers attend between {', '.join(map(str, lengths))} tokens in turn, and only attention "
                        "between the same tokens can be chained")
    if any(problems):
        raise ValueError(f"{next(filter(None, problems))}; {_instead(classifier)}")
    return classifier.read_as((len(images), lengths[0], 1), (images.shape[-2], images.shape[-1]))


def _check_chain(classifier: Classifier, image: Tensor) -> None:
    """Refuse layers of which one does not follow the other token by token: no product of theirs would be the map."""
    logits, reader = _forward(classifier, image, steps=True)
    found = torch.autograd.grad(logits.sum(), [output for *_, output in reader.steps], allow_unused=True,
                                retain_graph=True)
    used = [step for step, gradient in zip(reader.steps, found) if gradient is not None]
    for (name, _, given), (after, token, _) in pairwise(used):
        moved = None
        if token.requires_grad:
            (moved,) = torch.autograd.grad(token, given, retain_graph=True, allow_unused=True)
        if moved is None:
            problem = f"the attention of {after} does not follow that of {name}, it runs beside it"
        elif moved.index_fill(-2, torch.tensor(moved.shape[-2] // 2, device=moved.device), 0).any():
            problem = f"between the attention of {name} and that of {after} something else mixes the tokens"
        else:
            continue
        raise ValueError(f"{problem}, so that their matrices cannot be chained; {_instead(classifier)}")


def _problem(shape: tuple[int, ...], n: int) -> str:
    """Why attention of some shape is none between all tokens of each of n images; empty if it is."""
    if len(shape) == 4 and shape[0] != n and shape[0] % n == 0:
        return (f"attention within windows of {shape[-1]} tokens, {n} x {shape[0] // n} of them, does not connect all "
                "tokens of an image")
    if len(shape) != 4 or shape[0] != n:
        return f"attention of shape {shape} is not (N, heads, L, L) with N = {n}"
    if shape[2] != shape[3]:
        return f"attention of {shape[2]} to {shape[3]} tokens is not self-attention (pooling by attention, say)"
    return ""


def _nothing_read(model: nn.Module) -> str:
    names = [type(module).__name__ for module in model.modules()]
    found = [name for name in names if "attn" in name.lower() or "attention" in name.lower()]
    if found:
        return f"attention of {found[0]} cannot be read: it does not go through torch's scaled_dot_product_attention"
    return f"no attention ran in {type(model).__name__} that could be read"


def _instead(classifier: Classifier) -> str:
    try:
        return f"use grad_cam, at layer {classifier.layer_name!r} for one"
    except ValueError:  # not even a default layer
        return "use grad_cam at a layer whose output is a map"
