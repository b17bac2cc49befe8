"""Every page, opened in a browser that reaches nothing but the book: no error, no gap, no foreign request."""

from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
import yaml

ROOT = Path(__file__).parents[2]


def contents() -> list[str]:
    """Pages of the table of contents, as paths below the built book."""
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf8"))
    chapters = [entry["file"] for part in toc["parts"] for entry in part["chapters"]]
    return [f"{name}.html" for name in [toc["root"], *chapters]]


def test_the_book_builds_strictly(build):
    if build.returncode:
        pytest.fail((build.stdout + build.stderr)[-8000:], pytrace=False)


@pytest.mark.parametrize("path", contents())
def test_a_page_is_whole(path, visit):
    assert visit(path).problems() == {}


def test_the_other_pages_are_whole(html, visit):
    """The index, the search page and the library's source."""
    others = {p.relative_to(html).as_posix() for p in html.rglob("*.html")} - set(contents())
    others = {path for path in others if not path.startswith("_static/")}
    assert {"index.html", "genindex.html", "search.html"} <= others
    others.remove("index.html")  # it only leads on, see below
    assert {path: found for path in sorted(others) if (found := visit(path).problems())} == {}


def test_the_front_door_leads_to_the_introduction(visit):
    tab = visit("index.html").tab
    tab.wait_for_url("**/" + contents()[0])


def test_a_page_without_widgets_does_not_load_their_code(html):
    for path in contents():
        text = (html / path).read_text(encoding="utf8")
        assert ("_static/widgets.js" in text) == ("jupyter.widget-view+json" in text), path


def test_searching_finds_a_page(visit):
    tab = visit("search.html?q=contrast").tab
    tab.wait_for_selector("#search-results li")


class _Links(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: set[str] = set()
        self.feed(text)

    def handle_starttag(self, _tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.anchors |= {given[key] for key in ("id", "name") if given.get(key)}
        self.links |= {given[key] for key in ("href", "src") if given.get(key)}


def test_every_link_inside_the_book_leads_somewhere(html):
    files = [path for path in html.rglob("*.html") if html / "_static" not in path.parents]  # those are templates
    pages = {path: _Links(path.read_text(encoding="utf8")) for path in files}
    broken = []
    for path, page in pages.items():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc or link in ("#", ""):
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            known = target not in pages or not parts.fragment or unquote(parts.fragment) in pages[target].anchors
            if not target.exists() or not known:
                broken.append(f"{path.relative_to(html)}: {link}")
    assert broken == []
