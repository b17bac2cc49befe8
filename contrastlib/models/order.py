"""Do the tokens of a network lie in reading order? Some keep them in another, and a map would be scrambled unseen."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from contrastlib.models.layouts import Layout, Size
from contrastlib.models.probing import Probe, Run, eval_mode


def check_order(model: nn.Module, found: Probe, normalise: Callable[[Tensor], Tensor]) -> None:
    """Light up one cell of a black image and see which token changes most, where tokens first appear.

    Args:
        model: the network.
        found: what probing it gave.
        normalise: from images in [0, 1] to the network's input.

    Raises:
        ValueError: another token than the one at that place changes most.
    """
    for run, layout in _first_tokens(found):
        _check(model, run, layout, found.size, normalise)


def _check(model: nn.Module, run: Run, layout: Layout, size: Size, normalise: Callable[[Tensor], Tensor]) -> None:
    (h, w), (height, width) = layout.grid, size
    cells = [(h // 3, w // 2), (2 * h // 3, w // 4)]
    parameter = next(model.parameters(), torch.zeros(()))
    images = torch.zeros(1 + len(cells), 3, height, width, device=parameter.device)
    for image, (row, column) in zip(images[1:], cells):
        image[:, row * height // h:(row + 1) * height // h, column * width // w:(column + 1) * width // w] = 1
    maps = layout.to_map(_output(model, run.module, normalise(images)))
    change = (maps[1:].double() - maps[:1].double()).norm(dim=1).flatten(1)
    places = [(int(i) // w, int(i) % w) for i in change.argmax(1)]
    # One cell beside it is a stem of strided convolutions, whose fields lie off the middle of their cells.
    if any(abs(a - c) > 1 or abs(b - d) > 1 for (a, b), (c, d) in zip(places, cells)):
        raise ValueError(f"the tokens of this {type(model).__name__} do not lie in reading order: lighting up the "
                         f"cells {cells} of its {h} x {w} grid changes most what '{run.name}' gives at {places}; name "
                         "a layer whose output is a map")


def _first_tokens(found: Probe) -> list[tuple[Run, Layout]]:
    """The layer that makes the tokens, and the first block that works on them: it may find them in another order."""
    chosen: list[tuple[Run, Layout]] = []
    for run in reversed(found.finished):  # a block finishes after its parts
        if len(run.shape) != 3 or run.calls > 1 or run.passes_on or run.repeats:
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
