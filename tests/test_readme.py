"""Nothing stands in the README that was not run."""

import inspect
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from contrastlib.__main__ import chosen, parser, select, train
from contrastlib.data import photographs
from contrastlib.experiments import Setting

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf8")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A reader's folder with a photograph in it."""
    photographs.load("chelsea").image.save(tmp_path / "photo.jpg")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path


NAMES = ("one photo", "explore", "many", "transformers", "birds")
CODE = dict(zip(NAMES, re.findall(r"```python\n(.*?)```", README, re.DOTALL), strict=True))


@pytest.mark.parametrize("code", CODE.values(), ids=CODE)
def test_python(code, folder):
    names = {}
    exec(compile(code, "README.md", "exec"), names)
    if "savefig" in code:
        with Image.open(folder / "why.png") as picture:
            assert picture.width > 300
    elif "LiveExplorer" in code:
        explorer = names["explorer"]
        assert explorer.names[explorer.target] == "tiger cat"
        assert explorer.weights()[explorer.names.index("Egyptian cat")] == 1
    elif "attention_rollout" in code:
        assert names["attended"].shape == (2, 1, 128, 128)
        assert names["terms"].residual.abs().max() < 1e-3
    elif "birds" in code:
        assert 0 < names["rivals"].n < names["rivals"].total == 32
        assert names["evidence"].shape == (128, 128)
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


def test_the_words_of_the_other_commands_are_understood():
    """They need a data set that is not here, so only their options are read."""
    (line,) = re.findall(r"^python -m contrastlib (select [^#\n]*)", README, re.MULTILINE)
    assert parser().parse_args(line.split()).run is select
    trainings = re.findall(r"^python -m contrastlib.training ([^#\n]*)", README, re.MULTILINE)
    assert [vars(parser("training").parse_args(words.split())).get("recipe") for words in trainings] == [None, "short"]
    assert inspect.signature(train).parameters["recipe"].default == "paper"
    runs = re.findall(r"-m contrastlib.experiments (run [^#\n]*)", README)
    assert len(runs) == 3
    for words in runs:
        given = vars(parser("experiments").parse_args(words.split()))
        changes = {name: value for name, value in given.items() if name in Setting.__dataclass_fields__}
        assert chosen(given["name"], given["profile"], **changes)[0].model
