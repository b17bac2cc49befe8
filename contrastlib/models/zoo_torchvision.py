"""Networks of torchvision, with the preprocessing that its weights state."""

from pathlib import Path
from typing import Any

import torch
import torchvision
from torch import nn

from contrastlib.models.built import Built, Preprocessing, Request
from contrastlib.models.weights import (
    RANDOM,
    Stored,
    Weights,
    WeightsNotFoundError,
    check_digest,
    digest_in_name,
    fetch,
    fit,
    from_file,
    read,
)

_LICENCE = "BSD-3-Clause (torchvision); the terms of the training data may apply"
_WITH_AUXILIARY_HEADS = ("googlenet", "inception_v3")


def names() -> list[str]:
    """The classifiers that torchvision has, without those for video, detection and segmentation."""
    return list(torchvision.models.list_models(module=torchvision.models))


def build(wanted: Request) -> Built:
    """A network of torchvision.

    Args:
        wanted: what is wanted; `weights` may also be one of torchvision's own names, such as ``IMAGENET1K_V1``.

    Returns:
        the network and the preprocessing of its weights; for own files and random weights that of the default ones.

    Raises:
        WeightsNotFoundError: the weights are not here and cannot be fetched.
        WeightsError: they are damaged or do not fit.
    """
    entries = torchvision.models.get_model_weights(wanted.name)
    own = {"default": entries.DEFAULT, **entries.__members__}
    entry = own.get(str(wanted.weights), entries.DEFAULT)
    categories = tuple(entry.meta["categories"])
    stored, origin = None, RANDOM
    if str(wanted.weights) in own:
        wanted.check_num_classes(len(categories))
        stored = _fetched(entry.url, wanted.digest)
        origin = Weights(f"torchvision {entry}, {entry.url}", stored.digest, _LICENCE)
    elif wanted.weights is not None:
        _check_is_file(wanted, list(own))
        stored = read(wanted.weights, wanted.digest)
        origin = from_file(stored)
    num_classes = wanted.num_classes or len(categories)
    model = _network(wanted, num_classes, stored)
    return Built(model, origin, categories if num_classes == len(categories) else None, _preprocessing(entry))


def _check_is_file(wanted: Request, own: list[str]) -> None:
    if not Path(str(wanted.weights)).suffix:
        raise WeightsNotFoundError(f"{wanted.name} has no weights called {str(wanted.weights)!r}: pass a file, None, "
                                   f"or one of {', '.join(own)}")


def _fetched(url: str, digest: str | None) -> Stored:
    path = Path(torch.hub.get_dir()) / "checkpoints" / url.rsplit("/", 1)[-1]
    fetch(url, path)
    stored = read(path, digest_in_name(path.name))
    check_digest(path, stored.digest, digest)
    return stored


def _network(wanted: Request, num_classes: int, stored: Stored | None) -> nn.Module:
    args: dict[str, Any] = {"num_classes": num_classes, **wanted.model_args}
    if wanted.name in _WITH_AUXILIARY_HEADS:
        # torchvision's weights of these two expect inputs scaled to [-1, 1], and come with heads for training only.
        # Random weights get the same scaling, so that they give the same logits when they come back from a file.
        auxiliary = stored is not None and any(k.lower().startswith("aux") for k in stored.state)
        args = {"aux_logits": auxiliary, "transform_input": True, "init_weights": False, **args}
    model: nn.Module = torchvision.models.get_model(wanted.name, weights=None, **args)
    if stored is not None:
        fit(model, stored)
    if wanted.name in _WITH_AUXILIARY_HEADS:
        _drop_auxiliary_heads(model)
    return model


def _drop_auxiliary_heads(model: nn.Module) -> None:
    model.aux_logits = False  # type: ignore[assignment]  # a plain attribute of these two networks
    for name in ("aux1", "aux2", "AuxLogits"):
        if hasattr(model, name):
            setattr(model, name, None)


def _preprocessing(entry: Any) -> Preprocessing:
    preset = entry.transforms()
    return Preprocessing(
        input_size=preset.crop_size[0], resize=preset.resize_size[0], mean=tuple(preset.mean), std=tuple(preset.std),
        interpolation=preset.interpolation.value, crop=True)
