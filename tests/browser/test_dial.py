"""The temperature dial in a built page, without a kernel: its arithmetic is the library's."""

import re

import pytest

from contrastlib import contrast, models
from contrastlib.attribution import grad_cam
from contrastlib.data import photographs

PAGE = "/chapters/02_one_dial_from_mean_to_max.html"


@pytest.fixture(scope="module")
def library():
    classifier = models.load("tf_efficientnet_lite0")
    images = classifier.prepare(photographs.load("chelsea").image)
    return classifier, grad_cam.class_maps(classifier, images)


def pixels(dial):
    return dial.locator("canvas").evaluate(
        "c => Array.from(c.getContext('2d').getImageData(0, 0, 224, 224).data.filter((_, i) => i % 97 === 0))")


def test_dial_turns_and_agrees_with_the_library(visit, library):
    classifier, maps = library
    page = visit(PAGE)
    dial = page.tab.locator(".cl-dial")
    dial.locator("canvas").wait_for()
    target = classifier.index("tiger cat")
    seen = []
    for mark in ("max", "weighted", "mean"):
        dial.get_by_role("button", name=mark).click()
        low, high = (float(n) for n in re.findall(r"-?\d+\.\d+", dial.locator(".cl-reads").inner_text())[::-1])
        exact = maps.combine(getattr(contrast, mark), target)
        reach = (exact.max() - exact.min()).item()
        assert high == pytest.approx(exact.max().item(), abs=0.01 * reach + 6e-4)
        assert low == pytest.approx(exact.min().item(), abs=0.01 * reach + 6e-4)
        seen.append(pixels(dial))
    assert seen[0] != seen[1] != seen[2]


def test_another_class_can_be_chosen_by_name(visit):
    page = visit(PAGE)
    dial = page.tab.locator(".cl-dial")
    before = pixels(dial)
    dial.get_by_role("combobox").select_option(label="Egyptian cat")
    assert dial.locator("output").inner_text() == (
        "T = 1.0: why Egyptian cat rather than the others, tiger cat counting 61 %?")
    assert pixels(dial) != before


def test_dial_by_keyboard(visit):
    page = visit(PAGE)
    slider = page.tab.locator(".cl-dial").get_by_role("slider", name="Temperature of the contrast")
    slider.press("End")
    assert slider.get_attribute("aria-valuetext") == "temperature ∞"
    slider.press("Home")
    assert slider.get_attribute("aria-valuetext") == "temperature 0"
