r"""Which images are worth explaining: predictions of a whole data set, kept on disk, and rules that choose from them.

A contrast between classes shows where a second class is in play. With :math:`p_{(k)}` the k-th largest of an image's
probabilities, the rule ``p2>0.1`` takes the images with :math:`p_{(2)} > 0.1`. Predictions, like whatever else is
measured image by image, are computed shard by shard (``Shards``); each is kept in a file that says what it is of.
"""

import hashlib
import json
import re
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from contrastlib import data, store
from contrastlib.experiments import provenance
from contrastlib.experiments.experiment import Values
from contrastlib.models import Classifier, NotFiniteError

_SHARD = 128  # images whose logits are kept in one file
_COMPARISONS = {">": torch.gt, ">=": torch.ge, "<": torch.lt, "<=": torch.le}

# --- the numbers of each image, shard by shard ------------------------------------------------------------------------

# Numbers (n, M) of n images, from the prepared images and their positions in the data set.
Measure = Callable[[list[data.Sample], list[int]], Values]


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
    problems: list[data.Problem]
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
    dataset: data.ImageDataset
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
        for number, part, loaded in zip(numbers, parts, data.batches(self.dataset, parts, workers)):
            start = time.perf_counter()
            there = {i: sample for i, sample in zip(part, loaded) if isinstance(sample, data.Sample)}
            values = measure(list(there.values()), list(there)) if there else {}
            arrays = {"|".join(cells): table.detach().float().cpu().numpy() for cells, table in values.items()}
            problems = [asdict(problem) for problem in loaded if isinstance(problem, data.Problem)]
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
        return Shard(values, [data.Problem(**problem) for problem in about["problems"]], about["seconds"])

    def load_all(self) -> Shard:
        """All shards, one after the other, as one."""
        shards = [self.load(number) for number in range(len(self.parts))]
        width = {cells: table.shape[1] for shard in shards for cells, table in shard.values.items()}
        for shard in shards:  # what one lacks, such as a map that cancels for all of its images, is unknown
            n = len(next(iter(shard.values.values()), ()))
            for cells in width.keys() - shard.values.keys() if n else ():
                shard.values[cells] = torch.full((n, width[cells]), torch.nan)
        values = {cells: torch.cat([s.values[cells] for s in shards if s.values]) for cells in width}
        return Shard(values, [problem for s in shards for problem in s.problems], sum(s.seconds for s in shards))

    def _about(self, number: int) -> dict[str, Any]:
        return {"key": self.key, "images": store.digest([self.dataset.ids[i] for i in self.parts[number]])}


# --- predictions, and rules that choose from them ---------------------------------------------------------------------


class CacheWarning(UserWarning):
    """Predictions cannot be kept on disk; nothing is wrong but the time it takes."""


@dataclass(frozen=True, eq=False)
class Predictions:
    """Logits of a whole data set.

    Attributes:
        ids: N names of images.
        labels: (N,) int64, the classes they are of.
        logits: (N, C) float32, before softmax.
        unreadable: images of the data set that have no logits, because they are missing or cannot be decoded.
        weights_digest: SHA-256 over the classifier: its tensors, architecture and preprocessing.
        data_digest: SHA-256 of the data set.
        positions: N positions in the data set; empty for 0 to N - 1.
    """

    ids: tuple[str, ...]
    labels: Tensor
    logits: Tensor
    unreadable: tuple[data.Problem, ...] = ()
    weights_digest: str = ""
    data_digest: str = ""
    positions: tuple[int, ...] = ()

    def __len__(self) -> int:
        return len(self.ids)

    @cached_property
    def ranked(self) -> Tensor:
        """Classes (N, C) int64, the most probable first; of equal ones the lower index."""
        return self.logits.argsort(dim=-1, descending=True, stable=True)

    @property
    def correct(self) -> Tensor:
        """(N,) bool, whether the most probable class is the label."""
        return self.ranked[:, 0] == self.labels

    @property
    def accuracy(self) -> float:
        """The share of correct images, in [0, 1]; NaN without images."""
        return self.correct.double().mean().item()

    def p(self, k: int) -> Tensor:
        """The k-th largest probability of each image.

        Args:
            k: from 1 to C.

        Returns:
            (N,) float32 in [0, 1].

        Raises:
            ValueError: there are not so many classes.
        """
        if not 1 <= k <= self.logits.shape[1]:
            raise ValueError(f"p{k} needs k in [1, {self.logits.shape[1]}], the number of classes")
        return self.logits.softmax(-1).gather(1, self.ranked[:, k - 1:k])[:, 0]


