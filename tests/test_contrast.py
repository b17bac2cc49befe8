"""Each contrast against its formula written a second time, class by class, in float64."""

import math
import re

import pytest
import torch
from torch import Tensor

from contrastlib import contrast

C = 7


def case(dtype=torch.float64, n=5, c=C, seed=0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(n, c, generator=generator, dtype=torch.float64)
    return logits.to(dtype), torch.randint(c, (n,), generator=generator)


def by_hand(score, logits, target) -> Tensor:
    """Apply a formula on plain Python floats: (y, t) -> number."""
    return torch.tensor([score([float(v) for v in row], int(t)) for row, t in zip(logits, target, strict=True)])


def others(y: list[float], t: int) -> list[float]:
    return [v for s, v in enumerate(y) if s != t]


FORMULAS = {
    "original": (contrast.original, lambda y, t: y[t]),
    "mean": (contrast.mean, lambda y, t: y[t] - sum(others(y, t)) / (len(y) - 1)),
    "max": (contrast.max, lambda y, t: y[t] - max(others(y, t))),
    "weighted": (contrast.weighted, lambda y, t: y[t] - math.log(sum(math.exp(v) for v in others(y, t)))),
    "probability": (contrast.probability, lambda y, t: math.exp(y[t]) / sum(math.exp(v) for v in y)),
    "tempered": (
        contrast.tempered(2.5),
        lambda y, t: y[t] - 2.5 * math.log(sum(math.exp(v / 2.5) for v in others(y, t))),
    ),
    "finer": (
        contrast.finer(0.6, 3),
        lambda y, t: y[t] - 0.6 / 3 * sum(sorted(others(y, t), key=lambda v: abs(v - y[t]))[:3]),
    ),
}


@pytest.mark.parametrize("name", FORMULAS)
def test_score_is_the_formula(name):
    function, formula = FORMULAS[name]
    logits, target = case()
    torch.testing.assert_close(function(logits, target).float(), by_hand(formula, logits, target).float())


@pytest.mark.parametrize("name", [n for n in FORMULAS if n != "finer"])
def test_differentiable_twice(name):
    logits, target = case(n=2, c=4)
    function = FORMULAS[name][0]
    leaf = logits.clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda y: function(y, target), leaf)
    assert torch.autograd.gradgradcheck(lambda y: function(y, target), leaf)


@pytest.mark.parametrize("name", FORMULAS)
def test_as_few_classes_as_a_contrast_needs_are_enough(name):
    function, formula = FORMULAS[name]
    if name == "finer":
        function, formula = contrast.finer(0.6, 1), lambda y, t: y[t] - 0.6 * y[1 - t]
    elif name == "tempered":
        function, formula = contrast.tempered(0.5), lambda y, t: y[t] - y[1 - t]
    logits, target = case(c=1 if name == "original" else 2)
    torch.testing.assert_close(function(logits, target).float(), by_hand(formula, logits, target).float())


def test_finer_compares_with_as_many_neighbours_as_there_are():
    logits, target = case(c=4)
    torch.testing.assert_close(contrast.finer(3.0, 3)(logits, target), 3 * contrast.mean(logits, target)
                               - 2 * contrast.original(logits, target))


def test_weighted_weights_are_the_softmax_over_the_others():
    logits, target = case()
    row = contrast.weights(contrast.weighted, logits, target)
    for i, t in enumerate(target.tolist()):
        rest = [s for s in range(C) if s != t]
        expected = torch.zeros(C, dtype=torch.float64)
        expected[t] = 1
        expected[rest] = -logits[i, rest].softmax(0)
        torch.testing.assert_close(row[i], expected)
    torch.testing.assert_close(row.sum(-1), torch.zeros(5, dtype=torch.float64))


