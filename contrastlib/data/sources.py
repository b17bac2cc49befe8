"""Data sets by name: where they lie, how they are had, and what their files say."""

import os
import re
import tarfile
from collections.abc import Callable, Sequence
from functools import cache
from http.client import HTTPException
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple, Self

from torchvision import datasets
from torchvision.datasets.folder import is_image_file, make_dataset
from torchvision.datasets.utils import download_and_extract_archive

from contrastlib.data.birds import DrawnBirds
from contrastlib.data.dataset import DataError, DataNotFoundError, FileImages, ImageDataset, Transform
from contrastlib.names import find

VARIABLE = "CONTRASTLIB_DATA"  # the environment variable that names the folder of data sets


def names() -> tuple[str, ...]:
    """The data sets there are.

    Returns:
        the names that :func:`load` knows.
    """
    return (*_FILES, "drawn_birds")


def load(name: str, split: str = "test", root: str | Path | None = None, *, download: bool = False,
         prepare: Transform | None = None, **options: Any) -> ImageDataset:
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
        DataError: it is damaged or contradicts itself; names the file, and for CUB-200-2011 the line.
        ValueError: there is no such split or size.
        TypeError: the data set has no such option.
    """
    name = names()[find(name, names(), "data set")]
    if name == "drawn_birds":
        return DrawnBirds(split, **options).prepared(prepare)
    read, known = _FILES[name]
    split = "val" if split == "test" and "test" not in known else split
    if split not in known:
        raise ValueError(f"{name} has the splits {' and '.join(known)}, got {split!r}")
    if set(options) - ({"size"} if name == "imagenette" else set()):
        raise TypeError(f"{name} has no option {', '.join(options)}")
    return read(split, _roots(root), download, **options).prepared(prepare)


# Where data sets lie


def cache_home() -> Path:
    """The folder for what can be had again, ``$XDG_CACHE_HOME/contrastlib``, else ``~/.cache/contrastlib``."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "contrastlib"


def _roots(root: str | Path | None) -> list[Path]:
    """The folders in which data sets are looked for; they need not exist."""
    if root is not None:
        return [Path(root).expanduser()]
    named = os.environ.get(VARIABLE)
    return [Path(named).expanduser(), Path(named).expanduser() / "data"] if named else [cache_home() / "data"]


class _Archive(NamedTuple):
    """A data set as its makers publish it: the folder it unpacks to, something in it that shows that it is there."""

    name: str
    folder: str
    marker: str
    md5: str
    url: str


def _locate(archive: _Archive, roots: Sequence[Path], download: bool) -> Path:
    """The folder of a data set, made from its archive if that is wanted and necessary."""
    looked = [*(root / archive.folder for root in roots), *roots]
    for place in looked:
        if (place / archive.marker).exists():
            return place
    home = next((root for root in reversed(roots) if root.is_dir()), roots[0])
    target = home if home.name == archive.folder else home / archive.folder
    file = target.parent / Path(archive.url).name
    if target.is_dir() and any(target.iterdir()):
        raise DataNotFoundError(f"{archive.name}: there is a folder {target}, and no {archive.marker} in it; "
                                "put the whole data set there, or move the folder away")
    if not download:
        raise DataNotFoundError(
            f"{archive.name} is not here: there is neither {' nor '.join(str(p / archive.marker) for p in looked)}. "
            f"Load it with download=True, which takes {file} or fetches {archive.url}, or put the unpacked data set at "
            f"{target}")
    _fetch(archive, file, target)
    return target


