"""The contrast explorer: what it hands to the browser, and its arithmetic against the library's."""

import base64
import io
import json
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import numpy as np
import pytest
import torch
from ipywidgets.embed import dependency_state
from matplotlib.text import Text
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from networks import images, tiny
from PIL import Image
from traitlets import TraitError

from contrastlib import contrast
from contrastlib.attribution import grad_cam, linear_approximation
from contrastlib.explorables import (
    BlockExplorer,
    ContrastExplorer,
    MaskingExplorer,
    PushingExplorer,
    decode,
    encode,
    photograph,
    picture,
)

ROOT = Path(__file__).parents[1]
WIDGETS = "application/vnd.jupyter.widget-state+json"
NAMES = list("abcdef")
RULES = {"Grad-CAM": grad_cam, "linear": linear_approximation}


def made(**choices):
    found = {name: rule.class_maps(tiny(), images()) for name, rule in RULES.items()}
    pictures = [picture(images()[i], {name: maps.maps[i] for name, maps in found.items()}, found["linear"].logits[i],
                        title=f"image {i}") for i in range(2)]
    return found, ContrastExplorer(pictures, NAMES, **choices)


def contrasts():
    named = {name: (getattr(contrast, name), {}) for name in ("original", "max", "weighted", "mean")}
    named |= {f"dial {p}": (contrast.tempered(T), {"contrast": "tempered", "position": p})
              for p, T in {0: 0, 20: 10**-0.6, 50: 1, 80: 10**0.6, 100: float("inf")}.items()}
    return named | {"foils": (contrast.foil([0, 3]), {"contrast": "foil", "foils": [3, 0]})}


@pytest.mark.parametrize("name", contrasts())
@pytest.mark.parametrize("method", RULES)
def test_every_contrast_is_the_librarys(name, method):
    score, choices = contrasts()[name]
    found, explorer = made(method=method, target=2, picture=1, **(choices or {"contrast": name}))
    exact = found[method].combine(score, 2)[1, 0].numpy()
    assert np.abs(explorer.relevance() - exact).max() < 0.005 * np.ptp(exact)
    row = contrast.weights(score, found[method].logits[1:2], torch.tensor([2]))[0]
    row[2] = 0
    assert explorer.weights() == pytest.approx((-row).numpy(), abs=1e-6)


def test_foils_that_are_not_chosen_are_the_strongest_rival():
    found, explorer = made(contrast="foil", target=2)
    rival = found["linear"].logits[0].argsort(descending=True).tolist()
    assert np.flatnonzero(explorer.weights()).tolist() == [next(c for c in rival if c != 2)]
    explorer.foils = [2]  # nothing is held against itself
    assert explorer.weights()[2] == 0


def test_two_classes_with_nearly_the_same_map_keep_their_difference():
    """What eight bits alone would lose: a difference of a tenth of the maps."""
    generator = torch.Generator().manual_seed(0)
    shared, own = torch.rand(1, 7, 7, generator=generator), torch.rand(50, 7, 7, generator=generator)
    maps = (shared + 0.1 * own).numpy()
    likeliest, least = decode(encode(maps, fine=range(32))), decode(encode(maps, fine=range(49, 17, -1)))
    exact = maps[0] - maps[1]
    assert np.abs(likeliest[0] - likeliest[1] - exact).max() < 0.001 * np.ptp(exact)
    assert np.abs(least[0] - least[1] - exact).max() > 0.005 * np.ptp(exact)


def test_the_likeliest_classes_are_kept_in_sixteen_bits():
    maps, logits = np.random.default_rng(0).normal(size=(50, 7, 7)), np.random.default_rng(1).normal(size=50)
    fine = picture(images()[0], {"Grad-CAM": maps}, logits)["methods"][0]["fine_of"]
    assert fine == np.argsort(-logits)[:32].tolist()


def test_a_map_of_zeros_stays_zero():
    assert (decode(encode(np.zeros((3, 2, 2)), fine=range(3))) == 0).all()


