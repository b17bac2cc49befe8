"""Data sets: what is in them, what they say about images that are missing, and how their index files may be wrong."""

import io
import json
import os
import pickle
import shutil
import warnings

import numpy as np
import pytest
import torch
from dataset_files import (
    CUB_CLASSES,
    TEN_WNIDS,
    TRUTH,
    WNIDS,
    cub,
    food,
    imagenet_folders,
    imagenette,
    jpeg,
    noise,
    real,
    write,
)
from PIL import Image
from torch.utils.data import DataLoader, default_collate

from contrastlib import data, pictures
from contrastlib.data import (
    DataError,
    DataNotFoundError,
    DataWarning,
    ImageDataset,
    Problem,
    Sample,
    UnknownNameError,
    UnreadableImageError,
    batches,
    to_tensor,
    tracked,
)

FIRST = "001.Black_footed_Albatross/0000.jpg"


@pytest.fixture
def birds(tmp_path):
    cub(tmp_path)
    return data.load("cub200", "train", tmp_path)


# Contents


def test_cub_in_its_official_layout(birds, tmp_path):
    assert (birds.name, birds.split, len(birds), birds.num_classes) == ("cub200", "train", 4, 2)
    assert birds.class_names == ("Black footed Albatross", "Sooty Albatross")
    assert birds.ids == tuple(f"{name}/000{i}.jpg" for name in CUB_CLASSES for i in (0, 1))
    assert birds.labels == (0, 0, 1, 1)
    assert birds.problems == ()
    test = data.load("cub200", root=tmp_path / "CUB_200_2011")
    assert (test.split, test.ids, test.labels) == ("test", tuple(f"{name}/0002.jpg" for name in CUB_CLASSES), (0, 1))
    assert repr(test) == "<cub200 test: 2 images, 2 classes>"


def test_food_in_its_official_layout(tmp_path):
    food(tmp_path)
    train = data.load("food101", "train", tmp_path)
    assert train.class_names == ("Apple pie", "Baby back ribs")
    assert train.ids == ("apple_pie/0.jpg", "apple_pie/1.jpg", "baby_back_ribs/0.jpg", "baby_back_ribs/1.jpg")
    assert train.labels == (0, 0, 1, 1)
    assert data.load("food101", root=tmp_path / "food-101").ids == ("apple_pie/2.jpg", "baby_back_ribs/2.jpg")


def test_a_sample_is_the_picture_in_numbers(birds):
    sample = birds[2]
    assert isinstance(sample, Sample)
    assert (sample.image.shape, sample.image.dtype) == ((3, 10, 12), torch.float32)
    assert torch.equal(sample.image, torch.full((3, 10, 12), 120 / 255))
    assert (sample.label, sample.id) == (1, "003.Sooty_Albatross/0000.jpg")
    assert birds.picture(2).mode == "RGB"
    assert [s.id for s in birds] == list(birds.ids)


@pytest.mark.parametrize("lead", [(), (1,)])
def test_prepare_is_applied_and_may_give_a_batch_of_one(birds, tmp_path, lead):
    def prepare(picture):
        return torch.full((*lead, 3, 4, 5), picture.getpixel((0, 0))[0] / 255)

    prepared = birds.prepared(prepare)
    assert torch.equal(prepared[3].image, torch.full((3, 4, 5), 160 / 255))
    assert birds[3].image.shape == (3, 10, 12)
    assert torch.equal(data.load("cub200", "train", tmp_path, prepare=prepare)[3].image, prepared[3].image)
    assert torch.equal(prepared.prepared(None)[3].image, birds[3].image)


def test_prepare_must_give_a_picture(birds):
    with pytest.raises(ValueError, match=r"\(3, H, W\) or \(1, 3, H, W\), not \(1, 4, 4\)"):
        birds.prepared(lambda _: torch.zeros(1, 4, 4))[0]


def test_torch_makes_batches_of_samples(birds):
    batch = default_collate([birds[0], birds[3]])
    assert isinstance(batch, Sample)
    assert batch.image.shape == (2, 3, 10, 12)
    assert torch.equal(batch.label, torch.tensor([0, 1]))
    assert list(batch.id) == [birds.ids[0], birds.ids[3]]
    first, second = DataLoader(birds, batch_size=3)
    assert list(first.id + second.id) == list(birds.ids)


