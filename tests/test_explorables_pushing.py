"""The pushing explorer: its numbers are the library's, worked out once more, and its state is small."""

import base64
import io
import json

import numpy as np
import pytest
import torch
import traitlets
from matplotlib.figure import Figure
from networks import images, tiny
from PIL import Image

from contrastlib import contrast, explorables
from contrastlib.explorables import PushingExplorer, pushed_picture
from contrastlib.perturbation import gradient_sign, logits_of

SCORES = {"original": contrast.original, "weighted": contrast.weighted, "max": contrast.max}
TRUTH = [5, 1, 2, 5]
SIZE, COUNT = 0.01, 4
PHOTO = np.random.default_rng(2).random((3, 12, 10))
CHANCES = np.full((2, 3, 2), 0.5)
FRAMES = [[PHOTO, PHOTO]] * 2
AVERAGES = {name: np.zeros((3, 3)) for name in ("original", "max")}


@pytest.fixture(scope="module")
def found():
    return explorables.pushing(tiny(), images(4), TRUTH, size=SIZE, count=COUNT, shown=2)


def test_steps_are_those_of_the_library():
    """i steps of d, one after another, are gradient_sign() with a bound of i d in i steps."""
    classifier, x, t = tiny(), images(4), torch.tensor(TRUTH)
    for score in SCORES.values():
        moved = x
        for i in range(1, COUNT + 1):
            moved = gradient_sign(classifier, moved, t, score, epsilon=SIZE, steps=1)
            assert torch.allclose(moved, gradient_sign(classifier, x, t, score, epsilon=i * SIZE, steps=i), atol=1e-12)


def test_averages_and_their_errors_are_those_of_the_library(found):
    classifier, x, t = tiny(), images(4), torch.tensor(TRUTH)
    for name, score in SCORES.items():
        outcomes = []
        for i in range(COUNT + 1):
            moved = gradient_sign(classifier, x, t, score, epsilon=i * SIZE, steps=i) if i else x
            y = logits_of(classifier, moved)
            of_target = y[range(4), TRUTH]
            outcomes.append(torch.stack([(y.argmax(1) == t).double(), of_target.exp() / y.exp().sum(1), of_target], 1))
        all_ = torch.stack(outcomes).numpy()
        wanted = all_.mean(1)
        wanted[:, 2] -= wanted[0, 2]
        assert found.averages(name) == pytest.approx(wanted, abs=1e-6)
        errors = (all_ - all_[0]).std(1, ddof=1) / 2
        assert found.standard_errors(name) == pytest.approx(errors, abs=1e-6)


def test_the_shown_picture_moves_with_its_probabilities(found):
    classifier, x = tiny(), images(4)[2:3]
    before = logits_of(classifier, x)[0]
    rivals = [c for c in before.argsort(descending=True).tolist() if c != 2][:3]
    assert found.picture["names"] == [f"class {c}" for c in (2, *rivals)]
    chances = np.frombuffer(found.picture["probabilities"], "<f4").reshape(3, COUNT + 1, 4)
    for row, frames, score in zip(chances, found.picture["frames"], SCORES.values()):
        moved = gradient_sign(classifier, x, torch.tensor([2]), score, epsilon=COUNT * SIZE, steps=COUNT)
        assert row[-1] == pytest.approx(logits_of(classifier, moved)[0].softmax(-1)[[2, *rivals]].numpy(), abs=1e-6)
        assert row[0] == pytest.approx(before.softmax(-1)[[2, *rivals]].numpy(), abs=1e-6)
        louder = (x + 20 * (moved - x)).clamp(0, 1)[0].permute(1, 2, 0).numpy()
        seen = np.asarray(Image.open(io.BytesIO(base64.b64decode(frames[-1].split(",")[1])))) / 255
        assert seen.shape == (8, 8, 3)
        assert np.abs(seen.mean((0, 1)) - louder.mean((0, 1))).max() < 0.05  # a JPEG of noise is only near
        assert len(set(frames)) == COUNT


def test_images_are_pushed_in_chunks_that_make_no_difference(monkeypatch, found):
    monkeypatch.setattr("contrastlib.explorables.pushing_explorer.CHUNK", 3)
    again = explorables.pushing(tiny(), images(4), torch.tensor(TRUTH), size=SIZE, count=COUNT, shown=2)
    for name in SCORES:
        assert again.averages(name) == pytest.approx(found.averages(name), abs=1e-6)
    assert again.picture["names"] == found.picture["names"]


def test_one_image_has_no_error_and_is_shown():
    found = explorables.pushing(tiny(), images(1), [3], {"max": contrast.max}, size=SIZE, count=1)
    assert np.isnan(found.standard_errors("max")).all()
    assert (found.images, found.count, found.step, found.contrast, found.colours) == (1, 1, 1, "max", ["#5a2a6e"])
    assert isinstance(found.still(), Figure)


