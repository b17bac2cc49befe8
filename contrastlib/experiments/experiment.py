"""What an experiment is, on what it can be run, and the words that its tables share; no torch."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:  # torch takes seconds to import, which `--help` and `status` need not wait for
    import pandas as pd
    from torch import Tensor

    from contrastlib.models import Classifier

# Numbers (n, M), one row for each image, by what they are: the cells of their row in the table.
Values = dict[tuple[str, ...], "Tensor"]

# The table that they become.
Rows: TypeAlias = "pd.DataFrame"


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
        mean: what is subtracted from all channels, in the place of what the weights state.
        std: what they are divided by.
        model_args: further arguments of timm's or torchvision's constructor, such as ``pad_type=same``.
        rule: which images, such as ``p2>0.1``; empty for all.
        limit: at most so many images, of every class its share, spread evenly over those chosen; None for all.
        layers: where maps are read, such as ``("features.27",)``; a layer with ``=grad_cam`` behind it reads that
            method only. Empty for the classifier's default layer.
        normalised: the layers at which normalised class maps are looked at too; they need the maps of all classes.
        targets: ``t1`` for the most probable class, ``t2`` for the second.
        contrasts: those to take of an experiment that has many; empty for all.
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
    mean: float | None = None
    std: float | None = None
    model_args: tuple[str, ...] = ()
    contrasts: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.precision not in ("float32", "bfloat16"):
            raise ValueError(f"precision must be float32 or bfloat16, got {self.precision!r}")
        for name, images in (("shard", self.shard), ("limit", self.limit)):
            if images is not None and images < 1:
                raise ValueError(f"the {name} must be at least 1, got {images}")
        if wrong := [word for word in self.model_args if "=" not in word]:
            raise ValueError(f"model_args are written NAME=VALUE, such as pad_type=same; got {wrong[0]!r}")

    @property
    def group(self) -> dict[str, str]:
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

    images: "Tensor"
    labels: "Tensor"
    parts: "Tensor | None" = None

    @property
    def bird(self) -> "Tensor":
        """Where the bird in front is, (n, 1, H, W) bool; nowhere if the parts are not known."""
        # From 33 on the parts are of another bird, and no pixel is below 0.
        return self.images[:, :1] < 0 if self.parts is None else ((self.parts > 0) & (self.parts <= 32))[:, None]


@dataclass(frozen=True)
class Experiment:
    """Numbers for each image, and the table they become.

    Attributes:
        name: on the command line.
        about: what it reproduces, in a line.
        measure: numbers for each image of a batch.
        rows: the table of all images' numbers.
        wants_parts: whether batches come with their parts, for which drawn birds are drawn a second time.
    """

    name: str
    about: str
    measure: "Callable[[Classifier, Batch, Setting], Values]"
    rows: Callable[[Values], Rows]
    wants_parts: bool = False

    @property
    def module(self) -> str:
        """The module whose code, with all that it imports, made the numbers."""
        return self.measure.__module__


def best_two(logits: "Tensor", setting: Setting) -> "dict[str, tuple[Tensor, Tensor]]":
    """For each target of a setting, the class that it means and the other of the two most probable ones, (n,) each."""
    first, second = logits.topk(2).indices.unbind(1)
    both = {"t1": (first, second), "t2": (second, first)}
    return {name: both[name] for name in setting.targets}
