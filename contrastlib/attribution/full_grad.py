"""FullGrad, signed and complete: all its terms add up to the score.

Biases are found by one rule, while the network runs. *The bias of an affine call is what the same call gives when every
operand that depends on the image is zero; the bias of a knee (ReLU6, clamp) is* f(x) - f'(x) x. So it does not matter
which class of module makes a call, in which order modules are registered, or how often one runs. What the rule does not
reach is left out of the terms and shows as a residual: attention of ``torch.nn.MultiheadAttention`` that is more than
plain self-attention, constants added in place to a part of a tensor, calls in which images are not told apart.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from contrastlib import contrast as contrasts
from contrastlib import relevance
from contrastlib.attribution.attention import given_to_multi_head, multi_head
from contrastlib.attribution.base import BaseAttribution, Named, Place, as_classes, as_target, follow, forward, size_of
from contrastlib.attribution.class_maps import ClassMaps, movable
from contrastlib.contrast import Contrast, Target, original
from contrastlib.models import Classifier, NoMapError, square_enough

Size = tuple[int, int]

_WARN = 1e-3  # relative residual above which a call warns
_SHARE = 0.01  # of all terms' absolute values: a score that is smaller is no measure for the residual

# What calls add a constant: the kind of bias, and the channel axis of their output (0: only its shape can tell).
_CALLS = {
    "linear": ("linear", -1), "layer_norm": ("norm", -1), "group_norm": ("norm", 1),
    **dict.fromkeys(("batch_norm", "instance_norm"), ("batch norm", 1)),
    **dict.fromkeys(("conv1d", "conv2d", "conv3d", "convolution"), ("convolution", 1)),
    **dict.fromkeys(("conv_transpose1d", "conv_transpose2d", "conv_transpose3d"), ("convolution", 1)),
    **dict.fromkeys(("add", "sub", "rsub", "addmm", "addcmul", "baddbmm", "cat", "concat", "concatenate"),
                    ("addition", 0)),
    **dict.fromkeys(("relu6", "hardtanh", "clamp", "clip"), ("knee", 0))}
# Of some the constant need not be asked for: the position of the argument that is the bias.
_BIAS = {name: 3 if kind == "norm" else 2 for name, (kind, _) in _CALLS.items()
         if kind in ("linear", "convolution", "norm")}
_OF_NUMBERS = ("add", "sub", "rsub")  # the others take tensors; a number among these may be an axis
_ADDED_FIRST = ("addbmm", "addcdiv", "addcmul", "addmm", "baddbmm")  # to a product of the operands behind

_CURVED = {
    "celu", "cos", "cosine_similarity", "elu", "erf", "exp", "exp2", "expm1", "gelu", "glu", "gumbel_softmax",
    "hardsigmoid", "hardswish", "linalg_norm", "linalg_vector_norm", "local_response_norm", "log", "log10", "log1p",
    "log2", "log_sigmoid", "log_softmax", "logsumexp", "mish", "multi_head_attention_forward", "norm", "normalize",
    "pow", "rdiv", "reciprocal", "rms_norm", "rpow", "rsqrt", "scaled_dot_product_attention", "selu", "sigmoid", "silu",
    "sin", "softmax", "softmin", "softplus", "softshrink", "softsign", "sqrt", "square", "std", "std_mean", "tanh",
    "tanhshrink", "var", "var_mean"}
_PRODUCTS = {
    "bilinear", "bmm", "conv1d", "conv2d", "conv3d", "div", "divide", "dot", "einsum", "linear", "matmul", "mm", "mul",
    "multiply", "outer", "rmatmul", "tensordot", "true_divide", *_ADDED_FIRST}


class IncompleteError(ValueError):
    """The terms do not add up to the score."""


class IncompleteWarning(UserWarning):
    """The terms of a map do not add up to the score: the network is not piecewise linear."""


@dataclass(frozen=True)
class Bias:
    """A constant that was added to a tensor in the forward pass.

    Attributes:
        name: of the module that owns it, or else of the function that added it.
        kind: ``convolution``, ``linear``, ``batch norm``, ``norm``, ``knee`` or ``addition``.
        constant: one number for each channel, (K,), or what broadcasts to the tensor.
        axis: of the channels, 1 or -1; 0 if the tensor has no place in the image.
        shape: of the tensor, batch first.
    """

    name: str
    kind: str
    constant: Tensor
    axis: int
    shape: tuple[int, ...]

    def by_channel(self, gradient: Tensor) -> Tensor:
        """The gradient of the score with respect to the tensor, times the constant; the tensor's own shape."""
        vector = self.constant.ndim == self.axis == 1
        return gradient * (self.constant.reshape(-1, *[1] * (gradient.ndim - 2)) if vector else self.constant)

    def by_place(self, gradient: Tensor) -> Tensor:
        """The same added up over the channels; over nothing where the tensor has no place."""
        if self.constant.ndim > 1 or not self.axis:
            product = self.by_channel(gradient)
            return product.sum(self.axis) if self.axis else product
        if self.axis == -1:
            return gradient @ self.constant
        # One long axis, and no product of full size in between.
        return (self.constant @ gradient.flatten(2)).reshape(len(gradient), *gradient.shape[2:])