@pytest.mark.parametrize(("classes", "side"), [(1000, 7), (100, 14)])
def test_a_picture_is_compact(classes, side):
    """In bytes of the page, where binary state takes a third more."""
    rng = np.random.default_rng(0)
    state = picture(rng.random((3, 224, 224)), {"Grad-CAM": rng.normal(size=(classes, side, side))},
                    rng.normal(size=classes))
    method = state["methods"][0]
    assert 4 / 3 * sum(map(len, (state["logits"], method["coarse"], method["scales"], method["fine"]))) < 80_000


def test_a_photograph_is_small_and_keeps_its_shape():
    address = photograph(Image.new("RGB", (1000, 500), "red"))
    kept = Image.open(io.BytesIO(base64.b64decode(address.removeprefix("data:image/jpeg;base64,"))))
    assert kept.size == (224, 112)
    with pytest.raises(ValueError, match=r"lie in \[0, 1\]"):
        photograph(np.full((3, 4, 4), 2.0))


def test_start():
    found, explorer = made()
    assert explorer.target == found["linear"].logits[0].argmax() == explorer.likeliest()
    assert (explorer.method, explorer.contrast, explorer.live) == ("Grad-CAM", "weighted", False)


@pytest.mark.parametrize(
    ("choice", "value"),
    [("target", 6), ("target", -1), ("picture", 2), ("foils", [1, 9]), ("method", "LRP"), ("contrast", "none"),
     ("strength", 2), ("position", 101), ("colours", "jet"), ("scale", "row"), ("sign", "plus")])
def test_choices_that_do_not_exist(choice, value):
    _, explorer = made()
    before = getattr(explorer, choice)
    with pytest.raises(TraitError):
        setattr(explorer, choice, value)
    assert getattr(explorer, choice) == before
    with pytest.raises(ValueError, match=choice):
        made(**{choice: value})


@pytest.mark.parametrize(
    ("maps", "logits", "says"),
    [
        (torch.zeros(6, 4), torch.zeros(6), r"maps must be \(6, h, w\), got shape \(6, 4\)"),
        (torch.zeros(5, 4, 4), torch.zeros(6), r"maps must be \(6, h, w\), got shape \(5, 4, 4\)"),
        (torch.full((6, 4, 4), torch.nan), torch.zeros(6), "finite"),
    ],
)
def test_bad_maps(maps, logits, says):
    with pytest.raises(ValueError, match=says):
        picture(images()[0], {"Grad-CAM": maps}, logits)


def test_bad_pictures():
    maps, logits = np.zeros((6, 4, 4)), np.zeros(6)
    with pytest.raises(ValueError, match="at least one method"):
        picture(images()[0], {}, logits)
    with pytest.raises(ValueError, match=r"label must lie in \[0, 6\)"):
        picture(images()[0], {"Grad-CAM": maps}, logits, label=6)
    with pytest.raises(ValueError, match="6 logits and 2 names"):
        ContrastExplorer([picture(images()[0], {"Grad-CAM": maps}, logits)], ["a", "b"])


def test_it_shows_a_still_where_nothing_can_run():
    _, explorer = made(contrast="foil", foils=[1])
    data, _ = explorer._repr_mimebundle_()
    assert "application/vnd.jupyter.widget-view+json" in data
    assert Image.open(io.BytesIO(base64.b64decode(data["image/png"]))).width > 300
    titles = [text.get_text() for text in explorer.still().findobj(Text)]
    assert any("rather than" in title for title in titles)
    assert "image/png" not in ContrastExplorer()._repr_mimebundle_()[0]


@pytest.mark.parametrize("explorer", [ContrastExplorer, MaskingExplorer, PushingExplorer, BlockExplorer])
def test_a_script_needs_no_file(explorer):
    text = str(explorer._esm)
    assert "import " not in text
    assert text.count("export ") == text.count("export default") == 1


EVIL = "</SCRIPT><img src=x onerror=document.title=1337>"
NAMES_THAT_ARE_TEXT = [EVIL, "<!--<script>", "$$ store", "from $_{5$", "cash $\\alpha$ machine", "f"]


