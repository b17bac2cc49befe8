"""The layers of a network: what each gives, how that is read as a map, and which one to explain at."""

from __future__ import annotations

import math
import threading
import weakref
from collections import defaultdict
from collections.abc import Callable, Container, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge, get_gradient_edge
from torch.utils.hooks import RemovableHandle

from contrastlib.names import UnknownNameError, nearest

Kind = Literal["channels first", "channels last", "tokens"]
Size = tuple[int, int]

MOST_PREFIX_TOKENS = 32
"""More tokens in front of the patches than any known network has: class, distillation and register tokens."""

_ASPECT = 1.35  # how far a grid's cells may be from square: rounding at the border of small maps
_CELLS = 12  # of the grid, changed one after another to see whether tokens lie in reading order
_RANDOM = 0.25  # mean rank, from 0 for the token that changes most to 1; tokens in any other order have 1/2
_POOLING = 6  # linear layers on tokens that an attention pooling may have
_CHANNELS_FIRST = {f"torch.nn.modules.{part}" for part in ("conv", "batchnorm", "pooling")}
_GRAPH = ("this network is scripted, traced or exported: it runs as one graph, in which no layer can be read; wrap the "
          "network as it was before")


class NoMapError(ValueError):
    """An output cannot be read as a map; unlike whatever a network itself may raise meanwhile."""


@dataclass(frozen=True)
class Layout:
    """How a layer's output is read as a map.

    Attributes:
        kind: ``channels first`` (N, K, h, w), ``channels last`` (N, h, w, K) or ``tokens`` (N, prefix + h w, K).
        grid: (h, w) of the map.
        prefix: tokens in front of the patch tokens, which have no place in the picture: class token, distillation
            token, registers.
    """

    kind: Kind
    grid: Size
    prefix: int = 0

    def __str__(self) -> str:
        h, w = self.grid
        if self.kind != "tokens":
            return f"{h} x {w} map, {self.kind}"
        behind = "" if not self.prefix else f" behind {self.prefix} prefix token{'s' if self.prefix > 1 else ''}"
        return f"{h} x {w} patch tokens{behind}"

    def to_map(self, output: Tensor) -> Tensor:
        """The layer's output as a map (N, K, h, w), a view where possible; prefix tokens are left out."""
        if self.kind == "channels first":
            return output
        if self.kind == "channels last":
            return output.movedim(-1, 1)
        return output[:, self.prefix:].transpose(1, 2).unflatten(2, self.grid)

    def from_map(self, maps: Tensor, output: Tensor) -> Tensor:
        """A map (N, K, h, w) in the place of the layer's output, a copy; prefix tokens are taken from the output."""
        if self.kind == "channels first":
            return maps.clone()
        if self.kind == "channels last":
            return maps.movedim(1, -1).clone(memory_format=torch.contiguous_format)
        patches = maps.flatten(2).transpose(1, 2)
        return torch.cat([output[:, :self.prefix], patches], dim=1)


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
    size: Size

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
        """The report as text, a line for each layer, the recommended one marked.

        Args:
            parts: also list layers that are parts of another layer that is a map.
        """
        shown = [layer for layer in self.layers if parts or not layer.inside or layer.name == self.recommended]
        rows = [("", "layer", "module", "read as", "zero gradient", "values", "written on by", "verdict"),
                *map(self._row, shown)]
        widths = [max(map(len, column)) for column in zip(*rows)]
        lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows]
        hidden = len(self.layers) - len(shown)
        return "\n".join([*lines, f"and {hidden} layers inside these"] if hidden else lines)

    def _row(self, layer: Layer) -> tuple[str, ...]:
        best = layer.name == self.recommended
        share = "" if layer.zero_gradient is None else f"{layer.zero_gradient:.0%}"
        read_as = str(layer.layout or " x ".join(map(str, layer.shape[1:])))
        return ("->" if best else "", layer.name, layer.kind, read_as, share, layer.signs,
                layer.overwritten_by or "", layer.problem or ("recommended" if best else "works"))


