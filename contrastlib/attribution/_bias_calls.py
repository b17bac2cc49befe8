"""Which calls of torch functions add a constant to what depends on the image, and which are not piecewise linear."""

from __future__ import annotations

import functools
import math
import types
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

Arguments = tuple[Any, ...]
Options = dict[str, Any]


class Found(NamedTuple):
    """A constant that a call adds to its output.

    Attributes:
        kind: ``convolution``, ``linear``, ``batch norm``, ``norm``, ``knee`` or ``addition``.
        value: the constant: one number for each channel, (K,), or what broadcasts to the output.
        channels: the output's channel axis, 1 or -1; 0 where only its shape can tell; None where it has no batch.
        scale: factor of the value.
        owner: the tensor by which the owning module is known; None where that is the value.
    """

    kind: str
    value: Tensor
    channels: int | None = 0
    scale: float = 1.0
    owner: Tensor | None = None


Rule = Callable[[Any, Arguments, Options], tuple[Any, list[Found]]]
"""Calls the function, and says what it added: (function, args, kwargs) to (output, found)."""


def _argument(args: Arguments, kwargs: Options, position: int, name: str, default: Any = None) -> Any:
    return args[position] if len(args) > position else kwargs.get(name, default)


def _biased(kind: str, channels: int) -> Rule:
    def rule(function: Any, args: Arguments, kwargs: Options) -> tuple[Any, list[Found]]:
        output, bias = function(*args, **kwargs), _argument(args, kwargs, 2, "bias")
        if bias is None or bias.requires_grad:  # made from the image, it is a part of what is linear
            return output, []
        weight = _argument(args, kwargs, 1, "weight")
        batched = kind != "convolution" or output.ndim == weight.ndim
        return output, [Found(kind, bias, channels if batched else None)]

    return rule


def _batch_norm(function: Any, args: Arguments, kwargs: Options) -> tuple[Any, list[Found]]:
    """``batch_norm`` and ``instance_norm``: with kept statistics an affine map, else only the explicit bias counts."""
    output = function(*args, **kwargs)
    names = ("input", "weight", "bias", "running_mean", "running_var")
    _, weight, bias, mean, variance = (_argument(args, kwargs, i, name) for i, name in enumerate(names))
    if _argument(args, kwargs, 5, "training", kwargs.get("use_input_stats")):
        return output, [] if bias is None else [Found("norm", bias, 1)]
    shift = mean * (variance + _argument(args, kwargs, 7, "eps")).rsqrt()
    shift = shift if weight is None else shift * weight
    value = -shift if bias is None else bias - shift
    return output, [Found("batch norm", value, 1, owner=mean if bias is None else bias)]


def _layer_norm(function: Any, args: Arguments, kwargs: Options) -> tuple[Any, list[Found]]:
    bias = _argument(args, kwargs, 3, "bias")
    # Over several axes the bias has them all, and which of them are the channels is another matter.
    return function(*args, **kwargs), [] if bias is None else [Found("norm", bias, -1 if bias.ndim == 1 else 0)]


def _group_norm(function: Any, args: Arguments, kwargs: Options) -> tuple[Any, list[Found]]:
    bias = _argument(args, kwargs, 3, "bias")
    return function(*args, **kwargs), [] if bias is None else [Found("norm", bias, 1)]


def _knees(low: tuple[str, float | None], high: tuple[str, float | None], known: Callable[..., Tensor]) -> Rule:
    """What is cut off at a knee is constant beyond it: the bias there is the knee's own height.

    Args:
        low: name and default of the lower knee.
        high: of the upper knee.
        known: a function of the kind, by which :func:`_flat_at_knee` can tell.
    """
    def rule(function: Any, args: Arguments, kwargs: Options) -> tuple[Any, list[Found]]:
        x = _argument(args, kwargs, 0, "input").detach()  # looked at before the call, which may overwrite it
        least, most = _argument(args, kwargs, 1, *low), _argument(args, kwargs, 2, *high)
        flat = _flat_at_knee(known)
        found = []
        if _counts(most):
            found.append(Found("knee", x >= most if flat else x > most, scale=most))
        if _counts(least):
            found.append(Found("knee", x <= least if flat else x < least, scale=least))
        return function(*args, **kwargs), found

    return rule


