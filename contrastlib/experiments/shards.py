"""The numbers of each image of a data set, computed shard by shard; each is kept in a file that says what it is of.

Killed at any moment, whoever computes them loses the shard in hand and nothing else.
"""

import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from contrastlib import store
from contrastlib.data import ImageDataset, Problem, Sample, batches
from contrastlib.experiments.experiment import Values

Measure = Callable[[list[Sample], list[int]], Values]
"""Numbers (n, M) of n images, from the prepared images and their positions in the data set."""


class ShardWarning(UserWarning):
    """A shard on disk is damaged, or of other images, and is computed again."""


@dataclass
class Shard:
    """What came of some images.

    Attributes:
        values: numbers of the n images that could be read, (n, M) float32 each, by their cells.
        problems: the images that could not be read.
        seconds: that computing took.
    """

    values: Values = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    seconds: float = 0.0


@dataclass(frozen=True)
class Shards:
    """The shards of a data set.

    Attributes:
        folder: where their files lie.
        key: digest of all that decides the numbers; a shard of another key is not taken.
        dataset: prepared for the network.
        parts: for each shard the positions of its images in the data set.
    """

    folder: Path
    key: str
    dataset: ImageDataset
    parts: Sequence[Sequence[int]]

    def file(self, number: int) -> Path:
        """Where a shard lies."""
        return self.folder / f"{number:06d}.safetensors"

    def missing(self) -> list[int]:
        """The shards that are not there; one that is damaged or of something else counts as missing, with a warning."""
        found = []
        for number in range(len(self.parts)):
            try:
                if self.file(number).exists():
                    self.load(number)
                    continue
            except store.DamagedError as error:
                warnings.warn(f"{error}: it is computed again", ShardWarning, stacklevel=2)
            found.append(number)
        return found

    def compute(self, numbers: Sequence[int], measure: Measure, workers: int, batch_size: int | None = None,
                ) -> Iterator[int]:
        """Compute shards and keep them, while the next images are read; yields a shard's number after each batch.

        A shard is one batch, unless a batch size is given. It is on disk when its last batch is told.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        split = [_split(self.parts[number], batch_size) for number in numbers]
        read = batches(self.dataset, [batch for part in split for batch in part], workers)
        for number, part in zip(numbers, split):
            found: list[Shard] = []
            for positions in part:
                found.append(_measured(measure, positions, next(read)))
                if len(found) == len(part):
                    self._save(number, joined(found))
                yield number

    def load(self, number: int) -> Shard:
        """A shard from its file.

        Raises:
            DamagedError: the file is cut short, or of something else.
        """
        arrays, about = store.load_arrays(self.file(number), **self._about(number))
        values = {tuple(name.split("|")): torch.from_numpy(arrays[name]) for name in sorted(arrays)}
        return Shard(values, [Problem(**problem) for problem in about["problems"]], about["seconds"])

    def _save(self, number: int, shard: Shard) -> None:
        about = self._about(number) | {"problems": [asdict(p) for p in shard.problems], "seconds": shard.seconds}
        arrays = {"|".join(cells): table.numpy() for cells, table in shard.values.items()}
        store.save_arrays(self.file(number), arrays, about)

    def _about(self, number: int) -> dict[str, Any]:
        return {"key": self.key, "images": store.digest([self.dataset.ids[i] for i in self.parts[number]])}


def joined(shards: Sequence[Shard]) -> Shard:
    """Several shards, one after the other, as one."""
    tables: dict[tuple[str, ...], list[Tensor]] = {}
    for shard in shards:
        for cells, table in shard.values.items():
            tables.setdefault(cells, []).append(table)
    return Shard({cells: torch.cat(parts) for cells, parts in tables.items()},
                 [problem for shard in shards for problem in shard.problems], sum(shard.seconds for shard in shards))


def _split(part: Sequence[int], size: int | None) -> list[list[int]]:
    size = size or len(part)
    return [list(part[i:i + size]) for i in range(0, len(part), size)]


def _measured(measure: Measure, positions: Sequence[int], loaded: Sequence[Sample | Problem]) -> Shard:
    start = time.perf_counter()
    there = {i: sample for i, sample in zip(positions, loaded) if isinstance(sample, Sample)}
    values = measure(list(there.values()), list(there)) if there else {}
    return Shard({cells: table.detach().float().cpu().contiguous() for cells, table in values.items()},
                 [problem for problem in loaded if isinstance(problem, Problem)], time.perf_counter() - start)
