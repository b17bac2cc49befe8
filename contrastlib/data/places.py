"""Where data sets lie on this computer, and which splits they have."""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

VARIABLE = "CONTRASTLIB_DATA"
"""The environment variable that names the folder of data sets."""


def cache_home() -> Path:
    """The folder for what can be had again: ``$XDG_CACHE_HOME/contrastlib``, else ``~/.cache/contrastlib``.

    Returns:
        the folder, which need not exist.
    """
    home = os.environ.get("XDG_CACHE_HOME")
    return (Path(home) if home else Path.home() / ".cache") / "contrastlib"


def roots(root: str | Path | None) -> list[Path]:
    """The folders in which data sets are looked for.

    Args:
        root: a folder; None for the one that ``CONTRASTLIB_DATA`` names or its sub-folder ``data``, else
            ``data`` in the cache.

    Returns:
        one or two folders, which need not exist.
    """
    if root is not None:
        return [Path(root).expanduser()]
    named = os.environ.get(VARIABLE)
    if named:
        return [Path(named).expanduser(), Path(named).expanduser() / "data"]
    return [cache_home() / "data"]


def candidates(places: Sequence[Path], folders: Iterable[str]) -> list[Path]:
    """Folders that may be a data set: sub-folders by their usual names, then each place itself.

    Args:
        places: see :func:`roots`.
        folders: the usual names, the best first.

    Returns:
        paths, which need not exist.
    """
    return [place / folder for folder in folders for place in places] + list(places)


def home(places: Sequence[Path]) -> Path:
    """The folder into which something new belongs.

    Args:
        places: see :func:`roots`.

    Returns:
        the last of them that exists, else the first.
    """
    return next((place for place in reversed(places) if place.is_dir()), places[0])


def check_split(name: str, split: str, known: Sequence[str]) -> str:
    """The name of a split, where ``test`` also stands for the validation images of a data set without a test split.

    Args:
        name: of the data set.
        split: what was asked for.
        known: the splits there are.

    Returns:
        one of them.

    Raises:
        ValueError: there is no such split.
    """
    wanted = "val" if split == "test" and "test" not in known else split
    if wanted not in known:
        raise ValueError(f"{name} has the splits {' and '.join(known)}, got {split!r}")
    return wanted
