"""What every data set here is: pictures with a class and a name, in a fixed order; and what is wrong with some."""

import copy
import hashlib
import importlib
import json
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Self, TypeVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

Prepare = Callable[[Image.Image], Tensor]
"""Turns a picture into a tensor (3, H, W) or (1, 3, H, W) in [0, 1], as a classifier's ``prepare`` does."""

Progress = bool | Callable[[int, int], None]
"""True shows a bar if tqdm is installed; a function is called with how many are done and how many there are."""

_T = TypeVar("_T")


class Sample(NamedTuple):
    """One image of a data set; torch's ``default_collate`` makes a batch of a list of them.

    Attributes:
        image: (3, H, W), float32 in [0, 1]; in a batch (N, 3, H, W).
        label: position of its class in the data set's ``class_names``; in a batch (N,) int64.
        id: a name that stays the same, such as ``001.Black_footed_Albatross/0000.jpg``; in a batch a sequence of them.
    """

    image: Tensor
    label: int
    id: str


@dataclass(frozen=True)
class Problem:
    """An image that a data set lists and that cannot be had.

    Attributes:
        id: the image's name in the data set.
        where: the file, or the archive and the file's name in it.
        reason: what is wrong.
    """

    id: str
    where: str
    reason: str

    def __str__(self) -> str:
        return f"{self.where}: {self.reason}"


class DataError(ValueError):
    """A data set contradicts itself or is damaged; the message names the file, and the line where there is one."""


class DataNotFoundError(DataError, FileNotFoundError):
    """A data set is not here; the message says what to put where."""


class UnreadableImageError(DataError):
    """An image is missing, cut short or no image.

    Attributes:
        problem: which and why.
    """

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem)  # as the only argument, so that the error survives pickling between processes
        self.problem = problem


class DataWarning(UserWarning):
    """Images of a data set are left out; the message counts and names them."""