def test_probability_is_proportional_to_weighted():
    logits, target = case()
    p = logits.softmax(-1).gather(-1, target[:, None])
    expected = p * (1 - p) * contrast.weights(contrast.weighted, logits, target)
    torch.testing.assert_close(contrast.weights(contrast.probability, logits, target), expected)


def test_effective_rivals_count_what_is_subtracted():
    logits, target = case()
    counts = {"max": 1.0, "mean": C - 1.0}
    for name, count in counts.items():
        rivals = contrast.effective_rivals(getattr(contrast, name), logits, target)
        torch.testing.assert_close(rivals, torch.full((5,), count, dtype=torch.float64))
    alpha = contrast.weights(contrast.weighted, logits, target)
    alpha = [-float(a) for s, a in enumerate(alpha[0]) if s != target[0]]
    by_hand = math.exp(-sum(a * math.log(a) for a in alpha))
    assert contrast.effective_rivals(contrast.weighted, logits, target)[0].item() == pytest.approx(by_hand)
    assert contrast.effective_rivals(contrast.original, logits, target).isnan().all()


def test_weighted_is_the_log_odds():
    logits, target = case()
    p = logits.softmax(-1).gather(-1, target[:, None]).squeeze(-1)
    torch.testing.assert_close(contrast.weighted(logits, target), torch.log(p / (1 - p)))


@pytest.mark.parametrize("end", ["max", "weighted", "mean"])
def test_temperature_runs_from_max_through_weighted_to_mean(end):
    logits, target = case()
    temperature = {"max": 1e-3, "weighted": 1.0, "mean": 1e6}[end]
    dial = contrast.weights(contrast.tempered(temperature), logits, target)
    torch.testing.assert_close(dial, contrast.weights(getattr(contrast, end), logits, target), atol=1e-5, rtol=0)


def test_temperature_ends_are_exact():
    logits, target = case()
    assert torch.equal(contrast.tempered(0)(logits, target), contrast.max(logits, target))
    assert torch.equal(contrast.tempered(math.inf)(logits, target), contrast.mean(logits, target))


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
def test_temperatures_that_the_precision_cannot_hold_are_its_ends(dtype):
    logits, target = case(dtype)
    for temperature, end in ((1e-46, contrast.max), (1e39, contrast.mean)):
        assert torch.equal(contrast.tempered(temperature)(logits, target), end(logits, target))
        assert torch.equal(contrast.weights(contrast.tempered(temperature), logits, target),
                           contrast.weights(end, logits, target))


def test_max_shares_ties_as_the_cold_end_of_the_dial_does():
    logits = torch.tensor([[0.0, 2.0, 2.0, 1.0]], dtype=torch.float64)
    target = torch.tensor([0])
    expected = torch.tensor([[1.0, -0.5, -0.5, 0.0]], dtype=torch.float64)
    torch.testing.assert_close(contrast.weights(contrast.max, logits, target), expected)
    torch.testing.assert_close(contrast.weights(contrast.tempered(1e-3), logits, target), expected)


def test_foil_of_everything_else_is_weighted_and_of_one_is_the_difference():
    logits, _ = case()
    target = torch.zeros(5, dtype=torch.int64)
    torch.testing.assert_close(contrast.foil(range(1, C))(logits, target), contrast.weighted(logits, target))
    torch.testing.assert_close(contrast.foil(3)(logits, target), logits[:, 0] - logits[:, 3])
    torch.testing.assert_close(contrast.foil(1)(logits[:, :2], target), logits[:, 0] - logits[:, 1])


def test_foil_takes_a_set_for_each_image():
    logits, _ = case(n=2)
    sets = torch.tensor([[1, 2], [3, 4]])
    both = contrast.foil(sets)(logits, torch.tensor([0, 5]))
    alone = [contrast.foil([1, 2])(logits[:1], torch.tensor([0])), contrast.foil([3, 4])(logits[1:], torch.tensor([5]))]
    torch.testing.assert_close(both, torch.cat(alone))