def test_a_class_name_is_text_in_a_built_page(tmp_path):
    """What a browser takes for the state of the page's widgets is all of it, and no name begins anything else."""
    explorer = ContrastExplorer(made()[1].pictures, NAMES_THAT_ARE_TEXT)
    shown, about = explorer._repr_mimebundle_()
    page = new_notebook(cells=[new_markdown_cell("# page"), new_code_cell("explorer", outputs=[
        new_output("display_data", data=shown, metadata=about)])])
    page.metadata["widgets"] = {WIDGETS: {"state": dependency_state(explorer, drop_defaults=False)}}
    page.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(page, tmp_path / "index.ipynb")
    (tmp_path / "conf.py").write_text(f"import sys\nsys.path.insert(0, {str(ROOT / 'book' / '_ext')!r})\n"
                                      "nb_execution_mode = 'off'\nextensions = ['myst_nb', 'book_assets']\n",
                                      encoding="utf8")
    subprocess.run([sys.executable, "-m", "sphinx", "-Q", "-b", "html", tmp_path, tmp_path / "html"], check=True)
    built = (tmp_path / "html" / "index.html").read_text(encoding="utf8")
    state = re.search(rf'<script[^>]*type="{re.escape(WIDGETS)}"[^>]*>(.*?)</script', built, re.S | re.I)[1]
    assert "<" not in state
    kept = json.loads(state)["state"][explorer.model_id]["state"]
    assert kept["names"] == NAMES_THAT_ARE_TEXT
    assert kept["_esm"] == explorer._esm
    assert "onerror" not in built.replace(state, "")


def test_names_are_drawn_as_they_are_written():
    explorer = ContrastExplorer(made()[1].pictures, NAMES_THAT_ARE_TEXT, contrast="foil", foils=[3, 4], target=2)
    assert explorer._repr_mimebundle_()[0]["image/png"]
    named = [text for text in explorer.still().findobj(Text) if "$" in text.get_text()]
    assert named
    assert not any(text.get_parse_math() for text in named)


def test_classes_are_taken_by_their_names_too():
    _, explorer = made(target="b", contrast="foil", foils=["e", np.int64(0)])
    assert (explorer.target, explorer.foils) == (1, [4, 0])
    explorer.target, explorer.foils = "C", [torch.tensor(3), "F"]
    assert (explorer.target, explorer.foils) == (2, [3, 5])
    for choice in ({"target": "g"}, {"foils": ["a", "g"]}):
        with pytest.raises(ValueError, match="no class is called 'g'; there are: a, b, c, d, e, f"):
            made(**choice)


def test_a_foil_is_named_once():
    _, explorer = made(target=0, contrast="foil", foils=[1])
    for twice in ([1, 1], ["b", 1]):
        with pytest.raises(TraitError, match=r"different classes, one is named twice: \[1, 1\]"):
            explorer.foils = twice
    assert explorer.foils == [1]
    assert explorer.weights().sum() == pytest.approx(1, abs=1e-12)


def test_a_kept_question_belongs_to_its_picture():
    _, explorer = made(target=3, foils=[1])
    explorer.pinned = {"contrast": "mean"}
    explorer.picture, explorer.target, explorer.foils = 1, 2, []
    assert explorer.pinned == {"picture": 0, "target": 3, "contrast": "mean", "position": 50, "foils": [1],
                               "method": "Grad-CAM"}
    for wrong in ({"picture": 2}, {"target": 6}, {"foils": [9]}, {"method": "LRP"}, {"dial": 1}):
        with pytest.raises(TraitError, match=next(iter(wrong))):
            explorer.pinned = wrong
    explorer.pinned = {}
    assert explorer.pinned == {}


def test_without_anywidget_it_says_what_to_install():
    code = "import sys; sys.modules['anywidget'] = None; import contrastlib.explorables"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "pip install anywidget" in done.stderr
