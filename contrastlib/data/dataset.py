"""What every data set here is: pictures with a class and a name, in a fixed order; and what is wrong with some."""

import copy
import hashlib
import json
import warnings
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Self, TypeVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset
from tqdm import tqdm

from contrastlib import pictures

# Turns a picture into a tensor (3, H, W) or (1, 3, H, W) in [0, 1], as a classifier's ``prepare`` does.
Transform = Callable[[Image.Image], Tensor]

# True shows a bar; a function is called with how many are done and how many there are.
Progress = bool | Callable[[int, int], None]

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
        where: the file.
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
        self._transform: Transform | None = None
        self._digest: str | None = None
        if len({len(self.ids), len(self.labels), len(self.items)}) > 1:
            raise ValueError("ids, labels and items differ in number")
        if len(set(self.ids)) != len(self.ids):
            raise ValueError("an id stands for one image only")
        if self.labels and not 0 <= min(self.labels) <= max(self.labels) < self.num_classes:
            raise ValueError(f"labels must be in [0, {self.num_classes})")
        if self.problems:
            warnings.warn(f"{name} {split}: {describe(self.problems)}", DataWarning, stacklevel=2)

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
        image = (self._transform or to_tensor)(self.picture(i))
        if image.shape[:-2] not in ((3,), (1, 3)):
            raise ValueError(f"prepare must give a tensor (3, H, W) or (1, 3, H, W), not {tuple(image.shape)}")
        return Sample(image.reshape(image.shape[-3:]), self.labels[i], self.ids[i])

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

    def prepared(self, prepare: Transform | None) -> Self:
        """The same images, prepared for a network.

        Args:
            prepare: such as a classifier's ``prepare``; None gives the whole picture as it is.

        Returns:
            a copy; this one stays.
        """
        return self._with(_transform=prepare)

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
        kept = {name: tuple(getattr(self, name)[i] for i in chosen) for name in ("ids", "labels", "items")}
        return self._with(**kept, _digest=None)

    def digest(self) -> str:
        """A fingerprint of the data: names, labels, class names, and the content of every image, without preparation.

        Returns:
            SHA-256, 64 hexadecimal digits; computed once.

        Raises:
            UnreadableImageError: a file is gone since.
        """
        if self._digest is None:
            total = hashlib.sha256(json.dumps([self.ids, self.labels, self.class_names]).encode())
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
        return self.subset(i for i, name in enumerate(self.ids) if name not in bad)._with(problems=problems)

    def _with(self, **attributes: Any) -> Self:
        """A copy with other attributes."""
        other = copy.copy(self)
        vars(other).update(attributes)
        return other


class FileImages(ImageDataset):
    """A data set of image files, which are called as the images are; missing and empty ones become ``problems``.

    Attributes:
        items: N files.
    """

    items: tuple[Path, ...]

    def __init__(self, name: str, split: str, class_names: Sequence[str], folder: Path, ids: Sequence[str],
                 labels: Sequence[int]) -> None:
        problems = [Problem(i, str(folder / i), fault) for i in ids if (fault := _fault(folder / i))]
        if ids and len(problems) == len(ids):
            raise DataNotFoundError(f"{name} {split}: none of the {len(ids)} images is there; the first should be "
                                    f"{folder / ids[0]}")
        bad = {problem.id for problem in problems}
        here = [i for i, image in enumerate(ids) if image not in bad]
        super().__init__(name, split, class_names, [ids[i] for i in here], [labels[i] for i in here],
                         [folder / ids[i] for i in here], problems)

    def picture(self, i: int) -> Image.Image:
        """The picture at its own size; see :mod:`contrastlib.pictures`."""
        try:
            return pictures.read(self.items[i])
        except FileNotFoundError as error:
            raise self._unreadable(i, "there is no such file") from error
        except ValueError as error:
            detail = f" ({error.__cause__})" if error.__cause__ else ""
            raise self._unreadable(i, f"cannot be decoded{detail}") from error

    def _content(self, i: int) -> bytes:
        try:
            return self.items[i].read_bytes()
        except OSError as error:
            raise self._unreadable(i, f"cannot be read ({error.strerror})") from error

    def _unreadable(self, i: int, reason: str) -> UnreadableImageError:
        return UnreadableImageError(Problem(self.ids[i], str(self.items[i]), reason))


def _fault(file: Path) -> str:
    """What is wrong, as far as a look at the folder tells."""
    if not file.is_file():
        return "there is no such file"
    return "" if file.stat().st_size else "the file is empty"


def to_tensor(picture: Image.Image) -> Tensor:
    """An RGB picture as numbers, (3, H, W) float32 in [0, 1]."""
    return torch.from_numpy(np.array(picture.convert("RGB"))).permute(2, 0, 1).float() / 255


def describe(problems: Sequence[Problem], most: int = 3) -> str:
    """At least one problem in a sentence: how many there are, and the first of them by name."""
    images = "1 image is" if len(problems) == 1 else f"{len(problems)} images are"
    named = "; ".join(str(problem) for problem in problems[:most])
    return f"{images} left out: {named}{'; ...' if len(problems) > most else ''}"


def tracked(sequence: Sequence[_T], progress: Progress, what: str = "") -> Iterator[_T]:
    """Go through a sequence and show how far it is, under a caption."""
    if not callable(progress):
        yield from tqdm(sequence, desc=what, disable=not progress)
        return
    for i, thing in enumerate(sequence):
        yield thing
        progress(i + 1, len(sequence))


def batches(
    dataset: ImageDataset, parts: Sequence[Sequence[int]], workers: int = 0,
) -> Iterator[list[Sample | Problem]]:
    """The images of one part after another; with workers, the next parts are read in the meantime.

    Args:
        dataset: prepared for a network.
        parts: positions in the data set, a batch each.
        workers: threads that read; below 1 for none.

    Yields:
        for each part its images; in the place of one that cannot be decoded, what is wrong with it.
    """
    coming: deque[Iterator[Sample | Problem]] = deque()
    with ThreadPoolExecutor(max(workers, 1)) as pool:  # Pillow decodes and resizes without holding the interpreter
        read: Callable[..., Iterator[Sample | Problem]] = pool.map if workers > 0 else map
        for part in parts:
            coming.append(read(lambda i: _sample(dataset, i), part))
            if len(coming) > 2:  # parts that are read or being read while one is computed
                yield list(coming.popleft())
        yield from map(list, coming)


def _sample(dataset: ImageDataset, i: int) -> Sample | Problem:
    try:
        return dataset[i]
    except UnreadableImageError as error:
        return error.problem