class ImageDataset(Dataset[Sample], ABC):
    """Pictures with labels, in a fixed order; ``data[i]`` is a :class:`Sample`.

    A subclass gives ``picture`` and ``_content``; both take a position in ``ids`` and find in ``items`` what the image
    is made from, so that subsets need no code of their own.

    Attributes:
        name: such as ``cub200``.
        split: such as ``test``.
        class_names: C names; a name may stand there twice.
        ids: N names of images, none twice.
        labels: N positions in ``class_names``.
        items: N things that the images are made from, such as files.
        problems: images that the data set lists and that are not here; they are not in ``ids``.
    """

    def __init__(self, name: str, split: str, class_names: Sequence[str], ids: Sequence[str], labels: Sequence[int],
                 items: Sequence[Any] | None = None, problems: Sequence[Problem] = ()) -> None:
        self.name, self.split = name, split
        self.class_names, self.ids, self.labels = tuple(class_names), tuple(ids), tuple(labels)
        self.items: tuple[Any, ...] = self.ids if items is None else tuple(items)
        self.problems = tuple(problems)
        self._prepare: Prepare | None = None
        self._digest: str | None = None
        self._check()
        if self.problems:
            warnings.warn(f"{name} {split}: {told(self.problems)}", DataWarning, stacklevel=2)

    @abstractmethod
    def picture(self, i: int) -> Image.Image:
        """The picture at its own size, before any preparation.

        Args:
            i: position in ``ids``.

        Returns:
            an RGB picture.

        Raises:
            UnreadableImageError: it is missing, cut short or no picture; names the file.
        """

    @abstractmethod
    def _content(self, i: int) -> bytes:
        """What the image is made from, byte by byte: the digest is taken of it."""

    def __getitem__(self, i: int) -> Sample:
        prepare = to_tensor if self._prepare is None else self._prepare
        image = prepare(self.picture(i))
        if image.ndim == 4 and image.shape[0] == 1:
            image = image[0]
        if image.ndim != 3 or image.shape[0] != 3:
            raise ValueError(f"prepare must give a tensor (3, H, W) or (1, 3, H, W), not {tuple(image.shape)}")
        return Sample(image, self.labels[i], self.ids[i])

    def __len__(self) -> int:
        return len(self.ids)

    def __iter__(self) -> Iterator[Sample]:
        return (self[i] for i in range(len(self)))

    def __repr__(self) -> str:
        return f"<{self.name} {self.split}: {len(self)} images, {self.num_classes} classes>"

    @property
    def num_classes(self) -> int:
        """C, the number of class names; some may have no image in this split."""
        return len(self.class_names)

    def prepared(self, prepare: Prepare | None) -> Self:
        """The same images, prepared for a network.

        Args:
            prepare: such as a classifier's ``prepare``; None gives the whole picture as it is.

        Returns:
            a copy; this one stays.
        """
        other = copy.copy(self)
        other._prepare = prepare
        return other

    def subset(self, indices: Iterable[int]) -> Self:
        """Some of the images, with all the class names.

        Args:
            indices: positions in ``ids``, in the order wanted, none twice.

        Returns:
            a copy; this one stays.

        Raises:
            IndexError: a position that is not there.
            ValueError: a position given twice.
        """
        chosen = [range(len(self))[int(i)] for i in indices]
        if len(set(chosen)) != len(chosen):
            raise ValueError("a subset holds no image twice")
        other = copy.copy(self)
        other.ids = tuple(self.ids[i] for i in chosen)
        other.labels = tuple(self.labels[i] for i in chosen)
        other.items = tuple(self.items[i] for i in chosen)
        other._digest = None
        return other

    def digest(self) -> str:
        """A fingerprint of the data: names, labels, class names, and the content of every image, without preparation.

        Returns:
            SHA-256, 64 hexadecimal digits; computed once.

        Raises:
            UnreadableImageError: a file is gone since.
        """
        if self._digest is None:
            head = json.dumps([self.ids, self.labels, self.class_names])
            total = hashlib.sha256(head.encode("utf8"))
            for i in range(len(self)):
                total.update(hashlib.sha256(self._content(i)).digest())
            self._digest = total.hexdigest()
        return self._digest

    def verify(self, progress: Progress = False) -> tuple[Problem, ...]:
        """Decode every image to its end.

        Args:
            progress: whether to show how far it is.

        Returns:
            ``problems`` and the images that cannot be decoded.
        """
        found = []
        for i in tracked(range(len(self)), progress, f"{self.name} {self.split}"):
            try:
                self.picture(i)
            except UnreadableImageError as error:
                found.append(error.problem)
        return self.problems + tuple(found)

    def readable(self) -> Self:
        """The images that can be decoded.

        Returns:
            a copy without the others, which are in its ``problems``.
        """
        problems = self.verify()
        bad = {problem.id for problem in problems}
        other = self.subset(i for i, name in enumerate(self.ids) if name not in bad)
        other.problems = problems
        return other

    def _check(self) -> None:
        counts = {len(self.ids), len(self.labels), len(self.items)}
        if len(counts) > 1:
            raise ValueError(f"ids, labels and items differ in number: {sorted(counts)}")
        if len(set(self.ids)) != len(self.ids):
            raise ValueError("an id stands for one image only")
        if self.labels and not 0 <= min(self.labels) <= max(self.labels) < self.num_classes:
            raise ValueError(f"labels must be in [0, {self.num_classes})")


def to_tensor(picture: Image.Image) -> Tensor:
    """A picture as numbers.

    Args:
        picture: RGB.

    Returns:
        (3, H, W), float32 in [0, 1].
    """
    return torch.from_numpy(np.array(picture.convert("RGB"))).permute(2, 0, 1).float() / 255


def told(problems: Sequence[Problem], most: int = 3) -> str:
    """Problems in one sentence.

    Args:
        problems: at least one.
        most: how many to name.

    Returns:
        their number and the first of them.
    """
    images = "1 image is" if len(problems) == 1 else f"{len(problems)} images are"
    named = "; ".join(str(problem) for problem in problems[:most])
    return f"{images} left out: {named}{'; ...' if len(problems) > most else ''}"


def tracked(sequence: Sequence[_T], progress: Progress, what: str = "") -> Iterator[_T]:
    """Go through a sequence and show how far it is.

    Args:
        sequence: the things to go through.
        progress: False is silent; True shows a bar if tqdm is installed; a function is called with (done, total).
        what: the bar's caption.

    Yields:
        the things.
    """
    if callable(progress):
        for i, thing in enumerate(sequence):
            yield thing
            progress(i + 1, len(sequence))
    else:
        yield from _bar(sequence, what) if progress else sequence


def _bar(sequence: Sequence[_T], what: str) -> Iterable[_T]:
    try:
        tqdm = importlib.import_module("tqdm").tqdm
    except ModuleNotFoundError:
        return sequence
    return tqdm(sequence, desc=what)
