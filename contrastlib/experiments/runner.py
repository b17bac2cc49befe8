"""Running an experiment: resumable, on one process or many, ending in a table."""

import ast
import itertools
import json
import os
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import pandas as pd
import torch
from torch import Tensor, nn
from torch.distributed.rendezvous import rendezvous

from contrastlib import data, models, store, tables
from contrastlib.experiments import provenance, selection
from contrastlib.experiments.experiment import Batch, Experiment, Rows, Setting, Values

# Called by the first process with what it does, how much of it is done and how much there is; 0 if nobody knows.
Report = Callable[[str, int, int], None]

ROWS, PREDICTIONS, SHARDS = "rows.csv", "predictions", "shards"

_PATIENCE = 30.0  # seconds that a process waits for another before it says so
_RUNS = itertools.count()  # of this process, which all processes begin in the same order


class ChangedRunError(ValueError):
    """A folder holds another run, or one of a changed network, data set, setting or code; says what differs."""


@torch.inference_mode(False)  # and with gradients, as the attributions have it
def run(experiment: Experiment, setting: Setting, folder: str | Path, *, classifier: models.Classifier | None = None,
        dataset: data.ImageDataset | None = None, root: str | None = None, device: str | None = None, workers: int = 2,
        tables: Sequence[str | Path] = (), restart: bool = False, accept: bool = False,
        report: Report | None = None) -> Rows:
    """Run an experiment to its end, or from where it was interrupted.

    Args:
        experiment: which.
        setting: on what.
        folder: where the run keeps everything.
        classifier: the one to take in place of the one that the setting names.
        dataset: likewise.
        root: the folder of data sets; None for the usual ones.
        device: where the network runs; None for a GPU if there is one.
        workers: threads that read pictures ahead.
        tables: further files that the rows are put into.
        restart: compute everything anew that an earlier run left in the folder.
        accept: go on although network, data, setting or code have changed.
        report: told how far it is, by the first process.

    Returns:
        the rows of the table, which also lies in the folder; on other processes than the first, none.

    Raises:
        ChangedRunError: the folder holds another run, or something has changed since it began.
        ValueError: network, data set and setting do not fit each other, or the rule selects no image.
    """
    here = processes()
    tell: Report = report if report is not None and here.rank == 0 else lambda *_: None
    tell(f"loading {setting.model} and {setting.dataset}", 0, 0)
    where = here.device(device) if classifier is None else classifier.mean.device
    dataset = data.load(setting.dataset, setting.split, root) if dataset is None else dataset
    classifier = load_classifier(setting, dataset, where) if classifier is None else classifier
    selection.check_classes(classifier, dataset)
    work = _Run(experiment, setting, Path(folder), classifier, dataset, workers, tell)
    record, chosen = here.from_first(lambda: work.open(restart, accept), "to open the run")
    parts = [chosen[i:i + setting.shard] for i in range(0, len(chosen), setting.shard)]
    shards = selection.Shards(work.folder / SHARDS, record["key"], dataset.prepared(classifier.prepare), parts)
    missing = here.from_first(shards.missing, "to look for what is there")
    work.compute(shards, missing, missing[here.rank::here.count])
    here.wait(f"to compute its share of {len(missing)} shards")
    return work.table(shards.load_all(), record, tables, here.count) if here.rank == 0 else pd.DataFrame()


def load_classifier(setting: Setting, dataset: data.ImageDataset, device: torch.device) -> models.Classifier:
    """The classifier of a setting, in evaluation mode, frozen, in the memory layout that is quicker."""
    options = {name: vars(setting)[name] for name in ("crop", "input_size", "mean", "std")
               if vars(setting)[name] is not None}
    if setting.model_args:
        options["model_args"] = {name: _value(text) for name, _, text in (a.partition("=") for a in setting.model_args)}
    weights = None if setting.weights == "none" else setting.weights
    if weights is None or Path(weights).suffix:
        options["class_names"] = dataset.class_names
    in_data = Path(os.environ.get(data.VARIABLE, "")).expanduser() / setting.weights
    if in_data.is_file() and not Path(setting.weights).exists():
        weights = str(in_data)
    classifier = models.load(setting.model, weights=weights, device=device, **options).requires_grad_(False)
    # Depthwise convolutions are two to four times faster so on a CPU, and tensor cores want it on a GPU.
    return classifier.to(memory_format=torch.channels_last)


