"""The layers of a network by name, and the one whose output makes the best map."""

from __future__ import annotations

from torch import nn

from contrastlib.models.probing import Probe, Run
from contrastlib.names import UnknownNameError, nearest

_POOLING = 6  # linear layers on tokens that an attention pooling may have


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


def default_layer(found: Probe) -> str | None:
    """The layer to explain at when the user names none.

    It is the last module to finish, of those that run once, whose output has the resolution of the last convolution's
    and more than one position: behind the last activation, before the pooling. Where a block and its last part finish
    with the same output, the block is taken (``layer4``, not ``layer4.1``). A module that hands its input on untouched
    is passed over.

    Args:
        found: what :func:`probe` gave.

    Returns:
        the layer's dotted name; None where the network works on tokens after its last convolution, so that only the
        gradient can tell.

    Raises:
        ValueError: the network has no map worth the name: no convolution.
    """
    if _works_on_tokens(found.finished):
        return None
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
    return found.finished[fits[-1]].name


def _works_on_tokens(finished: list[Run]) -> bool:
    """Many linear layers at many positions are a transformer's; a few make up a CNN's attention pooling."""
    convs = sum(isinstance(run.module, nn.Conv2d) for run in finished)
    return sum(isinstance(run.module, nn.Linear) and len(run.shape) > 2 for run in finished) > min(convs, _POOLING)


def _is_map(shape: tuple[int, ...]) -> bool:
    return len(shape) == 4 and shape[2] * shape[3] > 1


def _near(model: nn.Module, layer: str) -> str:
    names = [name for name, _ in model.named_modules() if name]
    return ", ".join(nearest(layer, names) or [name for name, _ in model.named_children()])
