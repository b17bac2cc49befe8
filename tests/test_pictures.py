"""One reader of pictures: the same answer for a path and for what Pillow has opened."""

import numpy as np
import pytest
from PIL import Image

from contrastlib import pictures


def quadrants(mode: str = "RGB") -> Image.Image:
    """Gold on the left, navy on the right, 6 x 4."""
    picture = Image.new("RGB", (6, 4), "navy")
    picture.paste("gold", (0, 0, 3, 4))
    return picture.convert(mode)


def both(path) -> np.ndarray:
    """What the file gives by its path and opened, which is the same."""
    by_path = pictures.read(path)
    with Image.open(path) as opened:
        in_hand = pictures.rgb(opened)
    assert by_path.mode == in_hand.mode == "RGB"
    np.testing.assert_array_equal(by_path, in_hand)
    return np.asarray(by_path)


@pytest.mark.parametrize(("orientation", "turn"), [
    (1, lambda a: a), (2, np.fliplr), (3, lambda a: np.rot90(a, 2)), (4, np.flipud), (6, lambda a: np.rot90(a, -1)),
    (8, np.rot90),
])
def test_the_orientation_that_a_file_states_is_heeded(tmp_path, orientation, turn):
    exif = Image.Exif()
    exif[0x0112] = orientation
    quadrants().save(tmp_path / "phone.png", exif=exif)
    np.testing.assert_array_equal(both(tmp_path / "phone.png"), turn(np.asarray(quadrants())))


def test_a_damaged_record_of_the_orientation_says_nothing(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    quadrants().save(tmp_path / "phone.png", exif=b"Exif\0!" + exif.tobytes()[6:])
    np.testing.assert_array_equal(both(tmp_path / "phone.png"), np.asarray(quadrants()))


def test_what_is_transparent_lies_on_white(tmp_path):
    clear = Image.new("RGBA", (2, 1), (200, 0, 0, 0))
    clear.putpixel((1, 0), (200, 0, 0, 128))
    clear.save(tmp_path / "clear.png")
    assert both(tmp_path / "clear.png").tolist() == [[[255, 255, 255], [227, 127, 127]]]
    palette = Image.new("P", (2, 1))
    palette.putpalette([200, 0, 0, 0, 0, 200])
    palette.putpixel((1, 0), 1)
    palette.save(tmp_path / "palette.png", transparency=0)
    assert both(tmp_path / "palette.png").tolist() == [[[255, 255, 255], [0, 0, 200]]]


def test_one_of_sixteen_bits_of_grey_may_be_transparent(tmp_path):
    Image.fromarray(np.array([[256, 300, 511]], np.uint16)).save(tmp_path / "deep.png", transparency=300)
    assert both(tmp_path / "deep.png")[0, :, 0].tolist() == [1, 255, 1]


def test_sixteen_bits_keep_their_range(tmp_path):
    Image.fromarray(np.array([[0, 256, 32768, 65535]], np.uint16)).save(tmp_path / "deep.png")
    assert both(tmp_path / "deep.png")[0, :, 0].tolist() == [0, 1, 128, 255]
    for mode in ("I", "F"):
        with pytest.raises(ValueError, match=f"8 or 16 bits a channel, this image has the mode '{mode}'"):
            pictures.rgb(Image.new(mode, (2, 2)))


@pytest.mark.parametrize("mode", ["1", "L", "P", "CMYK", "YCbCr"])
def test_other_modes_become_rgb_as_pillow_does_it(mode):
    picture = quadrants(mode)
    np.testing.assert_array_equal(pictures.rgb(picture), picture.convert("RGB"))


def test_a_photograph_without_a_stated_orientation_keeps_its_bytes(tmp_path):
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8))
    noise.save(tmp_path / "photo.jpg")
    with Image.open(tmp_path / "photo.jpg") as opened:
        np.testing.assert_array_equal(both(tmp_path / "photo.jpg"), opened.convert("RGB"))
