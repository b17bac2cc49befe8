"""The page test itself: each planted fault is seen, and a sound page is not accused."""

import pytest
from visit import serve

MATHJAX = '<script defer src="_static/mathjax/tex-chtml-full.js"></script>'
WIDGETS = '<script src="_static/widgets.js"></script>'
VIEW = '<script type="application/vnd.jupyter.widget-view+json">{"model_id": "m"}</script>'


def state(record: str) -> str:
    return f'<script type="application/vnd.jupyter.widget-state+json">{{"state": {{"m": {record}}}}}</script>'


SLIDER = '{"model_module": "@jupyter-widgets/controls", "model_name": "IntSliderModel", "state": {}}'
BROKEN = '{"model_module": "anywidget", "state": {"_esm": "export default { render() { throw new Error(1) } }"}}'

FAULTS = {
    "a script from elsewhere": ("foreign", '<script src="https://cdn.example.org/mathjax.js"></script>'),
    "a picture from elsewhere": ("foreign", '<img src="https://pictures.example.org/cat.png">'),
    "a request made later": ("foreign", '<script>fetch("https://api.example.org/").catch(() => {})</script>'),
    "a script that fails": ("complaints", "<script>nothing.there()</script>"),
    "an error written by a script": ("complaints", "<script>console.error('no')</script>"),
    "a missing script": ("missing", '<script src="gone.js"></script>'),
    "a missing picture": ("images", '<img loading="lazy" src="gone.png">'),
    "an equation with a syntax error": ("equations", MATHJAX + r'<span class="math">\(\frac{a}\)</span>'),
    "an equation with an unknown macro": ("equations", MATHJAX + r'<span class="math">\(\nosuch{a}\)</span>'),
    "an equation that stays text": ("equations", MATHJAX + '<span class="math">alpha</span>'),
    "a control that needs a kernel": ("widgets", state(SLIDER) + VIEW + WIDGETS),
    "a widget that fails": ("widgets", state(BROKEN) + VIEW + WIDGETS),
    "a picture too wide for a telephone": ("sticking out", '<article><div style="width: 900px">x</div></article>'),
}


def page(body: str) -> str:
    return f'<!doctype html><html><head><meta charset="utf8"><title>t</title></head><body>{body}</body></html>'


@pytest.fixture
def planted(tmp_path, html):
    """A site whose pages can be written at will, with the book's own scripts."""
    (tmp_path / "_static").symlink_to(html / "_static")
    with serve(tmp_path) as address:
        yield tmp_path, address


@pytest.mark.parametrize(("kind", "body"), FAULTS.values(), ids=FAULTS)
def test_a_planted_fault_is_seen(kind, body, planted, visit):
    folder, address = planted
    (folder / "page.html").write_text(page(body), encoding="utf8")
    assert kind in visit("page.html", address).problems()


def test_a_sound_page_is_not_accused(planted, visit):
    folder, address = planted
    widget = '{"model_module": "anywidget", "state": {"_esm": "export default { render({ el }) { el.append(1) } }"}}'
    body = MATHJAX + r'<span class="math">\(p_t\)</span>' + state(widget) + VIEW + WIDGETS
    (folder / "page.html").write_text(page(body), encoding="utf8")
    assert visit("page.html", address).problems() == {}
