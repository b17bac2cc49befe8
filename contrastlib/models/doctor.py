"""The layer doctor: which layers of a network can be explained at, and what speaks against the others."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge, get_gradient_edge

from contrastlib.models.layouts import Layout
from contrastlib.models.probing import Probe, Run, eval_mode, watched


@dataclass(frozen=True)
class Layer:
    """What one layer gives.

    Attributes:
        name: dotted name.
        kind: class of the module.
        shape: of its output, with the batch.
        layout: how the output is read as a map; None if it is none.
        zero_gradient: the share of the map's places where the gradient of the most probable class's logit is exactly
            zero in every channel; None where there is no map.
        signs: ``both``, ``non-negative``, ``non-positive`` or ``zero``: what the output's values are.
        overwritten_by: the module that writes on the output in place; None if none does.
        inside: whether it is a part of a layer that is itself a map, such as a convolution in a residual block.
        problem: why no map can be read there; empty if one can.
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    layout: Layout | None = None
    zero_gradient: float | None = None
    signs: str = ""
    overwritten_by: str | None = None
    inside: bool = False
    problem: str = ""


@dataclass(frozen=True)
class LayerReport:
    """The layers of a network as the layer doctor finds them; print it.

    Attributes:
        layers: all that gave a tensor with more than one place, in the order in which they finished.
        recommended: the layer to explain at; empty if there is none.
        size: (H, W) of the images.
    """

    layers: tuple[Layer, ...]
    recommended: str
    size: tuple[int, int]

    def __iter__(self) -> Iterator[Layer]:
        return iter(self.layers)

    def __getitem__(self, name: str) -> Layer:
        """A layer by its name; KeyError if it is not in the report."""
        for layer in self.layers:
            if layer.name == name:
                return layer
        raise KeyError(name)

    def __str__(self) -> str:
        return self.table()

    def table(self, *, parts: bool = False) -> str:
        """The report as text.

        Args:
            parts: also list layers that are parts of another layer that is a map.

        Returns:
            a line for each layer, the recommended one marked.
        """
        shown = [layer for layer in self.layers if parts or not layer.inside or layer.name == self.recommended]
        rows = [("", "layer", "module", "read as", "zero gradient", "values", "written on by", "verdict")]
        rows += [("->" if layer.name == self.recommended else "", layer.name, layer.kind,
                  str(layer.layout or _times(layer.shape[1:])),
                  "" if layer.zero_gradient is None else f"{layer.zero_gradient:.0%}", layer.signs,
                  layer.overwritten_by or "", layer.problem or ("recommended" if layer.name == self.recommended
                                                                else "works")) for layer in shown]
        widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
        lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows]
        hidden = len(self.layers) - len(shown)
        if hidden:
            lines.append(f"and {hidden} layers inside these")
        return "\n".join(lines)


def examine(model: nn.Module, images: Tensor, found: Probe) -> LayerReport:
    """Run the network forward and backward once and say of every layer whether it can be explained at.

    Args:
        model: the network, in any mode; it is left as it was found.
        images: its input, (N, 3, H, W), normalised.
        found: what probing it gave at this size of image.

    Returns:
        the report. Recommended is, among the layers that are no parts of others, the last whose gradient reaches every
        place of the map.
    """
    seen = _Seen()
    with torch.inference_mode(False), torch.enable_grad(), eval_mode(model):
        with watched(model, seen.runs, seen.keep), _untrained_heads_replaced(model):
            output = model(images.detach().clone().requires_grad_())
        logits: Tensor = getattr(output, "logits", output)
        edges = [edge for edge in seen.edges if edge is not None]
        gradients = iter(torch.autograd.grad(logits.amax(-1).sum(), edges, allow_unused=True) if edges else ())
    of_run = [next(gradients) if edge is not None else None for edge in seen.edges]
    kept = [run for run, _ in seen.kept]
    layers = [_layer(run, signs, gradient, found, len(images))
              for (run, signs), gradient in zip(seen.kept, of_run, strict=True)]
    layers = [_placed(layer, kept, layers) for layer in layers]
    worth_a_line = tuple(layer for layer in layers if len(layer.shape) > 2 and max(layer.shape[1:-1]) > 1)
    return LayerReport(worth_a_line, _recommended(layers, kept), found.size)


@contextmanager
def _untrained_heads_replaced(model: nn.Module) -> Iterator[None]:
    """Linear layers whose weights are all zero, as some libraries start their heads, weigh and add their input instead.

    Without that nothing would reach the logits of an untrained network, and every layer would seem unread.
    """
    def weigh(_module: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> Tensor:
        return output + args[0] @ torch.linspace(-1, 2, args[0].shape[-1]).to(args[0])[:, None]

    zero = [module for module in model.modules() if isinstance(module, nn.Linear) and not module.weight.any()]
    handles = [module.register_forward_hook(weigh) for module in zero]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


class _Seen:
    """What the watching hooks collect: each run with its signs, and the edge its gradient will arrive at."""

    def __init__(self) -> None:
        self.runs: list[Run] = []
        self.kept: list[tuple[Run, str]] = []
        self.edges: list[GradientEdge | None] = []

    def keep(self, run: Run, output: Tensor) -> None:
        # The edge is taken before anything behind the layer can write on the output.
        self.edges.append(get_gradient_edge(output) if output.requires_grad else None)
        self.kept.append((run, _signs(output.detach())))


def _layer(run: Run, signs: str, gradient: Tensor | None, found: Probe, n: int) -> Layer:
    layout, problem, zero = None, "", None
    if run.calls > 1:
        problem = f"runs {run.calls} times in a forward pass"
    elif run.shape[0] != n:
        problem = f"no grid: a batch of {run.shape[0]} for {n} image{'s' if n > 1 else ''} (windows)"
    else:
        try:
            layout = found.layout(run.shape)
        except ValueError as error:
            problem = f"no grid: {error}"
    if layout is not None and layout.grid[0] * layout.grid[1] == 1:
        layout, problem = None, "one place only"
    if layout is not None:
        zero = 1.0 if gradient is None else _zero_share(layout.to_map(gradient))
        if zero == 1:
            problem = "no gradient: nothing reads these places later"
    if run.passes_on:
        problem = problem or "hands its input on"
    return Layer(run.name, type(run.module).__name__, run.shape, layout, zero, signs, run.overwritten_by,
                 problem=problem)


def _placed(layer: Layer, runs: list[Run], layers: list[Layer]) -> Layer:
    """Say whether a layer is a part of a block: of a module that gives tokens or a map and is no mere sequence.

    A module that ends with one of its parts may be either, a residual block before its last activation or a whole
    encoder before its last norm; the first is one that can be explained at itself.
    """
    blocks = (run for run, other in zip(runs, layers) if len(run.shape) > 2
              and not isinstance(run.module, nn.Sequential) and not (run.repeats and other.problem))
    return replace(layer, inside=any(layer.name.startswith(f"{block.name}.") for block in blocks))


def _recommended(layers: list[Layer], runs: list[Run]) -> str:
    usable = [(layer, run) for layer, run in zip(layers, runs)
              if layer.layout is not None and not layer.problem and not layer.inside]
    return usable[-1][0].name if usable else ""


def _zero_share(gradient: Tensor) -> float:
    return (gradient == 0).all(dim=1).double().mean().item()


def _signs(values: Tensor) -> str:
    if not values.numel() or not values.is_floating_point():
        return ""
    low, high = values.min().item(), values.max().item()
    if low < 0 < high:
        return "both"
    if low == high == 0:
        return "zero"
    return "non-negative" if low >= 0 else "non-positive"


def _times(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))