def _fetch(archive: _Archive, file: Path, target: Path) -> None:
    """Download an archive, if it is not there, and unpack it beside: the data set appears as a whole or not at all."""
    keep = file.exists()  # what is fetched here can be fetched again
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(prefix=f".{target.name}.", dir=target.parent) as workshop:
            download_and_extract_archive(archive.url, target.parent, workshop, md5=archive.md5)
            (Path(workshop) / archive.folder / archive.marker).stat()
            if target.is_dir():
                target.rmdir()  # it is empty, or `_locate` would have complained
            (Path(workshop) / archive.folder).rename(target)
    except (OSError, HTTPException, RuntimeError, tarfile.TarError) as error:
        raise DataNotFoundError(
            f"{archive.name} could not be had from {archive.url} ({error}); put {file.name} from there into "
            f"{file.parent} and load with download=True, or put the unpacked data set at {target}") from error
    finally:
        if not keep:
            file.unlink(missing_ok=True)


# Food-101


_FOOD = _Archive("Food-101", "food-101", "meta", "85eeb15f3717b99a5da872d97d918f87",
                 "http://data.vision.ee.ethz.ch/cvl/food-101.tar.gz")


def _food(split: str, roots: Sequence[Path], download: bool) -> FileImages:
    """Food-101 as torchvision reads it, by class and then by name."""
    folder = _locate(_FOOD, roots, download)
    try:
        found = datasets.Food101(folder.parent, split, loader=Path)
        pairs = sorted((label, path.relative_to(folder / "images").as_posix()) for path, label in found)
    except (OSError, RuntimeError, ValueError, TypeError, AttributeError) as error:
        raise DataError(f"{folder} is not the folder food-101 with meta/{split}.json and images: {error}") from error
    class_names = [name.replace("_", " ").capitalize() for name in found.classes]
    return FileImages("food101", split, class_names, folder / "images", [image for _, image in pairs],
                      [label for label, _ in pairs])


# ImageNet, and ten classes of it


_SAMPLE = "imagenet-1k-sample"
_PACKED = ("ILSVRC2012_img_val.tar", "ILSVRC2012_devkit_t12.tar.gz")


@cache
def _imagenet_classes() -> tuple[tuple[str, ...], tuple[str, ...]]:
    """WordNet identifiers, such as ``n01440764``, and names by label; two classes may have one name."""
    from timm.data.imagenet_info import ImageNetInfo
    from torchvision.models import ResNet18_Weights

    return tuple(ImageNetInfo("imagenet-1k").label_names()), tuple(ResNet18_Weights.IMAGENET1K_V1.meta["categories"])


def _imagenet(split: str, roots: Sequence[Path], download: bool) -> FileImages:
    """ImageNet's validation images in folders of classes; torchvision makes them from both archives.

    Folders may be there for some of the classes only. What comes from ``imagenet-1k-sample`` is called so, since it is
    no full validation set.
    """
    looked = [*(root / f for f in ("imagenet", "imagenet-1k", "ILSVRC2012", _SAMPLE) for root in roots), *roots]
    folder = next((found for place in looked if (found := _class_folders(place, split))), None)
    packed = next((place for place in looked if any((place / file).is_file() for file in _PACKED)), None)
    if folder is None and packed and download:
        try:
            datasets.ImageNet(packed, split)
        except (OSError, RuntimeError, ValueError, LookupError, ImportError, tarfile.TarError) as error:
            raise DataError(f"{' and '.join(_PACKED)} in {packed} could not be unpacked: {error}") from error
        folder = packed / split
    if folder is None:
        raise DataNotFoundError(
            f"ImageNet's validation images are in none of {', '.join(map(str, looked))}. Everyone has to accept "
            f"ImageNet's terms: put {' and '.join(_PACKED)} from "
            f"https://image-net.org/challenges/LSVRC/2012/2012-downloads.php into {packed or looked[0]} and load with "
            f"download=True, which unpacks them, or put the images into folders "
            f"{looked[0] / split / '<WordNet identifier>'}")
    name = _SAMPLE if folder.parent.name == _SAMPLE else "imagenet"
    wnids, class_names = _imagenet_classes()
    return FileImages(name, split, class_names, *_by_class(folder, wnids))