def test_a_subset_keeps_the_order_and_the_classes(birds):
    some = birds.subset(i for i in (3, 0))
    assert (some.ids, some.labels) == ((birds.ids[3], birds.ids[0]), (1, 0))
    assert some.class_names == birds.class_names
    assert torch.equal(some[0].image, birds[3].image)
    assert some.subset(np.array([1])).ids == (birds.ids[0],)
    assert len(birds) == 4
    with pytest.raises(IndexError):
        birds.subset([4])
    with pytest.raises(ValueError, match="twice"):
        birds.subset([0, -4])


def _saved(picture, path, suffix, **options):
    """A picture under a name that may say something else than its content, as in ImageNet."""
    file = io.BytesIO()
    picture.save(file, suffix, **options)
    path.write_bytes(file.getvalue())


def _palette():
    picture = Image.new("P", (2, 1))
    picture.putpalette([200, 0, 0, 0, 0, 200])
    picture.putpixel((1, 0), 1)
    return picture


def _half_red():
    picture = Image.new("RGBA", (2, 1), (200, 0, 0, 0))
    picture.putpixel((1, 0), (200, 0, 0, 128))
    return picture


def _held(orientation, turned_from):
    exif = Image.Exif()
    exif[0x0112] = orientation
    return Image.fromarray(np.array(turned_from, np.uint8)), "PNG", {"exif": exif}


RED, BLUE, WHITE, PINK = [200, 0, 0], [0, 0, 200], [255] * 3, [227, 127, 127]
UPRIGHT = [[[1, 2, 3], [4, 5, 6]]]
KINDS = {
    "grey": (Image.new("L", (2, 1), 7), "PNG", {}, [[[7] * 3] * 2]),
    "bits": (Image.new("1", (2, 1), 1), "PNG", {}, [[WHITE] * 2]),
    "sixteen bits": (Image.fromarray(np.array([[256, 65535]], np.uint16)), "PNG", {}, [[[1] * 3, WHITE]]),
    "four colours": (Image.new("CMYK", (2, 1), (0, 255, 255, 0)), "TIFF", {}, [[[255, 0, 0]] * 2]),
    "palette": (_palette(), "PNG", {}, [[RED, BLUE]]),
    "palette with a hole": (_palette(), "PNG", {"transparency": 0}, [[WHITE, BLUE]]),
    "half transparent": (_half_red(), "PNG", {}, [[WHITE, PINK]]),
    "grey and transparent": (Image.new("LA", (2, 1), (9, 0)), "PNG", {}, [[WHITE] * 2]),
    "one colour stands for a hole": (Image.new("RGB", (2, 1), (1, 2, 3)), "PNG", {"transparency": (1, 2, 3)},
                                     [[WHITE] * 2]),
    "the top is right": (*_held(6, [[[4, 5, 6]], [[1, 2, 3]]]), UPRIGHT),  # where the first row belongs
    "the top is left": (*_held(8, [[[1, 2, 3]], [[4, 5, 6]]]), UPRIGHT),
    "upside down": (*_held(3, [[[4, 5, 6], [1, 2, 3]]]), UPRIGHT),
    "mirrored": (*_held(2, [[[4, 5, 6], [1, 2, 3]]]), UPRIGHT),
}


@pytest.mark.parametrize(("picture", "suffix", "options", "right"), KINDS.values(), ids=KINDS)
def test_a_picture_is_read_alike_from_a_data_set_by_its_path_and_opened(birds, picture, suffix, options, right):
    path = birds.items[1]
    _saved(picture, path, suffix, **options)
    assert np.asarray(birds.picture(1)).tolist() == right
    assert np.asarray(pictures.read(path)).tolist() == right
    with Image.open(path) as opened:
        assert np.asarray(pictures.rgb(opened)).tolist() == right
    assert torch.equal(birds[1].image, torch.tensor(right).permute(2, 0, 1) / 255)
    assert torch.equal(birds.prepared(to_tensor)[1].image, birds[1].image)


def test_a_picture_without_a_stated_range_is_unreadable(birds):
    _saved(Image.new("F", (2, 2), 0.5), birds.items[0], "TIFF")
    with pytest.raises(UnreadableImageError, match=rf"{birds.ids[0]}: cannot be decoded \(.* the mode 'F'\)"):
        birds.picture(0)


