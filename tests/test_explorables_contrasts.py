"""The contrast explorer: what it hands to the browser, and its arithmetic against the library's."""

import base64
import io
import subprocess
import sys

import numpy as np
import pytest
import torch
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
    titles = [text.get_text() for text in explorer.still().texts]
    assert any("rather than" in title for title in titles)
    assert "image/png" not in ContrastExplorer()._repr_mimebundle_()[0]


@pytest.mark.parametrize("explorer", [ContrastExplorer, MaskingExplorer, PushingExplorer, BlockExplorer])
def test_a_script_needs_no_file(explorer):
    text = str(explorer._esm)
    assert "import " not in text
    assert text.count("export ") == text.count("export default") == 1


def test_without_anywidget_it_says_what_to_install():
    code = "import sys; sys.modules['anywidget'] = None; import contrastlib.explorables"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "pip install anywidget" in done.stderr