def _class_folders(place: Path, split: str) -> Path | None:
    """The folder of the classes: the split, or the place itself if it has classes in it."""
    if (place / split).is_dir():
        return place / split
    return place if place.is_dir() and {path.name for path in place.iterdir()} & set(_imagenet_classes()[0]) else None


def _by_class(folder: Path, wnids: Sequence[str]) -> tuple[Path, list[str], list[int]]:
    """The folder, names and labels of a split whose classes are folders, by class and then by name."""
    for path in sorted(folder.iterdir()):
        if path.is_dir() and path.name not in wnids and not path.name.startswith("."):
            raise DataError(f"{path} is no class: the folders are called by WordNet identifiers such as {wnids[0]}")
        if _is_picture(str(path)):
            raise DataError(f"{path} has no class: images belong into folders such as {folder / wnids[0]}")
    label = {wnid: i for i, wnid in enumerate(wnids)}
    found = make_dataset(folder, label, is_valid_file=_is_picture, allow_empty=True)
    if not found:
        raise DataError(f"{folder}: no image belongs to this split; it has no folders such as {folder / wnids[0]}")
    return folder, [Path(path).relative_to(folder).as_posix() for path, _ in found], [label for _, label in found]


def _is_picture(path: str) -> bool:
    return is_image_file(path) and not Path(path).name.startswith(".")


class Imagenette(FileImages):
    """Imagenette's images, with its own ten labels or with those of ImageNet-1k.

    Attributes:
        imagenet_labels: the ImageNet-1k label of each of the ten classes, in the order of Imagenette's own labels.
    """

    imagenet_labels = (0, 217, 482, 491, 497, 566, 569, 571, 574, 701)

    def with_imagenet_labels(self) -> Self:
        """The same images for a classifier of the thousand classes.

        Returns:
            a copy whose labels and class names are those of ImageNet-1k.
        """
        if self.num_classes != len(self.imagenet_labels):
            return self
        labels = tuple(self.imagenet_labels[label] for label in self.labels)
        return self._with(class_names=_imagenet_classes()[1], labels=labels, _digest=None)


_IMAGENETTE = {"full": "fe2fc210e6bb7c5664d602c3cd71e612", "320": "3df6f0d01a2c9592104656642f5e78a3",
               "160": "e793b78cc4c9e9a4ccc0c1155377a412"}  # checksums of the archives


def _imagenette(split: str, roots: Sequence[Path], download: bool, size: str | int = "full") -> Imagenette:
    """Imagenette in full, or with 320 or 160 pixels on the short side."""
    if str(size) not in _IMAGENETTE:
        raise ValueError(f"imagenette has the sizes {', '.join(_IMAGENETTE)}, got {size!r}")
    name = "imagenette2" if size == "full" else f"imagenette2-{size}"
    archive = _Archive("Imagenette", name, split, _IMAGENETTE[str(size)],
                       f"https://s3.amazonaws.com/fast-ai-imageclas/{name}.tgz")
    folder = _locate(archive, roots, download) / split
    wnids, class_names = ([every[label] for label in Imagenette.imagenet_labels] for every in _imagenet_classes())
    missing = [wnid for wnid in wnids if not (folder / wnid).is_dir()]
    if missing:
        raise DataError(f"{folder} is not whole: of the ten classes {', '.join(missing)} are missing")
    return Imagenette("imagenette", split, class_names, *_by_class(folder, wnids))


# CUB-200-2011


_CUB = _Archive("CUB-200-2011", "CUB_200_2011", "images.txt", "97eceeb196236b17998738112f37df78",
                "https://data.caltech.edu/records/65de6-vp158/files/CUB_200_2011.tgz")


class _Line(NamedTuple):
    """A line of an index file: what stands after its number."""

    path: Path
    line: int
    text: str

    def check(self, right: bool, otherwise: str) -> None:
        if not right:
            raise DataError(f"{self.path}, line {self.line}: {otherwise}")


