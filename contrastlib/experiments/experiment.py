"""What an experiment is, and the words that its tables share."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from contrastlib import uncertainty
from contrastlib.models import Classifier

Values = dict[str, Tensor]
"""Numbers by what they are: a key of :func:`key` to (n, M) float32, one row for each image."""

Row = dict[str, str]

GROUP = ("classifier", "data set", "split", "images", "precision")
"""The columns that tell runs apart in every table."""

PRECISIONS = ("float32", "bfloat16")


@dataclass(frozen=True)
class Setting:
    """All that decides the numbers of a run, but for the content of weights and images.

    Attributes:
        model: a name that :func:`contrastlib.models.load` knows.
        dataset: a name that :func:`contrastlib.data.load` knows.
        split: of the data set.
        weights: ``default``, ``none`` (random), one of torchvision's names, or a file; a relative one is also looked
            for in the folder that ``CONTRASTLIB_DATA`` names.
        crop: whether images keep their aspect and lose their edges; None for what the weights state.
        input_size: side of the network's input in pixels; None for what the weights state.
        rule: which images, such as ``p2>0.1``; empty for all.
        limit: at most so many images, spread evenly over those chosen; None for all.
        layers: where maps are read, such as ``("features.27",)``; a layer with ``=grad_cam`` behind it reads that
            method only. Empty for the classifier's default layer.
        normalised: the layers at which normalised class maps are looked at too; they need the maps of all classes.
        targets: ``t1`` for the most probable class, ``t2`` for the second.
        shard: images that are computed together and written together. Their number decides the rounding in the last
            digits, and so belongs to the setting.
        precision: ``float32``, or ``bfloat16`` for mixed precision.
        compiled: whether the network is compiled by torch.
    """

    model: str
    dataset: str
    split: str = "test"
    weights: str = "default"
    crop: bool | None = None
    rule: str = ""
    limit: int | None = None
    layers: tuple[str, ...] = ()
    normalised: tuple[str, ...] = ()
    targets: tuple[str, ...] = ("t1", "t2")
    shard: int = 16
    precision: str = "float32"
    compiled: bool = False
    input_size: int | None = None

    def __post_init__(self) -> None:
        if self.precision not in PRECISIONS:
            raise ValueError(f"precision must be {' or '.join(PRECISIONS)}, got {self.precision!r}")
        if self.shard < 1:
            raise ValueError(f"a shard needs at least one image, got {self.shard}")
        if self.limit is not None and self.limit < 1:
            raise ValueError(f"the limit must be at least 1, got {self.limit}")

    def as_dict(self) -> dict[str, Any]:
        """The fields as JSON holds them; the input size only where it is set, as runs have been noted without it."""
        fields = {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}
        return {name: value for name, value in fields.items() if name != "input_size" or value is not None}

    @property
    def group(self) -> Row:
        """What the rows of this run have in their first columns, but for the names of classifier and data set."""
        return {"split": self.split, "images": self.rule or "all",
                "precision": self.precision + (" compiled" if self.compiled else "")}


@dataclass(frozen=True)
class Batch:
    """Images that are computed together.

    Attributes:
        images: (n, 3, H, W) in [0, 1].
        labels: (n,) int64.
        parts: the part that each pixel of an image shows, (n, H, W) uint8 with the numbers of
            ``contrastlib.data.birds.CODES``; None if the data set does not know them, or the experiment does not want
            them.
    """

    images: Tensor
    labels: Tensor
    parts: Tensor | None = None


@dataclass(frozen=True)
class Experiment:
    """Numbers for each image, and the table they become.

    Attributes:
        name: on the command line.
        about: what it reproduces, in a line.
        table: file name of its rows.
        measure: numbers (n, M) for each image of a batch.
        rows: the table of all images' numbers.
        group: columns that tell runs apart.
        wants_parts: whether batches come with their parts, for which drawn birds are drawn a second time.
    """

    name: str
    about: str
    table: str
    measure: Callable[[Classifier, Batch, Setting], Values]
    rows: Callable[[Values], list[Row]]
    group: tuple[str, ...] = GROUP
    wants_parts: bool = False

    @property
    def module(self) -> str:
        """The module whose code, with all that it imports, made the numbers."""
        return self.measure.__module__


def key(*parts: object) -> str:
    """A key of :data:`Values` from the cells of a row."""
    return "|".join(map(str, parts))


def parts(name: str) -> list[str]:
    """The cells that :func:`key` put together."""
    return name.split("|")


def estimates(values: Sequence[Tensor], references: Sequence[Tensor | None]) -> list[Row]:
    """Columns of averages over images: value, standard error, difference to a reference with its interval, n.

    Args:
        values: S vectors (n,).
        references: for each of them the vector (n,) that it is compared with, image by image, or None.

    Returns:
        S rows with the columns ``value``, ``se``, ``difference``, ``low``, ``high``, ``n``.
    """
    if not values:
        return []
    table = torch.stack([v.double() for v in values], dim=1)
    compared = torch.stack([v.double() if r is None else r.double() for v, r in zip(values, references)], dim=1)
    interval = uncertainty.bootstrap(table - compared)
    columns = zip(table.mean(0).tolist(), uncertainty.standard_error(table).tolist(), interval.value.tolist(),
                  interval.low.tolist(), interval.high.tolist(), references)
    return [{"value": number(value), "se": number(se),
             **({"difference": "", "low": "", "high": ""} if reference is None else
                {"difference": number(difference), "low": number(low), "high": number(high)}),
             "n": str(len(table))}
            for value, se, difference, low, high, reference in columns]


def number(value: float) -> str:
    """A number with six significant digits."""
    return f"{value:.6g}"
