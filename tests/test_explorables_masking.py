"""The masking explorer: its numbers are the library's, worked out once more, and its state is small."""

import json

import numpy as np
import pytest
import torch
import traitlets
from matplotlib.figure import Figure
from networks import images, pooled, tiny

from contrastlib import contrast, explorables
from contrastlib.attribution import grad_cam, gradient_x_input
from contrastlib.explorables import MaskingExplorer, masked_picture, photograph
from contrastlib.names import UnknownNameError
from contrastlib.perturbation import blur, keep, logits_of, ranks, remaining

SCORES = {"original": contrast.original, "weighted": contrast.weighted}
MAPS = np.random.default_rng(0).normal(size=(2, 2, 3, 4))
CURVES = np.random.default_rng(1).random((2, 2, 2, 21))
PHOTO = np.random.default_rng(2).random((3, 18, 24))


@pytest.fixture(scope="module")
def found():
    return explorables.masking(tiny(), images(2), step=10)


def state(widget) -> dict:
    return {name: getattr(widget, name) for name in widget.trait_names(sync=True) if not name.startswith("_")}


def size(value) -> int:
    """Characters in a page: bytes are written in base64 there."""
    if isinstance(value, bytes):
        return -(-len(value) // 3) * 4
    if isinstance(value, dict):
        return sum(size(v) for v in value.values())
    return sum(map(size, value)) if isinstance(value, list) else len(json.dumps(value, default=str))


def once_more(classifier, image, one, other, score, removed, share):
    """The relative probability, from the attribution's map at full size and two exponentials."""
    rank = ranks(grad_cam(classifier, image, one, score))
    y = logits_of(classifier, keep(image, blur(image), remaining(rank, share / 100, removed)))[0].exp()
    return (y[one] / (y[one] + y[other])).item()


@pytest.mark.parametrize("removed", ["highest", "lowest"])
@pytest.mark.parametrize("target", [0, 1])
def test_curves_are_the_relative_probability_of_masked_pictures(found, removed, target):
    classifier = tiny()
    found.target, found.removed = target, removed
    for number, image in enumerate(images(2).split(1)):
        found.picture = number
        pair = logits_of(classifier, image)[0].topk(2).indices.tolist()
        one, other = pair if target == 0 else pair[::-1]
        assert found.pictures[number]["names"] == [f"class {c}" for c in pair]
        for name, score in SCORES.items():
            wanted = [once_more(classifier, image, one, other, score, removed, share) for share in range(0, 101, 10)]
            assert found.curve(name) == pytest.approx(wanted, abs=1e-6)
            found.share = 70
            assert found.value(name) == pytest.approx(wanted[7], abs=1e-6)


def test_the_pixels_that_are_left_are_those_of_the_library():
    classifier, image = tiny(), images(1, seed=4)
    found = explorables.masking(classifier, image, removed="lowest")
    one = int(logits_of(classifier, image).argmax())
    one_state = found.pictures[0]
    marked = one_state | {"photo": white(8), "blurred": white(8, of=0)}  # so that what is left can be counted
    found.pictures = [marked]
    for name, score in SCORES.items():
        rank = ranks(grad_cam(classifier, image, one, score))
        for share in (0, 25, 60, 100):
            left = found.masked(name, share)[..., 0] > 127
            mask = remaining(rank, share / 100, "lowest")[0, 0].numpy()
            assert left.sum() == mask.sum()
            assert (left == mask).mean() >= 0.95  # equal values at the border may change places


def white(side, of=255):
    return photograph(np.full((side, side, 3), of, np.uint8))


def test_highest_and_lowest_remove_from_opposite_ends(found):
    found.picture, found.target = 0, 0
    whole, blurred = found.masked("weighted", 0), found.masked("weighted", 100)
    assert (whole != blurred).any()
    found.removed = "highest"
    top = found.masked("weighted", 50)
    found.removed = "lowest"
    bottom = found.masked("weighted", 50)
    assert np.array_equal(np.where(top == whole, blurred, whole), bottom)


def test_classes_can_be_named():
    classifier, image = tiny(), images(1)
    found = explorables.masking(classifier, image, pairs=[(4, 1)], step=50, share=0)
    y = logits_of(classifier, image)[0].softmax(-1)
    assert found.pictures[0]["names"] == ["class 4", "class 1"]
    assert found.value("original") == pytest.approx((y[4] / (y[4] + y[1])).item(), abs=1e-6)


def test_photographs_have_titles_and_choices_are_taken():
    photo = (255 * images(1)[0].permute(1, 2, 0)).to(torch.uint8).numpy()
    found = explorables.masking(tiny(torch.float32), {"a": photo, "b": photo}, step=25, picture=1, target=1,
                            contrasts={"mean": contrast.mean})
    assert [one["title"] for one in found.pictures] == ["a", "b"]
    assert (found.picture, found.target, found.share, found.contrasts) == (1, 1, 25, ["mean"])
    assert found.colours == ["#56b4e9"]


def test_another_method_and_layer_rank_the_pixels():
    classifier, image = tiny(), images(1)
    first = explorables.masking(classifier, image, layer="act", step=20)
    assert first.relevance("original").shape == (8, 8)
    assert explorables.masking(classifier, image, gradient_x_input, step=20).relevance("original").shape == (8, 8)
    usual = explorables.masking(classifier, image, step=20)
    assert not np.array_equal(first.curve("original"), usual.curve("original"))


def test_state_is_small():
    one = masked_picture(PHOTO, PHOTO, ["a", "b"], MAPS, CURVES)
    assert size(one) < 10_000
    noise = np.random.default_rng(0).random((3, 224, 224))
    big = masked_picture(noise, 0.5 + 0 * noise, ["a", "b"], np.ones((2, 2, 14, 14)), CURVES)
    assert size(big) < 100_000
    assert size(state(MaskingExplorer([one, one], list(SCORES)))) < 2 * size(one) + 500


def test_traits_hold_only_what_exists(found):
    for name, value in {"picture": 2, "target": 2, "removed": "middle", "share": 15}.items():
        before = getattr(found, name)
        with pytest.raises(traitlets.TraitError):
            setattr(found, name, value)
        assert getattr(found, name) == before
    found.share = 100
    with pytest.raises(ValueError, match=r"contrast must be one of original, weighted, got 'max'"):
        found.value("max")


def test_names_are_drawn_as_they_are_written():
    explorer = MaskingExplorer([masked_picture(PHOTO, PHOTO, ["$$ store", "from $_{5$"], MAPS, CURVES)], ["a$$", "b"])
    assert explorer._repr_mimebundle_()[0]["image/png"]
    assert explorer.still().axes[-1].get_title() == "$$ store\nagainst from $_{5$"


def test_still_shows_pictures_and_curves(found):
    found.removed = "lowest"
    figure = found.still()
    assert isinstance(figure, Figure)
    *pictures, chart = figure.axes
    assert len(pictures) == 6
    assert [line.get_label() for line in chart.lines] == list(SCORES)
    assert np.allclose(chart.lines[1].get_ydata(), found.curve("weighted"))
    assert "lowest" in chart.get_xlabel()
    assert "image/png" in found._repr_mimebundle_()[0]


@pytest.mark.parametrize(("options", "message"), [
    ({"step": 7}, "step must be a whole number of per cent that divides 100"),
    ({"contrasts": {}}, "at least one contrast"),
    ({"pairs": [(0, 1)]}, "2 photographs need as many pairs"),
    ({"pairs": [(0, 1), (2, 2)]}, r"two different classes in \[0, 6\), got \[2, 2\]"),
    ({"pairs": [(0, 1), (2, 6)]}, r"two different classes in \[0, 6\), got \[2, 6\]"),
    ({"share": 12}, "share must be a multiple of 5"),
    ({"picture": 2}, r"picture must lie in \[0, 2\)"),
])
def test_what_cannot_be_explored_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        explorables.masking(tiny(), images(2), **options)


def test_an_unknown_layer_is_named():
    with pytest.raises(UnknownNameError, match="no layer 'nowhere'"):
        explorables.masking(tiny(), images(1), layer="nowhere")


def test_one_class_has_no_rival():
    with pytest.raises(ValueError, match="returned one logit"):
        explorables.masking(pooled(1), images(1, 16))


@pytest.mark.parametrize(("change", "message"), [
    ({"names": ["a"]}, "got 1 names"),
    ({"maps": MAPS[0]}, r"maps must be \(2, K, h, w\)"),
    ({"curves": CURVES[:, :, :1]}, r"curves must be \(2, 2, 2, S\)"),
    ({"maps": MAPS * np.nan}, "maps must be finite"),
    ({"curves": CURVES + 1}, r"must lie in \[0, 1\]"),
])
def test_bad_states_are_refused(change, message):
    given = {"names": ["a", "b"], "maps": MAPS, "curves": CURVES} | change
    with pytest.raises(ValueError, match=message):
        masked_picture(PHOTO, PHOTO, **given)


def test_an_explorer_needs_pictures_that_fit_its_shares():
    one = masked_picture(PHOTO, PHOTO, ["a", "b"], MAPS, CURVES)
    with pytest.raises(ValueError, match="at least one picture"):
        MaskingExplorer([], list(SCORES))
    with pytest.raises(ValueError, match="2 contrasts at 11 shares from 0 to 100 % need 88"):
        MaskingExplorer([one], list(SCORES), step=10)


def test_a_map_of_zeros_still_ranks():
    one = masked_picture(PHOTO, 0 * PHOTO, ["a", "b"], 0 * MAPS, CURVES)
    found = MaskingExplorer([one], list(SCORES))
    assert found.masked("original", 50).shape == (18, 24, 3)