Reduce = Callable[[Bias, Tensor], Tensor]


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
        return sum(self.unplaced.values(), start=sum(map(_sum, self._maps()), start=torch.zeros_like(self.score)))

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
        found = {"input": _sum(self.input)}
        numbers = [*zip(self.placed, map(_sum, self.placed.values())), *self.unplaced.items()]
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
            at = size_of(one)
            of_size[at] = of_size[at] + one if at in of_size else one
        wanted = size_of(self.input) if size is None else size
        return torch.stack([relevance.spread(one, wanted) for one in of_size.values()]).sum(0)

    def check(self, tolerance: float = 1e-4) -> None:
        """Refuse terms that do not add up to the score.

        Args:
            tolerance: largest residual, as a share of the score; where the score is next to nothing beside the terms
                it is made of, of a hundredth of their absolute sum.

        Raises:
            IncompleteError: an image has a larger residual; says which, how large, and what leaves it.
        """
        message = self.incomplete(tolerance)
        if message:
            raise IncompleteError(message)

    def incomplete(self, tolerance: float) -> str:
        """What :meth:`check` says of the image with the largest residual; empty if that is within the tolerance."""
        sizes = [*(_sum(one.abs()) for one in self._maps()), *(number.abs() for number in self.unplaced.values())]
        size, residual = sum(sizes, start=torch.zeros_like(self.score)), self.residual
        share = residual.abs() / torch.maximum(self.score.abs(), _SHARE * size).clamp_min(torch.finfo(size.dtype).tiny)
        worst = int(share.argmax())
        if share[worst] <= tolerance:
            return ""
        return (f"the terms of image {worst} add up to {self.total[worst]:.6g} and its score is "
                f"{self.score[worst]:.6g}: a residual of {residual[worst]:.3g} is left by {_counted(self.leaves)}")

    def _maps(self) -> list[Tensor]:
        return [self.input, *self.placed.values()]


