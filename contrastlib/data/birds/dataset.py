"""The drawn birds as a data set: three splits, drawn when they are asked for."""

import hashlib
from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from contrastlib.data.birds.drawing import SIZE, Drawing, Scene, compose, draw
from contrastlib.data.birds.species import NAMES, SPECIES
from contrastlib.data.dataset import ImageDataset
from contrastlib.names import find

# How many pictures a split has, and how many tenths are hard: a network must have seen what it is to be unsure about.
_SPLITS = {"train": (12_000, 3), "test": (1600, 0), "hard": (1600, 10)}


class DrawnBirds(ImageDataset):
    """Drawn birds of sixteen species; see :mod:`contrastlib.data.birds`.

    Image i of a split is always the same picture, whatever the count.

    Args:
        split: ``train`` (12 000 pictures, three in ten hard), ``test`` (1600, none hard) or ``hard`` (1600, all with a
            second bird, a hidden part, or both).
        count: how many pictures; None for the split's own number.
        size: side of the pictures in pixels.

    Raises:
        UnknownNameError: there is no such split.
        ValueError: the count or the size is too small.
    """

    def __init__(self, split: str = "test", count: int | None = None, size: int = SIZE) -> None:
        number = find(split, list(_SPLITS), "split of the drawn birds")
        split, (most, hard) = list(_SPLITS.items())[number]
        count = most if count is None else count
        if count < 1:
            raise ValueError(f"count must be at least 1, got {count}")
        self.size = size
        items = [(number, i, (i // len(SPECIES)) % 10 < hard) for i in range(count)]
        labels = [i % len(SPECIES) for i in range(count)]
        super().__init__("drawn_birds", split, NAMES, [f"{split}/{i:05d}" for i in range(count)], labels, items)

    def scene(self, i: int) -> Scene:
        """What is in picture i.

        Args:
            i: position in ``ids``.

        Returns:
            the scene.
        """
        split, number, hard = self.items[i]
        return compose((split, number), self.labels[i], hard=hard)

    def drawing(self, i: int) -> Drawing:
        """Picture i with its masks.

        Args:
            i: position in ``ids``.

        Returns:
            the drawing.
        """
        return draw(self.scene(i), self.size)

    def parts(self, i: int) -> NDArray[np.uint8]:
        """Which part of which bird each pixel of picture i shows, whatever the picture is prepared for.

        Args:
            i: position in ``ids``.

        Returns:
            numbers of ``CODES``, greater by ``SECOND`` for the second bird, 0 for neither; (H, W) uint8 at the
            picture's own size.
        """
        return self.drawing(i).parts

    def picture(self, i: int) -> Image.Image:
        """Picture i.

        Args:
            i: position in ``ids``.

        Returns:
            an RGB picture.
        """
        return Image.fromarray(self.drawing(i).image)

    def _content(self, i: int) -> bytes:
        return f"{fingerprint()} {self.items[i]} {self.labels[i]} {self.size}".encode()


@cache
def fingerprint() -> str:
    """What the drawing code draws, in one number: it changes when any of 32 pictures does.

    Returns:
        SHA-256 of their pixels.
    """
    total = hashlib.sha256()
    for i in range(32):
        total.update(draw(compose((9, i), i % len(SPECIES), hard=i >= len(SPECIES))).image.tobytes())
    return total.hexdigest()
