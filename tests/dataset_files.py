"""Data sets of a few tiny pictures in the layouts of the real ones, which the tests then damage."""

import io
import json
import os
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

real = pytest.mark.skipif("CONTRASTLIB_DATA" not in os.environ, reason="CONTRASTLIB_DATA names no folder of data sets")
CUB_CLASSES = ("001.Black_footed_Albatross", "003.Sooty_Albatross")  # numbers with a gap, as in a part of the classes
FOOD_CLASSES = ("apple_pie", "baby_back_ribs")
TEN_WNIDS = ("n01440764", "n02102040", "n02979186", "n03000684", "n03028079", "n03394916", "n03417042", "n03425413",
             "n03445777", "n03888257")  # Imagenette's
WNIDS = ("n01440764", "n01443537", "n01484850")  # ImageNet's classes 0 to 2


def jpeg(colour: int = 0, size: tuple[int, int] = (12, 10)) -> bytes:
    """A picture that a JPEG of any quality keeps: one grey."""
    file = io.BytesIO()
    Image.new("RGB", size, (colour,) * 3).save(file, "JPEG")
    return file.getvalue()


def noise(seed: int = 0, size: int = 32) -> bytes:
    """A picture that fills its file, so that half of the file is not enough."""
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 255, (size, size, 3), dtype=np.uint8)).save(file, "JPEG")
    return file.getvalue()


def write(path: Path, content: bytes | str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode("utf8") if isinstance(content, str) else content)
    return path


def cub(root: Path) -> Path:
    """Two classes of three images each; of each class the first two are for training."""
    folder = root / "CUB_200_2011"
    names = [f"{name}/{i:04d}.jpg" for name in CUB_CLASSES for i in range(3)]
    for i, name in enumerate(names):
        write(folder / "images" / name, jpeg(40 * i))
    write(folder / "classes.txt", "".join(f"{int(name[:3])} {name}\n" for name in CUB_CLASSES))
    write(folder / "images.txt", "".join(f"{i} {name}\n" for i, name in enumerate(names, 1)))
    write(folder / "image_class_labels.txt", "".join(f"{i} {int(n[:3])}\n" for i, n in enumerate(names, 1)))
    write(folder / "train_test_split.txt", "".join(f"{i} {int('2.jpg' not in n)}\n" for i, n in enumerate(names, 1)))
    return folder


def food(root: Path) -> Path:
    """Two classes of three images each; the last of each is for testing."""
    folder = root / "food-101"
    for name in FOOD_CLASSES:
        for i in range(3):
            write(folder / "images" / name / f"{i}.jpg", jpeg(40 * i))
    for split, images in (("train", (1, 0)), ("test", (2,))):
        listed = {name: [f"{name}/{i}" for i in images] for name in reversed(FOOD_CLASSES)}
        write(folder / f"meta/{split}.json", json.dumps(listed))
    return folder


def imagenet_folders(root: Path) -> Path:
    """The images of `imagenet_archives`, sorted into folders."""
    for number, wnid in enumerate(TRUTH, 1):
        write(root / "imagenet/val" / WNIDS[wnid] / f"ILSVRC2012_val_{number:08d}.JPEG", jpeg(40 * number))
    return root / "imagenet"


TRUTH = (2, 0, 1, 0)  # labels of the images 1 to 4
# The development kit numbers the classes in an order of its own, and has groups of classes after them.
KIT_NUMBERS = {0: 3, 1: 1, 2: 2}


def imagenet_archives(root: Path) -> Path:
    """Four images and a development kit, packed as ImageNet's makers do."""
    folder = root / "imagenet"
    images = {f"ILSVRC2012_val_{n:08d}.JPEG": jpeg(40 * n) for n in range(1, len(TRUTH) + 1)}
    pack(folder / "ILSVRC2012_img_val.tar", images)
    kit = {"readme.txt": b"read me", "data/meta.mat": table(), "data/ILSVRC2012_validation_ground_truth.txt":
           "".join(f"{KIT_NUMBERS[label]}\n" for label in TRUTH).encode()}
    pack(folder / "ILSVRC2012_devkit_t12.tar.gz", {f"ILSVRC2012_devkit_t12/{k}": v for k, v in kit.items()})
    return folder


def table() -> bytes:
    """The table of classes as MATLAB writes it: a column of structs, each field a matrix."""
    fields = [("ILSVRC2012_ID", object), ("WNID", object), ("words", object), ("gloss", object),
              ("num_children", object), ("children", object), ("wordnet_height", object), ("num_train_images", object)]
    rows = [(KIT_NUMBERS[i], WNIDS[i], "a fish, some fish", "it swims", 0, [], 0, 1300) for i in (1, 2, 0)]
    rows.append((1001, "n00001740", "entity", "a group", 3, [1, 2, 3], 19, 0))
    synsets = np.empty((len(rows), 1), dtype=fields)
    for i, row in enumerate(rows):
        synsets[i, 0] = row
    file = io.BytesIO()
    savemat(file, {"synsets": synsets})
    return file.getvalue()


def imagenette(root: Path, folder: str = "imagenette2-160") -> Path:
    for split in ("train", "val"):
        for i, wnid in enumerate(TEN_WNIDS):
            write(root / folder / split / wnid / f"{wnid}_{split}.JPEG", jpeg(20 * i))
    return root / folder


def pack(path: Path, files: dict[str, bytes]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    mode = "w:gz" if path.name.endswith("gz") else "w"
    with tarfile.open(path, mode) as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def pack_folder(path: Path, folder: Path) -> Path:
    """A folder as an archive, called in it as it is called on disk."""
    files = {f.relative_to(folder.parent).as_posix(): f.read_bytes() for f in sorted(folder.rglob("*")) if f.is_file()}
    return pack(path, files)
