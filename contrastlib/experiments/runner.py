"""Running an experiment: shards of images, resumable, on one process or many, ending in a table."""

import ctypes
import hashlib
import json
import os
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from contrastlib import data, models, results, selection
from contrastlib.data import VARIABLE, DataWarning, ImageDataset, Problem, Sample, batches, describe
from contrastlib.experiments import code, shards
from contrastlib.experiments.experiment import Batch, Experiment, Row, Setting, Values
from contrastlib.experiments.processes import Processes, processes
from contrastlib.models import Classifier

Report = Callable[[int, int, float], None]
"""Called with images done, images in all, and the seconds that this run has taken for those it did itself."""

ROWS = "rows.csv"


@dataclass(frozen=True)
class Options:
    """What does not decide the numbers of a run.

    Attributes:
        folder: where it keeps everything.
        root: the folder of data sets; None for the usual ones.
        device: where the network runs; None for a GPU if there is one.
        workers: threads that read pictures ahead.
        tables: further files that the rows are put into.
        restart: remove what an earlier run left in the folder.
        accept: go on although network, data, setting or code have changed.
    """

    folder: str | Path
    root: str | None = None
    device: str | None = None
    workers: int = 2
    tables: tuple[Path, ...] = ()
    restart: bool = False
    accept: bool = False


def run(experiment: Experiment, setting: Setting, options: Options, report: Report | None = None) -> list[Row]:
    """Run an experiment to its end, or from where it was interrupted.

    Args:
        experiment: which.
        setting: on what.
        options: where and how.
        report: told how far it is, by the first process.

    Returns:
        the rows of the table, which also lies in the folder; on other processes than the first, none.

    Raises:
        ChangedRunError: the folder holds another run, or something has changed since it began.
        ValueError: the setting does not fit the data set, or the rule selects no image.
    """
    with processes() as here:
        device = here.device(options.device)
        if device.type == "cpu":
            keep_freed_memory()
        dataset = data.load(setting.dataset, setting.split, options.root)
        classifier = load_classifier(setting, dataset, device)
        about, folder, chosen = here.from_first(
            _opened(experiment, setting, options, classifier, dataset) if here.first else ({}, None, []))
        assert folder is not None  # the first process has it, and hands it on
        parts = [chosen[i:i + setting.shard] for i in range(0, len(chosen), setting.shard)]
        missing = here.from_first(folder.missing(len(parts)) if here.first else [])
        job = _Job(experiment, setting, classifier, dataset.prepared(classifier.prepare), folder, device)
        _compute(job, parts, here.share(missing), options.workers, report if here.first else None)
        here.wait()
        return _table(job, parts, about, here, options) if here.first else []


def load_classifier(setting: Setting, dataset: ImageDataset, device: torch.device) -> Classifier:
    """The classifier of a setting, in evaluation mode, frozen, in the memory layout that is quicker.

    Args:
        setting: which one.
        dataset: whose classes it must have.
        device: where it goes.

    Returns:
        the classifier, not yet compiled.

    Raises:
        ValueError: its classes are not those of the data set.
        WeightsNotFoundError: a file of weights is missing.
    """
    stated = {"crop": setting.crop, "input_size": setting.input_size}
    options: dict[str, Any] = {name: value for name, value in stated.items() if value is not None}
    weights: str | Path | None = setting.weights
    if setting.weights == "none":
        weights = None
    elif Path(setting.weights).suffix:
        weights = _found(setting.weights)
    if weights is None or Path(str(weights)).suffix:
        options["class_names"] = dataset.class_names
    classifier = models.load(setting.model, weights=weights, device=device, **options)
    if classifier.num_classes != dataset.num_classes:
        raise ValueError(f"{classifier.name} has {classifier.num_classes} classes and {dataset.name} has "
                         f"{dataset.num_classes}: give weights for them (--weights FILE)")
    classifier.requires_grad_(False)
    # Depthwise convolutions are two to four times faster so on a CPU, and tensor cores want it on a GPU.
    return classifier.to(memory_format=torch.channels_last)


def keep_freed_memory() -> None:
    """Let this process keep the memory that it frees, for the next batch, where the C library is glibc.

    A batch's activations are large blocks, which glibc gives back to the system each time and asks for again, page by
    page: without that, small networks run half as fast again on a CPU. The peak stays the same.
    """
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # other C libraries have none
    if mallopt is not None:
        trim_threshold, mmap_threshold = -1, -3
        mallopt(mmap_threshold, 2**30)
        mallopt(trim_threshold, 2**31 - 1)


@dataclass
class _Job:
    experiment: Experiment
    setting: Setting
    classifier: Classifier
    dataset: ImageDataset
    folder: shards.Folder
    device: torch.device


def _compute(job: _Job, parts: Sequence[Sequence[int]], mine: Sequence[int], workers: int,
             report: Report | None) -> None:
    if job.setting.compiled:
        # Shards of another length, of which there is one at most, would compile everything again.
        job.classifier.model = cast(nn.Module, torch.compile(job.classifier.model, dynamic=False))
    before = time.perf_counter()
    total = sum(map(len, parts))
    for number, loaded in zip(mine, batches(job.dataset, [parts[number] for number in mine], workers)):
        start = time.perf_counter()
        values = _measured(job, parts[number], loaded)
        job.folder.write(number, values, time.perf_counter() - start)
        if report is not None:
            done = sum(len(part) for i, part in enumerate(parts) if job.folder.shard(i).exists())
            report(done, total, time.perf_counter() - before)


