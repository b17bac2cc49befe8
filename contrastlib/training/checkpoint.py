"""What a training leaves in its folder: each file is whole or not there, however the training ends."""

import json
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import nn

from contrastlib.store import replace, replace_text
from contrastlib.training.recipe import Recipe

CHECKPOINT, RECORD, BEST, LAST = "checkpoint.pt", "record.json", "best.safetensors", "last.safetensors"
ABOUT = "contrastlib"
"""The entry in the head of a file of weights that says what they are: epoch, accuracy, recipe and the rest."""


class CheckpointError(ValueError):
    """A folder holds another training, or a damaged one; the message says what to do."""


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a table as text, whole or not at all.

    Args:
        path: where it belongs.
        content: what JSON can hold; a number that is none, such as NaN, is refused.
    """
    text = json.dumps(content, indent=2, allow_nan=False, ensure_ascii=False) + "\n"
    replace_text(path, text)


def export(path: Path, model: nn.Module, about: Mapping[str, Any], *, half: bool = False) -> None:
    """Write the weights of a network as :func:`contrastlib.models.load` reads them.

    Args:
        path: a ``.safetensors`` file.
        model: the network.
        about: goes into the file's head, as JSON under :data:`ABOUT`.
        half: whether floating-point weights are stored in float16.

    Raises:
        ValueError: a weight is too large for float16; names the tensor.
    """
    dtype = torch.float16 if half else None
    tensors = {name: tensor.detach().to("cpu", dtype if tensor.is_floating_point() else None).contiguous().clone()
               for name, tensor in model.state_dict().items()}
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not tensor.isfinite().all():
            raise ValueError(f"{name} holds numbers that {str(tensor.dtype).removeprefix('torch.')} cannot")
    metadata = {ABOUT: json.dumps(about)}  # one entry: safetensors shuffles several, and with them the file's digest
    content = safetensors.torch.save(tensors, metadata)  # `save_file` makes files that only their owner may read
    replace(path, lambda beside: beside.write_bytes(content))


def write(folder: Path, state: Mapping[str, Any]) -> None:
    """Write the state of a training.

    Args:
        folder: of the training.
        state: tensors and plain values.
    """
    replace(folder / CHECKPOINT, lambda beside: torch.save(dict(state), beside))


def read(folder: Path, identity: Mapping[str, Any]) -> dict[str, Any] | None:
    """The state of a training that was interrupted, if there is one.

    Args:
        folder: of the training.
        identity: what the training is about; that of the state must be the same.

    Returns:
        the state, on the CPU; None if the folder holds none.

    Raises:
        CheckpointError: the file is damaged, is about something else (says what differs), or is gone and left its
            results.
    """
    path = folder / CHECKPOINT
    if not path.exists():
        left = [name for name in (BEST, LAST, RECORD) if (folder / name).exists()]
        if left:
            raise CheckpointError(f"{folder} holds {', '.join(left)} of a training, but no {CHECKPOINT} to go on from: "
                                  f"{_ADVICE}")
        return None
    state = _loaded(path)
    found = differences(identity, state["identity"])
    if found:
        raise CheckpointError(f"{path} is of another training: {'; '.join(found)}. To keep it, {_ADVICE}")
    return state


def clear(folder: Path) -> None:
    """Remove what an earlier training left.

    Args:
        folder: of the training; other files in it stay.
    """
    for name in (CHECKPOINT, RECORD, BEST, LAST):
        (folder / name).unlink(missing_ok=True)


def differences(here: Mapping[str, Any], there: Mapping[str, Any]) -> list[str]:
    """Where two trainings differ.

    Args:
        here: what the one at hand is about.
        there: what the one in the folder is about.

    Returns:
        sentences; empty if they are the same.
    """
    found = [f"the {name} is {_short(there.get(name))} there and {_short(value)} here"
             for name, value in here.items() if name != "recipe" and there.get(name) != value]
    recipes = Recipe(**here["recipe"]).differences(there.get("recipe", {}))
    return found + [f"the recipe's {text}" for text in recipes]


_ADVICE = "choose another folder (--output), or begin anew in this one, which removes them (--restart)"
_NEEDED = ("identity", "epoch", "model", "average", "average_steps", "optimiser", "scaler", "history", "best")


def _loaded(path: Path) -> dict[str, Any]:
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path} is damaged or cut short: {_ADVICE}") from error
    if not isinstance(state, dict) or any(name not in state for name in _NEEDED):
        raise CheckpointError(f"{path} is no checkpoint of a training: {_ADVICE}")
    return state


def _short(value: object) -> str:
    """Digests by their beginning, as people compare them."""
    text = str(value)
    return f"{text[:12]}..." if len(text) == 64 and " " not in text else text
