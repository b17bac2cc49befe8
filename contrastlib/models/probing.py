"""One forward pass through a network that notes what every module gives."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from contrastlib.models.layouts import Layout, Size, read, square_enough


@dataclass
class Run:
    """What one module did in the probing pass.

    Attributes:
        name: dotted name of the module.
        module: the module.
        calls: how often it ran.
        shape: shape of its last output; empty if that is no tensor.
        passes_on: its output is its input, untouched (identity, dropout in evaluation mode).
        repeats: its output is that of its last part, as with a sequence of blocks.
        overwritten_by: the module that has written on its output, in place.
    """

    name: str
    module: nn.Module
    calls: int = 0
    shape: tuple[int, ...] = ()
    passes_on: bool = False
    repeats: bool = False
    overwritten_by: str | None = None
    _output: weakref.ref[Tensor] | None = None

    def gave(self, tensor: object) -> bool:
        """Whether its output was that very tensor."""
        return self._output is not None and self._output() is tensor and tensor is not None


Keep = Callable[[Run, Tensor], None]


@dataclass
class Probe:
    """One forward pass on a black image.

    Attributes:
        finished: the modules in the order in which they finished; one that ran twice stands there twice.
        size: (H, W) of the image.
        num_classes: the number of logits.
    """

    finished: list[Run] = field(default_factory=list)
    size: Size = (0, 0)
    num_classes: int = 0

    @property
    def grids(self) -> list[Size]:
        """The grids (h, w) of the maps that were seen, in their order."""
        found = [axes for run in self.finished if len(run.shape) == 4
                 for axes in ((run.shape[2], run.shape[3]), (run.shape[1], run.shape[2]))
                 if square_enough(axes, self.size)]
        return list(dict.fromkeys(found))

    def layout(self, shape: tuple[int, ...]) -> Layout:
        """How an output of a shape is read as a map.

        Raises:
            ValueError: as :func:`contrastlib.models.layouts.read`; or it is a matrix between tokens.
        """
        lengths = {run.shape[1] for run in self.finished if len(run.shape) == 3}
        if len(shape) == 4 and shape[2] == shape[3] and shape[2] in lengths:
            raise ValueError(f"an output of shape {shape} is a matrix between {shape[2]} tokens, not a map")
        return read(shape, self.size, self.grids)


def probe(model: nn.Module, images: Tensor) -> Probe:
    """Run the network once and note what every module gives; the network is left as it was found.

    Args:
        model: the network, in any mode.
        images: its input, (1, 3, H, W).

    Returns:
        what ran, in order.
    """
    found = Probe(size=(images.shape[-2], images.shape[-1]))
    with eval_mode(model), watched(model, found.finished), torch.inference_mode(False), torch.no_grad():
        output = model(images)
    logits = getattr(output, "logits", output)
    found.num_classes = logits.shape[-1] if isinstance(logits, Tensor) else 0
    return found


@contextmanager
def eval_mode(model: nn.Module) -> Iterator[None]:
    """Evaluation mode for a while, each module put back afterwards."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


@contextmanager
def watched(model: nn.Module, finished: list[Run], keep: Keep | None = None) -> Iterator[None]:
    """While the context is open, every module that finishes is noted.

    Args:
        model: the network.
        finished: where they are noted.
        keep: told of each module's output as it is then, before anything can write on it.
    """
    handles = []
    for name, module in model.named_modules():
        if name:
            handles += _watch(Run(name, module), finished, keep)
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _watch(run: Run, finished: list[Run], keep: Keep | None) -> list[RemovableHandle]:
    version = -1

    def before(_module: nn.Module, args: tuple[object, ...]) -> None:
        nonlocal version
        version = _version(args[0]) if args and isinstance(args[0], Tensor) else -1

    def after(_module: nn.Module, args: tuple[object, ...], output: object) -> None:
        run.calls += 1
        run.shape = tuple(output.shape) if isinstance(output, Tensor) else ()
        taken = args[0] if args and isinstance(args[0], Tensor) else None
        run.passes_on = output is taken and taken is not None and _version(taken) == version
        run.repeats = bool(finished) and finished[-1].gave(output) and finished[-1].name.startswith(f"{run.name}.")
        if taken is not None and _version(taken) != version:
            for earlier in finished:
                if earlier.gave(taken) and not run.name.startswith(f"{earlier.name}."):
                    earlier.overwritten_by = earlier.overwritten_by or run.name
        run._output = weakref.ref(output) if isinstance(output, Tensor) else None
        finished.append(run)
        if keep is not None and isinstance(output, Tensor):
            keep(run, output)

    return [run.module.register_forward_pre_hook(before), run.module.register_forward_hook(after)]


def _version(tensor: Tensor) -> int:
    """How often a tensor has been written on; inference tensors do not count."""
    return -1 if tensor.is_inference() else tensor._version
