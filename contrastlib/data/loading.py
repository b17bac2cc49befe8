"""Data sets by name. Importing this module is quick: torch is loaded with the first data set."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from contrastlib.data.places import roots
from contrastlib.names import find

if TYPE_CHECKING:
    from contrastlib.data.dataset import ImageDataset, Prepare

_FILES = ("cub200", "food101", "imagenet", "imagenette")
_DRAWN = "drawn_birds"


def names() -> tuple[str, ...]:
    """The data sets there are.

    Returns:
        the names that :func:`load` knows.
    """
    return (*_FILES, _DRAWN)


def load(name: str, split: str = "test", root: str | Path | None = None, *, download: bool = False,
         prepare: "Prepare | None" = None, **options: Any) -> "ImageDataset":
    """A data set by its name, matched loosely.

    Args:
        name: ``cub200``, ``food101``, ``imagenet`` (validation images), ``imagenette`` or ``drawn_birds``.
        split: ``train`` or ``test``; for ``imagenet`` and ``imagenette``, ``test`` stands for ``val``.
        root: the folder that contains the data set's own folder, or that folder itself; None for the one that the
            environment variable ``CONTRASTLIB_DATA`` names, or its sub-folder ``data``, else
            ``~/.cache/contrastlib/data``. Drawn birds need none.
        download: whether to fetch what is not there from its makers, or to unpack their archive if that lies there.
        prepare: what turns a picture into a network's input, such as a classifier's ``prepare``; None gives the whole
            picture.
        **options: for ``imagenette``, ``size="full"``, ``"320"`` or ``"160"``; for ``drawn_birds`` those of
            ``contrastlib.data.birds.DrawnBirds``.

    Returns:
        the data set. Images that it lists and that are missing are in its ``problems``, and a ``DataWarning`` says so.

    Raises:
        UnknownNameError: there is no such data set; names the nearest.
        DataNotFoundError: it is not here; says what to put where.
        DataError: it is damaged or contradicts itself; names file and line.
        ValueError: there is no such split or size.
        TypeError: the data set has no such option.
    """
    name = names()[find(name, names(), "data set")]
    dataset = _drawn(split, options) if name == _DRAWN else _files(name, split, root, download, options)
    return dataset if prepare is None else dataset.prepared(prepare)


def _files(name: str, split: str, root: str | Path | None, download: bool, options: dict[str, Any]) -> "ImageDataset":
    unknown = set(options) - ({"size"} if name == "imagenette" else set())
    if unknown:
        raise TypeError(f"{name} has no option {', '.join(sorted(unknown))}")
    from contrastlib.data import cub, food, imagenet, imagenette

    modules: dict[str, Any] = dict(zip(_FILES, (cub, food, imagenet, imagenette)))
    return modules[name].load(split, roots(root), download, **options)


def _drawn(split: str, options: dict[str, Any]) -> "ImageDataset":
    from contrastlib.data.birds import DrawnBirds

    return DrawnBirds(split, **options)
