"""The temperature dial: what it hands to the browser, and the browser's arithmetic against the library's."""

import math
import struct

import numpy as np
import pytest
import torch
from networks import images, tiny

from contrastlib import contrast
from contrastlib.attribution import grad_cam
from contrastlib.widgets import TemperatureDial
from contrastlib.widgets._dial import temperature


def dial(**options):
    maps = grad_cam.class_maps(tiny(), images())
    return maps, TemperatureDial.of(images()[0], maps.maps[0], maps.logits[0], list("abcdef"), **options)


def test_eight_bits_differ_by_less_than_a_percent_of_the_range():
    maps, widget = dial()
    stored = np.frombuffer(widget.maps, np.int8).reshape(widget.shape) * widget.scale
    exact = maps.maps[0].numpy()
    assert np.abs(stored - exact).max() <= 0.005 * np.abs(exact).max()


def test_logits_and_choices():
    maps, widget = dial(choices=3)
    assert struct.unpack("<6f", widget.logits) == pytest.approx(maps.logits[0].tolist(), rel=1e-6)
    assert widget.choices == maps.logits[0].topk(3).indices.tolist()
    assert widget.target == widget.choices[0]
    assert widget.photo.startswith("data:image/jpeg;base64,")


def test_state_of_a_thousand_classes_is_compact():
    widget = TemperatureDial.of(np.zeros((3, 224, 224)), np.ones((1000, 7, 7)), np.arange(1000.0), ["name"] * 1000)
    assert len(widget.maps) + len(widget.logits) < 60_000


def test_marks_of_the_dial():
    assert [temperature(p) for p in (0, 50, 100)] == [0.0, 1.0, math.inf]
    assert temperature(25) == pytest.approx(10**-0.5)


@pytest.mark.parametrize(
    ("maps", "logits", "says"),
    [
        (torch.zeros(6, 4), torch.zeros(6), r"\(C, h, w\)"),
        (torch.zeros(5, 4, 4), torch.zeros(6), "one map, logit and name per class"),
        (torch.full((6, 4, 4), torch.nan), torch.zeros(6), "finite"),
    ],
)
def test_bad_input(maps, logits, says):
    with pytest.raises(ValueError, match=says):
        TemperatureDial.of(images()[0], maps, logits, list("abcdef"))


def test_dial_positions_are_contrasts():
    """What the three marks mean, in the library's words."""
    maps, _ = dial()
    for position, name in ((0, "max"), (50, "weighted"), (100, "mean")):
        turned = maps.combine(contrast.tempered(temperature(position)), 2)
        torch.testing.assert_close(turned, maps.combine(getattr(contrast, name), 2))
