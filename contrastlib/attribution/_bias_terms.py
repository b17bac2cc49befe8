"""Every bias that acts in a forward pass, and the gradient of a score where it was added.

Biases are found where they are *used*: while the network runs, each call of a torch function passes through here. So
it does not matter which class of module makes the call, in which order modules are registered, or how often one runs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from contrastlib.attribution._bias_calls import (
    ATTENTION,
    CONVOLUTIONS,
    OPENED,
    RULES,
    Found,
    called,
    leaves_residual,
    opened,
)
from contrastlib.models import Classifier


@dataclass(frozen=True)
class Bias:
    """A constant that was added to a tensor in the forward pass.

    Attributes:
        name: of the module that owns it, or else of the function that added it.
        kind: ``convolution``, ``linear``, ``batch norm``, ``norm``, ``knee`` or ``addition``.
        value: the constant; one number for each channel, (K,), or what broadcasts to the tensor.
        scale: factor of the value.
        shape: of the tensor, batch first.
        channels: its channel axis, 1 or -1; 0 if it has no place in the image.
        sequences: the batch size of a tensor whose batch comes second, (L, N, K) or (L N, K); 0 for batch first.
    """

    name: str
    kind: str
    value: Tensor
    scale: float
    shape: tuple[int, ...]
    channels: int
    sequences: int

    def by_channel(self, gradient: Tensor) -> Tensor:
        """The gradient of the score with respect to the tensor, times the bias; the tensor's own shape."""
        value = self.value
        if value.ndim == 1 and self.channels == 1:
            value = value.reshape(-1, *[1] * (gradient.ndim - 2))
        return gradient * value * self.scale

    def by_place(self, gradient: Tensor) -> Tensor:
        """The same added up over the channels, batch first; over nothing where the tensor has no place."""
        if self.value.ndim == 1 and self.channels == 1:
            # One long axis, and no product of full size in between.
            places = torch.matmul(self.scale * self.value, gradient.flatten(2)).reshape(
                len(gradient), *gradient.shape[2:])
        elif self.value.ndim == 1 and self.channels == -1:
            places = torch.matmul(gradient, self.scale * self.value)
        else:
            product = self.by_channel(gradient)
            places = product.sum(self.channels) if self.channels else product
        return places.reshape(-1, self.sequences).transpose(0, 1) if self.sequences else places


Reduce = Callable[[Bias, Tensor], Tensor]


