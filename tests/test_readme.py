"""Nothing stands in the README that was not run."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from contrastlib.data import photographs

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf8")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A reader's folder with a photograph in it."""
    photographs.load("chelsea").image.save(tmp_path / "photo.jpg")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("code", re.findall(r"```python\n(.*?)```", README, re.DOTALL), ids=["one photo", "many"])
def test_python(code, folder):
    names = {}
    exec(compile(code, "README.md", "exec"), names)
    if "savefig" in code:
        with Image.open(folder / "why.png") as picture:
            assert picture.width > 300
    else:
        assert names["why"].shape == (4, 1, 7, 7)


def test_command_line(folder):
    (line,) = re.findall(r"^python (-m contrastlib explain .*)$", README, re.MULTILINE)
    words = re.findall(r'"[^"]+"|\S+', line)
    done = subprocess.run([sys.executable, *(w.strip('"') for w in words)], cwd=folder, capture_output=True, text=True,
                          check=True, env={**os.environ, "PYTHONPATH": str(ROOT)})
    assert "tiger cat" in done.stdout
    assert (folder / "photo-why.png").exists()


def test_commands_and_files_exist():
    make = (ROOT / "Makefile").read_text(encoding="utf8")
    for target in set(re.findall(r"(?:^|`)make ([a-z]+)", README, re.MULTILINE)):
        assert f"\n{target}:" in make
    for path in re.findall(r"`([\w./-]+/)`|\]\(([\w./-]+)\)", README):
        assert (ROOT / "".join(path)).exists()