# Digest


def test_the_digest_depends_on_all_that_is_in_the_data(birds, tmp_path):
    digest = birds.digest()
    assert len(digest) == 64
    assert data.load("cub200", "train", tmp_path).digest() == digest == birds.prepared(lambda p: p).digest()
    subsets = [birds.subset(chosen).digest() for chosen in ([0, 1, 2], [1, 0, 2, 3], range(4))]
    assert len({digest, *subsets}) == 3
    assert subsets[2] == digest
    write(tmp_path / "CUB_200_2011/images" / FIRST, jpeg(9))
    assert birds.digest() == digest  # computed once
    assert data.load("cub200", "train", tmp_path).digest() != digest


@pytest.mark.parametrize("file", ["classes.txt", "image_class_labels.txt"])
def test_the_digest_depends_on_names_and_labels(birds, tmp_path, file):
    path = tmp_path / "CUB_200_2011" / file
    if file == "classes.txt":  # names that are no folders' names
        path.write_text("1 a\n3 b\n")
    else:
        (tmp_path / "CUB_200_2011/classes.txt").write_text("1 a\n3 b\n")
        digest = data.load("cub200", "train", tmp_path).digest()
        path.write_text(path.read_text().replace("1 1", "1 3"))
        assert data.load("cub200", "train", tmp_path).digest() != digest
    assert data.load("cub200", "train", tmp_path).digest() != birds.digest()


# Images that are not there


def test_missing_and_empty_images_are_counted_and_named(tmp_path):
    images = cub(tmp_path) / "images"
    (images / FIRST).unlink()
    write(images / "003.Sooty_Albatross/0001.jpg", b"")
    with pytest.warns(DataWarning, match=r"cub200 train: 2 images are left out: .*0000\.jpg: there is no such file; "
                                         r".*0001\.jpg: the file is empty$"):
        birds = data.load("cub200", "train", tmp_path)
    assert [problem.id for problem in birds.problems] == [FIRST, "003.Sooty_Albatross/0001.jpg"]
    assert str(birds.problems[0]) == f"{images / FIRST}: there is no such file"
    assert birds.labels == (0, 1)
    assert birds.subset([1]).prepared(None).problems == birds.problems  # and no second warning
    assert birds.readable().ids == birds.ids


def test_a_warning_names_three_images_at_most(tmp_path):
    path = food(tmp_path) / "meta/train.json"
    write(path, json.dumps({"apple_pie": ["apple_pie/0", *(f"apple_pie/missing{i:02d}" for i in range(12))]}))
    with pytest.warns(DataWarning, match=r"12 images are left out: .*00.*01.*missing02\.jpg[^;]*; \.\.\.$"):
        data.load("food101", "train", tmp_path)


def test_without_any_image_nothing_is_there(tmp_path):
    folder = cub(tmp_path)
    (folder / "images").rename(folder / "pictures")
    with pytest.raises(DataNotFoundError, match=r"none of the 2 images is there; the first should be .*0002\.jpg"):
        data.load("cub200", root=tmp_path)


@pytest.fixture
def damaged(tmp_path):
    """A file cut short, one that is no picture, and one that goes away after loading."""
    images = cub(tmp_path) / "images"
    birds = data.load("cub200", "train", tmp_path)
    paths = [images / name for name in birds.ids]
    write(paths[0], noise()[:700])
    write(paths[1], "<html>404</html>")
    paths[3].unlink()
    return birds


def test_unreadable_images_are_named(damaged):
    for i, reason in ((0, r"cannot be decoded \(.*truncated"), (1, "cannot be decoded$"), (3, "there is no such file")):
        for read in (damaged.picture, damaged.__getitem__):
            with pytest.raises(UnreadableImageError, match=rf"{damaged.ids[i]}: {reason}") as raised:
                read(i)
        assert raised.value.problem.id == damaged.ids[i]
        assert pickle.loads(pickle.dumps(raised.value)).problem == raised.value.problem
    with pytest.raises(UnreadableImageError, match=damaged.ids[3]):
        damaged.digest()