def _measured(job: _Job, positions: Sequence[int], loaded: Sequence[Sample | Problem]) -> Values:
    there = {i: thing for i, thing in zip(positions, loaded) if isinstance(thing, Sample)}
    samples = list(there.values())
    if not samples:
        problems = [thing for thing in loaded if isinstance(thing, Problem)]
        raise ValueError(f"no image of a whole shard can be read: {describe(problems)}")
    images = torch.stack([sample.image for sample in samples]).to(job.device)
    labels = torch.tensor([sample.label for sample in samples], device=job.device)
    parts = _parts(job, list(there)) if job.experiment.wants_parts else None
    batch = Batch(images.contiguous(memory_format=torch.channels_last), labels, parts)
    mixed = job.setting.precision == "bfloat16"
    with torch.autocast(job.device.type, torch.bfloat16, enabled=mixed):
        return job.experiment.measure(job.classifier, batch, job.setting)


def _parts(job: _Job, positions: Sequence[int]) -> Tensor | None:
    """The parts that the pixels of some images show, or None for a data set that knows none.

    They are prepared as if they were pictures, and have to come out as they went in: only then do they lie where the
    network sees them. Codes cannot be resized, and a crop would move them.
    """
    known = getattr(job.dataset, "parts", None)
    if known is None:
        return None
    found = [torch.from_numpy(known(i)) for i in positions]
    for codes in found:
        picture = codes.expand(3, -1, -1)
        prepared = job.classifier.prepare(picture)[0].cpu()
        if not torch.equal(prepared, picture.float() / 255):
            at, to = (" x ".join(map(str, size[1:])) for size in (picture.shape, prepared.shape))
            raise ValueError(f"{job.experiment.name} needs to know the part that each pixel shows, which "
                             f"{job.dataset.name} knows for its pictures of {at} pixels, and {job.classifier.name} "
                             f"resizes or crops them to {to}: take a classifier for {at} pixels, and no --crop")
    return torch.stack(found).to(job.device)


def _chosen(classifier: Classifier, dataset: ImageDataset, setting: Setting, options: Options) -> list[int]:
    """Positions in the data set, in its order."""
    positions = list(range(len(dataset)))
    if setting.rule:
        predictions = selection.predict(classifier, dataset, workers=options.workers,
                                        cache=Path(options.folder) / shards.PREDICTIONS)
        positions = list(selection.select(predictions, setting.rule).indices)
        if not positions:
            raise ValueError(f"the rule {setting.rule} selects none of the {len(predictions)} images")
    if setting.limit is None or setting.limit >= len(positions):
        return positions
    return [positions[i * len(positions) // setting.limit] for i in range(setting.limit)]


def _opened(experiment: Experiment, setting: Setting, options: Options, classifier: Classifier, dataset: ImageDataset,
            ) -> tuple[dict[str, Any], shards.Folder, list[int]]:
    """What the run is about, its folder, and the positions of its images."""
    if options.restart:
        shards.clear(Path(options.folder))
    chosen, device = _chosen(classifier, dataset, setting, options), classifier.mean.device
    about = {"experiment": experiment.name, "setting": setting.as_dict(),
             "network": selection.fingerprint(classifier), "data set": dataset.digest(),
             "images": f"{len(chosen)} of {len(dataset)}",
             "choice of images": hashlib.sha256(json.dumps([dataset.ids[i] for i in chosen]).encode()).hexdigest(),
             "code": code.digest(experiment.module),
             "device": torch.cuda.get_device_name(device) if device.type == "cuda" else str(device),
             "torch": torch.__version__}
    return about, shards.opened(Path(options.folder), about, anew=options.restart, accept=options.accept), chosen


def _table(job: _Job, parts: Sequence[Sequence[int]], about: dict[str, Any], here: Processes, options: Options,
           ) -> list[Row]:
    values, seconds = job.folder.read(len(parts))
    head = {"classifier": job.classifier.name, "data set": job.dataset.name, **job.setting.group,
            "split": job.dataset.split}  # "test" may have been asked for where it is called "val"
    rows = [{**head, **row} for row in job.experiment.rows(values)]
    images, wanted = len(next(iter(values.values()))), sum(map(len, parts))
    if images < wanted:
        warnings.warn(f"{job.dataset.name}: {wanted - images} of {wanted} images cannot be read and are left out",
                      DataWarning, stacklevel=2)
    made = results.provenance(
        date=datetime.now(UTC).date().isoformat(),
        module=job.experiment.module, code=about["code"], weights=job.classifier.weights.digest,
        source=job.classifier.weights.source.rsplit("/", 1)[-1], classifier=about["network"], data=about["data set"],
        images=images, left_out=wanted - images, device=about["device"], threads=torch.get_num_threads(),
        processes=here.count, seconds=round(seconds, 1), images_per_second=float(f"{images / seconds:.3g}"),
        setting=about["setting"], accepted_changes=shards.accepted(job.folder.path))
    for path in (job.folder.path / ROWS, *options.tables):
        for group in dict.fromkeys(tuple(row[name] for name in job.experiment.group) for row in rows):
            own = [row for row in rows if tuple(row[name] for name in job.experiment.group) == group]
            results.save(path, own, job.experiment.group, made)
    return rows


def _found(weights: str) -> str:
    """A file of weights as it stands, or in the folder of data sets."""
    named = os.environ.get(VARIABLE)
    there = Path(named).expanduser() / weights if named else Path(weights)
    return weights if Path(weights).exists() or not there.exists() else str(there)
