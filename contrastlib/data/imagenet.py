"""The validation images of ImageNet-1k, from folders or from the official archives, which stay packed."""

from collections.abc import Sequence
from pathlib import Path

from contrastlib.data import imagenet_archives, places, wordnet
from contrastlib.data.dataset import DataNotFoundError
from contrastlib.data.files import FileImages, Item

SPLITS = ("val",)
_SAMPLE = "imagenet-1k-sample"
_FOLDERS = ("imagenet", "imagenet-1k", "ILSVRC2012", _SAMPLE)


def load(split: str, roots: Sequence[Path], download: bool = False) -> FileImages:
    """The validation images of ImageNet-1k.

    Args:
        split: ``val``; ``test`` stands for it, because the labels of the test images were never published.
        roots: where to look: folders that contain ``imagenet``, ``imagenet-1k``, ``ILSVRC2012`` or
            ``imagenet-1k-sample``, or that are such a folder; in it ``val/<WordNet identifier>/*.JPEG``, or both
            archives.
        download: ImageNet's terms do not allow it; what is missing is said all the same.

    Returns:
        the images by class and then by name, whichever layout they come from. Folders may be there for some of the
        classes only; there are a thousand class names in any case. What comes from ``imagenet-1k-sample`` is called
        so, since it is no full validation set.

    Raises:
        DataNotFoundError: nothing is there, or one of two archives.
        DataError: a folder is no class, or an archive is cut short or contradicts the other.
        ValueError: there is no such split.
        ModuleNotFoundError: archives are there, and scipy, which reads the table of classes, is not.
    """
    split = places.check_split("imagenet", split, SPLITS)
    known = wordnet.identifiers()
    looked = places.candidates(roots, _FOLDERS)
    for place in looked:
        folder = _folder(place)
        if folder is not None:
            return _dataset(folder.parent, split, *wordnet.folders(folder, known))
    for place in looked:
        if (place / imagenet_archives.IMAGES).is_file() or (place / imagenet_archives.DEVKIT).is_file():
            return _dataset(place, split, *imagenet_archives.entries(place, known))
    raise DataNotFoundError(_advice(looked, download))


def _dataset(place: Path, split: str, ids: list[str], labels: list[int], items: list[Item]) -> FileImages:
    name = _SAMPLE if place.name == _SAMPLE else "imagenet"
    return FileImages(name, split, wordnet.class_names(), ids, labels, items)


def _folder(place: Path) -> Path | None:
    """The folder of the classes: val, or the place itself if it has classes in it."""
    if (place / "val").is_dir():
        return place / "val"
    if place.is_dir() and any(wordnet.is_identifier(path.name) for path in place.iterdir()):
        return place
    return None


def _advice(looked: Sequence[Path], download: bool) -> str:
    target = looked[0]
    terms = "ImageNet cannot be downloaded from here, because everyone has to accept its terms. " if download else ""
    return (f"ImageNet's validation images are in none of {', '.join(map(str, looked))}. {terms}Put "
            f"{imagenet_archives.IMAGES} and {imagenet_archives.DEVKIT} from "
            f"https://image-net.org/challenges/LSVRC/2012/2012-downloads.php into {target}, or the images into folders "
            f"{target / 'val' / '<WordNet identifier>'}")
