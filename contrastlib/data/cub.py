"""Caltech-UCSD Birds-200-2011, or a part of its classes, in the official layout."""

import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from contrastlib.data.dataset import DataError
from contrastlib.data.download import Archive, locate
from contrastlib.data.files import FileImages, Item
from contrastlib.data.index import Row, check_inside, check_unique, fault, numbered
from contrastlib.data.places import check_split

ARCHIVE = Archive("CUB-200-2011", "CUB_200_2011", "images.txt",
                  "https://data.caltech.edu/records/65de6-vp158/files/CUB_200_2011.tgz",
                  "97eceeb196236b17998738112f37df78")
SPLITS = ("train", "test")


def load(split: str, roots: Sequence[Path], download: bool = False) -> FileImages:
    """CUB-200-2011.

    Args:
        split: ``train`` or ``test``.
        roots: where to look for the folder ``CUB_200_2011``, or that folder itself.
        download: whether to fetch it if it is not there.

    Returns:
        the images of the split in the order of ``images.txt``; labels count the lines of ``classes.txt`` from 0.

    Raises:
        DataNotFoundError: it is not there.
        DataError: its index files contradict each other; names file and line.
        ValueError: there is no such split.
    """
    split = check_split("cub200", split, SPLITS)
    folder = locate(ARCHIVE, roots, download)
    classes, images = numbered(folder / "classes.txt"), numbered(folder / "images.txt")
    labels = _labels(folder, images, classes)
    _check_paths(folder, images, {number: classes[label].text for number, label in labels.items()})
    chosen = _chosen(folder, images, split)
    position = {number: i for i, number in enumerate(classes)}
    ids = [images[number].text for number in chosen]
    return FileImages("cub200", split, [readable_name(row.text) for row in classes.values()], ids,
                      [position[labels[number]] for number in chosen], [Item(folder / "images" / name) for name in ids])


def readable_name(folder: str) -> str:
    """A class name as one says it.

    Args:
        folder: such as ``001.Black_footed_Albatross``.

    Returns:
        such as ``Black footed Albatross``.
    """
    return re.sub(r"^\d+\.", "", folder).replace("_", " ")


def _labels(folder: Path, images: dict[int, Row], classes: dict[int, Row]) -> dict[int, int]:
    """The number of the class by the number of the image."""
    check_unique(folder / "classes.txt", list(classes.values()), "class")
    path = folder / "image_class_labels.txt"
    entries = _for_all(folder, path, images)
    for line, text in entries.values():
        if not text.isdecimal() or int(text) not in classes:
            raise fault(path, line, f"the class {text} is not in {folder / 'classes.txt'}")
    return {number: int(row.text) for number, row in entries.items()}


def _chosen(folder: Path, images: dict[int, Row], split: str) -> list[int]:
    """The numbers of the split's images, in the order of images.txt."""
    path = folder / "train_test_split.txt"
    entries = _for_all(folder, path, images)
    for line, text in entries.values():
        if text not in ("0", "1"):
            raise fault(path, line, f"expected 1 (train) or 0 (test), got {text!r}")
    wanted = "1" if split == "train" else "0"
    chosen = [number for number in images if entries[number].text == wanted]
    if not chosen:
        raise DataError(f"{path}: no image belongs to the split {split}, all {len(images)} belong to the other")
    return chosen


def _for_all(folder: Path, path: Path, images: dict[int, Row]) -> dict[int, Row]:
    """A table that must have a line for every image and for no other."""
    entries = numbered(path)
    for number, row in images.items():
        if number not in entries:
            raise fault(folder / "images.txt", row.line, f"image {number} is not in {path}")
    for number, row in entries.items():
        if number not in images:
            raise fault(path, row.line, f"image {number} is not in {folder / 'images.txt'}")
    return entries


def _check_paths(folder: Path, images: dict[int, Row], names: dict[int, str]) -> None:
    path = folder / "images.txt"
    check_unique(path, list(images.values()), "image")
    check_inside(path, list(images.values()))
    folders = {number: PurePosixPath(row.text).parts[0] for number, row in images.items()}
    if not set(folders.values()) & set(names.values()):
        return  # classes.txt calls the classes something else than their folders
    for number, row in images.items():
        if folders[number] != names[number]:
            raise fault(path, row.line, f"image {number} lies in the folder {folders[number]}, and "
                                        f"image_class_labels.txt says that it is of the class {names[number]}")