class FullGrad(BaseAttribution):
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
    reads = "input"

    def _maps(self, classifier: Classifier, images: Tensor, target: Tensor, contrast: Contrast, _: Place) -> Tensor:
        terms = self.terms(classifier, images, target, contrast)
        _warn(terms.incomplete(_WARN), stacklevel=4)
        return terms.map()

    def terms(self, classifier: Classifier, images: Tensor, target: Named, contrast: Contrast = original,
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
        with torch.inference_mode(False):
            return Recording(classifier, images).terms(as_target(classifier, target, images), contrast)

    def class_maps(self, classifier: Classifier, images: Tensor, classes: Sequence[int | str] | Tensor | None = None, *,
                   layer: str | nn.Module | None = None, size: Size | None = None) -> ClassMaps:
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
        recording = Recording(classifier, images)
        maps, message = [], ""
        with torch.inference_mode(False):
            chosen = as_classes(classifier, classes, recording.logits)
            for column in chosen.unbind(1):
                terms = recording.terms(column, _logit, again=True)
                message = message or terms.incomplete(_WARN)
                maps.append(terms.map(size))
        _warn(message, stacklevel=3)
        return ClassMaps(torch.cat(maps, dim=1), chosen, recording.logits.detach())


def _logit(logits: Tensor, target: Tensor) -> Tensor:
    return original(movable(logits), target)


def _warn(message: str, stacklevel: int) -> None:
    if message:
        warnings.warn(message, IncompleteWarning, stacklevel=stacklevel)


full_grad = FullGrad()
"""Signed FullGrad; see :class:`FullGrad`."""


class Recording:
    """A forward pass with its biases. The model is left as it was found.

    Attributes:
        logits: (N, C), with their graph.
    """

    def __init__(self, classifier: Classifier, images: Tensor) -> None:
        _check_precision(classifier)
        with torch.inference_mode(False), torch.enable_grad(), _watched(classifier.model) as self._watcher:
            self.logits = forward(classifier, images)
        if not self.logits.requires_grad:
            raise RuntimeError("the logits do not depend on the images through anything differentiable")
        if not self._watcher.biases:
            raise ValueError(f"{classifier.name} adds no bias that this thread can see; without one its "
                             "map is gradient x input: call gradient_x_input")
        for bias in self._watcher.biases:
            if bias.shape[:1] == bias.shape[1:2] and not classifier.batch_first(bias.name, size_of(images)):
                raise ValueError(f"layer '{bias.name}' has as many tokens along its first axis as images along its "
                                  f"second, {len(images)}, and they cannot be told apart; explain fewer images at once")
        self._read_as = classifier.read_as

    def back(self, target: Target, contrast: Contrast, reduce: Reduce = Bias.by_place, *, again: bool = False,
             ) -> tuple[Tensor, list[tuple[Bias, Tensor]]]:
        """One backward pass.

        Args:
            target: the class to explain.
            contrast: which score of the logits is explained.
            reduce: what to keep of a bias, from it and the gradient of the score where it was added.
            again: keep the graph for another pass.

        Returns:
            the input's term, gradient times normalised image (N, 3, H, W), and each bias with what was kept of it.
        """
        image, found = self._watcher.image, self._watcher.found
        self._watcher.reduce = reduce
        weights = contrasts.weights(contrast, self.logits.detach(), contrasts.as_targets(target, image))
        (gradient,) = torch.autograd.grad(self.logits, image, weights.to(self.logits.dtype), retain_graph=again)
        kept = [(self._watcher.biases[i], found[i]) for i in sorted(found)]
        found.clear()
        return gradient * image.detach(), kept

    def terms(self, target: Target, contrast: Contrast, *, again: bool = False) -> FullGradTerms:
        """The terms of a score; `again` keeps the graph for another."""
        of_input, kept = self.back(target, contrast, again=again)
        placed: dict[str, Tensor] = {}
        unplaced: dict[str, Tensor] = {}
        for bias, places in kept:
            at, nowhere = self._in_image(bias, places)
            if at is not None:
                placed[bias.name] = _together(placed[bias.name], at) if bias.name in placed else at
            if nowhere is not None:
                unplaced[bias.name] = unplaced.get(bias.name, 0) + nowhere
        logits, chosen = self.logits.detach(), contrasts.as_targets(target, of_input)
        score = contrast(logits, chosen).double()
        weights = contrasts.weights(contrast, logits, chosen).double()
        products = weights * logits.double().where(weights != 0, 0)  # an infinite logit of no weight adds nothing
        rest = score - products.sum(-1)  # for the log-odds, minus the entropy of alpha
        if (rest.abs() > 4 * torch.finfo(logits.dtype).eps * products.abs().sum(-1)).any():  # more than rounding
            unplaced["contrast"] = rest
        return FullGradTerms(score, of_input.sum(1, keepdim=True), placed, unplaced, tuple(self._watcher.leaves),
                             {bias.name: bias.kind for bias, _ in kept})

    def _in_image(self, bias: Bias, places: Tensor) -> tuple[Tensor | None, Tensor | None]:
        """A bias's products as a map (N, 1, h, w), or as numbers (N,) where they have no place; of tokens as both."""
        n, size = len(self.logits), size_of(self._watcher.image)
        if len(places) == n and places.ndim == 3 and places[0].numel() > 1 and (
                bias.axis == 1 or (bias.axis == -1 and square_enough(size_of(places), size))):
            return places.unsqueeze(1), None
        if len(places) == n and places.ndim == 2 and bias.axis == -1:
            with suppress(NoMapError):  # no tokens on a grid
                layout = self._read_as(bias.shape, size)
                patches = places[:, layout.prefix:].unflatten(1, layout.grid).unsqueeze(1)
                return patches, places[:, :layout.prefix].sum(1, dtype=torch.float64) if layout.prefix else None
        # What is not laid out as the image is has its parts in the order of the batch.
        return None, places.reshape(n, -1).sum(1, dtype=torch.float64)


class _Watcher(TorchFunctionMode):
    """Sees every call of a torch function while it is entered, and writes the biases down.

    The parameters are frozen meanwhile, so that a tensor requires gradient if, and only if, it depends on the image.
    It knows nothing of the graph, whose hooks know it: else neither could be freed.
    """

    image: Tensor  # what the network sees
    reduce: Reduce  # what is kept of a gradient, in a backward pass

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        named = (*model.named_parameters(), *model.named_buffers())
        self.owners = {id(tensor): name.rpartition(".")[0] or name for name, tensor in named}
        self.running: list[str] = []  # the modules that run, the innermost last; none before the network itself
        self.grids: set[tuple[int, ...]] = set()  # of maps
        self.biases: list[Bias] = []
        self.leaves: dict[str, None] = {}
        self.found: dict[int, Tensor] = {}  # what was reduced in a backward pass, by the index of the bias

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Call the function, and ask for what it adds."""
        call = _Call(func, args, kwargs or {})
        if not self.running or not _count(call.operands):
            return call()
        if func is functional.multi_head_attention_forward:
            given, unusual = given_to_multi_head(args, call.kwargs)
            if not unusual:
                with self:
                    return multi_head(given, _attend)
        constant = call.constant()  # asked before the call, which may overwrite its operands
        output = call()
        if not _count(output if isinstance(output, tuple) else [output]):  # attention gives its weights, too
            return output
        if call.leaves_residual():
            self.leaves[self._here(call)] = None
        if call.kind == "convolution":
            self.grids.add(output.shape[2:])
        if constant is None:
            return output
        # A mask adds minus infinity: nothing is left of the place, and there is no product to count.
        constant = constant.detach().masked_fill(~constant.isfinite(), 0)
        return self._added(call, constant, output)

    def _added(self, call: _Call, constant: Tensor, output: Tensor) -> Tensor:
        """Write a bias down, and reduce the gradient there as soon as a backward pass comes by."""
        shape, n = tuple(output.shape), len(self.image)
        second = len(shape) == 3 and call.axis != 1 and shape[0] != n and shape[1] == n  # (L, N, K)
        alone = call.kind == "convolution" and output.ndim != call.given(1, "weight").ndim  # an image without a batch
        in_part = output._is_view() and any(output is x for x in call.args[:1])  # of a tensor, in place
        if alone or in_part or not shape or (shape[0] % n and not second):  # images cannot be told apart
            self.leaves[self._here(call)] = None
            return output
        if second:
            shape = (n, shape[0], shape[2])
            constant = constant.transpose(0, 1) if constant.ndim > 1 else constant
        owners = (self.owners.get(id(x)) or self.owners.get(id(x._base)) for x in call.added())
        name = next(filter(None, owners), None) or self._here(call)
        bias = Bias(name, call.kind, constant, self._axis(shape, call.axis if constant.ndim == 1 else 0), shape)
        index = len(self.biases)
        self.biases.append(bias)

        def reduce(gradient: Tensor) -> Tensor | None:
            self.found[index] = self.reduce(bias, gradient.transpose(0, 1) if second else gradient)
            # On a CPU, torch (seen from 2.11 to 2.15) goes back through BatchNorm wrongly where tokens of one image
            # follow: it takes the gradient's memory, which then looks like that of channels last, for channels first.
            return gradient.contiguous() if bias.kind == "batch norm" else None

        if output._is_view():
            # An activation in place would go round this view's own node in the graph, and no gradient would pass it.
            output = output.clone()
        output.register_hook(reduce)
        return output

    def _axis(self, shape: tuple[int, ...], known: int) -> int:
        """The channel axis of an output: of tokens the last, of a map what its size tells."""
        if known:
            return -1 if len(shape) == 2 else known
        if len(shape) != 4:
            return -1 if len(shape) == 3 else 0
        maps = self.grids | {self.image.shape[2:]}
        return 1 if shape[2:] in maps else -1 if shape[1:3] in maps else 0

    def _here(self, call: _Call) -> str:
        return f"{call.name} in {self.running[-1]}" if self.running[-1] else call.name


class _Call:
    """A call of a torch function: what it adds to its output, and whether it leaves a residual."""

    def __init__(self, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.function, self.args, self.kwargs = function, args, kwargs
        self.name = str(getattr(function, "__name__", function)).strip("_")
        values = (*args, *kwargs.values())
        self.operands = [x for value in values for x in (value if isinstance(value, list | tuple) else [value])]
        self.kind, self.axis = _CALLS.get(self.name, ("", 0))
        if self.kind == "batch norm" and self.given(5, "training", kwargs.get("use_input_stats")):
            self.kind = "norm"  # by the statistics of what it is given

    def __call__(self) -> Any:
        return self.function(*self.args, **self.kwargs)

    def given(self, position: int, name: str, default: Any = None) -> Any:
        """An argument, however it was given."""
        return self.args[position] if len(self.args) > position else self.kwargs.get(name, default)

    def leaves_residual(self) -> bool:
        """Whether it is more than linear in what depends on the image, whatever constants are added to that."""
        factors = self.operands[self.name in _ADDED_FIRST:]
        return self.kind == "norm" or self.name in _CURVED or (self.name in _PRODUCTS and _count(factors) > 1)

    def added(self) -> list[Tensor]:
        """The operands by which the owner of what it adds is known."""
        bias = [self.given(_BIAS[self.name], "bias")] if self.name in _BIAS else self.operands
        return [x for x in bias if isinstance(x, Tensor) and not x.requires_grad]

    def constant(self) -> Tensor | None:
        """What it adds; None if that is nothing."""
        if self.name in _BIAS:  # what is left at zero is known without a convolution of zeros
            return next(iter(self.added()), None)
        if self.name in ("batch_norm", "instance_norm"):
            return self._shift()
        constant = None
        if self.kind == "knee" and _count(self.operands) == 1:
            constant = self._beyond_knee()
        if self.kind == "addition" and (self.added() or self.name in _OF_NUMBERS):
            with torch.no_grad():
                constant = self.function(*map(_at_zero, self.args),
                                         **{name: _at_zero(value) for name, value in self.kwargs.items()})
        return constant if constant is not None and constant.any() else None

    def _shift(self) -> Tensor | None:
        """What BatchNorm gives at zero, written out as measured rows have it rounded."""
        order = (1, 2, 3, 4) if self.function in (functional.batch_norm, functional.instance_norm) else (3, 4, 1, 2)
        names = ("running_mean", "running_var", "weight", "bias")
        mean, variance, weight, bias = map(self.given, order, names)
        if self.kind == "norm":
            return bias
        shift: Tensor = mean * (variance + self.given(7, "eps", 1e-5)).rsqrt()
        shift = shift if weight is None else shift * weight
        return -shift if bias is None else bias - shift

    def _beyond_knee(self) -> Tensor:
        """f(x) - f'(x) x, elementwise."""
        options = dict(self.kwargs)
        given, *others = self.args or (options.pop("input"),)
        x = given.detach().requires_grad_()
        with torch.enable_grad():
            y: Tensor = self.function(x.clone(), *others, **options)
            (slope,) = torch.autograd.grad(y.sum(), x)
        return y.detach() - slope * x.detach()


def _at_zero(value: Any) -> Any:
    """An operand with zeros in the place of what depends on the image; a copy, since the call may be in place."""
    if isinstance(value, list | tuple):
        return type(value)(map(_at_zero, value))
    if isinstance(value, Tensor):
        return torch.zeros_like(value) if value.requires_grad else value.clone()
    return value


def _attend(query: Tensor, key: Tensor, value: Tensor, scale: float) -> tuple[Tensor, Tensor]:
    weights = ((query * scale) @ key.transpose(-2, -1)).softmax(-1)
    return weights @ value, weights


def _count(values: Iterable[Any]) -> int:
    """How many depend on the image."""
    return sum(isinstance(value, Tensor) and value.requires_grad for value in values)


@contextmanager
def _watched(model: nn.Module) -> Iterator[_Watcher]:
    """Within, the calls of a network are seen, its parameters frozen. It is left as it was found."""
    if isinstance(model, torch.jit.ScriptModule):
        raise ValueError("the calls of a scripted or traced network cannot be seen, so its biases cannot be found; "
                         "pass the network that it was made from")
    watcher = _Watcher(model)

    def start(_module: nn.Module, args: tuple[Tensor]) -> Tensor:
        watcher.image = args[0].detach().requires_grad_()
        return watcher.image.clone()  # a copy, which the network may overwrite

    with follow(model, start) as watcher.running, ExitStack() as undo, watcher:
        for parameter in [parameter for parameter in model.parameters() if parameter.requires_grad]:
            undo.callback(parameter.requires_grad_(False).requires_grad_)
        yield watcher


def _together(one: Tensor, other: Tensor) -> Tensor:
    """The maps of a bias that acts twice, at the finer of their resolutions."""
    (h, w), (height, width) = size_of(one), size_of(other)
    size = (max(h, height), max(w, width))
    return relevance.spread(one, size) + relevance.spread(other, size)


def _check_precision(classifier: Classifier) -> None:
    """The sum of the terms proves nothing if it is rounded to three digits."""
    if torch.is_autocast_enabled(classifier.mean.device.type):
        raise ValueError("full_grad adds its terms up to the score, which half precision cannot show; leave autocast, "
                         "for instance with torch.autocast(device_type, enabled=False)")
    first: dict[torch.dtype, str] = {}
    for name, parameter in classifier.model.named_parameters():
        if parameter.is_floating_point():
            first.setdefault(parameter.dtype, name)
    if len(first) > 1 or any(torch.finfo(dtype).bits < 32 for dtype in first):
        found = ", ".join(f"'{name}' is {dtype}" for dtype, name in first.items())
        raise ValueError("full_grad adds its terms up to the score, which needs all parameters in one precision, "
                         f"float32 or finer: {found}; call .float() on the classifier")


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


def _sum(maps: Tensor) -> Tensor:
    return maps.flatten(1).sum(1, dtype=torch.float64)