@pytest.mark.parametrize("sets", [[[1, 2, 1]], [[3, 1, 2, 4, 3]], [[1, 2, 3], [2, 3, 2]]])
def test_a_foil_is_named_once_wherever_it_stands(sets):
    with pytest.raises(ValueError, match=re.escape(f"a foil class is named twice: {sets}")):
        contrast.foil(torch.tensor(sets))


def test_foils_made_in_inference_mode_have_weights_outside():
    logits, target = case()[0], torch.zeros(5, dtype=torch.int64)
    with torch.inference_mode():
        made = contrast.foil(torch.tensor([1, 2]))
    leaf = logits.clone().requires_grad_()
    (row,) = torch.autograd.grad(made(leaf, target).sum(), leaf)
    torch.testing.assert_close(row[:, [1, 2]], -logits[:, [1, 2]].softmax(-1))


@pytest.mark.parametrize("gap", [0.0, 8.0, 16.0, 40.0, 80.0])
def test_weighted_weights_survive_a_dominating_class(gap):
    logits = torch.tensor([[gap, 0.0, -1.0, -2.0]], dtype=torch.float64)
    target = torch.tensor([0])
    exact = contrast.weights(contrast.weighted, logits, target)
    torch.testing.assert_close(contrast.weights(contrast.weighted, logits.float(), target).double(), exact,
                               atol=1e-6, rtol=0)


def test_softmax_loses_the_target_from_a_gap_of_about_16():
    def target_share(gap: float) -> float:
        """Weight of the target over the weight of the rivals: 1 in exact arithmetic."""
        row = contrast.weights(contrast.probability, torch.tensor([[gap, 0.0]]), torch.tensor([0]))[0]
        return (row[0] / -row[1]).item()

    assert target_share(4.0) == pytest.approx(1, abs=1e-4)
    assert abs(target_share(14.0) - 1) > 1e-3
    lost = next(gap for gap in range(4, 40) if target_share(float(gap)) == 0)
    assert 16 <= lost <= 18
    row = contrast.weights(contrast.probability, torch.tensor([[20.0, 0.0]]), torch.tensor([0]))
    assert row[0, 1] < 0, "the rival's term is still there, so the map is not zero but wrong"


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("name", FORMULAS)
def test_precision_of_the_logits_is_kept(name, dtype):
    logits, target = case(dtype)
    score = FORMULAS[name][0](logits, target)
    assert score.dtype == dtype
    assert score.isfinite().all()


@pytest.mark.parametrize("name", FORMULAS)
def test_the_default_device_does_not_matter(name):
    logits, target = case()
    expected = FORMULAS[name][0](logits, target)
    with torch.device("meta"):  # what forgets where the logits lie ends there, without a number
        assert torch.equal(FORMULAS[name][0](logits, target), expected)


def test_logits_are_not_changed():
    logits, target = case()
    before = logits.clone()
    for function, _ in FORMULAS.values():
        function(logits, target)
    assert torch.equal(logits, before)


@pytest.mark.parametrize("around", [torch.no_grad, torch.inference_mode])
def test_weights_under_no_grad(around):
    logits, target = case()
    expected = contrast.weights(contrast.weighted, logits, target)
    with around():
        assert torch.equal(contrast.weights(contrast.weighted, logits, target), expected)


@pytest.mark.parametrize(
    ("logits", "target", "error", "says"),
    [
        (torch.zeros(3), torch.tensor([0]), ValueError, r"\(N, C\)"),
        (torch.zeros(1, 3, dtype=torch.int64), torch.tensor([0]), TypeError, "floating point"),
        (torch.zeros(2, 3), torch.tensor([0]), ValueError, "one class or one per image"),
        (torch.zeros(1, 3), torch.tensor([0.0]), TypeError, "integers"),
        (torch.zeros(1, 3), torch.tensor([3]), ValueError, r"^target must lie in \[0, 3\)"),
        (torch.zeros(1, 3), torch.tensor([-1]), ValueError, r"\[0, 3\)"),
        (torch.zeros(1, 1), torch.tensor([0]), ValueError, "at least 2 classes"),
    ],
)
def test_bad_input(logits, target, error, says):
    with pytest.raises(error, match=says):
        contrast.weighted(logits, target)


