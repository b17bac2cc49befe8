"""Photographs come from installed packages, with credit, and without importing what they come from."""

import importlib.util
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from contrastlib.data import photographs
from contrastlib.names import UnknownNameError

SIZES = {"chelsea": (451, 300), "rocket": (640, 427), "motorcycle_left": (741, 500), "coffee": (600, 400),
         "astronaut": (512, 512), "grace_hopper": (512, 600), "china": (640, 427), "flower": (640, 427)}


@pytest.mark.parametrize("name", SIZES)
def test_a_photograph_comes_in_colour_with_its_credit(name):
    photograph = photographs.load(name)
    assert photograph.name == name
    assert photograph.image.mode == "RGB"
    assert photograph.image.size == SIZES[name]
    assert all(text.strip() for text in (photograph.credit, photograph.licence, photograph.source))


def test_all_names_are_known():
    assert set(photographs.names()) == set(SIZES)


def test_a_picture_that_asks_for_attribution_names_its_author_and_links_to_the_terms():
    for name, author in {"china": "danielbuechele", "flower": "vultilion"}.items():
        photograph = photographs.load(name)
        assert author in photograph.credit
        assert photograph.licence.startswith("CC BY 2.0, https://creativecommons.org/licenses/by/2.0")
        assert f"flickr.com/photos/{author}/" in photograph.source


def test_the_carrying_packages_are_not_imported():
    code = ("import sys; from contrastlib.data import photographs as p; [p.load(n) for n in p.names()]; "
            "print([m for m in ('skimage', 'sklearn', 'matplotlib', 'torch') if m in sys.modules])")
    root = Path(__file__).parents[1]
    result = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_a_name_is_matched_loosely():
    assert photographs.load("Grace Hopper").name == "grace_hopper"
    assert photographs.load("motorcycle").name == "motorcycle_left"
    with pytest.raises(UnknownNameError, match="near names: chelsea"):
        photographs.load("chelsae")


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(ModuleNotFoundError, match=r"'chelsea' comes with the package scikit-image.*pip install"):
        photographs.load("chelsea")


def test_a_missing_or_damaged_file_is_named(monkeypatch, tmp_path):
    entry = photographs.CATALOGUE["chelsea"]
    monkeypatch.setitem(photographs.CATALOGUE, "chelsea", replace(entry, path="data/not_there.png"))
    with pytest.raises(FileNotFoundError, match=r"'chelsea' .*not_there\.png; reinstall scikit-image"):
        photographs.load("chelsea")
    damaged = tmp_path / "damaged.png"
    damaged.write_bytes(b"\x89PNG\r\n\x1a\n but no more")
    monkeypatch.setitem(photographs.CATALOGUE, "chelsea", replace(entry, path=str(damaged)))
    with pytest.raises(ValueError, match=r"'chelsea' .*damaged\.png is not an image"):
        photographs.load("chelsea")
