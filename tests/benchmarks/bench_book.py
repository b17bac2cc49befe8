"""How long the book takes to build: the first time after installation, and again with no change."""

import subprocess
import sys
from pathlib import Path

import pytest

BUILD = Path(__file__).parents[2] / "book" / "_tools" / "build.py"


def build(output: Path) -> None:
    subprocess.run([sys.executable, BUILD, "--output", output], check=True, capture_output=True)


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("book")


def test_first_build(benchmark, output):
    """Every chapter is executed. Wanted: at most 4 minutes on 2 cores."""
    benchmark.pedantic(build, args=(output,), rounds=1)
    benchmark.extra_info["what"] = "make book, first time after installation"


def test_build_again(benchmark, output):
    """Every chapter comes from the cache that the first build has left. Wanted: at most 30 seconds."""
    benchmark.pedantic(build, args=(output,), rounds=3)
    benchmark.extra_info["what"] = "make book, nothing changed"