def test_contrasts_that_need_more_classes_or_better_settings():
    logits, target = torch.zeros(1, 3), torch.tensor([0])
    with pytest.raises(ValueError, match="at least 4 classes, the logits have 3"):
        contrast.finer(n=3)(logits, target)
    with pytest.raises(ValueError, match="target itself"):
        contrast.foil([0, 1])(logits, target)
    with pytest.raises(ValueError, match=r"^foil classes must lie in \[0, 3\)"):
        contrast.foil(5)(logits, target)
    with pytest.raises(ValueError, match=r"^foil\(\) needs at least one class to contrast with, got none$"):
        contrast.foil([])
    with pytest.raises(ValueError, match="twice"):
        contrast.foil([1, 1])
    for wrong in (torch.tensor(1.0), torch.tensor(1j), torch.tensor([True, False])):
        with pytest.raises(TypeError, match=f"foil classes must be class indices .integers., got {wrong.dtype}"):
            contrast.foil(wrong)
    with pytest.raises(ValueError, match=r"got shape \(1, 1, 1\)"):
        contrast.foil(torch.ones(1, 1, 1, dtype=torch.int64))
    with pytest.raises(ValueError, match="3 images, the batch has 1"):
        contrast.foil(torch.tensor([[1], [1], [1]]))(logits, target)
    for temperature in (-1.0, math.nan):
        with pytest.raises(ValueError, match="temperature"):
            contrast.tempered(temperature)
    with pytest.raises(ValueError, match="gamma"):
        contrast.finer(gamma=math.nan)
    with pytest.raises(ValueError, match="n must be"):
        contrast.finer(n=0)


def test_every_name_makes_its_contrast():
    logits, target = case()
    target = torch.zeros_like(target)
    assert sorted(contrast.NAMES) == sorted([*FORMULAS, "foil"])
    for name in contrast.NAMES:
        made = contrast.by_name(name, foils=[1, 2], temperature=2.5)
        expected = FORMULAS[name][0] if name in FORMULAS else contrast.foil([1, 2])
        assert torch.equal(made(logits, target), expected(logits, target))


def test_a_name_takes_the_settings_along():
    logits, target = case()
    for settings in ({}, {"gamma": 0.2}, {"n": 5}, {"gamma": -1.5, "n": 2}):
        expected = contrast.finer(**{"gamma": 0.6, "n": 3, **settings})(logits, target)
        assert torch.equal(contrast.finer(**settings)(logits, target), expected)
        assert torch.equal(contrast.by_name("finer", **settings)(logits, target), expected)


@pytest.mark.parametrize(("name", "says"), [
    ("foil", r"^the contrast 'foil' needs the classes to contrast with \(foils=...\)$"),
    ("tempered", "^the contrast 'tempered' needs a temperature$"),
    ("best", f"^unknown contrast 'best'; choose from {', '.join(contrast.NAMES)}$")])
def test_names_that_cannot_be_made(name, says):
    with pytest.raises(ValueError, match=says):
        contrast.by_name(name)


def test_a_contrast_that_is_no_score_per_image_is_refused():
    logits, target = case()
    with pytest.raises(ValueError, match=r"one score per image, shape \(5,\); this one gave \(5, 7\)"):
        contrast.weights(lambda y, _t: y, logits, target)


def test_weights_need_numbers_with_a_gradient():
    with pytest.raises(TypeError, match=r"logits must be floating point, got torch.int64"):
        contrast.weights(contrast.weighted, torch.ones(1, 3, dtype=torch.int64), torch.zeros(1, dtype=torch.int64))
