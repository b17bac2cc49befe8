"""ImageNet's official archives, read without unpacking them."""

import io
import re
import tarfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from contrastlib.data.dataset import DataError, DataNotFoundError
from contrastlib.data.files import Item

IMAGES = "ILSVRC2012_img_val.tar"
DEVKIT = "ILSVRC2012_devkit_t12.tar.gz"
_META = "data/meta.mat"
_TRUTH = "data/ILSVRC2012_validation_ground_truth.txt"
_NAME = re.compile(r"(?:.*/)?(ILSVRC2012_val_(\d{8})\.JPEG)")


class Devkit(NamedTuple):
    """What the development kit says.

    Attributes:
        truth: the number of the class of each validation image, in the order of the images' numbers.
        identifiers: the WordNet identifier by the number of the class.
    """

    truth: list[int]
    identifiers: dict[int, str]


def entries(place: Path, known: Sequence[str]) -> tuple[list[str], list[int], list[Item]]:
    """The validation images in their archive.

    Args:
        place: the folder of both archives.
        known: the WordNet identifiers, in the order of the labels.

    Returns:
        ids, labels and places in the archive, by class and then by name, as from folders.

    Raises:
        DataNotFoundError: one of the archives is missing.
        DataError: an archive is cut short, or the two contradict each other.
        ModuleNotFoundError: scipy is missing.
    """
    for file, other in ((IMAGES, DEVKIT), (DEVKIT, IMAGES)):
        if not (place / file).is_file():
            raise DataNotFoundError(f"there is {place / other}, and {file} is missing; put it beside the other")
    kit = read_devkit(place / DEVKIT)
    images = members(place / IMAGES)
    if sorted(images) != list(range(1, len(kit.truth) + 1)):
        raise DataError(f"{place / IMAGES} has {len(images)} images, and {DEVKIT} has the classes of "
                        f"{len(kit.truth)}; an archive is cut short or not the official one")
    label = {name: i for i, name in enumerate(known)}
    rows = []
    for number, item in images.items():
        wnid = kit.identifiers.get(kit.truth[number - 1], "none")
        if wnid not in label:
            raise DataError(f"{place / DEVKIT}, {_TRUTH}, line {number}: {kit.truth[number - 1]} is no class of "
                            "ImageNet-1k")
        rows.append((f"{wnid}/{item.member.rsplit('/', 1)[-1]}", label[wnid], item))
    rows.sort(key=lambda row: row[0])
    return [row[0] for row in rows], [row[1] for row in rows], [row[2] for row in rows]


def members(path: Path) -> dict[int, Item]:
    """Where each image lies in the archive.

    Args:
        path: ``ILSVRC2012_img_val.tar``.

    Returns:
        by the number in the image's name.

    Raises:
        DataError: the archive is cut short, is no archive, or has an image twice.
    """
    found: dict[int, Item] = {}
    for member in _whole(path):
        match = _NAME.fullmatch(member.name)
        if member.isdir():
            continue
        if match is None or not member.isfile():
            raise DataError(f"{path} is not the official archive: it has a member {member.name}")
        if int(match[2]) in found:
            raise DataError(f"{path} has the image {match[1]} twice")
        found[int(match[2])] = Item(path, member.name, member.offset_data, member.size)
    return found


def _whole(path: Path) -> list[tarfile.TarInfo]:
    """All members; an archive whose last one is not all there is refused."""
    length = path.stat().st_size
    found: list[tarfile.TarInfo] = []
    try:
        with tarfile.open(path, "r:") as archive:
            while (member := archive.next()) is not None:
                found.append(member)
    except tarfile.TarError as error:
        missing = found[-1].offset_data + found[-1].size - length if found else 0
        if missing <= 0:
            raise DataError(f"{path} cannot be read as an archive: {error}") from error
        raise DataError(f"{path} is cut short: {missing} bytes are missing of {found[-1].name}, and all that follows; "
                        f"it has {length} bytes. Download it again") from error
    return found


def read_devkit(path: Path) -> Devkit:
    """The classes and the truth, out of the development kit.

    Args:
        path: ``ILSVRC2012_devkit_t12.tar.gz``.

    Returns:
        both tables.

    Raises:
        DataError: the archive is damaged, or lacks one of them.
        ModuleNotFoundError: scipy is missing.
    """
    try:
        with tarfile.open(path, "r:gz") as archive:
            meta, truth = (_content(path, archive, end) for end in (_META, _TRUTH))
    except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
        raise DataError(f"{path} is damaged or cut short: {error}") from error
    lines = truth.decode("ascii", "replace").split()
    wrong = next((n for n, line in enumerate(lines, 1) if not line.isdecimal()), None)
    if wrong is not None or not lines:
        raise DataError(f"{path}, {_TRUTH}, line {wrong or 1}: expected the number of a class")
    return Devkit([int(line) for line in lines], _identifiers(path, meta))


def _content(path: Path, archive: tarfile.TarFile, end: str) -> bytes:
    member = next((member for member in archive.getmembers() if member.name.endswith(end)), None)
    file = None if member is None else archive.extractfile(member)
    if file is None:
        raise DataError(f"{path} has no {end}")
    return file.read()


def _identifiers(path: Path, meta: bytes) -> dict[int, str]:
    try:
        from scipy.io import loadmat
        from scipy.io.matlab import MatReadError
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(f"{path} has its table of classes in MATLAB's format, which scipy reads, and that is "
                                  "not installed; install it with: pip install scipy, or unpack ImageNet into folders "
                                  "val/<WordNet identifier>") from error
    try:
        synsets = np.atleast_1d(loadmat(io.BytesIO(meta), squeeze_me=True)["synsets"])
        return {int(row["ILSVRC2012_ID"]): str(row["WNID"]) for row in synsets if int(row["num_children"]) == 0}
    except (MatReadError, KeyError, ValueError, TypeError, IndexError, OSError, NotImplementedError) as error:
        raise DataError(f"{path}, {_META} is not the table of ImageNet's classes: {error}") from error
