"""Networks of timm, with the preprocessing that its weights state."""

import math
from pathlib import Path
from typing import Any

import timm
import torch
from timm.data.config import resolve_data_config
from timm.data.imagenet_info import ImageNetInfo, infer_imagenet_subset
from torch import nn

from contrastlib.models.built import Built, Preprocessing, Request, imagenet_names
from contrastlib.models.weights import (
    RANDOM,
    Stored,
    Weights,
    WeightsError,
    WeightsNotFoundError,
    differences,
    fetch,
    fetch_from_hub,
    fit,
    from_file,
    read,
)


def names() -> list[str]:
    """The architectures that timm has; a name may also carry the tag of its weights, as ``resnet18.a1_in1k``."""
    return list(timm.list_models())


def knows(name: str) -> bool:
    """Whether timm has an architecture of that name, tag or no tag."""
    return bool(timm.is_model(name))


def build(wanted: Request) -> Built:
    """A network of timm.

    Args:
        wanted: what is wanted.

    Returns:
        the network and the preprocessing of its weights; for own files and random weights that of the default ones.

    Raises:
        WeightsNotFoundError: the weights are not here and cannot be fetched.
        WeightsError: they are damaged or do not fit.
        ValueError: the name has a tag that timm does not know, or the network no classes.
    """
    config = record(wanted.name)
    num_classes = wanted.num_classes or config.num_classes
    if not num_classes:
        raise ValueError(f"timm's weights of {wanted.name} have no classes: pass weights=PATH to a file that has, "
                         "with num_classes=")
    stored, origin = _stored(wanted, config)
    model: nn.Module = timm.create_model(wanted.name, pretrained=False, num_classes=num_classes, **wanted.model_args)
    if stored is not None:
        model = _fitted(model, stored, wanted, num_classes)
    return Built(model, origin, class_names(config) if num_classes == config.num_classes else None,
                 preprocessing(model))


def record(name: str) -> Any:
    """What timm knows about the weights of a network.

    Args:
        name: with or without a tag.

    Returns:
        timm's configuration of the weights; an empty one for an architecture that has none.

    Raises:
        ValueError: the name has a tag that timm does not know; says which it does.
    """
    try:
        return timm.models.get_pretrained_cfg(name) or timm.models.PretrainedCfg()
    except RuntimeError as error:
        architecture, _, tag = name.partition(".")
        known = ", ".join(timm.list_pretrained(f"{architecture}.*"))
        raise ValueError(f"timm has no weights tagged {tag!r} for {architecture}; it has: {known}") from error


def class_names(config: Any) -> tuple[str, ...] | None:
    """The names of the classes that timm's weights have, where they are known.

    Args:
        config: timm's record of the weights.

    Returns:
        the names, or None.
    """
    subset = infer_imagenet_subset(config.to_dict())
    if subset == "imagenet-1k":
        return imagenet_names()
    return tuple(ImageNetInfo(subset).label_descriptions()) if subset else None


def preprocessing(model: nn.Module) -> Preprocessing:
    """What timm's record of a network's weights says about their input.

    Args:
        model: a network of timm.

    Returns:
        the keywords of a classifier.
    """
    data = resolve_data_config({}, model=model)
    _, h, w = data["input_size"]
    resize: int | tuple[int, int] = math.floor(min(h, w) / data["crop_pct"])
    if data["crop_mode"] == "squash" or h != w:
        resize = (math.floor(h / data["crop_pct"]), math.floor(w / data["crop_pct"]))
    return Preprocessing(input_size=(h, w), resize=resize, mean=data["mean"], std=data["std"],
                         interpolation=data["interpolation"], crop=True)


def _stored(wanted: Request, config: Any) -> tuple[Stored | None, Weights]:
    if wanted.weights is None:
        return None, RANDOM
    if wanted.weights != "default":
        stored = read(wanted.weights, wanted.digest)
        return stored, from_file(stored)
    wanted.check_num_classes(config.num_classes)
    path, address = _fetched(wanted.name, config)
    stored = read(path, wanted.digest)
    return stored, Weights(f"timm {wanted.name}, {address}", stored.digest, config.license)


def _fetched(name: str, config: Any) -> tuple[Path, str]:
    if config.hf_hub_id:
        filename = config.hf_hub_filename or "model.safetensors"
        return fetch_from_hub(config.hf_hub_id, filename), f"{config.hf_hub_id} on the Hugging Face hub"
    if not config.url:
        raise WeightsNotFoundError(f"timm has no weights of {name} to fetch: pass weights=PATH, or weights=None for "
                                   "random weights")
    path = Path(torch.hub.get_dir()) / "checkpoints" / config.url.rsplit("/", 1)[-1]
    fetch(config.url, path)
    return path, config.url


def _fitted(model: nn.Module, stored: Stored, wanted: Request, num_classes: int) -> nn.Module:
    if not differences(model, stored.state):
        fit(model, stored)
        return model
    try:  # timm knows how to rename the tensors of older files and of other people's
        overlay = {"state_dict": stored.state, "num_classes": num_classes}
        return timm.create_model(wanted.name, pretrained=True, num_classes=num_classes,
                                 pretrained_cfg_overlay=overlay, **wanted.model_args)
    except (RuntimeError, KeyError, ValueError, TypeError, AttributeError, IndexError):
        problems = "; ".join(differences(model, stored.state))
        raise WeightsError(f"{stored.path} does not fit {wanted.name}: {problems}") from None