def test_begins_in_the_middle_along_the_weighted_contrast(found):
    assert (found.step, found.contrast, found.size) == (2, "weighted", SIZE)
    assert found.contrasts == list(SCORES)
    chosen = explorables.pushing(tiny(), images(1), [3], count=2, step=0, contrast="max")
    assert (chosen.step, chosen.contrast) == (0, "max")


def test_state_is_small_even_for_noise():
    noise = np.random.default_rng(0).random((30, 3, 224, 224)).astype(np.float32)
    one = pushed_picture(noise[0], np.split(noise, 3), ["a"], np.ones((3, 11, 1)))
    frames = sum(len(address) for row in one["frames"] for address in row)
    assert frames <= 130_000
    assert frames + len(one["photo"]) < 200_000


def test_state_of_an_explorer_is_json_and_bytes(found):
    small = {name: getattr(found, name) for name in ("contrasts", "colours", "images", "count", "size", "step")}
    assert len(json.dumps(small)) < 300
    assert len(found.values) == len(found.errors) == 4 * 3 * (COUNT + 1) * 3


def test_traits_hold_only_what_exists(found):
    for name, value in {"step": COUNT + 1, "contrast": "mean", "size": 2.0}.items():
        before = getattr(found, name)
        with pytest.raises(traitlets.TraitError):
            setattr(found, name, value)
        assert getattr(found, name) == before
    with pytest.raises(ValueError, match="contrast must be one of original, weighted, max, got 'mean'"):
        found.averages("mean")


def test_still_shows_three_charts_with_all_contrasts(found):
    figure = found.still()
    assert isinstance(figure, Figure)
    assert [ax.get_title() for ax in figure.axes] == ["accuracy", "probability pₜ", "change of logit yₜ"]
    for m, ax in enumerate(figure.axes):
        assert [line.get_label() for line in ax.lines] == list(SCORES)
        assert np.allclose(ax.lines[0].get_ydata(), found.averages("original")[:, m])
        assert len(ax.collections) == 1  # the interval of the chosen contrast
    assert "image/png" in found._repr_mimebundle_()[0]


@pytest.mark.parametrize(("given", "options", "message"), [
    ((images(2), TRUTH), {}, r"one class or one per image, shape \(2,\)"),
    ((images(2), [0, 6]), {}, r"target must lie in \[0, 6\), got \[0, 6\]"),
    ((images(2)[0], [0]), {}, r"images must be \(N, 3, H, W\)"),
    ((images(2), [0, 1]), {"count": 0}, "at least one step"),
    ((images(2), [0, 1]), {"size": 0}, r"a size in \(0, 1\]"),
    ((images(2), [0, 1]), {"shown": 2}, r"shown must lie in \[0, 2\)"),
    ((images(2), [0, 1], {}), {}, "at least one contrast"),
    ((images(2), [0, 1]), {"contrast": "mean", "count": 1}, "contrast must be one of"),
    ((images(2), [0, 1]), {"step": 9, "count": 1}, r"step must lie in \[0, 2\)"),
])
def test_what_cannot_be_explored_is_refused(given, options, message):
    with pytest.raises(ValueError, match=message):
        explorables.pushing(tiny(), *given, **options)


@pytest.mark.parametrize(("change", "message"), [
    ({"frames": []}, "as many frames for each contrast"),
    ({"frames": [[PHOTO], [PHOTO, PHOTO]]}, r"got \[1, 2\]"),
    ({"probabilities": CHANCES[:, :2]}, r"probabilities must be \(2, 3, 2\)"),
    ({"probabilities": CHANCES * 4}, r"must lie in \[0, 1\]"),
])
def test_bad_pictures_are_refused(change, message):
    given = {"frames": FRAMES, "names": ["a", "b"], "probabilities": CHANCES} | change
    with pytest.raises(ValueError, match=message):
        pushed_picture(PHOTO, **given)


@pytest.mark.parametrize(("averages", "errors", "message"), [
    ({}, {}, "at least one"),
    (AVERAGES, {"max": AVERAGES["max"]}, "the same contrasts"),
    ({"max": AVERAGES["max"]}, {"max": AVERAGES["max"]}, "frames for 2 contrasts, there are 1"),
    (AVERAGES, {**AVERAGES, "max": np.zeros((2, 3))}, r"errors of 'max' must be \(3, 3\), got shape \(2, 3\)"),
])
def test_bad_tables_are_refused(averages, errors, message):
    picture = pushed_picture(PHOTO, FRAMES, ["a", "b"], CHANCES)
    with pytest.raises(ValueError, match=message):
        PushingExplorer(averages, errors, picture, size=SIZE, images=4)