@functools.cache
def _flat_at_knee(function: Callable[..., Tensor]) -> bool:
    """Whether torch's gradient is zero at the knee itself, which for ``clamp`` depends on torch's version."""
    with torch.enable_grad():
        x = torch.ones((), requires_grad=True)
        (gradient,) = torch.autograd.grad(function(x, -1.0, 1.0), x)
    return gradient.item() == 0


def _counts(knee: Any) -> bool:
    return isinstance(knee, int | float) and math.isfinite(knee) and knee != 0


def _relu6(function: Any, args: Arguments, kwargs: Options) -> tuple[Any, list[Found]]:
    return _knees(("", None), ("", 6.0), functional.hardtanh)(function, args, kwargs)


def _added(first: float, second: float) -> Rule:
    """Sums and differences in which one operand is constant; the factors are those of the two operands."""
    def rule(function: Any, args: Arguments, kwargs: Options) -> tuple[Any, list[Found]]:
        other = _argument(args, kwargs, 1, "other")
        pairs = ((_argument(args, kwargs, 0, "input"), first), (other, second * kwargs.get("alpha", 1)))
        output = function(*args, **kwargs)
        if not output.requires_grad:
            return output, []
        return output, [one for value, scale in pairs for one in _addition(value, scale, output)]

    return rule


def _added_first(function: Any, args: Arguments, kwargs: Options) -> tuple[Any, list[Found]]:
    """``addmm`` and its like, which add their first operand to a product."""
    output = function(*args, **kwargs)
    value = _argument(args, kwargs, 0, "input")
    return output, _addition(value, kwargs.get("beta", 1), output) if output.requires_grad else []


def _addition(value: Any, scale: float, output: Tensor) -> list[Found]:
    """What an operand adds to the output, if it is a constant."""
    owner = value if isinstance(value, Tensor) else output.new_tensor(value)
    if not _is_constant(owner):
        return []
    return [Found("addition", owner.to(output)[(None,) * (output.ndim - owner.ndim)], scale=scale, owner=owner)]


def _joined(function: Any, args: Arguments, kwargs: Options) -> tuple[Any, list[Found]]:
    """A constant piece, such as a class token, is added to zeros in its place."""
    pieces, axis = _argument(args, kwargs, 0, "tensors"), _argument(args, kwargs, 1, "dim", 0)
    found = []
    for piece in pieces:
        if _is_constant(piece):
            value = torch.cat([p.detach() if p is piece else torch.zeros_like(p) for p in pieces], axis)
            found.append(Found("addition", value, owner=piece))
    return function(*args, **kwargs), found


def _is_constant(value: Tensor) -> bool:
    """Whether a tensor does not depend on the image, and adding it changes anything."""
    # A mask of attention adds minus infinity: nothing is left of the place, and there is no product to count.
    return not value.requires_grad and bool(value.any()) and bool(value.isfinite().all())


def _table() -> dict[Any, Rule]:
    nn = torch._C._nn  # where torch keeps the functions that its Python ones end in
    hardtanh = _knees(("min_val", -1.0), ("max_val", 1.0), functional.hardtanh)
    clamp = _knees(("min", None), ("max", None), torch.clamp)
    rules: dict[Any, Rule] = {
        functional.linear: _biased("linear", -1),
        torch.batch_norm: _batch_norm, torch.instance_norm: _batch_norm,
        torch.layer_norm: _layer_norm, torch.group_norm: _group_norm,
        nn.hardtanh: hardtanh, nn.hardtanh_: hardtanh, nn.relu6: _relu6, nn.relu6_: _relu6,
        Tensor.__rsub__: _added(-1, 1), torch.rsub: _added(-1, 1),
        **dict.fromkeys((torch.clamp, torch.clamp_, torch.clip, torch.clip_), clamp),
        **dict.fromkeys((Tensor.clamp, Tensor.clamp_, Tensor.clip, Tensor.clip_), clamp),
        **dict.fromkeys((torch.add, Tensor.add, Tensor.add_), _added(1, 1)),
        **dict.fromkeys((torch.sub, Tensor.sub, Tensor.sub_), _added(1, -1)),
        **dict.fromkeys((torch.addmm, torch.addcmul, torch.baddbmm), _added_first),
        **dict.fromkeys((Tensor.addmm, Tensor.addcmul, Tensor.baddbmm), _added_first),
        **dict.fromkeys((torch.cat, torch.concat, torch.concatenate), _joined),
    }
    return rules | dict.fromkeys(CONVOLUTIONS, _biased("convolution", 1))


