"""The layers of a network by name, and the one whose output makes the best map."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from contrastlib.names import UnknownNameError, nearest


@dataclass
class Run:
    """What one module did in the probing pass.

    Attributes:
        name: dotted name of the module.
        module: the module.
        calls: how often it ran.
        shape: shape of its last output; empty if that is no tensor.
        passes_on: its output is its input, untouched (identity, dropout in evaluation mode).
    """

    name: str
    module: nn.Module
    calls: int = 0
    shape: tuple[int, ...] = ()
    passes_on: bool = False


@dataclass
class Probe:
    """One forward pass on a black image.

    Attributes:
        finished: the modules in the order in which they finished; one that ran twice stands there twice.
        num_classes: the number of logits.
    """

    finished: list[Run] = field(default_factory=list)
    num_classes: int = 0


def resolve(model: nn.Module, layer: str | nn.Module) -> tuple[str, nn.Module]:
    """A layer's name and module from either.

    Args:
        model: the network.
        layer: dotted name such as ``layer4.1``, or a module of the network.

    Returns:
        (name, module).

    Raises:
        UnknownNameError: no layer has the name; says which come near.
        ValueError: the module is not part of the network, or is the network itself.
        TypeError: neither a name nor a module.
    """
    if isinstance(layer, nn.Module):
        for name, module in model.named_modules():
            if module is layer and name:
                return name, module
        raise ValueError(f"this {type(layer).__name__} is not a layer of the network ({type(model).__name__})")
    if not isinstance(layer, str):
        raise TypeError(f"a layer is a dotted name or a module of the network, got {type(layer).__name__}")
    try:
        if layer:
            return layer, model.get_submodule(layer)
    except AttributeError:
        pass
    raise UnknownNameError(f"{type(model).__name__} has no layer {layer!r}; near names: {_near(model, layer)}")


def probe(model: nn.Module, images: Tensor) -> Probe:
    """Run the network once and note what every module gives; the network is left as it was found.

    Args:
        model: the network, in any mode.
        images: its input, (1, 3, H, W).

    Returns:
        what ran, in order.
    """
    found = Probe()
    with _eval_mode(model), _watched(model, found.finished), torch.inference_mode(False), torch.no_grad():
        output = model(images)
    logits = getattr(output, "logits", output)
    found.num_classes = logits.shape[-1] if isinstance(logits, Tensor) else 0
    return found


def default_layer(found: Probe) -> str:
    """The layer to explain at when the user names none.

    It is the last module to finish, of those that run once, whose output has the resolution of the last convolution's
    and more than one position: behind the last activation, before the pooling. Where a block and its last part finish
    with the same output, the block is taken (``layer4``, not ``layer4.1``). A module that hands its input on untouched
    is passed over.

    Args:
        found: what :func:`probe` gave.

    Returns:
        the layer's dotted name.

    Raises:
        ValueError: the network has no map worth the name: no convolution, or a transformer's patch embedding only.
    """
    convs = [i for i, run in enumerate(found.finished) if isinstance(run.module, nn.Conv2d) and _is_map(run.shape)]
    if not convs:
        raise ValueError("no convolution of this network gives a map (N, K, h, w) of more than one position; "
                         "name the layer to explain at: layer=...")
    size = found.finished[convs[-1]].shape[2:]
    fits = [i for i, run in enumerate(found.finished) if i >= convs[-1] and run.calls == 1 and not run.passes_on
            and len(run.shape) == 4 and run.shape[2:] == size]
    if not fits:
        raise ValueError("every layer at the resolution of the last convolution runs more than once; "
                         "name the layer to explain at: layer=...")
    _refuse_tokens(found.finished[fits[-1] + 1:], convs=len(convs), last=found.finished[fits[-1]].name)
    return found.finished[fits[-1]].name


def _refuse_tokens(later: list[Run], convs: int, last: str) -> None:
    """Linear layers that work on many positions are a transformer's; a few make up a CNN's attention pooling."""
    on_tokens = sum(isinstance(run.module, nn.Linear) and len(run.shape) > 2 for run in later)
    if on_tokens > convs:
        raise ValueError(f"after its last map ('{last}') this network works on tokens, and token layers are not maps "
                         "yet; name a layer whose output is a map (N, K, h, w): layer=...")


def _is_map(shape: tuple[int, ...]) -> bool:
    return len(shape) == 4 and shape[2] * shape[3] > 1


@contextmanager
def _eval_mode(model: nn.Module) -> Iterator[None]:
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


@contextmanager
def _watched(model: nn.Module, finished: list[Run]) -> Iterator[None]:
    handles = []
    for name, module in model.named_modules():
        if name:
            handles += _watch(Run(name, module), finished)
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _watch(run: Run, finished: list[Run]) -> list[torch.utils.hooks.RemovableHandle]:
    version = -1

    def before(_module: nn.Module, args: tuple[object, ...]) -> None:
        nonlocal version
        version = args[0]._version if args and isinstance(args[0], Tensor) else -1

    def after(_module: nn.Module, args: tuple[object, ...], output: object) -> None:
        run.calls += 1
        run.shape = tuple(output.shape) if isinstance(output, Tensor) else ()
        # An in-place activation also returns its input, but has written to it.
        run.passes_on = isinstance(output, Tensor) and bool(args) and output is args[0] and output._version == version
        finished.append(run)

    return [run.module.register_forward_pre_hook(before), run.module.register_forward_hook(after)]


def _near(model: nn.Module, layer: str) -> str:
    names = [name for name, _ in model.named_modules() if name]
    return ", ".join(nearest(layer, names) or [name for name, _ in model.named_children()])
