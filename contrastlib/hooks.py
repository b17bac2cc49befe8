"""Reading a layer of a network without leaving a trace in it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn


class Reading(Protocol):
    """How an output is read as a map, and a map put back in its place; a layout of :mod:`contrastlib.models`."""

    def to_map(self, output: Tensor) -> Tensor:
        """(N, K, h, w) from the output."""

    def from_map(self, maps: Tensor, output: Tensor) -> Tensor:
        """The output with the map in its place, a copy."""


@dataclass
class Cut:
    """What a layer gave in one forward pass.

    Attributes:
        name: how the layer is called in messages.
        calls: how often it ran.
        output: its output as a leaf of the graph, read as a map (N, K, h, w); None until the layer has run.
        reading: how the output was read; None for what has shape (N, K, h, w) as it is.
    """

    name: str
    calls: int = 0
    output: Tensor | None = None
    reading: Reading | None = None


@contextmanager
def cut(
    layer: nn.Module, name: str = "the layer", read_as: Callable[[tuple[int, ...]], Reading] | None = None,
) -> Iterator[Cut]:
    """Cut the network at a layer: no gradient before it, gradient with respect to its output after it.

    While the context is open, the layer's output is kept as a leaf that requires gradient, and a *copy* of it goes on
    through the network, so that an in-place activation behind the layer cannot overwrite what is explained. What runs
    before the layer builds no graph, which is why a map costs little more than a forward pass. The hook is gone when
    the context closes, also after an exception.

    Args:
        layer: a module that runs exactly once in the forward pass.
        name: its name, for messages.
        read_as: how an output of a given shape is read as a map (N, K, h, w); None if it must have that shape. It may
            run the network itself.

    Yields:
        a :class:`Cut`, filled by the forward pass.

    Raises:
        ValueError: from inside the forward pass, if the layer's output is no map or it runs twice.
    """
    found = Cut(name)
    asking = False

    def keep(_module: nn.Module, _args: object, output: object) -> object:
        nonlocal asking
        if asking:  # a pass of the network inside this one, by which read_as learns its grid
            return output
        found.calls += 1
        if found.calls > 1:
            raise ValueError(f"layer '{name}' runs more than once in a forward pass (a reused module), so its output "
                             "is not one map; choose a layer that runs once, such as the block around it")
        given, others = _tensor_of(output, name)
        asking = True
        found.reading = _reading(given, name, read_as)
        asking = False
        maps = given.detach() if found.reading is None else found.reading.to_map(given.detach())
        same = maps.shape == given.shape and maps.stride() == given.stride()
        found.output = (maps if same else maps.contiguous()).requires_grad_()
        torch.set_grad_enabled(True)  # the caller's no_grad() context puts the mode back
        handed_on = (found.output.clone() if found.reading is None
                     else found.reading.from_map(found.output, given.detach()))
        return handed_on if others is None else (handed_on, *others)

    handle = layer.register_forward_hook(keep)
    try:
        with torch.no_grad():
            yield found
    finally:
        handle.remove()


def _tensor_of(output: object, name: str) -> tuple[Tensor, tuple[object, ...] | None]:
    """The tensor that a layer gives, and what else it gives: an attention module may give (output, weights)."""
    others = None
    if isinstance(output, tuple) and output and not any(isinstance(other, Tensor) for other in output[1:]):
        output, *rest = output
        others = tuple(rest)
    if not isinstance(output, Tensor):
        raise ValueError(f"layer '{name}' gives a {type(output).__name__}, not a map (N, K, h, w)")
    if not output.is_floating_point():
        raise ValueError(f"layer '{name}' gives {output.dtype} values, a map needs floating point")
    return output, others


def _reading(output: Tensor, name: str, read_as: Callable[[tuple[int, ...]], Reading] | None) -> Reading | None:
    shape = tuple(output.shape)
    if read_as is None:
        if output.ndim != 4:
            raise ValueError(f"layer '{name}' gives an output of shape {shape}, not a map (N, K, h, w)")
        return None
    try:
        return read_as(shape)
    except ValueError as error:
        raise ValueError(f"layer '{name}': {error}") from None