def _value(text: str) -> Any:
    """What a word of the command line means in Python: a number, True, None, or the word itself."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


@dataclass(frozen=True)
class _Run:
    experiment: Experiment
    setting: Setting
    folder: Path
    classifier: models.Classifier
    dataset: data.ImageDataset
    workers: int
    tell: Report

    def open(self, restart: bool, accept: bool) -> tuple[dict[str, Any], list[int]]:
        """The record of the run, which its folder now holds, and the positions of its images."""
        chosen = self.chosen()
        self.tell("looking whether network, data and code are those of an earlier run", 0, 0)
        device = self.classifier.mean.device
        about = {"experiment": self.experiment.name, "setting": vars(self.setting),
                 "network": selection.fingerprint(self.classifier), "data set": self.dataset.digest(),
                 "images": f"{len(chosen)} of {len(self.dataset)}",
                 "choice of images": store.digest([self.dataset.ids[i] for i in chosen]),
                 "code": provenance.digest(self.experiment.module),
                 "device": torch.cuda.get_device_name(device) if device.type == "cuda" else str(device),
                 "torch": torch.__version__}
        return _opened(self.folder, json.loads(json.dumps(about)), restart, accept), chosen

    def chosen(self) -> list[int]:
        """Positions in the data set, in its order."""
        positions, images = list(range(len(self.dataset))), len(self.dataset)
        if self.setting.rule:
            what = f"predictions for {self.setting.rule}"
            self.tell(what, 0, images)
            predictions = selection.predict(
                self.classifier, self.dataset, workers=self.workers, cache=self.folder / PREDICTIONS,
                progress=lambda done, total: self.tell(what, images * done // total, images))
            positions = list(selection.select(predictions, self.setting.rule).indices)
            if not positions:
                raise ValueError(f"the rule {self.setting.rule} selects none of the {len(predictions)} images")
        limit = min(self.setting.limit or len(positions), len(positions))
        by_class = sorted(positions, key=lambda i: self.dataset.labels[i])
        return sorted(by_class[i * len(positions) // limit] for i in range(limit))

    def compute(self, shards: selection.Shards, missing: Sequence[int], mine: Sequence[int]) -> None:
        """This process's share of the missing shards."""
        if self.setting.compiled:
            # Shards of another length, of which there is one at most, would compile everything again.
            self.classifier.model = cast(nn.Module, torch.compile(self.classifier.model, dynamic=False))
        total = sum(map(len, shards.parts))
        self.tell(self.experiment.name, total - sum(len(shards.parts[number]) for number in missing), total)
        for _ in shards.compute(mine, self.measure, self.workers):
            done = sum(len(part) for number, part in enumerate(shards.parts) if shards.file(number).exists())
            self.tell(self.experiment.name, done, total)

    def measure(self, samples: list[data.Sample], positions: list[int]) -> Values:
        """The experiment's numbers of some images."""
        device = self.classifier.mean.device
        images = torch.stack([sample.image for sample in samples]).to(device)
        labels = torch.tensor([sample.label for sample in samples], device=device)
        parts = self.parts(positions) if self.experiment.wants_parts and hasattr(self.dataset, "parts") else None
        batch = Batch(images.contiguous(memory_format=torch.channels_last), labels, parts)
        with torch.autocast(device.type, torch.bfloat16, enabled=self.setting.precision == "bfloat16"):
            return self.experiment.measure(self.classifier, batch, self.setting)

    def parts(self, positions: Sequence[int]) -> Tensor:
        """The parts that the pixels of some images show.

        They are prepared as if they were pictures, and have to come out as they went in: only then do they lie where
        the network sees them. Codes cannot be resized, and a crop would move them.
        """
        found = torch.stack([torch.from_numpy(self.dataset.parts(i)) for i in positions])  # type: ignore[attr-defined]
        pictures = found[:, None].expand(-1, 3, -1, -1)
        prepared = self.classifier.prepare(list(pictures)).cpu()
        if not torch.equal(prepared, pictures.float() / 255):
            at, to = (" x ".join(map(str, images.shape[2:])) for images in (pictures, prepared))
            raise ValueError(f"{self.experiment.name} needs to know the part that each pixel shows, which "
                             f"{self.dataset.name} knows for its pictures of {at} pixels, and {self.classifier.name} "
                             f"resizes or crops them to {to}: take a classifier for {at} pixels, and no --crop")
        return found.to(self.classifier.mean.device)

    def table(self, found: selection.Shard, record: dict[str, Any], files: Sequence[str | Path], count: int) -> Rows:
        """The rows, which are also put into files."""
        if not found.values:
            raise ValueError(f"no image can be read: {data.describe(found.problems)}")
        images = len(next(iter(found.values.values())))
        if found.problems:
            warnings.warn(f"{self.dataset.name}: {len(found.problems)} of {images + len(found.problems)} images cannot "
                          "be read and are left out", data.DataWarning, stacklevel=3)
        rows = self.experiment.rows(found.values)
        # "test" may have been asked for where it is called "val".
        group = {"classifier": self.classifier.name, "data set": self.dataset.name, **self.setting.group,
                 "split": self.dataset.split}
        for name, value in reversed(group.items()):
            rows.insert(0, name, value)
        about, weights = record["about"], self.classifier.weights
        made = tables.provenance(
            date=time.strftime("%Y-%m-%d", time.gmtime()), module=self.experiment.module, code=about["code"],
            weights=weights.digest, source=weights.source.rsplit("/", 1)[-1], classifier=about["network"],
            data=about["data set"], images=images, left_out=len(found.problems), device=about["device"],
            threads=torch.get_num_threads(), processes=count, seconds=round(found.seconds, 1),
            images_per_second=float(f"{images / found.seconds:.3g}"), setting=about["setting"],
            accepted_changes=record["accepted"])
        for file in (self.folder / ROWS, *files) if len(rows) else ():
            tables.save(file, rows, [name for name in tables.RUN if name in rows], made)
        return rows