@dataclass(frozen=True)
class Selection:
    """Images that a rule chooses, in the order of the data set.

    Attributes:
        rule: such as ``p2>0.1``.
        indices: positions in the data set, for its ``subset``.
        total: how many images had logits.
        accuracy: of all of them, in [0, 1].
        accuracy_selected: of those chosen, in [0, 1]; NaN if none is.
    """

    rule: str
    indices: tuple[int, ...]
    total: int
    accuracy: float
    accuracy_selected: float

    @property
    def n(self) -> int:
        """How many are chosen."""
        return len(self.indices)

    @property
    def share(self) -> float:
        """Those chosen among all with logits, in [0, 1]."""
        return self.n / self.total

    def __str__(self) -> str:
        there = f", accuracy {self.accuracy_selected:.1%}" if self.n else ""
        return f"{self.rule}: {self.n} of {self.total} images ({self.share:.1%}){there}; of all {self.accuracy:.1%}"


def select(predictions: Predictions, rule: str) -> Selection:
    r"""The images whose k-th largest probability :math:`p_{(k)}` lies on one side of a threshold.

    Args:
        predictions: of a data set.
        rule: rank, comparison and threshold in [0, 1], such as ``p2>0.1``, ``p3>0.1`` or ``p2<=0.1``.

    Returns:
        the images, possibly none.

    Raises:
        ValueError: there are no predictions, or the rule is none.
    """
    if not len(predictions):
        raise ValueError(f"there are no predictions to select from ({len(predictions.unreadable)} images unreadable)")
    match = re.fullmatch(r"p_?(\d+)(>=|<=|>|<)(\d*\.?\d+(?:e-?\d+)?)", rule.replace(" ", ""))
    if match is None or not 0 <= float(match[3]) <= 1:
        raise ValueError(f"a rule has a rank, a comparison and a threshold in [0, 1], as p2>0.1 has; got {rule!r}")
    k, comparison, threshold = int(match[1]), match[2], float(match[3])
    chosen = _COMPARISONS[comparison](predictions.p(k), threshold)
    positions = predictions.positions or range(len(predictions))
    indices = tuple(i for i, inside in zip(positions, chosen.tolist()) if inside)
    return Selection(f"p{k}{comparison}{threshold:g}", indices, len(predictions), predictions.accuracy,
                     predictions.correct[chosen].double().mean().item())


