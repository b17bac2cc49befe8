"""Food-101 in the official layout."""

from collections.abc import Sequence
from pathlib import Path

from contrastlib.data.dataset import DataError
from contrastlib.data.download import Archive, locate
from contrastlib.data.files import FileImages, Item
from contrastlib.data.index import Row, check_inside, check_unique, fault, rows
from contrastlib.data.places import check_split

ARCHIVE = Archive("Food-101", "food-101", "meta/classes.txt",
                  "http://data.vision.ee.ethz.ch/cvl/food-101.tar.gz", "85eeb15f3717b99a5da872d97d918f87")
SPLITS = ("train", "test")


def load(split: str, roots: Sequence[Path], download: bool = False) -> FileImages:
    """Food-101.

    Args:
        split: ``train`` or ``test``.
        roots: where to look for the folder ``food-101``, or that folder itself.
        download: whether to fetch it if it is not there.

    Returns:
        the images of the split in the order of its list; labels count the lines of ``meta/classes.txt`` from 0.

    Raises:
        DataNotFoundError: it is not there.
        DataError: its lists contradict each other; names file and line.
        ValueError: there is no such split.
    """
    split = check_split("food101", split, SPLITS)
    folder = locate(ARCHIVE, roots, download)
    classes = _classes(folder)
    lists = {name: _images(folder / "meta" / f"{name}.txt", set(classes)) for name in SPLITS}
    _check_disjoint(folder, lists["train"], lists["test"])
    position = {name: i for i, name in enumerate(classes)}
    ids = [f"{row.text}.jpg" for row in lists[split]]
    return FileImages("food101", split, list(classes.values()), ids, [position[i.split("/")[0]] for i in ids],
                      [Item(folder / "images" / i) for i in ids])


def _classes(folder: Path) -> dict[str, str]:
    """The name that one says, by the name of the folder."""
    path, spoken = folder / "meta" / "classes.txt", folder / "meta" / "labels.txt"
    entries, names = rows(path), rows(spoken)
    check_unique(path, entries, "class")
    if len(entries) != len(names):
        raise DataError(f"{path} has {len(entries)} classes and {spoken} has {len(names)}")
    return {entry.text: name.text for entry, name in zip(entries, names)}


def _images(path: Path, classes: set[str]) -> list[Row]:
    entries = rows(path)
    check_unique(path, entries, "image")
    check_inside(path, entries)
    for line, text in entries:
        name = text.split("/")[0]
        if name not in classes:
            raise fault(path, line, f"the class {name} is not in {path.parent / 'classes.txt'}")
    return entries


def _check_disjoint(folder: Path, train: list[Row], test: list[Row]) -> None:
    lines = {row.text: row.line for row in train}
    for line, text in test:
        if text in lines:
            raise fault(folder / "meta" / "test.txt", line,
                        f"the image {text} stands also in train.txt, line {lines[text]}")
