"""ImageNet and Imagenette: classes from folders, images from archives that stay packed."""

import gzip
import shutil
import sys

import pytest
import torch
from dataset_files import TRUTH, WNIDS, imagenet_archives, imagenet_folders, imagenette, jpeg, pack, write

from contrastlib import data
from contrastlib.data import DataError, DataNotFoundError, DataWarning, UnreadableImageError
from contrastlib.data.imagenette import CLASSES
from contrastlib.data.wordnet import class_names, identifiers

IDS = ("n01440764/ILSVRC2012_val_00000002.JPEG", "n01440764/ILSVRC2012_val_00000004.JPEG",
       "n01443537/ILSVRC2012_val_00000003.JPEG", "n01484850/ILSVRC2012_val_00000001.JPEG")
IMAGES, DEVKIT = "ILSVRC2012_img_val.tar", "ILSVRC2012_devkit_t12.tar.gz"
OFFICIAL_NAME = "ILSVRC2012_val_{:08d}.JPEG"


def test_the_classes_of_imagenet():
    assert len(identifiers()) == len(class_names()) == 1000
    assert list(identifiers()) == sorted(set(identifiers()))
    assert identifiers()[:3] == WNIDS
    for label, name in ((0, "tench"), (2, "great white shark"), (281, "tabby"), (999, "toilet tissue")):
        assert class_names()[label] == name


# Folders


@pytest.mark.parametrize("root", ["", "imagenet", "imagenet/val"])
def test_folders_of_some_classes_are_enough(tmp_path, root):
    imagenet_folders(tmp_path)
    images = data.load("imagenet", root=tmp_path / root)
    assert (images.name, images.split, images.num_classes) == ("imagenet", "val", 1000)
    assert (images.ids, images.labels) == (IDS, (0, 0, 1, 2))
    assert sorted(images.labels) == sorted(TRUTH)
    assert images.picture(3).getpixel((0, 0)) == (40, 40, 40)


def test_a_sample_is_not_called_the_whole(tmp_path):
    imagenet_folders(tmp_path).rename(tmp_path / "imagenet-1k-sample")
    assert data.load("imagenet", root=tmp_path).name == "imagenet-1k-sample"


def test_suffixes_and_hidden_files(tmp_path):
    place = imagenet_folders(tmp_path) / "val"
    for name in ("a.jpg", "b.Jpeg", "c.png", ".d.jpg", "read.me"):
        write(place / WNIDS[1] / name, jpeg())
    write(place / ".DS_Store", b"")
    assert [i.split("/")[1] for i in data.load("imagenet", root=tmp_path).ids if WNIDS[1] in i][1:] == [
        "a.jpg", "b.Jpeg", "c.png"]


def test_an_empty_file_is_a_problem(tmp_path):
    write(imagenet_folders(tmp_path) / "val" / IDS[1], b"")
    with pytest.warns(DataWarning, match=rf"1 image is left out: .*{IDS[1]}: the file is empty"):
        images = data.load("imagenet", root=tmp_path)
    assert images.ids == (IDS[0], *IDS[2:])


@pytest.mark.parametrize(("make", "message"), [
    (lambda val: (val / "n99999999").mkdir(), r"val/n99999999 is no class"),
    (lambda val: (val / "tench").mkdir(), r"val/tench is no class: .* such as n01440764"),
    (lambda val: write(val / "ILSVRC2012_val_00000009.JPEG", jpeg()), r"_00000009\.JPEG has no class: .*n01440764"),
    (lambda val: [shutil.rmtree(val / wnid) for wnid in WNIDS], r"val: no image belongs to this split"),
])
def test_folders_that_are_no_classes(tmp_path, make, message):
    make(imagenet_folders(tmp_path) / "val")
    with pytest.raises(DataError, match=message):
        data.load("imagenet", root=tmp_path)


# Archives


