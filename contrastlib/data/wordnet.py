"""Classes of ImageNet: their WordNet identifiers, their names, and folders that are called by them."""

import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from contrastlib.data.dataset import DataError
from contrastlib.data.files import Item

_PICTURES = (".jpeg", ".jpg", ".png")


@cache
def identifiers() -> tuple[str, ...]:
    """The WordNet identifiers of ImageNet-1k.

    Returns:
        1000 of them, such as ``n01440764``, in sorted order: the position is the label.
    """
    import timm.data

    return tuple(timm.data.imagenet_info.ImageNetInfo("imagenet-1k").label_names())


@cache
def class_names() -> tuple[str, ...]:
    """The names of ImageNet-1k's classes, as torchvision has them.

    Returns:
        1000 names in the order of the labels; a name may stand there twice.
    """
    from torchvision.models import ResNet18_Weights

    return tuple(ResNet18_Weights.IMAGENET1K_V1.meta["categories"])


def is_identifier(name: str) -> bool:
    """Whether a folder's name looks like a WordNet identifier.

    Args:
        name: such as ``n01440764``.

    Returns:
        true if it is an n and eight digits.
    """
    return re.fullmatch(r"n\d{8}", name) is not None


def folders(split: Path, known: Sequence[str]) -> tuple[list[str], list[int], list[Item]]:
    """The images of a split whose classes are folders.

    Args:
        split: the folder that has a folder for each class.
        known: the WordNet identifiers, in the order of the labels.

    Returns:
        ids such as ``n01440764/ILSVRC2012_val_00000293.JPEG``, labels and files, by class and then by name.

    Raises:
        DataError: a folder is called otherwise, images lie beside the folders, or there are none.
    """
    inside = sorted(path for path in split.iterdir() if not path.name.startswith("."))
    for path in inside:
        if path.is_dir() and path.name not in known:
            raise DataError(f"{path} is no class: the folders are called by WordNet identifiers such as {known[0]}")
        if _is_picture(path):
            raise DataError(f"{path} has no class: images belong into folders such as {split / known[0]}")
    images = [path for place in inside if place.is_dir() for path in sorted(place.iterdir()) if _is_picture(path)]
    if not images:
        raise DataError(f"{split}: no image belongs to this split; it has no folders such as {split / known[0]}")
    label = {name: i for i, name in enumerate(known)}
    return ([f"{path.parent.name}/{path.name}" for path in images], [label[path.parent.name] for path in images],
            [Item(path) for path in images])


def _is_picture(path: Path) -> bool:
    return path.suffix.lower() in _PICTURES and not path.name.startswith(".")
