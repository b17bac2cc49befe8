"""From a picture in whatever form to (1, 3, H, W) in [0, 1]."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torchvision import transforms

from contrastlib.data import photographs
from contrastlib.models import Classifier


def classifier(**options) -> Classifier:
    return Classifier(nn.Flatten(), **options)


def noise(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def test_a_photograph_is_prepared_as_torchvision_would():
    image = photographs.load("chelsea").image
    recipe = transforms.Compose([
        transforms.Resize(60, transforms.InterpolationMode.BICUBIC), transforms.CenterCrop((40, 48)),
        transforms.ToTensor()])
    ours = classifier(input_size=(40, 48), resize=60, interpolation="bicubic").prepare(image)
    assert torch.equal(ours, recipe(image)[None])


def test_the_forms_of_one_picture_agree(tmp_path):
    array = noise(30, 40)
    Image.fromarray(array).save(tmp_path / "noise.png")
    wrapped = classifier(input_size=16, interpolation="bicubic")
    expected = wrapped.prepare(Image.fromarray(array))
    assert expected.shape == (1, 3, 16, 16)
    for form in (tmp_path / "noise.png", str(tmp_path / "noise.png"), array, torch.from_numpy(array).permute(2, 0, 1)):
        assert torch.equal(wrapped.prepare(form), expected)
    # Floats are resized without rounding to 8 bits, which PIL does twice: about 1 / 255 apart.
    for form in (array / 255, torch.from_numpy(array / 255).permute(2, 0, 1)):
        assert (wrapped.prepare(form) - expected).abs().max() < 2.5 / 255


def test_a_list_gives_a_batch():
    batch = classifier(input_size=16).prepare([noise(30, 40), Image.fromarray(noise(50, 20))])
    assert batch.shape == (2, 3, 16, 16)
    assert batch.dtype == torch.float32


@pytest.mark.parametrize(("options", "shape"), [
    ({"input_size": (16, 24)}, (16, 24)), ({"input_size": 16, "crop": False}, (16, 16)),
    ({"input_size": 16, "crop": False, "resize": 10}, (10, 20)), ({"input_size": 16, "resize": (20, 18)}, (16, 16)),
])
def test_resizing_and_cropping(options, shape):
    assert classifier(**options).prepare(noise(30, 60)).shape == (1, 3, *shape)


def test_without_a_crop_the_whole_picture_is_squeezed_in():
    array = np.zeros((30, 60, 3), np.uint8)
    array[:, 30:] = 255
    squeezed = classifier(input_size=16, crop=False).prepare(array)[0, 0]
    assert squeezed[:, :7].max() == 0
    assert squeezed[:, 9:].min() == 1


def test_grey_and_transparent_pictures_become_rgb():
    wrapped = classifier(input_size=16)
    grey = wrapped.prepare(np.full((20, 20), 51, np.uint8))
    assert torch.equal(grey, torch.full((1, 3, 16, 16), 0.2))
    assert torch.equal(wrapped.prepare(Image.new("L", (20, 20), 51)), grey)
    assert wrapped.prepare(Image.new("RGBA", (20, 20), (255, 0, 0, 0))).min() == 1  # clear glass on white paper
    assert wrapped.prepare(Image.new("CMYK", (20, 20))).shape == (1, 3, 16, 16)


def test_a_photograph_held_upright_is_turned(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # rotated by 90 degrees clockwise to be seen upright
    array = np.zeros((16, 32, 3), np.uint8)
    array[:, :16] = 255
    Image.fromarray(array).save(tmp_path / "phone.png", exif=exif)
    seen = classifier(input_size=(32, 16), crop=False).prepare(tmp_path / "phone.png")[0, 0]
    assert seen[:16].min() == 1
    assert seen[16:].max() == 0


@pytest.mark.parametrize("size", [16, (16, 24)])
@pytest.mark.parametrize("turn", [lambda a: a, lambda a: a.transpose(1, 0, 2)])
def test_of_a_strip_the_middle_is_kept_without_resizing_it_all(size, turn):
    strip = turn(noise(2000, 20))
    wrapped = classifier(input_size=size, resize=40)
    whole = transforms.Compose([transforms.Resize(40), transforms.CenterCrop(size), transforms.ToTensor()])
    for form in (strip, strip / 255):
        assert (wrapped.prepare(form) - whole(Image.fromarray(strip))[None]).abs().max() < 2.5 / 255
    endless = Image.fromarray(turn(noise(200_000, 1)))  # resized as a whole: 40 x 8,000,000 pixels
    assert wrapped.prepare(endless).shape == wrapped.prepare(strip).shape


def test_a_strip_that_nothing_cuts_is_refused_before_it_fills_the_memory():
    uncut = classifier(input_size=16, resize=16, crop=False)
    assert uncut.prepare(Image.new("RGB", (160, 10))).shape == (1, 3, 16, 256)
    with pytest.raises(ValueError, match=r"5000 x 1 pixels is more than 16 times as long .* or with resize=\(H, W\)"):
        uncut.prepare(Image.new("RGB", (1, 5000)))
    squeezed = classifier(input_size=16, crop=False).prepare(Image.new("RGB", (1, 5000)))
    assert squeezed.shape == (1, 3, 16, 16)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("form", [
    lambda a: np.asarray(Image.fromarray(a)),  # may not be written on
    lambda a: a[::-1][::-1],
    lambda a: (a / 255).astype(">f4"),
    lambda a: (a / 255).astype(">f8"),
])
def test_any_array_of_numpys_is_read(form):
    array, wrapped = noise(24, 24), classifier(input_size=16)
    assert (wrapped.prepare(form(array)) - wrapped.prepare(array)).abs().max() < 0.01


@pytest.mark.filterwarnings("ignore:the matrix subclass")
def test_a_matrix_is_read_as_an_array():
    grey = noise(24, 24)[..., 0]
    assert torch.equal(classifier(input_size=16).prepare(np.asmatrix(grey)), classifier(input_size=16).prepare(grey))


def test_bicubic_overshoot_stays_in_range():
    edge = torch.zeros(3, 20, 20)
    edge[..., 10:] = 1
    prepared = classifier(input_size=40, interpolation="bicubic", crop=False).prepare(edge)
    assert (prepared.min(), prepared.max()) == (0, 1)


@pytest.mark.parametrize(("bad", "error", "message"), [
    (np.zeros((3, 20, 20), np.uint8), ValueError, r"an array must be \(H, W\) or \(H, W, 3\), got shape \(3, 20, 20\)"),
    (torch.zeros(20, 20, 3), ValueError, r"a tensor must be \(3, H, W\), got shape \(20, 20, 3\)"),
    (torch.zeros(2, 3, 8, 8), ValueError, "pass a list for a batch"),
    (np.full((9, 9, 3), 255.0), ValueError, r"the picture must hold numbers in \[0, 1\], they run from 255"),
    (np.full((9, 9, 3), np.nan), ValueError, "NaN"),
    (np.zeros((9, 9, 3), np.int32), ValueError, "uint8 in .* or floats in .*, got torch.int32"),
    (np.zeros((9, 9, 3), np.longdouble), ValueError, "uint8 in .* or floats in .*, got float"),
    (np.zeros((9, 9, 3), object), ValueError, "uint8 in .* or floats in .*, got object"),
    (np.zeros((0, 9, 3), np.uint8), ValueError, "must not be empty, got 0 x 9 pixels"),
    (torch.zeros(3, 9, 0), ValueError, r"must not be empty, got shape \(3, 9, 0\)"),
    (Image.new("I", (9, 9)), ValueError, "needs 8 or 16 bits a channel, this image has the mode 'I'"),
    (42, TypeError, "a picture must be a file name, .* got int"),
    ([], ValueError, "an empty list"),
])
def test_bad_pictures_get_a_clear_error(bad, error, message):
    with pytest.raises(error, match=message):
        classifier(input_size=8).prepare(bad)


def test_bad_files_get_a_clear_error(tmp_path):
    wrapped = classifier(input_size=8)
    (tmp_path / "text.png").write_text("no image at all")
    with pytest.raises(ValueError, match=r"text\.png is not an image file"):
        wrapped.prepare(tmp_path / "text.png")
    Image.fromarray(noise(60, 60)).save(tmp_path / "whole.png")
    (tmp_path / "half.png").write_bytes((tmp_path / "whole.png").read_bytes()[:3000])
    with pytest.raises(ValueError, match=r"half\.png cannot be read"):
        wrapped.prepare(tmp_path / "half.png")
    with pytest.raises(FileNotFoundError, match=r"there is no file .*none\.png"):
        wrapped.prepare(tmp_path / "none.png")
    with pytest.raises(ValueError, match="is a folder"):
        wrapped.prepare(tmp_path)
