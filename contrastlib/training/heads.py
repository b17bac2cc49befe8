"""Networks to begin with: pretrained ones with a new head for other classes, or random ones."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Unpack, cast

import torch
from torch import nn

from contrastlib import models
from contrastlib.models import Classifier, Preprocessing, Weights, WeightsError
from contrastlib.training.seeds import seeded

_HEAD = 1  # tells the draws of the head from others with the same seed


def start(
    name: str,
    class_names: Sequence[str],
    *,
    weights: str | Path | None = "default",
    device: str | torch.device = "cpu",
    seed: int = 0,
    **preprocessing: Unpack[Preprocessing],
) -> Classifier:
    """A classifier to train on other classes.

    Args:
        name: of the architecture, as :func:`contrastlib.models.load` takes it.
        class_names: of the data set, one per logit.
        weights: ``"default"`` or another name for the library's own, whose head is replaced unless it has these very
            classes; a file, with the library's number of classes (the head is replaced) or the data set's (it stays);
            None for a random initialisation.
        device: where the classifier goes.
        seed: of everything that is initialised at random.
        preprocessing: overrides what the weights state. ``crop=False`` resizes to the input size without keeping the
            aspect, as the papers do.

    Returns:
        the classifier, in evaluation mode, with the weights' mean and standard deviation.

    Raises:
        UnknownNameError: no network has the name; says which come near.
        WeightsNotFoundError: the weights are not here and cannot be fetched.
        WeightsError: they are damaged, or have neither number of classes.
        ValueError: the network's last layer cannot be found.
    """
    def load(**options: Any) -> Classifier:
        return models.load(name, weights=weights, device=device, **options, **preprocessing)

    with seeded(seed, _HEAD):
        if weights is None:
            return load(class_names=class_names)
        if Path(weights).suffix:
            try:
                return load(class_names=class_names)
            except WeightsError as error:
                loaded = _of_library(load, error)
        else:
            loaded = load()
        return loaded if loaded.class_names == tuple(class_names) else new_head(loaded, class_names)


def new_head(classifier: Classifier, classes: int | Sequence[str]) -> Classifier:
    """A network for other classes: all its layers but the last, which is initialised anew.

    Args:
        classifier: its network is changed in place.
        classes: their number, or their names.

    Returns:
        a classifier around the same network, with the same preparation of images.

    Raises:
        ValueError: there is no last linear layer (or 1 x 1 convolution) with the old number of classes.
    """
    number = classes if isinstance(classes, int) else len(classes)
    if number < 1:
        raise ValueError(f"a network needs at least one class, got {number}")
    model, old, mode = classifier.model, classifier.num_classes, classifier.model.training
    if hasattr(model, "reset_classifier"):  # timm's networks know their own heads, of which some have two
        cast(Any, model).reset_classifier(number)
        model.to(classifier.mean.device)
    else:
        path, last = _last(model, old)
        parent, _, child = path.rpartition(".")
        setattr(model.get_submodule(parent), child, _like(last, number))
        if hasattr(model, "num_classes"):
            cast(Any, model).num_classes = number
    model.train(mode)
    origin, how = classifier.weights, classifier.recipe
    return Classifier(
        model, class_names=None if isinstance(classes, int) else classes, input_size=classifier.input_size,
        mean=classifier.mean.flatten().tolist(), std=classifier.std.flatten().tolist(),
        resize=how.resize, interpolation=how.interpolation, crop=how.crop, name=classifier.name,
        weights=Weights(f"{origin.source}, with a new head", origin.digest, origin.licence))


def head_parameters(classifier: Classifier) -> list[nn.Parameter]:
    """The parameters of the layer that gives the logits.

    Args:
        classifier: any.

    Returns:
        its weight and, if it has one, its bias; of all heads where a network has several.

    Raises:
        ValueError: there is no such layer.
    """
    model = classifier.model
    if hasattr(model, "get_classifier"):
        found = cast(Any, model).get_classifier()
        heads: Sequence[nn.Module] = found if isinstance(found, list | tuple) else [found]
    else:
        heads = [_last(model, classifier.num_classes)[1]]
    return [p for head in heads for p in head.parameters()]


def _of_library(load: Any, error: WeightsError) -> Classifier:
    """The file does not have the data set's classes: it may be a copy of the library's own."""
    try:
        return cast(Classifier, load())
    except WeightsError:
        hint = "; a file must have the data set's number of classes, or that of the library's own weights"
        raise WeightsError(str(error).partition(": pass num_classes")[0] + hint) from None


def _last(model: nn.Module, num_classes: int) -> tuple[str, nn.Linear | nn.Conv2d]:
    for name, module in reversed(list(model.named_modules())):
        if isinstance(module, nn.Linear) and module.out_features == num_classes:
            return name, module
        if isinstance(module, nn.Conv2d) and module.out_channels == num_classes and module.kernel_size == (1, 1):
            return name, module
    raise ValueError(f"{type(model).__name__} has no last linear layer or 1 x 1 convolution with {num_classes} outputs")


def _like(layer: nn.Linear | nn.Conv2d, outputs: int) -> nn.Module:
    bias = layer.bias is not None
    new = (nn.Linear(layer.in_features, outputs, bias=bias) if isinstance(layer, nn.Linear)
           else nn.Conv2d(layer.in_channels, outputs, 1, bias=bias))
    return new.to(layer.weight)