def resolve(model: nn.Module, layer: str | nn.Module) -> tuple[str, nn.Module]:
    """A layer's name and module from either.

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
    if is_graph(model):
        raise ValueError(_GRAPH)
    modules = dict(model.named_modules())
    if layer and layer in modules:
        return layer, modules[layer]
    near = nearest(layer, filter(None, modules)) or [name for name, _ in model.named_children()]
    raise UnknownNameError(f"{type(model).__name__} has no layer {layer!r}; near names: {', '.join(near)}")


def layout_of(shape: tuple[int, ...], image: Size, grids: Iterable[Size] = (), kinds: Iterable[Kind] = ()) -> Layout:
    """How an output of a given shape is read as a map of an image.

    With four axes, a map is channels first or last, whichever gives cells that are about square; if both do, the
    network's own layers of this shape tell, or else the squarer cells. With three, the tokens must be a grid that the
    network itself had as a map before (the patch embedding's), with some prefix tokens in front; or such a grid with
    k x k cells merged into one.

    Args:
        shape: of the output, with the batch.
        image: (H, W) in pixels.
        grids: (h, w) of the maps that the network has.
        kinds: how its layers with an output of this shape are known to be read: convolutions channels first, linear
            layers channels last.

    Raises:
        ValueError: the output is no map; says what was found and what would be one.
    """
    if len(shape) == 4:
        return _four(shape, image, set(kinds))
    if len(shape) == 3:
        return _tokens(shape[1], list(dict.fromkeys(grids)))
    raise NoMapError(f"an output of shape {shape} is no map: a map has shape (N, K, h, w), (N, h, w, K), or "
                     "(N, tokens, K) with the tokens on a grid")


def _four(shape: tuple[int, ...], image: Size, kinds: set[Kind]) -> Layout:
    both = [Layout("channels first", (shape[2], shape[3])), Layout("channels last", (shape[1], shape[2]))]
    known = [layout for layout in both if layout.kind in kinds] or both
    fits = [layout for layout in known if square_enough(layout.grid, image)]
    if len(fits) == 2 and shape[1] == shape[3]:
        raise NoMapError(f"an output of shape {shape} may be channels first or channels last: both readings give a "
                         f"grid for an image of {image[0]} x {image[1]} pixels; name a layer with another number of "
                         "channels")
    if not fits and kinds != {"channels first"}:
        raise NoMapError(f"an output of shape {shape} is no map of an image of {image[0]} x {image[1]} pixels: read "
                         "channels first or last, its cells are far from square")
    return min(fits or known, key=lambda layout: _skew(layout.grid, image))


def _tokens(length: int, grids: list[Size]) -> Layout:
    fits = [(h, w) for h, w in grids if h * w > 1 and 0 <= length - h * w <= MOST_PREFIX_TOKENS]
    # Some networks merge tokens k x k without ever making a map.
    merged = [(-(-h // k), -(-w // k)) for h, w in grids for k in range(2, max(h, w))]
    fits = fits or [(h, w) for h, w in merged if h * w == length > 1]
    if not fits:
        seen = ", ".join(f"{h} x {w}" for h, w in grids) or "none"
        raise NoMapError(f"{length} tokens are no grid: the network's own maps are {seen}, and none of them leaves "
                         f"between 0 and {MOST_PREFIX_TOKENS} prefix tokens")
    grid = max(fits, key=lambda g: g[0] * g[1])
    return Layout("tokens", grid, length - grid[0] * grid[1])


def square_enough(grid: Size, image: Size) -> bool:
    """Whether a grid over an image has cells that are about square, each at least a pixel large."""
    (h, w), (height, width) = grid, image
    return 0 < h <= height and 0 < w <= width and _skew(grid, image) <= _ASPECT


def _skew(grid: Size, image: Size) -> float:
    """The longer side of a grid's cells over the shorter."""
    ratio = image[0] * grid[1] / (image[1] * grid[0])
    return max(ratio, 1 / ratio)


# --- one forward pass, watched ---------------------------------------------------------------------------------------


@dataclass(eq=False)
class Run:
    """What one module did in a pass that was watched.

    Attributes:
        name: dotted name of the module.
        module: the module.
        keep: whether to keep its output.
        calls: how often it ran.
        shape: of its last output, or of the first of several; empty if that is no tensor.
        several: whether it gave several tensors.
        passes_on: its output is its input, untouched (identity, dropout in evaluation mode).
        repeats: its output is that of its last part, as with a sequence of blocks.
        follows: the module of the same class whose output it took, as one block follows another.
        overwritten_by: the module that has written on its output, in place.
        signs: what the output's values are.
        edge: where the gradient with respect to the output arrives; None without one.
        kept: a copy of the output, if wanted.
        output: gives the output as long as it is alive.
    """

    name: str
    module: nn.Module
    keep: bool = False
    calls: int = 0
    shape: tuple[int, ...] = ()
    several: bool = False
    passes_on: bool = False
    repeats: bool = False
    follows: Run | None = None
    overwritten_by: str | None = None
    signs: str = ""
    edge: GradientEdge | None = None
    kept: Tensor | None = None
    output: Callable[[], Tensor | None] = lambda: None

    def finish(self, taken: object, written: bool, given: object, earlier: list[Run]) -> None:
        """Note what it gave for its first argument, and whether that was written on meanwhile."""
        self.calls += 1
        tensors = [part for part in (given if isinstance(given, tuple) else [given]) if isinstance(part, Tensor)]
        self.shape, self.several = tuple(tensors[0].shape) if tensors else (), len(tensors) > 1
        for run in earlier if written else ():
            if run.output() is taken and run.name not in _around(self.name):
                run.overwritten_by = run.overwritten_by or self.name
        if not tensors:
            return
        tensor = tensors[0]
        self.passes_on = given is taken and not written
        self.repeats = bool(earlier) and earlier[-1].output() is tensor and self.name in _around(earlier[-1].name)
        if any(self.module.children()):
            self.follows = next((run for run in reversed(earlier) if type(run.module) is type(self.module)
                                 and run.output() is taken), None)
        self.output = weakref.ref(tensor)
        self.kept = tensor.clone() if self.keep else None
        if torch.is_grad_enabled():
            # The edge is taken before anything behind the layer can write on the output.
            self.edge = get_gradient_edge(tensor) if tensor.requires_grad else None
            self.signs = _signs(tensor) if tensor.is_floating_point() else ""


@contextmanager
def watched(model: nn.Module, keep: Container[str] = ()) -> Iterator[list[Run]]:
    """The network in evaluation mode for a while, and the modules that finish in this thread, in their order.

    One that runs twice stands there twice; the outputs of those named in `keep` are kept.
    """
    if is_graph(model):
        raise ValueError(_GRAPH)
    finished: list[Run] = []
    modes = [(module, module.training) for module in model.modules()]
    handles = [handle for name, module in model.named_modules() if name and not is_graph(module)
               for handle in _watch(Run(name, module, name in keep), finished)]
    model.eval()
    try:
        with as_written(model):
            yield finished
    finally:
        for handle in handles:
            handle.remove()
        for module, training in modes:
            module.training = training


def _watch(run: Run, finished: list[Run]) -> list[RemovableHandle]:
    version, thread = -1, threading.get_ident()

    def before(_module: nn.Module, args: tuple[object, ...]) -> None:
        nonlocal version
        if threading.get_ident() == thread:
            version = _version(args)
            _check_channels(run, args)

    def after(module: nn.Module, args: tuple[Any, ...], output: Any) -> Any:
        if threading.get_ident() != thread:
            return output
        run.finish(args[0] if args else None, _version(args) != version, output, finished)
        finished.append(run)
        if torch.is_grad_enabled() and isinstance(module, nn.Linear) and not module.weight.any():
            # Some libraries start their heads as zeros: nothing would reach the logits, every layer would seem unread.
            output = output + args[0] @ torch.linspace(-1, 2, module.in_features).to(args[0])[:, None]
        return output

    return [run.module.register_forward_pre_hook(before), run.module.register_forward_hook(after)]


def _version(args: tuple[object, ...]) -> int:
    """How often the first argument has been written on; inference tensors do not count."""
    taken = args[0] if args else None
    return taken._version if isinstance(taken, Tensor) and not taken.is_inference() else -1


def _check_channels(run: Run, args: tuple[object, ...]) -> None:
    wanted = run.module.in_channels if isinstance(run.module, nn.Conv2d) else None
    if wanted and args and isinstance(args[0], Tensor) and args[0].ndim == 4 and args[0].shape[1] not in (0, wanted):
        raise ValueError(f"layer '{run.name}' takes {wanted} channels and gets {args[0].shape[1]}: a classifier is for "
                         "RGB images (N, 3, H, W)")


def is_graph(module: nn.Module) -> bool:
    """Whether a module is scripted, traced or exported: what runs is a graph, whatever modules it still shows."""
    return isinstance(module, torch.jit.ScriptModule) or is_exported(module)


def is_exported(module: nn.Module) -> bool:
    """Whether a module is one of ``torch.export``, which has neither parts that run nor modes."""
    return any(base.__module__.startswith("torch.export") for base in type(module).__mro__)


def as_written(model: nn.Module) -> AbstractContextManager[object]:
    """A context in which compiled modules run as they were written: compiled, they do not see hooks that come later."""
    compiled = any("_orig_mod" in part._modules or part._compiled_call_impl is not None for part in model.modules())
    return torch.compiler.set_stance("force_eager") if compiled else nullcontext()


# --- what a pass says of the layers ----------------------------------------------------------------------------------


class Probe:
    """How the layers of a network are read at one size of image, learnt from a forward pass on a black image.

    Args:
        model: the network, in any mode; it is left as it was found.
        logits: from images in [0, 1] to the network's logits.
        images: black, (1, 3, H, W).

    Attributes:
        finished: the modules that ran.
        size: (H, W).
        num_classes: the number of logits.
        grids: (h, w) of the network's maps, in their order.
    """

    def __init__(self, model: nn.Module, logits: Callable[[Tensor], Tensor], images: Tensor) -> None:
        self.model, self.logits, self._device = model, logits, images.device
        self.size: Size = (images.shape[-2], images.shape[-1])
        with torch.inference_mode(False), torch.no_grad(), watched(model) as self.finished:
            self.num_classes = logits(images).shape[-1]
        self._kinds: dict[tuple[int, ...], set[Kind]] = defaultdict(set)
        for run in self.finished:
            self._kinds[run.shape[1:]] |= _kinds(run)
        self._maps = {run.shape[2:] for run in self.finished if _kinds(run) == {"channels first"}}
        square = {grid: square_enough((grid[0], grid[1]), self.size) for grid in self._maps}
        cells = {math.prod(grid) for grid in square if square[grid]}
        self._unfolded = {grid for grid in square if not square[grid] and math.prod(grid) in cells}
        self._lengths = {run.shape[1] for run in self.finished if len(run.shape) == 3 and run.shape[0] == 1}
        self._disorder: dict[int, str] = {}  # what is wrong with the order of so many tokens, if anything is
        self.grids: list[Size] = []
        self.grids = list(dict.fromkeys(self._grids()))

    def layout(self, shape: tuple[int, ...], layer: str = "") -> Layout:
        """How an output of a shape, which a layer gives, is read as a map.

        Raises:
            ValueError: as :func:`layout_of`; it is a matrix between tokens; or its tokens do not lie in reading order,
                or come first.
        """
        if not self.batch_first(layer):
            raise NoMapError("it gives a batch of another length than the images; name the block around it")
        layout = self._read(shape)
        if layout.kind == "tokens" and shape[1] not in self._disorder:
            self._disorder[shape[1]] = self._order(layout, self._makers(shape[1]))
        return self._read(shape)

    def batch_first(self, name: str) -> bool:
        """Whether a layer gave the one image along its first axis."""
        return all(run.shape[:1] in ((), (1,)) for run in self.finished if run.name == name)

    def report(self, images: Tensor) -> LayerReport:
        """Run the network forward and backward once and say of every layer whether it can be explained at.

        Recommended is, for a network of convolutions, the last module to finish of those that run once and whose
        output has the resolution of the last convolution's; for one that works on tokens the last layer that is no
        part of another and whose gradient reaches every place of the map.
        """
        with torch.inference_mode(False), torch.enable_grad():
            with watched(self.model) as finished:
                logits = self.logits(images.detach().clone().requires_grad_())
            if not logits.amax(-1).isfinite().all():
                raise ValueError(f"{type(self.model).__name__} gives a logit that is not finite")
            runs = [run for run in dict.fromkeys(finished) if run.shape]
            edges = {run: run.edge for run in runs if run.edge is not None}
            gradients = dict(zip(edges, torch.autograd.grad(logits.amax(-1).sum(), list(edges.values()),
                                                            allow_unused=True) if edges else ()))
        layers = _placed(runs, [self._layer(run, gradients.get(run), len(images)) for run in runs])
        worth_a_line = tuple(layer for layer in layers if len(layer.shape) > 2 and max(layer.shape[1:-1]) > 1)
        best = _recommended(finished, layers)
        return LayerReport(worth_a_line, best.name if best else "", self.size)

    def _read(self, shape: tuple[int, ...]) -> Layout:
        kinds = self._kinds.get(shape[1:], set())
        tokens = self._lengths.intersection(shape[1:]) if len(shape) == 4 and "channels first" not in kinds else set()
        matrix = bool(tokens) and shape[2] in tokens.intersection(shape[1::2])
        layout = None if matrix else layout_of(shape, self.size, self.grids, kinds)
        strange = layout and layout.grid not in self._maps and (not kinds or shape[1] != shape[2])
        if not layout or (tokens and (strange or (not kinds and shape[1] in tokens))):  # (N, heads, L, k) in any order
            raise NoMapError(f"an output of shape {shape} is a matrix between {max(tokens)} tokens or their heads, "
                             "no map")
        if layout.grid in self._unfolded:
            raise NoMapError(f"an output of shape {shape} holds the cells of a map in another order, no map")
        if layout.kind == "tokens" and self._disorder.get(shape[1]):
            raise NoMapError(self._disorder[shape[1]])
        return layout

    def _grids(self) -> Iterator[Size]:
        for run in self.finished:
            with suppress(NoMapError):
                if len(run.shape) == 4 and square_enough(grid := self._read(run.shape).grid, self.size):
                    yield grid

    def _makers(self, length: int) -> list[str]:
        """The layer that makes so many tokens, and the first block that works on them: it may have them in an order."""
        chosen: list[str] = []
        for run in reversed(self.finished):  # a block finishes after its parts
            once = run.calls == 1 and not run.passes_on and not run.repeats
            if once and run.shape[:2] == (1, length) and len(run.shape) == 3 and not {*chosen} & {*_around(run.name)}:
                chosen.append(run.name)
        return chosen[-2:]

    def _order(self, layout: Layout, names: list[str]) -> str:
        """What is wrong with the order of the tokens of some layers, if anything is.

        One cell of a random image after another is turned into its negative: which tokens change most? In the upper
        half and in the lower it should be those behind the prefix, and not those where they were without it.
        """
        (h, w), (height, width) = layout.grid, self.size
        cells = [(i * h // _CELLS, (5 * i + 2) % _CELLS * w // _CELLS) for i in range(_CELLS)]
        noise = torch.rand(3, height, width, generator=torch.Generator().manual_seed(0), dtype=torch.float32)
        images = noise.repeat(1 + len(cells), 1, 1, 1).to(self._device)
        for image, (row, column) in zip(images[1:], cells):
            cell = image[:, row * height // h:(row + 1) * height // h, column * width // w:(column + 1) * width // w]
            cell.copy_(1 - cell)
        with torch.inference_mode(False), torch.no_grad(), watched(self.model, names) as finished:
            self.logits(images)
        shifts = torch.tensor([[row * w + column] for row, column in cells]) + torch.arange(layout.prefix + 1)
        for kept in (run.kept for run in finished if run.kept is not None):
            tokens = (kept[1:].double() - kept[:1].double()).norm(dim=-1).cpu()
            change = tokens[:, layout.prefix:].unflatten(1, layout.grid)
            own = torch.stack([one[cell] for one, cell in zip(change, cells)])[:, None, None]
            rank = ((change > own).double() + (change == own).double() / 2).mean().item()  # ties count half
            if rank > _RANDOM:
                return (f"the tokens of this {type(self.model).__name__} do not lie in reading order: when a cell of "
                        f"the {h} x {w} grid changes, {rank:.0%} of the tokens change more than its own; name a layer "
                        "whose output is a map")
            shares = (tokens / tokens.amax(1, keepdim=True)).gather(1, shifts).unflatten(0, (2, -1)).mean(1)
            if (shares.argmax(1) != layout.prefix).any():
                return (f"the tokens of this {type(self.model).__name__} are no {h} x {w} grid behind {layout.prefix} "
                        "prefix tokens: one that has no place in the picture stands among them or behind them")
        return ""

    def _layer(self, run: Run, gradient: Tensor | None, n: int) -> Layer:
        layout, problem, zero = None, _no_map(run, n), None
        if not problem:
            try:
                layout = self.layout(run.shape)
            except NoMapError as error:
                problem = f"no grid: {error}"
        if layout is not None and layout.grid == (1, 1):
            layout, problem = None, "one place only"
        if layout is not None:
            zero = 1.0 if gradient is None else (layout.to_map(gradient) == 0).all(dim=1).double().mean().item()
            problem = "no gradient: nothing reads these places later" if zero == 1 else ""
        return Layer(run.name, type(run.module).__name__, run.shape, layout, zero, run.signs, run.overwritten_by,
                     problem=problem or ("hands its input on" if run.passes_on else ""))


def _kinds(run: Run) -> set[Kind]:
    """How the output of a layer with four axes is known to be read, by what the layer does."""
    if len(run.shape) != 4:
        return set()
    if any(base.__module__ in _CHANNELS_FIRST for base in type(run.module).__mro__):
        return {"channels first"}
    if isinstance(run.module, nn.Linear):
        return {"channels last"}
    if isinstance(run.module, nn.LayerNorm) and run.shape[1] != run.shape[3]:  # some go by it that norm the first axis
        return {"channels last" if run.module.normalized_shape == run.shape[3:] else "channels first"}
    return set()


def _no_map(run: Run, n: int) -> str:
    if run.calls > 1:
        return f"runs {run.calls} times in a forward pass"
    if run.several:
        return "gives several tensors"
    if run.shape[0] != n:
        return f"no grid: a batch of {run.shape[0]} for {n} image{'s' if n > 1 else ''} (windows)"
    return ""


def _placed(runs: list[Run], layers: list[Layer]) -> list[Layer]:
    """Say of each layer whether it is a part of a block: of a module that gives a map and is no mere sequence.

    A module in which one part follows another of its class is a sequence of blocks, such as a whole encoder: it hides
    them only where it can be explained at itself.
    """
    sequences = {name for run in runs if run.follows for name in _around(run.name) if name in _around(run.follows.name)}
    blocks = {run.name for run, layer in zip(runs, layers) if len(run.shape) > 2
              and not isinstance(run.module, nn.Sequential) and not (layer.problem and run.name in sequences)}
    return [replace(layer, inside=not blocks.isdisjoint(_around(layer.name))) for layer in layers]


def _around(name: str) -> list[str]:
    """The modules that a module is a part of."""
    parts = name.split(".")
    return [".".join(parts[:i]) for i in range(1, len(parts))]


def _recommended(finished: list[Run], layers: list[Layer]) -> Layer | None:
    by_name = {layer.name: layer for layer in layers}
    convs = [i for i, run in enumerate(finished) if isinstance(run.module, nn.Conv2d) and max(run.shape[2:]) > 1]
    linear = [run for run in finished if isinstance(run.module, nn.Linear) and len(run.shape) > 2]
    # Many linear layers at many positions are a transformer's; a few make up a CNN's attention pooling.
    if convs and len(linear) <= min(len(convs), _POOLING):
        last = finished[convs[-1]]
        fits = [by_name[run.name] for run in finished[convs[-1]:] if run.calls == 1 and not run.passes_on
                and len(run.shape) == 4 and run.shape[2:] == last.shape[2:] and by_name[run.name].layout is not None]
        if fits:
            return next((layer for layer in reversed(fits) if not layer.problem), fits[-1])
    return next((layer for layer in reversed(layers) if layer.layout and not layer.problem and not layer.inside), None)


def _signs(values: Tensor) -> str:
    negative, positive = bool((values < 0).any()), bool((values > 0).any())
    if negative and positive:
        return "both"
    return "non-negative" if positive else "non-positive" if negative else "zero"