@dataclass
class _Pass:
    """What a backward pass leaves behind: for each bias that it met, its reduced product with the gradient."""

    reduce: Reduce = Bias.by_place
    found: dict[int, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class Recording:
    """A forward pass with its biases.

    Attributes:
        logits: (N, C), with their graph.
        image: what the network itself saw, (N, 3, H, W), the leaf of that graph.
        biases: in the order of their calls.
        leaves: what was called that is not piecewise linear, as "function in module".
    """

    logits: Tensor
    image: Tensor
    biases: list[Bias]
    leaves: tuple[str, ...]
    _pass: _Pass

    def back(
        self, weights: Tensor, reduce: Reduce = Bias.by_place, *, again: bool = False
    ) -> tuple[Tensor, list[tuple[Bias, Tensor]]]:
        """One backward pass.

        Args:
            weights: gradient of the score with respect to the logits, (N, C).
            reduce: what to keep of a bias, from it and the gradient of the score where it was added.
            again: keep the graph for another pass.

        Returns:
            the gradient with respect to the image, and each bias with what was kept of it.
        """
        self._pass.reduce = reduce
        (gradient,) = torch.autograd.grad(self.logits, self.image, weights.to(self.logits.dtype), retain_graph=again)
        kept = [(bias, self._pass.found[i]) for i, bias in enumerate(self.biases) if i in self._pass.found]
        self._pass.found.clear()
        return gradient, kept


def record(classifier: Classifier, images: Tensor) -> Recording:
    """Run the network once, and write its biases down. The model is left as it was found.

    Args:
        classifier: images in [0, 1] to logits.
        images: (N, 3, H, W) in [0, 1].

    Returns:
        the recording.

    Raises:
        ValueError: the network is scripted.
        RuntimeError: the logits do not depend on the images through anything differentiable.
    """
    watcher = _Watcher(classifier.model)
    with _frozen(classifier.model), _followed(classifier.model, watcher), watcher:
        logits = classifier(images.clone() if images.is_inference() else images.detach())
    if watcher.image is None or not logits.requires_grad:
        raise RuntimeError("the logits do not depend on the images through anything differentiable")
    return Recording(logits, watcher.image, watcher.biases, tuple(watcher.leaves), watcher.last)


class _Watcher(TorchFunctionMode):
    """Sees every call of a torch function while it is entered, and writes the biases down.

    The parameters are frozen meanwhile, so that a tensor requires gradient if, and only if, it depends on the image.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.owners = _owners(model)
        self.image: Tensor | None = None  # what the network sees; nothing is watched before there is one
        self.running: list[str] = []  # the modules that run, the innermost last
        self.sequences = 0  # the batch size inside an attention that has the batch second
        self.grids: set[tuple[int, ...]] = set()  # of maps
        self.biases: list[Bias] = []
        self.leaves: dict[str, None] = {}
        self.last = _Pass()

    def __torch_function__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Call the function, and look at what it did."""
        del types
        kwargs = kwargs or {}
        if self.image is None:
            return function(*args, **kwargs)
        if function in OPENED:
            return self._open(function, args, kwargs)
        rule = RULES.get(function)
        output, found = (function(*args, **kwargs), []) if rule is None else rule(function, args, kwargs)
        if leaves_residual(function, args, kwargs, output):
            self._leave(function)
        if function in CONVOLUTIONS:
            self.grids.add(output.shape[2:])
        for one in found:
            if output.requires_grad:  # else it is made of weights alone
                output = self._add(function, one, output, in_place=any(output is x for x in args[:1]))
        return output

    def _open(self, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run a function of torch that is written in Python with the calls inside it still seen."""
        outside = self.sequences
        if function is ATTENTION:
            query = args[0] if args else kwargs["query"]
            self.sequences = query.shape[1] if query.ndim == 3 else 1
        try:
            with self:
                return opened(function)(*args, **kwargs)
        finally:
            self.sequences = outside

    def _add(self, function: Any, found: Found, output: Tensor, *, in_place: bool) -> Tensor:
        """Write a bias down, and have each backward pass meet it."""
        sequences = None if found.channels is None else self._sequences(output.shape, found.channels)
        if sequences is None or (in_place and output._is_view()):
            self._leave(function)
            return output
        if output._is_view():
            # An activation in place would go round this view's own node in the graph, and no gradient would pass it.
            output = output.clone()
        shape = tuple(output.shape)
        if sequences:
            shape = (sequences, math.prod(shape[:-1]) // sequences, shape[-1])
        channels = found.channels or self._channels(shape)
        bias = Bias(self._name(function, found), found.kind, found.value.detach(), found.scale, shape,
                    -1 if channels == 1 and len(shape) == 2 else channels, sequences)
        _meet(output, bias, len(self.biases), self.last)
        self.biases.append(bias)
        return output

    def _sequences(self, shape: tuple[int, ...], channels: int) -> int | None:
        """The batch size where the batch comes second, 0 where it comes first, None if images cannot be told apart."""
        n = len(self.image) if self.image is not None else 1
        if self.sequences:
            return self.sequences if self.sequences % n == 0 else None
        if len(shape) == 3 and channels != 1 and shape[0] != n and shape[1] == n:
            return n
        return 0 if shape and shape[0] % n == 0 else None

    def _channels(self, shape: tuple[int, ...]) -> int:
        """The channel axis of what was added to: of tokens the last, of a map what its size tells."""
        if len(shape) != 4:
            return -1 if len(shape) == 3 else 0
        maps = self.grids | ({self.image.shape[2:]} if self.image is not None else set())
        return 1 if shape[2:] in maps else -1 if shape[1:3] in maps else 0

    def _name(self, function: Any, found: Found) -> str:
        known = found.value if found.owner is None else found.owner
        return self.owners.get(id(known)) or self.owners.get(id(known._base)) or self._here(function)

    def _leave(self, function: Any) -> None:
        self.leaves[self._here(function)] = None

    def _here(self, function: Any) -> str:
        module = self.running[-1] if self.running else ""
        return f"{called(function)} in {module}" if module else called(function)


def _meet(output: Tensor, bias: Bias, index: int, last: _Pass) -> None:
    """Reduce the gradient at a tensor as soon as a backward pass comes by, so that it need not be kept.

    The hook sits on the node that made the tensor: an operation in place changes the tensor afterwards, not the node.
    It knows nothing of the graph, which could not be freed otherwise.
    """
    number = output.output_nr

    def reduce(gradients: tuple[Tensor | None, ...]) -> tuple[Tensor | None, ...]:
        gradient = gradients[number]
        if gradient is not None:
            last.found[index] = last.reduce(bias, gradient)
        # On a CPU, torch (seen from 2.11 to 2.15) goes back through BatchNorm wrongly where tokens of a single image
        # follow: it takes the gradient's memory, which then looks like that of channels last, for channels first.
        return tuple(g if g is None else g.contiguous() for g in gradients) if bias.kind == "batch norm" else gradients

    assert output.grad_fn is not None
    output.grad_fn.register_prehook(reduce)


def _owners(model: nn.Module) -> dict[int, str]:
    """What a parameter or a buffer is called: its module's name, or its own where that is the network itself."""
    owners: dict[int, str] = {}
    for name, module in model.named_modules():
        for own, tensor in (*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)):
            owners.setdefault(id(tensor), name or own)
    return owners


@contextmanager
def _frozen(model: nn.Module) -> Iterator[None]:
    """No parameter requires gradient for a while."""
    trained = [p for p in model.parameters() if p.requires_grad]
    try:
        for parameter in trained:
            parameter.requires_grad_(False)
        yield
    finally:
        for parameter in trained:
            parameter.requires_grad_(True)


@contextmanager
def _followed(model: nn.Module, watcher: _Watcher) -> Iterator[None]:
    """The watcher is told what the network sees, and which module runs."""
    def start(_module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
        watcher.image = args[0].detach().requires_grad_()
        return (watcher.image.clone(), *args[1:])  # a copy, which the network may overwrite

    def enter(name: str) -> Callable[..., None]:
        return lambda *_: watcher.running.append(name)

    def leave(*_: object) -> None:
        watcher.running.pop()

    if isinstance(model, torch.jit.ScriptModule):
        raise ValueError("the calls of a scripted or traced network cannot be seen, so its biases cannot be found; "
                         "pass the network that it was made from")
    handles = []
    try:
        handles.append(model.register_forward_pre_hook(start))
        for name, module in model.named_modules():
            if isinstance(module, torch.jit.ScriptModule):  # takes no hooks; what it leaves is reported as unseen
                continue
            handles.append(module.register_forward_pre_hook(enter(name)))
            handles.append(module.register_forward_hook(leave))
        yield
    finally:
        for handle in handles:
            handle.remove()
