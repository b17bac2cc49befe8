"""Do the tokens of a network lie in reading order? Some keep them in another, and a map would be scrambled unseen."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from contrastlib.models.layouts import Layout, Size
from contrastlib.models.probing import Probe, Run, eval_mode

_CELLS = 12
_RANDOM = 0.25  # mean rank, from 0 for the token that changes most to 1; tokens in any other order have 1/2


def check_order(model: nn.Module, found: Probe, normalise: Callable[[Tensor], Tensor]) -> None:
    """Turn one cell after another of a random image into its negative, and see which tokens change most.

    Args:
        model: the network.
        found: what probing it gave.
        normalise: from images in [0, 1] to the network's input.

    Raises:
        ValueError: the tokens at those cells change no more than others.
    """
    for run, layout in _first_tokens(found):
        rank = _mean_rank(model, run, layout, found.size, normalise)
        if rank > _RANDOM:
            h, w = layout.grid
            raise ValueError(f"the tokens of this {type(model).__name__} do not lie in reading order: when a cell of "
                             f"the {h} x {w} grid changes, {rank:.0%} of the tokens change more than its own in "
                             f"'{run.name}'; name a layer whose output is a map")


def _mean_rank(model: nn.Module, run: Run, layout: Layout, size: Size, normalise: Callable[[Tensor], Tensor]) -> float:
    """The share of tokens that change more than the one at the cell that changed, over a few cells; ties count half."""
    (h, w), (height, width) = layout.grid, size
    cells = [(i * h // _CELLS, (5 * i + 2) % _CELLS * w // _CELLS) for i in range(_CELLS)]
    parameter = next(model.parameters(), torch.zeros(()))
    noise = torch.rand(3, height, width, generator=torch.Generator().manual_seed(0))
    images = noise.repeat(1 + len(cells), 1, 1, 1).to(parameter.device)
    for image, (row, column) in zip(images[1:], cells):
        cell = image[:, row * height // h:(row + 1) * height // h, column * width // w:(column + 1) * width // w]
        cell.copy_(1 - cell)
    maps = layout.to_map(_output(model, run.module, normalise(images)))
    change = (maps[1:].double() - maps[:1].double()).norm(dim=1)
    own = torch.stack([one[cell] for one, cell in zip(change, cells)])
    own = own[:, None, None]
    return ((change > own).double() + (change == own).double() / 2).mean().item()


def _first_tokens(found: Probe) -> list[tuple[Run, Layout]]:
    """The layer that makes the tokens, and the first block that works on them: it may find them in another order."""
    chosen: list[tuple[Run, Layout]] = []
    for run in reversed(found.finished):  # a block finishes after its parts
        if len(run.shape) != 3 or run.shape[0] != 1 or run.calls > 1 or run.passes_on or run.repeats:
            continue
        if any(run.name.startswith(f"{block.name}.") for block, _ in chosen):
            continue
        try:
            chosen.append((run, found.layout(run.shape)))
        except ValueError:
            continue
    return chosen[-2:]


def _output(model: nn.Module, module: nn.Module, images: Tensor) -> Tensor:
    outputs: list[Tensor] = []
    handle = module.register_forward_hook(lambda _module, _args, output: outputs.append(output.clone()))
    try:
        with eval_mode(model), torch.inference_mode(False), torch.no_grad():
            model(images)
    finally:
        handle.remove()
    return outputs[0]
