"""Classifiers by name."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Unpack

import torch

from contrastlib.models.built import Built, Preprocessing, Request
from contrastlib.models.classifier import Classifier
from contrastlib.names import UnknownNameError, did_you_mean


def load(
    name: str,
    *,
    weights: str | Path | None = "default",
    num_classes: int | None = None,
    class_names: Sequence[str] | None = None,
    digest: str | None = None,
    device: str | torch.device = "cpu",
    layer: str | None = None,
    model_args: Mapping[str, Any] | None = None,
    **preprocessing: Unpack[Preprocessing],
) -> Classifier:
    """A classifier by the name of its architecture, in evaluation mode.

    Args:
        name: ``birds_vgg`` or ``birds_vit``, trained on the drawn birds of this project; ``tf_efficientnet_lite0``,
            whose weights come with a package; or a name of torchvision or, failing that, of timm.
            ``torchvision/resnet18`` and ``timm/resnet18`` say which library (and whose weights).
        weights: ``"default"`` for the library's own, downloaded where they are not in its cache; one of torchvision's
            names, such as ``"IMAGENET1K_V1"``; a file (``.safetensors``, or of ``torch.save``); or None for a random
            initialisation.
        num_classes: number of logits, for own files and random weights; None for that of the library's weights, or
            the number of class names.
        class_names: one per logit; None for those of the library's weights.
        digest: SHA-256 that the file of weights must have, in hexadecimal, or its first 8 or more digits.
        device: where the classifier goes.
        layer: its default layer for maps; None finds it when first wanted.
        model_args: further arguments of the library's function that builds the network.
        preprocessing: overrides what the weights state: `input_size`, `mean`, `std`, `resize`, `interpolation` and
            `crop`, as :class:`Classifier` takes them. ``crop=False`` alone resizes to the input size, without keeping
            the aspect.

    Returns:
        the classifier.

    Raises:
        UnknownNameError: neither library has the name; says which come near.
        WeightsNotFoundError: a file of weights is missing and cannot be fetched; says where it was looked for, where
            it would come from and what to do.
        WeightsError: the file is damaged, has another digest, or does not fit the network.
        ValueError: the number of class names is not the number of classes.
    """
    if class_names is not None and num_classes not in (None, len(class_names)):
        raise ValueError(f"{len(class_names)} class names for num_classes={num_classes}")
    if class_names is not None:
        num_classes = len(class_names)
    library, short = _library(name, weights)
    args = {**_image_size(library, short, preprocessing), **(model_args or {})}
    built = _build(library, Request(short, weights, num_classes, digest, args))
    names = built.class_names if class_names is None else class_names
    classifier = Classifier(
        built.model, class_names=names, layer=layer, weights=built.weights, name=short,
        **_overridden(built.preprocessing, preprocessing))
    return classifier.eval().to(device)


def _library(name: str, weights: str | Path | None) -> tuple[str, str]:
    """Which library builds the network, and what it calls it."""
    from contrastlib.models import birds, embedded, zoo_timm, zoo_torchvision

    library, _, short = name.rpartition("/")
    if library not in ("", "torchvision", "timm"):
        raise UnknownNameError(f"no library is called {library!r}: write torchvision/NAME, timm/NAME or NAME")
    if not library and short in birds.NETWORKS:
        return "birds", short
    if not library and short in embedded.CATALOGUE and weights == "default":
        return "embedded", short
    if library != "timm" and short in zoo_torchvision.names():
        return "torchvision", short
    if library != "torchvision" and zoo_timm.knows(short):
        return "timm", short
    known = {"torchvision": zoo_torchvision.names(), "timm": zoo_timm.names()}
    there = known[library] if library else list(dict.fromkeys([*birds.names(), *known["torchvision"], *known["timm"]]))
    raise UnknownNameError(f"{library or 'neither torchvision nor timm'} has {'no' if library else 'a'} network "
                           f"called {short!r}{did_you_mean(short, there)}")


def _build(library: str, wanted: Request) -> Built:
    from contrastlib.models import birds, embedded, zoo_timm, zoo_torchvision

    builders = {"birds": birds.build, "embedded": embedded.build, "torchvision": zoo_torchvision.build,
                "timm": zoo_timm.build}
    return builders[library](wanted)


def _image_size(library: str, name: str, preprocessing: Preprocessing) -> dict[str, Any]:
    """Networks with a fixed grid of patches must be told the size of their input when they are built."""
    if library in ("birds", "torchvision") or "input_size" not in preprocessing:
        return {}
    from contrastlib.models import zoo_timm

    return {"img_size": preprocessing["input_size"]} if zoo_timm.record(name).fixed_input_size else {}


def _overridden(stated: Preprocessing, wanted: Preprocessing) -> Preprocessing:
    merged: Preprocessing = {**stated, **wanted}
    if "resize" in wanted:
        return merged
    if not merged["crop"]:
        merged["resize"] = None  # straight to the input size
    elif "input_size" in wanted:
        merged["resize"] = _scaled(stated, wanted["input_size"])
    return merged


def _scaled(stated: Preprocessing, size: int | tuple[int, int]) -> int | tuple[int, int] | None:
    """The resizing that keeps the share of the picture which the crop keeps."""
    resize = stated["resize"]
    old, new = (s if isinstance(s, int) else min(s) for s in (stated["input_size"], size))
    if isinstance(resize, int):
        return round(resize * new / old)
    return None if resize is None else (round(resize[0] * new / old), round(resize[1] * new / old))