def test_verify_decodes_every_image(damaged, tmp_path):
    steps = []
    found = damaged.verify(progress=lambda done, total: steps.append((done, total)))
    assert steps == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert [problem.id for problem in found] == [damaged.ids[i] for i in (0, 1, 3)]
    rest = damaged.readable()
    assert (rest.ids, rest.problems) == ((damaged.ids[2],), found)
    assert rest.verify() == found
    assert damaged.problems == ()
    assert data.load("cub200", root=tmp_path).verify() == ()


def test_an_image_too_large_to_be_one_is_unreadable(birds, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    with pytest.raises(UnreadableImageError, match="decompression bomb"):
        birds.picture(0)


def test_progress_is_a_bar_or_nothing(capsys):
    assert list(tracked([1, 2], True, "looking")) == [1, 2]
    assert "looking: 100%" in capsys.readouterr().err
    assert list(tracked([1, 2], False)) == [1, 2]
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("workers", [0, 3])
def test_batches_come_in_order_and_say_which_images_cannot_be_read(damaged, workers):
    found = list(batches(damaged, [[2], [0, 2], [], [1], [2, 3]], workers))
    assert [[thing.id for thing in part] for part in found] == [
        [damaged.ids[i] for i in part] for part in ([2], [0, 2], [], [1], [2, 3])]
    assert [[isinstance(thing, Sample) for thing in part] for part in found] == [
        [True], [False, True], [], [False], [True, False]]


def test_a_data_set_that_is_not_made_of_files():
    class Greys(ImageDataset):
        def picture(self, i):
            return Image.new("RGB", (2, 2), (self.items[i],) * 3)

        def _content(self, i):
            return bytes([self.items[i]])

    greys = Greys("greys", "test", ["dark", "light"], ["a", "b", "c"], [0, 0, 1], items=[0, 51, 255])
    assert [sample.image.unique().item() for sample in greys.subset([2, 1])] == [1, pytest.approx(0.2)]
    assert greys.digest() != Greys("greys", "test", ["dark", "light"], "abc", [0, 0, 1], [0, 51, 254]).digest()
    assert greys.verify() == ()
    for wrong in ({"ids": ["a", "a", "b"]}, {"labels": [0, 2, 0]}, {"labels": [0, 1]}):
        with pytest.raises(ValueError, match=r"an id stands for|labels must be|differ in number"):
            Greys(**{"name": "x", "split": "y", "class_names": "ab", "ids": "abc", "labels": [0, 0, 1]} | wrong)
    with pytest.warns(DataWarning, match="1 image is left out: here: why"):
        Greys("greys", "test", "ab", [], [], problems=[Problem("a", "here", "why")])


# Index files that are wrong


CUB_FAULTS = {
    "an image without a label": (
        "image_class_labels.txt", "2 1\n", "", r"images\.txt, line 2: image 2 is not in .*image_class_labels\.txt"),
    "an image without a split": (
        "train_test_split.txt", "6 0\n", "", r"images\.txt, line 6: image 6 is not in .*train_test_split\.txt"),
    "a label without an image": (
        "image_class_labels.txt", "6 3\n", "6 3\n77 3\n", r"image_class_labels\.txt, line 7: image 77 is not in "),
    "an unknown class": (
        "image_class_labels.txt", "4 3\n", "4 2\n", r"image_class_labels\.txt, line 4: the class 2 is not in "),
    "no class": ("image_class_labels.txt", "4 3\n", "4 x\n", r"image_class_labels\.txt, line 4: the class x is not"),
    "another class than the folder": (
        "image_class_labels.txt", "4 3\n", "4 1\n",
        r"images\.txt, line 4: image 4 lies in the folder 003.*it is of the class 001"),
    "a folder of no class": (
        "images.txt", "1 001.Black_footed_Albatross/0000.jpg", "1 002.Unknown/0000.jpg",
        r"images\.txt, line 1: image 1 lies in the folder 002\.Unknown.*it is of the class 001"),
    "a number twice": ("images.txt", "2 001", "1 001", r"images\.txt, line 2: the number 1 stands already in line 1"),
    "an image twice": ("images.txt", "0001.jpg\n3", "0000.jpg\n3",
                       r"images\.txt, line 2: the image 001\S*/0000\.jpg stands already in line 1"),
    "a class twice": ("classes.txt", "3 003.Sooty", "3 001.Black_footed_Albatross\n4 003.Sooty",
                      r"classes\.txt, line 2: the class 001\S* stands already in line 1"),
    "no value": ("images.txt", "3 001.Black_footed_Albatross/0002.jpg", "3", r"images\.txt, line 3: .*got '3'"),
    "no number": ("classes.txt", "3 003", "x 003", r"classes\.txt, line 2: expected a number"),
    "a way out": ("images.txt", "1 001.Black_footed_Albatross/0000.jpg", "1 ../../secret.jpg",
                  r"images\.txt, line 1: expected a path"),
    "neither split": ("train_test_split.txt", "1 1\n", "1 2\n",
                      r"train_test_split\.txt, line 1: expected 1 \(train\) or 0 \(test\), got '2'"),
}


@pytest.mark.parametrize(("file", "old", "new", "message"), CUB_FAULTS.values(), ids=CUB_FAULTS)
def test_cub_index_files_that_contradict_each_other(tmp_path, file, old, new, message):
    path = cub(tmp_path) / file
    text = path.read_text()
    assert text.count(old) == 1
    path.write_text(text.replace(old, new))
    with pytest.raises(DataError, match=message):
        data.load("cub200", "train", tmp_path)


@pytest.mark.parametrize("file", ["classes.txt", "images.txt", "image_class_labels.txt", "train_test_split.txt"])
def test_index_files_that_are_no_use(tmp_path, file):
    path = cub(tmp_path) / file
    path.write_text("\n\n")
    with pytest.raises(DataError, match=rf"{file} is empty"):
        data.load("cub200", root=tmp_path)
    path.write_bytes(jpeg())
    with pytest.raises(DataError, match=rf"{file} is no text file"):
        data.load("cub200", root=tmp_path)
    path.unlink()
    with pytest.raises(DataNotFoundError, match=rf"no .*{file}"):
        data.load("cub200", root=tmp_path)


@pytest.mark.parametrize("content", ["", "[]", "{", jpeg(), None])
def test_food_lists_that_are_no_use(tmp_path, content):
    path = food(tmp_path) / "meta/test.json"
    path.unlink() if content is None else write(path, content)
    with pytest.raises(DataError, match=rf"{tmp_path / 'food-101'} is not the folder food-101 with meta/test\.json"):
        data.load("food101", root=tmp_path)


def test_a_food_list_that_names_an_image_twice(tmp_path):
    write(food(tmp_path) / "meta/test.json", json.dumps({"apple_pie": ["apple_pie/0", "apple_pie/0"]}))
    with pytest.raises(ValueError, match="an id stands for one image only"):
        data.load("food101", root=tmp_path)


def test_a_split_without_images(tmp_path):
    path = cub(tmp_path) / "train_test_split.txt"
    path.write_text(path.read_text().replace(" 0\n", " 1\n"))
    with pytest.raises(DataError, match=r"train_test_split\.txt: no image belongs to the split test"):
        data.load("cub200", root=tmp_path)


def test_windows_line_ends_and_blank_lines_are_understood(tmp_path):
    for path in cub(tmp_path).glob("*.txt"):
        path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n") + b"\r\n")
    assert len(data.load("cub200", "train", tmp_path)) == 4


# ImageNet and Imagenette: classes from folders

IDS = ("n01440764/ILSVRC2012_val_00000002.JPEG", "n01440764/ILSVRC2012_val_00000004.JPEG",
       "n01443537/ILSVRC2012_val_00000003.JPEG", "n01484850/ILSVRC2012_val_00000001.JPEG")


@pytest.mark.parametrize("root", ["", "imagenet", "imagenet/val"])
def test_folders_of_some_classes_are_enough(tmp_path, root):
    imagenet_folders(tmp_path)
    images = data.load("imagenet", root=tmp_path / root)
    assert (images.name, images.split, images.num_classes) == ("imagenet", "val", 1000)
    assert (images.ids, images.labels) == (IDS, (0, 0, 1, 2))
    assert sorted(images.labels) == sorted(TRUTH)
    assert images.picture(3).getpixel((0, 0)) == (40, 40, 40)
    for label, name in ((0, "tench"), (2, "great white shark"), (281, "tabby"), (999, "toilet tissue")):
        assert images.class_names[label] == name


def test_a_sample_is_not_called_the_whole(tmp_path):
    imagenet_folders(tmp_path).rename(tmp_path / "imagenet-1k-sample")
    assert data.load("imagenet", root=tmp_path).name == "imagenet-1k-sample"


def test_suffixes_and_hidden_files(tmp_path):
    place = imagenet_folders(tmp_path) / "val"
    for name in ("a.jpg", "b.Jpeg", "c.png", ".d.jpg", "read.me"):
        write(place / WNIDS[1] / name, jpeg())
    write(place / ".DS_Store", b"")
    (place / ".cache").mkdir()
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


@pytest.mark.parametrize(("size", "folder"), [
    ("full", "imagenette2"), ("320", "imagenette2-320"), ("160", "imagenette2-160"), (160, "imagenette2-160")])
def test_imagenette_in_its_three_sizes(tmp_path, size, folder):
    imagenette(tmp_path, folder)
    for root in (tmp_path, tmp_path / folder):
        images = data.load("imagenette", root=root, size=size)
        assert (images.split, images.labels) == ("val", tuple(range(10)))
        assert images.class_names == ("tench", "English springer", "cassette player", "chain saw", "church",
                                      "French horn", "garbage truck", "gas pump", "golf ball", "parachute")
        assert images.ids == tuple(f"{wnid}/{wnid}_val.JPEG" for wnid in TEN_WNIDS)
    assert "_train" in data.load("imagenette", "train", tmp_path, size=size).ids[0]


def test_imagenette_knows_the_labels_of_imagenet(tmp_path):
    imagenette(tmp_path)
    images = data.load("imagenette", root=tmp_path, size="160")
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


# By name


def test_names_and_splits_that_do_not_exist(tmp_path):
    cub(tmp_path)
    with pytest.raises(UnknownNameError, match=r"no data set is called 'imagenetta'; near names: imagenette, imagenet"):
        data.load("imagenetta")
    assert data.load("CUB", root=tmp_path).name == "cub200"
    for name, split, known in (("cub200", "val", "train and test"), ("food101", "dev", "train and test"),
                               ("imagenette", "dev", "train and val"), ("imagenet", "train", "val")):
        with pytest.raises(ValueError, match=f"{name} has the splits {known}, got '{split}'"):
            data.load(name, split, tmp_path)
    with pytest.raises(TypeError, match="cub200 has no option size"):
        data.load("cub200", root=tmp_path, size=3)


def test_the_folder_comes_from_the_environment(tmp_path, monkeypatch):
    cub(tmp_path / "mine/data")
    cub(tmp_path / "cache/contrastlib/data")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("CONTRASTLIB_DATA", raising=False)
    assert "cache" in str(data.load("cub200").items[0])
    for named in ("mine", "mine/data"):
        monkeypatch.setenv("CONTRASTLIB_DATA", str(tmp_path / named))
        assert (tmp_path / "mine/data") in data.load("cub200").items[0].parents


def test_what_the_face_does_not_name_is_not_there():
    assert all(hasattr(data, name) for name in data.__all__)
    with pytest.raises(AttributeError, match="no attribute nothing"):
        _ = data.nothing


def test_drawn_birds_are_a_data_set():
    birds = data.load("drawn_birds")
    assert isinstance(birds, ImageDataset)
    assert birds[0].image.shape[0] == 3


@real
class TestRealData:
    root = os.environ.get("CONTRASTLIB_DATA")

    def test_cub(self):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            splits = [data.load("cub200", split) for split in ("train", "test")]
        # 1 stands for training, as in the official README; 30 images a class at most
        assert [len(birds) for birds in splits] == [2903, 2999]
        assert not set(splits[0].ids) & set(splits[1].ids)
        for birds in splits:
            assert set(birds.labels) == set(range(100))
            assert birds[-1].image.shape == (3, 227, 227)
        assert splits[0].class_names[0] == "Black footed Albatross"

    def test_every_class_of_imagenet_once(self):
        sample = data.load("imagenet")
        assert sample.name == "imagenet-1k-sample"
        assert sample.labels == tuple(range(1000))
        assert sample.class_names[sample.labels[0]] in sample.ids[0]
        assert sample.subset(range(0, 1000, 50)).verify() == ()
