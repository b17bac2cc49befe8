"""Reading a layer of a network without leaving a trace in it."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass
class Cut:
    """What a layer gave in one forward pass.

    Attributes:
        name: how the layer is called in messages.
        calls: how often it ran.
        output: its output as a leaf of the graph, (N, K, h, w); None until the layer has run.
    """

    name: str
    calls: int = 0
    output: Tensor | None = None


@contextmanager
def cut(layer: nn.Module, name: str = "the layer") -> Iterator[Cut]:
    """Cut the network at a layer: no gradient before it, gradient with respect to its output after it.

    While the context is open, the layer's output is kept as a leaf that requires gradient, and a *copy* of it goes on
    through the network, so that an in-place activation behind the layer cannot overwrite what is explained. What runs
    before the layer builds no graph, which is why a map costs little more than a forward pass. The hook is gone when
    the context closes, also after an exception.

    Args:
        layer: a module that runs exactly once in the forward pass.
        name: its name, for messages.

    Yields:
        a :class:`Cut`, filled by the forward pass.

    Raises:
        ValueError: from inside the forward pass, if the layer's output is no map or it runs twice.
    """
    found = Cut(name)

    def keep(_module: nn.Module, _args: object, output: object) -> Tensor:
        found.calls += 1
        if found.calls > 1:
            raise ValueError(f"layer '{name}' runs more than once in a forward pass (a reused module), so its output "
                             "is not one map; choose a layer that runs once, such as the block around it")
        found.output = _as_leaf(output, name)
        torch.set_grad_enabled(True)  # the caller's no_grad() context puts the mode back
        return found.output.clone()

    handle = layer.register_forward_hook(keep)
    try:
        with torch.no_grad():
            yield found
    finally:
        handle.remove()


def _as_leaf(output: object, name: str) -> Tensor:
    if not isinstance(output, Tensor):
        raise ValueError(f"layer '{name}' gives a {type(output).__name__}, not a map (N, K, h, w)")
    if output.ndim != 4:
        raise ValueError(f"layer '{name}' gives {_shape(output)}, not a map (N, K, h, w)"
                         + (": token layers are not read as maps" if output.ndim == 3 else ""))
    if not output.is_floating_point():
        raise ValueError(f"layer '{name}' gives {output.dtype} values, a map needs floating point")
    return output.detach().requires_grad_()


def _shape(tensor: Tensor) -> str:
    return f"an output of shape {tuple(tensor.shape)}"
