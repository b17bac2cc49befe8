"""What is read off a prediction, once more by exponentials and on curves whose area is known."""

import math

import pytest
import torch

from contrastlib import evaluation
from contrastlib.evaluation import area_under, outcome, relative_probability

LOGITS = torch.tensor([[1.0, 5.0, 3.0], [2.0, 0.0, -1.0]], dtype=torch.float64)


def test_outcome_is_hit_probability_and_logit():
    found = outcome(LOGITS, torch.tensor([1, 2]))
    p = [math.exp(5) / (math.exp(1) + math.exp(5) + math.exp(3)), math.exp(-1) / (math.exp(2) + 1 + math.exp(-1))]
    expected = torch.tensor([[1, p[0], 5], [0, p[1], -1]], dtype=torch.float64)
    torch.testing.assert_close(found, expected)
    assert evaluation.OUTCOMES == ("accuracy", "p_t", "y_t")


def test_the_target_need_not_be_the_prediction():
    first, second = (outcome(LOGITS, torch.tensor(target)) for target in ([1, 0], [0, 1]))
    assert first[:, 0].tolist() == [1, 1]
    assert second[:, 0].tolist() == [0, 0]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_relative_probability_is_the_ratio_of_exponentials(dtype):
    first, second = torch.tensor([1, 0]), torch.tensor([2, 1])
    found = relative_probability(LOGITS.to(dtype), first, second)
    expected = [math.exp(5) / (math.exp(5) + math.exp(3)), math.exp(2) / (math.exp(2) + math.exp(0))]
    assert found.dtype == dtype
    assert found.tolist() == pytest.approx(expected, rel=1e-6)
    back = relative_probability(LOGITS.to(dtype), second, first)
    torch.testing.assert_close(found + back, torch.ones_like(found))


def test_the_other_classes_do_not_matter():
    changed = torch.tensor([[50.0, 5.0, 3.0]], dtype=torch.float64)
    args = torch.tensor([1]), torch.tensor([2])
    assert torch.equal(relative_probability(changed, *args), relative_probability(LOGITS[:1], *args))


@pytest.mark.parametrize("gap", [-300.0, -1.0, 0.0, 1.0, 300.0])
def test_relative_probability_does_not_overflow(gap):
    logits = torch.tensor([[200.0 + gap, 200.0]])
    found = relative_probability(logits, torch.tensor([0]), torch.tensor([1])).item()
    assert found == pytest.approx(1 / (1 + math.exp(-gap)), rel=1e-6)


@pytest.mark.parametrize("shares", [(0.0, 1.0), (0.0, 0.05, 0.1, 0.2, 0.9, 1.0), (2.0, 3.0, 7.0)])
def test_area_of_straight_lines(shares):
    at = torch.tensor(shares, dtype=torch.float64)
    curves = torch.stack([torch.full_like(at, 0.7), (at - at[0]) / (at[-1] - at[0]), 3 - at])
    middle = (shares[0] + shares[-1]) / 2
    assert area_under(curves, shares).tolist() == pytest.approx([0.7, 0.5, 3 - middle])


def test_area_of_a_bent_curve():
    # A trapezoid of width 1/4 from 1 to 0, one of 1/4 from 0 to 0.4, and a rectangle of width 1/2 and height 0.4.
    values = torch.tensor([[1.0, 0.0, 0.4, 0.4]], dtype=torch.float64)
    assert area_under(values, (0, 0.25, 0.5, 1)).item() == pytest.approx(0.25 * 0.5 + 0.25 * 0.2 + 0.5 * 0.4)


def test_an_area_lies_where_the_values_lie():
    with torch.device("meta"):
        assert area_under(LOGITS, (0, 1, 3)).tolist() == pytest.approx([(3 + 8) / 3, (1 - 1) / 3])


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_area_is_as_precise_as_the_values(dtype):
    values = torch.tensor([[1.0, 0.0, 0.5]], dtype=dtype)
    found = area_under(values, (0.0, 0.1, 0.7))
    assert found.dtype == dtype
    assert found.item() == pytest.approx((0.05 + 0.15) / 0.7, rel=torch.finfo(dtype).eps * 4)


@pytest.mark.parametrize("shares", [(0.0, 1.0), (0.0, 0.5, 0.5), (1.0, 0.5, 0.0), (0.0, 0.2, 0.4, 1.0)])
def test_places_that_do_not_fit(shares):
    with pytest.raises(ValueError, match="3 values need as many rising places"):
        area_under(torch.zeros(2, 3), shares)


def test_one_place_has_no_area():
    with pytest.raises(ValueError, match="at least two"):
        area_under(torch.zeros(2, 1), (0.5,))