# --- the folder of a run ---------------------------------------------------------------------------------------------


def _opened(folder: Path, about: dict[str, Any], restart: bool, accept: bool) -> dict[str, Any]:
    """The record of the run in a folder, which is begun if there is none; only here is anything of it removed."""
    here, record = folder / provenance.ABOUT, {"about": about, "key": store.digest(about), "accepted": []}
    if here.exists():
        try:
            kept = store.read_json(here, about=dict, key=str, accepted=list)
        except store.DamagedError as error:
            raise ChangedRunError(f"{error}; look what it is, and give another --output") from error
        changed = [] if restart else store.differences(kept["about"], about)
        if changed and not accept:
            raise ChangedRunError(
                f"{folder} holds a run that this one cannot go on with: {'; '.join(changed)}. Either give another "
                "folder (--output), begin anew in this one (--restart), or take over what it holds all the same "
                "(--accept-changes), which the rows' provenance will say")
        if restart:  # removes the numbers that a run wrote, and nothing else
            number, rows = "[0-9]" * 6, folder / ROWS
            for file in [*folder.glob(f"{SHARDS}/{number}.safetensors"), *folder.glob(f"{SHARDS}/.{number}.*.writing"),
                         rows, rows.with_suffix(".json")]:
                file.unlink(missing_ok=True)
        else:
            record |= {"key": kept["key"], "accepted": sorted({*kept["accepted"], *changed})}
    elif folder.exists():
        strange = sorted(path.name for path in folder.iterdir()
                         if path.name != PREDICTIONS and not path.name.startswith(f".{provenance.ABOUT}"))
        if strange:
            raise ChangedRunError(f"{folder} holds no run ({provenance.ABOUT} is missing) but {strange[0]}: give "
                                  "another --output")
    folder.mkdir(parents=True, exist_ok=True)
    store.replace_json(here, record)
    return record


# --- one process or many ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Processes:
    """This process among all of a run: under ``torchrun`` each takes its part of the shards, one GPU each.

    They talk through a board for notes, and only about who does what: numbers pass through the run's folder, which all
    of them must see. torchrun ends them all when one dies; one that waits for another says so again and again.

    Attributes:
        rank: from 0.
        count: how many there are.
        local_rank: on this computer, from 0.
        board: torchrun's store, where they leave notes for each other; None for one process.
        number: of the run; notes of an earlier one are others.
    """

    rank: int = 0
    count: int = 1
    local_rank: int = 0
    board: Any = None
    number: int = 0

    def device(self, name: str | None) -> torch.device:
        """Where this process computes; ``cuda`` is its own GPU, None a GPU if there is one.

        Raises:
            ValueError: the device is not here.
        """
        device = torch.device(name or ("cuda" if torch.cuda.is_available() else "cpu"))
        if device.type == "cuda":
            device = torch.device("cuda", self.local_rank if device.index is None else device.index)
            if device.index >= torch.cuda.device_count():
                raise ValueError(f"there is no CUDA device {device.index} here: torch sees {torch.cuda.device_count()};"
                                 " start as many processes as there are GPUs, or give --device cpu")
            torch.cuda.set_device(device)
        return device

    def from_first(self, make: Callable[[], Any], purpose: str) -> Any:
        """What the first process makes and JSON can hold, for all; the others wait for it."""
        if self.board is None:
            return make()
        note = f"{self.number} {purpose}"
        if self.rank == 0:
            self.board.set(note, json.dumps(make()))
        else:
            self._wait(note, 0, purpose)
        return json.loads(self.board.get(note))

    def wait(self, purpose: str) -> None:
        """Say that this process is done; the first then waits for all others."""
        if self.board is not None:
            self.board.set(f"{self.number} done {self.rank}", "")
            for other in range(self.count) if self.rank == 0 else ():
                self._wait(f"{self.number} done {other}", other, purpose)

    def _wait(self, note: str, other: int, purpose: str) -> None:
        start = said = time.monotonic()
        while not self.board.check([note]):
            time.sleep(0.05)
            if time.monotonic() - said > _PATIENCE:
                said = time.monotonic()
                warnings.warn(
                    f"process {self.rank} has waited {said - start:.0f} s for process {other} {purpose}; if that one "
                    "hangs, end all: the same command finishes what is left", RuntimeWarning, stacklevel=2)


def processes() -> Processes:
    """The processes of this run: those that ``torchrun`` started, or this one alone."""
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if count == 1:
        return Processes()
    board, rank, _ = next(rendezvous("env://"))
    return Processes(rank, count, int(os.environ.get("LOCAL_RANK", "0")), board, next(_RUNS))