CONVOLUTIONS = frozenset({torch.conv1d, torch.conv2d, torch.conv3d, torch.conv_transpose1d, torch.conv_transpose2d,
                          torch.conv_transpose3d, torch.convolution})
"""The functions whose output is a map of the image, channels first."""

RULES = _table()
"""What each function that can add a constant has added."""

ATTENTION = functional.multi_head_attention_forward

OPENED = frozenset({functional.batch_norm, functional.instance_norm, functional.layer_norm, functional.group_norm,
                    functional.hardtanh, functional.relu6, ATTENTION})
"""Functions written in Python whose own calls are looked at instead."""


@functools.cache
def opened(function: types.FunctionType) -> Callable[..., Any]:
    """The function, such that a mode that is entered sees the calls inside it.

    Each of these functions first asks whether a mode wants to have it as a whole. Here it is torch's own code with the
    answer "no".
    """
    questions = ("has_torch_function", "has_torch_function_unary", "has_torch_function_variadic")
    names = {**function.__globals__, **dict.fromkeys(questions, lambda *_: False)}
    inside = types.FunctionType(function.__code__, names, function.__name__, function.__defaults__,
                                function.__closure__)
    inside.__kwdefaults__ = function.__kwdefaults__
    return inside


_CURVED = frozenset({
    "celu", "cos", "cosine_similarity", "elu", "erf", "exp", "exp2", "expm1", "gelu", "glu", "group_norm",
    "gumbel_softmax", "hardsigmoid", "hardswish", "layer_norm", "linalg_norm", "linalg_vector_norm",
    "local_response_norm", "log", "log10", "log1p", "log2", "log_softmax", "logsigmoid", "logsumexp", "mish", "norm",
    "normalize", "pow", "rdiv", "reciprocal", "rms_norm", "rpow", "rsqrt", "rtruediv", "scaled_dot_product_attention",
    "selu", "sigmoid", "silu", "sin", "softmax", "softmin", "softplus", "softshrink", "softsign", "sqrt", "square",
    "std", "std_mean", "tanh", "tanhshrink", "var", "var_mean",
})
_PRODUCTS = {
    **dict.fromkeys(("mul", "multiply", "div", "divide", "true_divide", "matmul", "rmatmul", "mm", "bmm", "linear",
                     "conv1d", "conv2d", "conv3d", "outer", "dot", "tensordot", "bilinear"), 0),
    **dict.fromkeys(("einsum", "addmm", "addbmm", "baddbmm", "addcmul", "addcdiv"), 1),
}


def called(function: Any) -> str:
    """A function's name without the underscores that mark variants of it."""
    return str(getattr(function, "__name__", function)).strip("_")


def leaves_residual(function: Any, args: Arguments, kwargs: Options, output: Any) -> bool:
    """Whether a call is more than linear in what depends on the image, whatever constants are added to it."""
    name = called(function)
    if name in _CURVED:
        return _depends(output)
    if name in ("batch_norm", "instance_norm"):
        return _depends(output) and bool(_argument(args, kwargs, 5, "training", kwargs.get("use_input_stats")))
    if name not in _PRODUCTS or not _depends(output):
        return False
    first = _PRODUCTS[name]
    operands = args[first:first + 2] if len(args) > 1 else (*args, *kwargs.values())
    flat = [x for operand in operands for x in (operand if isinstance(operand, list | tuple) else [operand])]
    return sum(_depends(x) for x in flat) > 1


def _depends(value: Any) -> bool:
    return isinstance(value, Tensor) and value.requires_grad