def predict(classifier: Classifier, dataset: data.ImageDataset, *, batch_size: int = 64, workers: int = 0,
            cache: str | Path | None = "default", progress: data.Progress = False) -> Predictions:
    """The logits of every image, from disk if they were computed before.

    What is on disk counts only for the same tensors, architecture, preprocessing and data, and the same version of this
    library. A run that was interrupted goes on where it last wrote.

    Args:
        classifier: in evaluation mode; its own ``prepare`` is applied, whatever the data set was prepared with.
        dataset: with as many classes as the classifier.
        batch_size: images at a time.
        workers: threads that read and prepare images ahead.
        cache: a folder for the predictions; ``default`` is ``predictions`` in the cache of this library, None keeps
            nothing.
        progress: whether to show how far it is.

    Returns:
        the logits; images that cannot be decoded are left out, and a ``DataWarning`` names them.

    Raises:
        ValueError: the numbers of classes differ, there are no images, or a logit is not finite.
        UnreadableImageError: a file is gone since the data set was loaded.
    """
    if not len(dataset):
        raise ValueError(f"{dataset.name} {dataset.split} has no images")
    if batch_size < 1:
        raise ValueError(f"batch_size must be positive, got {batch_size}")
    check_classes(classifier, dataset)
    weights, content = fingerprint(classifier), dataset.digest()
    key = store.digest([weights, content, torch.__version__, provenance.digest("contrastlib.models.classifier")])
    with tempfile.TemporaryDirectory() as spare:
        home = data.cache_home() / "predictions" if cache == "default" else Path(cache or spare).expanduser()
        try:
            found = _logits(classifier, dataset, key, home / key[:40], batch_size, workers, progress)
        except OSError as error:
            if str(home) not in str(error.filename):  # it is none of the files here, but the network's or the images'
                raise
            warnings.warn(f"the predictions cannot be kept in {home}: {error}", CacheWarning, stacklevel=2)
            found = _logits(classifier, dataset, key, Path(spare), batch_size, workers, progress)
    if found.problems:
        left_out = data.describe(found.problems)
        warnings.warn(f"{dataset.name} {dataset.split}: {left_out}", data.DataWarning, stacklevel=2)
    bad = {problem.id for problem in found.problems}
    positions = tuple(i for i, name in enumerate(dataset.ids) if name not in bad)
    return Predictions(tuple(dataset.ids[i] for i in positions), torch.tensor(dataset.labels)[list(positions)],
                       found.values.get(("logits",), torch.empty(0, dataset.num_classes)),
                       (*dataset.problems, *found.problems), weights, content, positions)


def _logits(classifier: Classifier, dataset: data.ImageDataset, key: str, folder: Path, batch_size: int, workers: int,
            progress: data.Progress) -> Shard:
    """The logits of all images, from the folder or computed into it."""
    shards = Shards(folder, key, dataset.prepared(classifier.prepare),
                    [range(i, min(i + _SHARD, len(dataset))) for i in range(0, len(dataset), _SHARD)])

    @torch.no_grad()
    def measure(samples: list[data.Sample], _positions: list[int]) -> Values:
        images = torch.stack([sample.image for sample in samples])
        logits: list[Tensor] = []
        for part in images.split(batch_size):
            try:
                logits.append(classifier(part.to(classifier.mean.device)).float())
            except NotFiniteError as error:
                name = samples[len(logits) * batch_size + error.image].id
                raise ValueError(f"{classifier.name} gives a logit that is not finite for {name}") from error
        return {("logits",): torch.cat(logits)}

    missing = shards.missing()
    for _ in zip(data.tracked(missing, progress, classifier.name), shards.compute(missing, measure, workers)):
        pass
    return shards.load_all()


def check_classes(classifier: Classifier, dataset: data.ImageDataset) -> None:
    """Raise a ValueError where a network has other classes than a data set."""
    if classifier.num_classes != dataset.num_classes:
        advice = ("see its with_imagenet_labels()" if hasattr(dataset, "with_imagenet_labels") else
                  "give weights for these (--weights FILE)")
        raise ValueError(f"{classifier.name} has {classifier.num_classes} classes and {dataset.name} has "
                         f"{dataset.num_classes}; {advice}")


def fingerprint(classifier: Classifier) -> str:
    """What a classifier is, in one number: the tensors themselves, for they may have changed since the file.

    Args:
        classifier: on any device.

    Returns:
        SHA-256 over all that the logits depend on: tensors, architecture and preprocessing, 64 hexadecimal digits.
    """
    # A function's address in a printed network is another one in every process.
    printed = re.sub(r" at 0x[0-9a-f]+", "", str(classifier.model))
    total = hashlib.sha256(json.dumps([classifier.name, printed, asdict(classifier.recipe)]).encode("utf8"))
    tensors = {**dict(classifier.model.named_parameters()), **dict(classifier.model.named_buffers()),
               "mean of the input": classifier.mean, "std of the input": classifier.std}
    for name, tensor in sorted(tensors.items()):
        total.update(json.dumps([name, str(tensor.dtype), list(tensor.shape)]).encode("utf8"))
        total.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return total.hexdigest()
