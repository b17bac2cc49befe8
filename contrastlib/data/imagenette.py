"""Imagenette: ten classes of ImageNet that are easy to tell apart."""

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Self

from contrastlib.data import wordnet
from contrastlib.data.dataset import DataError
from contrastlib.data.download import Archive, locate
from contrastlib.data.files import FileImages
from contrastlib.data.places import check_split

SPLITS = ("train", "val")
CLASSES = {
    "n01440764": ("tench", 0), "n02102040": ("English springer", 217), "n02979186": ("cassette player", 482),
    "n03000684": ("chain saw", 491), "n03028079": ("church", 497), "n03394916": ("French horn", 566),
    "n03417042": ("garbage truck", 569), "n03425413": ("gas pump", 571), "n03445777": ("golf ball", 574),
    "n03888257": ("parachute", 701),
}
"""Name and ImageNet-1k label of each class by its WordNet identifier, in the order of Imagenette's own labels."""

_URL = "https://s3.amazonaws.com/fast-ai-imageclas/"
_SIZES = {
    "full": ("imagenette2", "fe2fc210e6bb7c5664d602c3cd71e612"),
    "320": ("imagenette2-320", "3df6f0d01a2c9592104656642f5e78a3"),
    "160": ("imagenette2-160", "e793b78cc4c9e9a4ccc0c1155377a412"),
}


class Imagenette(FileImages):
    """Imagenette's images, with its own ten labels or with those of ImageNet-1k.

    Attributes:
        imagenet_labels: the ImageNet-1k label of each of the ten classes, in the order of Imagenette's own labels.
    """

    imagenet_labels: tuple[int, ...] = tuple(label for _, label in CLASSES.values())

    def with_imagenet_labels(self) -> Self:
        """The same images for a classifier of the thousand classes.

        Returns:
            a copy whose labels and class names are those of ImageNet-1k.
        """
        if self.num_classes != len(CLASSES):
            return self
        other = copy.copy(self)
        other.class_names = wordnet.class_names()
        other.labels = tuple(self.imagenet_labels[label] for label in self.labels)
        other._digest = None
        return other


def load(split: str, roots: Sequence[Path], download: bool = False, size: str = "full") -> Imagenette:
    """Imagenette.

    Args:
        split: ``train`` or ``val``; ``test`` stands for ``val``.
        roots: where to look for the folder ``imagenette2``, ``imagenette2-320`` or ``imagenette2-160``, or that
            folder itself.
        download: whether to fetch it if it is not there.
        size: ``full``, or the length of the short side in pixels: ``320`` or ``160``.

    Returns:
        the images of the split, by class and then by name.

    Raises:
        DataNotFoundError: it is not there.
        DataError: a class is missing or unknown.
        ValueError: there is no such split or size.
    """
    split = check_split("imagenette", split, SPLITS)
    if str(size) not in _SIZES:
        raise ValueError(f"imagenette has the sizes {', '.join(_SIZES)}, got {size!r}")
    folder, md5 = _SIZES[str(size)]
    place = locate(Archive("Imagenette", folder, split, f"{_URL}{folder}.tgz", md5), roots, download) / split
    missing = [name for name in CLASSES if not (place / name).is_dir()]
    if missing:
        raise DataError(f"{place} is not whole: of the ten classes {', '.join(missing)} are missing")
    ids, labels, items = wordnet.folders(place, list(CLASSES))
    return Imagenette("imagenette", split, [name for name, _ in CLASSES.values()], ids, labels, items)
