"""A Chromium of the machine's own and the built book, served from this machine."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from visit import Visit, serve

ROOT = Path(__file__).parents[2]
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
QUIET = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker("browser")


@pytest.fixture(scope="package")
def build() -> subprocess.CompletedProcess[str]:
    """Build the book as `make book` does; unchanged chapters come from the cache."""
    command = [sys.executable, ROOT / "book" / "_tools" / "build.py"]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture(scope="package")
def html(build: subprocess.CompletedProcess[str]) -> Path:
    """The folder of the built pages."""
    if build.returncode:
        pytest.fail("there are no pages: see test_the_book_builds_strictly", pytrace=False)
    return ROOT / "_build" / "html"


@pytest.fixture(scope="package")
def site(html: Path) -> Iterator[str]:
    with serve(html) as address:
        yield address


@pytest.fixture(scope="package")
def chromium() -> Iterator[object]:
    """Start the machine's Chromium once for all pages."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright comes with the extra dev")
    found = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)
    if not found:
        pytest.skip("no Chromium: `apt install chromium`, or name one in the environment variable CHROMIUM")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=found, args=QUIET)
        yield browser
        browser.close()


@pytest.fixture
def visit(chromium: object, site: str) -> Iterator[Callable[..., Visit]]:
    """Open a page of the book, or of another site, in a tab of its own."""
    context = chromium.new_context(viewport={"width": 1280, "height": 900})

    def opened(path: str, at: str = site) -> Visit:
        found = Visit(context.new_page(), at)
        found.tab.goto(at + path, wait_until="load")
        return found

    yield opened
    context.close()
