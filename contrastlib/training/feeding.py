"""From a data set to batches on the device: read by workers, or held in memory; the same images in any case."""

import os
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from contrastlib.data import ImageDataset
from contrastlib.training.augmentation import Prepare
from contrastlib.training.seeds import seed_of, seeded

Key = tuple[int, int]
"""An epoch and a position in the data set."""


def default_workers() -> int:
    """Processes that read pictures where nothing else is said: up to four, and one processor stays free."""
    return max(0, min(4, (os.cpu_count() or 1) - 1))


def shuffled(n: int, batch_size: int, seed: int, epoch: int) -> list[list[int]]:
    """The batches of an epoch, which depend on nothing but the arguments.

    Args:
        n: number of images.
        batch_size: images per batch; the last batch has fewer.
        seed: the run's.
        epoch: from 1.

    Returns:
        lists of positions. A single image left over stays out, because batch normalisation needs two.
    """
    order = torch.randperm(n, generator=torch.Generator().manual_seed(seed_of(seed, epoch))).tolist()
    found = batches(order, batch_size)
    return found[:-1] if len(found) > 1 and len(found[-1]) == 1 else found


def batches(positions: Sequence[int], batch_size: int) -> list[list[int]]:
    """Positions in batches, in their order.

    Args:
        positions: in the data set.
        batch_size: images per batch; the last batch may have fewer.

    Returns:
        lists of positions.
    """
    return [list(positions[i:i + batch_size]) for i in range(0, len(positions), batch_size)]


class Feed:
    """The images of a data set, batch by batch, on a device.

    Args:
        data: the data set.
        prepare: makes bytes (3, H, W) of a picture.
        device: where the batches go.
        workers: processes that read and prepare; 0 does it in this one.
        in_memory: whether every picture is prepared once and held on the device.
        seed: of the draws in `prepare`: they depend on it, the epoch and the picture, on no order and no worker.
    """

    def __init__(self, data: ImageDataset, prepare: Prepare, device: torch.device, *, workers: int = 0,
                 in_memory: bool = False, seed: int = 0) -> None:
        self.data, self.device = data, device
        self._order = _Order()
        self._loader = DataLoader(
            _Prepared(data, prepare, seed), batch_sampler=self._order, num_workers=workers,
            persistent_workers=workers > 0 and not in_memory, pin_memory=device.type == "cuda",
            generator=torch.Generator())  # its own, or each pass would draw from the generator that dropout uses
        self._held: tuple[Tensor, Tensor] | None = None
        self._in_memory = in_memory

    def __len__(self) -> int:
        return len(self.data)

    def batches(self, order: list[list[int]], epoch: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        """Batches of images.

        Args:
            order: positions in the data set, for each batch.
            epoch: for the draws of the preparation.

        Yields:
            images (n, 3, H, W) uint8, and labels (n,) int64.
        """
        if not self._in_memory:
            yield from self._read(order, epoch)
            return
        if self._held is None:
            self._held = self._all()
        images, labels = self._held
        for positions in order:
            chosen = torch.tensor(positions, device=self.device)
            yield images[chosen], labels[chosen]

    def _all(self) -> tuple[Tensor, Tensor]:
        """Every image once, into one tensor that is never there twice."""
        images = torch.empty(0)
        done = 0
        for part, _ in self._read(batches(range(len(self)), 256), epoch=0):
            if not done:
                images = torch.empty((len(self), *part.shape[1:]), dtype=part.dtype, device=self.device)
            images[done:done + len(part)] = part
            done += len(part)
        return images, torch.tensor(self.data.labels, device=self.device)

    def _read(self, order: list[list[int]], epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        self._order.batches = [[(epoch, i) for i in positions] for positions in order]
        for images, labels in self._loader:
            yield images.to(self.device, non_blocking=True), labels.to(self.device, non_blocking=True)


class _Prepared(Dataset[tuple[Tensor, int]]):
    def __init__(self, data: ImageDataset, prepare: Prepare, seed: int) -> None:
        self.data, self.prepare, self.seed = data, prepare, seed

    def __getitem__(self, key: Key) -> tuple[Tensor, int]:
        epoch, i = key
        with seeded(self.seed, epoch, i):
            return self.prepare(self.data.picture(i)), self.data.labels[i]


class _Order(Sampler[list[Key]]):
    """The epoch travels with the position, so that workers that live on know it."""

    def __init__(self) -> None:
        self.batches: list[list[Key]] = []

    def __iter__(self) -> Iterator[list[Key]]:
        return iter(self.batches)

    def __len__(self) -> int:
        return len(self.batches)
