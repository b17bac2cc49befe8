"""The numbers of each image of a data set, computed shard by shard; each is kept in a file that says what it is of.

Killed at any moment, whoever computes them loses the shard in hand and nothing else.
"""

import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from contrastlib import store
from contrastlib.data import ImageDataset, Problem, Sample, batches
from contrastlib.experiments.experiment import Values

# Numbers (n, M) of n images, from the prepared images and their positions in the data set.
Measure = Callable[[list[Sample], list[int]], Values]


class ShardWarning(UserWarning):
    """A shard on disk is damaged, or of other images, and is computed again."""


class Shard(NamedTuple):
    """What came of some images.

    Attributes:
        values: numbers of the n images that could be read, (n, M) float32 each, by their cells.
        problems: the images that could not be read.
        seconds: that computing took.
    """

    values: Values
    problems: list[Problem]
    seconds: float


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

    def compute(self, numbers: Sequence[int], measure: Measure, workers: int) -> Iterator[int]:
        """Compute shards and keep them, while the next images are read; yields the number of each that is on disk."""
        self.folder.mkdir(parents=True, exist_ok=True)
        parts = [self.parts[number] for number in numbers]
        for number, part, loaded in zip(numbers, parts, batches(self.dataset, parts, workers)):
            start = time.perf_counter()
            there = {i: sample for i, sample in zip(part, loaded) if isinstance(sample, Sample)}
            values = measure(list(there.values()), list(there)) if there else {}
            arrays = {"|".join(cells): table.detach().float().cpu().numpy() for cells, table in values.items()}
            problems = [asdict(problem) for problem in loaded if isinstance(problem, Problem)]
            about = self._about(number) | {"problems": problems, "seconds": time.perf_counter() - start}
            store.save_arrays(self.file(number), arrays, about)
            yield number

    def load(self, number: int) -> Shard:
        """A shard from its file.

        Raises:
            DamagedError: the file is cut short, or of something else.
        """
        arrays, about = store.load_arrays(self.file(number), **self._about(number))
        values = {tuple(name.split("|")): torch.from_numpy(arrays[name]) for name in sorted(arrays)}
        return Shard(values, [Problem(**problem) for problem in about["problems"]], about["seconds"])

    def load_all(self) -> Shard:
        """All shards, one after the other, as one."""
        shards = [self.load(number) for number in range(len(self.parts))]
        found: dict[tuple[str, ...], list[Tensor]] = {}
        for shard in shards:
            for cells, table in shard.values.items():
                found.setdefault(cells, []).append(table)
        return Shard({cells: torch.cat(tables) for cells, tables in found.items()},
                     [problem for shard in shards for problem in shard.problems], sum(s.seconds for s in shards))

    def _about(self, number: int) -> dict[str, Any]:
        return {"key": self.key, "images": store.digest([self.dataset.ids[i] for i in self.parts[number]])}