@pytest.mark.parametrize("root", ["", "imagenet"])
def test_archives_give_what_folders_give(tmp_path, root):
    imagenet_archives(tmp_path / "packed")
    imagenet_folders(tmp_path / "unpacked")
    packed = data.load("imagenet", root=tmp_path / "packed" / root)
    unpacked = data.load("imagenet", root=tmp_path / "unpacked")
    assert (packed.ids, packed.labels) == (unpacked.ids, unpacked.labels)
    assert packed.digest() == unpacked.digest()
    for a, b in zip(packed, unpacked):
        assert torch.equal(a.image, b.image)
    assert packed.verify() == ()
    assert sorted(p.name for p in (tmp_path / "packed/imagenet").iterdir()) == [DEVKIT, IMAGES]


def test_an_image_in_an_archive_is_named_when_it_is_damaged(tmp_path):
    folder = imagenet_archives(tmp_path)
    pack(folder / IMAGES, {OFFICIAL_NAME.format(n): jpeg() if n != 3 else b"no picture" for n in range(1, 5)})
    images = data.load("imagenet", root=tmp_path)
    with pytest.raises(UnreadableImageError, match=rf"{IMAGES}: ILSVRC2012_val_00000003\.JPEG: cannot be decoded"):
        images.picture(2)
    assert [problem.id for problem in images.verify()] == [IDS[2]]


def test_an_empty_image_in_an_archive_is_a_problem(tmp_path):
    folder = imagenet_archives(tmp_path)
    pack(folder / IMAGES, {OFFICIAL_NAME.format(n): jpeg() if n != 3 else b"" for n in range(1, 5)})
    with pytest.warns(DataWarning, match=r"_00000003\.JPEG: the file is empty"):
        assert len(data.load("imagenet", root=tmp_path)) == 3