def _cub(split: str, roots: Sequence[Path], download: bool) -> FileImages:
    """CUB-200-2011 in the order of ``images.txt``; labels count the lines of ``classes.txt`` from 0."""
    folder = _locate(_CUB, roots, download)
    classes, images = _numbered(folder / "classes.txt", "class"), _numbered(folder / "images.txt", "image")
    labels, splits = _numbered(folder / "image_class_labels.txt"), _numbered(folder / "train_test_split.txt")
    _check_cub(classes, images, labels, splits)
    chosen = [number for number in images if splits[number].text == ("1" if split == "train" else "0")]
    if not chosen:
        raise DataError(f"{folder / 'train_test_split.txt'}: no image belongs to the split {split}, all {len(images)} "
                        "belong to the other")
    position = {number: i for i, number in enumerate(classes)}
    # 001.Black_footed_Albatross is a Black footed Albatross
    class_names = [re.sub(r"^\d+\.", "", line.text).replace("_", " ") for line in classes.values()]
    return FileImages("cub200", split, class_names, folder / "images", [images[number].text for number in chosen],
                      [position[int(labels[number].text)] for number in chosen])


def _numbered(path: Path, unique: str = "") -> dict[int, _Line]:
    """The lines of an index file by their numbers, as in ``17 001.Black_footed_Albatross/0017.jpg``."""
    try:
        lines = path.read_text(encoding="utf8").split("\n")
    except FileNotFoundError:
        raise DataNotFoundError(f"the data set is not whole: there is no {path}") from None
    except (UnicodeDecodeError, OSError) as error:
        raise DataError(f"{path} is no text file that can be read: {error}") from error
    found: dict[int, _Line] = {}
    seen: dict[str, int] = {}
    for line in (_Line(path, i, text.strip()) for i, text in enumerate(lines, 1) if text.strip()):
        number, _, text = line.text.partition(" ")
        right = number.isdecimal() and len(number) < 20 and text != ""
        line.check(right, f"expected a number, a space and a value, got {line.text!r}")
        for name in (f"the number {int(number)}", f"the {unique} {text.strip()}")[: 2 if unique else 1]:
            line.check(seen.setdefault(name, line.line) == line.line, f"{name} stands already in line {seen[name]}")
        found[int(number)] = line._replace(text=text.strip())
    if not found:
        raise DataError(f"{path} is empty")
    return found


def _check_cub(classes: dict[int, _Line], images: dict[int, _Line], labels: dict[int, _Line],
               splits: dict[int, _Line]) -> None:
    """Hold that the index files agree; each complaint names file and line."""
    for lines, others in ((images, labels), (labels, images), (images, splits), (splits, images)):
        for number, line in lines.items():
            line.check(number in others, f"image {number} is not in {next(iter(others.values())).path}")
    folders = {image.text.split("/")[0] for image in images.values()}
    alike = any(line.text in folders for line in classes.values())  # or classes are called otherwise than folders
    for number, image in images.items():
        label, split, parts = labels[number], splits[number], PurePosixPath(image.text).parts
        split.check(split.text in ("0", "1"), f"expected 1 (train) or 0 (test), got {split.text!r}")
        label.check(label.text.isdecimal() and int(label.text) in classes,
                    f"the class {label.text} is not in classes.txt")
        image.check(len(parts) > 1 and not image.text.startswith("/") and ".." not in parts,
                    f"expected a path such as class/image, got {image.text!r}")
        stated = classes[int(label.text)].text
        image.check(not alike or parts[0] == stated, f"image {number} lies in the folder {parts[0]}, and "
                    f"image_class_labels.txt says that it is of the class {stated}")


# How each data set of files is read, and its splits.
_FILES: dict[str, tuple[Callable[..., ImageDataset], tuple[str, ...]]] = {
    "cub200": (_cub, ("train", "test")), "food101": (_food, ("train", "test")), "imagenet": (_imagenet, ("val",)),
    "imagenette": (_imagenette, ("train", "val"))}