def test_a_half_downloaded_archive_says_what_is_missing(tmp_path):
    path = imagenet_archives(tmp_path) / IMAGES
    whole = path.read_bytes()
    size = len(jpeg(120))
    start = 2 * (512 + -(-size // 512) * 512) + 512  # of the third image: two heads and contents, and its own head
    path.write_bytes(whole[:start + 100])
    with pytest.raises(DataError, match=rf"{IMAGES} is cut short: {size - 100} bytes are missing of ILSVRC2012_val_"
                                        rf"00000003\.JPEG, .* it has {start + 100} bytes"):
        data.load("imagenet", root=tmp_path)
    path.write_bytes(whole[:start - 512])  # between two images, where tar itself notices nothing
    with pytest.raises(DataError, match=rf"{IMAGES} has 2 images, and {DEVKIT} has the classes of 4; .*cut short"):
        data.load("imagenet", root=tmp_path)
    path.write_bytes(b"<html>404</html>" * 100)
    with pytest.raises(DataError, match=rf"{IMAGES} cannot be read as an archive"):
        data.load("imagenet", root=tmp_path)


@pytest.mark.parametrize(("names", "message"), [
    (["ILSVRC2012_test_00000001.JPEG"], "is not the official archive: it has a member ILSVRC2012_test_"),
    ([OFFICIAL_NAME.format(n) for n in (1, 2, 3, 5)], "has 4 images, and .* the classes of 4; .*not the official one"),
    ([f"{folder}/{OFFICIAL_NAME.format(1)}" for folder in "ab"], r"has the image ILSVRC2012_val_00000001\.JPEG twice"),
])
def test_archives_of_something_else(tmp_path, names, message):
    folder = imagenet_archives(tmp_path)
    pack(folder / IMAGES, dict.fromkeys(names, jpeg()))
    with pytest.raises(DataError, match=message):
        data.load("imagenet", root=tmp_path)


@pytest.mark.parametrize(("options", "message"), [
    ({"truth": "2\n3\n1\n1001\n"}, r"ground_truth\.txt, line 4: 1001 is no class of ImageNet-1k"),
    ({"truth": "2\n3\nx\n3\n"}, r"ground_truth\.txt, line 3: expected the number of a class"),
    ({"truth": ""}, r"ground_truth\.txt, line 1: expected the number of a class"),
    ({"truth": "2\n3\n"}, "has 4 images, .* the classes of 2"),
    ({"synsets": False}, r"data/meta\.mat is not the table of ImageNet's classes"),
])
def test_devkits_that_do_not_fit(tmp_path, options, message):
    imagenet_archives(tmp_path, **options)
    with pytest.raises(DataError, match=message):
        data.load("imagenet", root=tmp_path)


def test_devkits_that_are_damaged(tmp_path):
    path = imagenet_archives(tmp_path) / DEVKIT
    whole = path.read_bytes()
    for damaged in (whole[:len(whole) // 2], b"<html>404</html>", gzip.compress(b"no archive")):
        path.write_bytes(damaged)
        with pytest.raises(DataError, match=rf"{DEVKIT} is damaged or cut short"):
            data.load("imagenet", root=tmp_path)
    pack(path, {"ILSVRC2012_devkit_t12/readme.txt": b"read me"})
    with pytest.raises(DataError, match=rf"{DEVKIT} has no data/meta\.mat"):
        data.load("imagenet", root=tmp_path)


@pytest.mark.parametrize("missing", [IMAGES, DEVKIT])
def test_one_of_two_archives(tmp_path, missing):
    (imagenet_archives(tmp_path) / missing).unlink()
    with pytest.raises(DataNotFoundError, match=rf"{missing} is missing; put it beside the other"):
        data.load("imagenet", root=tmp_path)


def test_without_scipy_the_error_says_what_to_install(tmp_path, monkeypatch):
    imagenet_archives(tmp_path)
    monkeypatch.setitem(sys.modules, "scipy.io", None)
    with pytest.raises(ModuleNotFoundError, match="pip install scipy"):
        data.load("imagenet", root=tmp_path)


@pytest.mark.parametrize("download", [False, True])
def test_where_imagenet_belongs(tmp_path, download):
    with pytest.raises(DataNotFoundError, match=rf"in none of .*{'accept its terms' if download else ''}.*Put {IMAGES} "
                                                rf"and {DEVKIT} from https://image-net\.org"):
        data.load("imagenet", root=tmp_path, download=download)


# Imagenette


@pytest.mark.parametrize(("size", "folder"), [
    ("full", "imagenette2"), ("320", "imagenette2-320"), ("160", "imagenette2-160"), (160, "imagenette2-160")])
def test_imagenette_in_its_three_sizes(tmp_path, size, folder):
    imagenette(tmp_path, folder)
    for root in (tmp_path, tmp_path / folder):
        images = data.load("imagenette", root=root, size=size)
        assert (images.split, images.labels) == ("val", tuple(range(10)))
        assert images.class_names[3] == "chain saw"
        assert images.ids[3] == "n03000684/n03000684_val.JPEG"
    assert "_train" in data.load("imagenette", "train", tmp_path, size=size).ids[0]


def test_imagenette_knows_the_labels_of_imagenet(tmp_path):
    imagenette(tmp_path)
    images = data.load("imagenette", root=tmp_path, size="160")
    assert images.imagenet_labels == tuple(identifiers().index(wnid) for wnid in CLASSES)
    among = images.with_imagenet_labels()
    assert among.num_classes == 1000
    assert among.labels == images.imagenet_labels
    assert [among.class_names[label] for label in among.labels] == list(images.class_names)
    assert among.digest() != images.digest()
    assert among.with_imagenet_labels() is among
    assert images.subset([7]).with_imagenet_labels().labels == (571,)


def test_imagenette_is_whole_or_refused(tmp_path):
    folder = imagenette(tmp_path)
    shutil.rmtree(folder / "val/n03000684")
    with pytest.raises(DataError, match=r"of the ten classes n03000684 are missing"):
        data.load("imagenette", root=tmp_path, size="160")
    shutil.rmtree(folder / "val")
    with pytest.raises(DataNotFoundError, match=r"there is a folder .*imagenette2-160, and no val in it"):
        data.load("imagenette", root=tmp_path, size="160", download=True)
    (folder / "train/n00000001").mkdir()
    with pytest.raises(DataError, match="n00000001 is no class"):
        data.load("imagenette", "train", tmp_path, size="160")
    with pytest.raises(ValueError, match="imagenette has the sizes full, 320, 160, got 'large'"):
        data.load("imagenette", root=tmp_path, size="large")
