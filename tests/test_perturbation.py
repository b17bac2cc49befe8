"""Small steps along a gradient's sign, against a plain loop and against a model whose answer is known by hand."""

import math
from itertools import product

import pytest
import torch
from networks import images, seeded, tiny
from torch import Tensor, nn

from contrastlib import contrast
from contrastlib.models import Classifier
from contrastlib.perturbation import gradient_sign, gradient_sign_sweep, logits_of

TARGET = torch.tensor([5, 1, 2])
CONTRASTS = {"original": contrast.original, "mean": contrast.mean, "max": contrast.max, "weighted": contrast.weighted}
EPSILONS, STEPS = (3e-3, 1e-3), (1, 2, 10)


class Linear(nn.Module):
    """Logits that are weighted sums of the pixels."""

    def __init__(self, rows: Tensor) -> None:
        super().__init__()
        self.rows = nn.Parameter(rows)

    def forward(self, x: Tensor) -> Tensor:
        return torch.einsum("nchw,kchw->nk", x, self.rows)


class Peak(nn.Module):
    """A logit that is highest where every pixel is 0.4; the other class stands still."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([-(x - 0.4).abs().sum((1, 2, 3)), torch.zeros(len(x), dtype=x.dtype)], dim=1)


class Silent(nn.Module):
    """Logits that do not change with the pixels."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([0 * x.sum((1, 2, 3)), 0 * x.sum((1, 2, 3))], dim=1)


def as_it_is(model: nn.Module) -> Classifier:
    """A classifier of 2 x 2 pixels that does not normalise."""
    return Classifier(model.double().eval(), input_size=2, mean=0, std=1)


# Two classes on 3 x 2 x 2 pixels. Red: the first class wants more of it. Green: less of it. Blue: neither.
ROWS = torch.zeros(2, 3, 2, 2, dtype=torch.float64)
ROWS[0, 0], ROWS[0, 1] = 2.0, -0.5
ROWS[1, 0], ROWS[1, 2] = 3.0, 1.0


def scores(y: Tensor, t: int, name: str) -> Tensor:
    """The contrasts once more, of one image's logits."""
    rest = torch.cat([y[:t], y[t + 1:]])
    return y[t] - {"original": 0 * rest.sum(), "mean": rest.sum() / len(rest), "max": rest.max(),
                   "weighted": rest.exp().sum().log()}[name]


def pushed_plainly(classifier: Classifier, image: Tensor, t: int, name: str, epsilon: float, n: int) -> Tensor:
    """One image, step by step, as equation and text have it."""
    x = image.clone()
    for _ in range(n):
        leaf = x.clone().requires_grad_()
        scores(classifier(leaf[None])[0], t, name).backward()
        x = x + epsilon / n * leaf.grad.sign()
        x = torch.minimum(torch.maximum(x, (image - epsilon).clamp(min=0)), (image + epsilon).clamp(max=1))
    return x


@pytest.mark.parametrize(("name", "epsilon", "n"), [*product(CONTRASTS, (*EPSILONS, 0.2), (1, 2, 3, 10))])
def test_steps_are_those_of_a_plain_loop(name, epsilon, n):
    classifier, x = tiny(), images()
    moved = gradient_sign(classifier, x, TARGET, CONTRASTS[name], epsilon=epsilon, steps=n)
    for end, image, t in zip(moved, x, TARGET.tolist(), strict=True):
        plain = pushed_plainly(classifier, image, t, name, epsilon, n)
        torch.testing.assert_close(end, plain, rtol=0, atol=1e-12)
    assert not torch.equal(moved, x)


@pytest.mark.parametrize("n", [1, 2, 4])
def test_a_linear_model_is_followed_by_the_sign_of_its_weights(n):
    x = torch.tensor([0.5, 0.5, 0.5], dtype=torch.float64)[:, None, None].expand(1, 3, 2, 2)
    first, second = torch.tensor([0]), torch.tensor([1])
    moved = gradient_sign(as_it_is(Linear(ROWS)), x, first, contrast.original, epsilon=0.25, steps=n)
    assert moved[0, :, 0, 0].tolist() == [0.75, 0.25, 0.5]
    assert torch.equal(moved, moved[:, :, :1, :1].expand_as(moved))
    # Against the other class all turns: red by 2 - 3, green by -0.5, blue by -1.
    moved = gradient_sign(as_it_is(Linear(ROWS)), x, first, contrast.max, epsilon=0.25, steps=n)
    assert moved[0, :, 0, 0].tolist() == [0.25, 0.25, 0.25]
    moved = gradient_sign(as_it_is(Linear(ROWS)), x, second, contrast.original, epsilon=0.25, steps=n)
    assert moved[0, :, 0, 0].tolist() == [0.75, 0.5, 0.75]


@pytest.mark.parametrize("n", [1, 2, 8])
def test_a_pixel_stays_in_its_range(n):
    x = torch.tensor([0.875, 0.125, 0.0], dtype=torch.float64)[:, None, None].expand(1, 3, 2, 2)
    moved = gradient_sign(as_it_is(Linear(ROWS)), x, torch.tensor([0]), contrast.original, epsilon=0.5, steps=n)
    assert moved[0, :, 0, 0].tolist() == [1.0, 0.0, 0.0]


@pytest.mark.parametrize("n", [1, 2, 10])
def test_pixels_without_gradient_stay_where_they_are(n):
    x = images(2, 2)
    moved = gradient_sign(as_it_is(Silent()), x, torch.tensor([0, 1]), contrast.original, epsilon=0.1, steps=n)
    assert torch.equal(moved, x)


def test_the_gradient_is_taken_anew_at_every_step():
    # The peak lies at 0.4. One step of 1/4 jumps over it, two of 1/8 jump over it and back, four of 1/16 go
    # towards it, over it, back, and over it again.
    x = torch.full((1, 3, 2, 2), 0.5, dtype=torch.float64)
    ends = {n: gradient_sign(as_it_is(Peak()), x, torch.tensor([0]), contrast.original, epsilon=0.25, steps=n)
            for n in (1, 2, 4)}
    assert {n: end.unique().tolist() for n, end in ends.items()} == {1: [0.25], 2: [0.5], 4: [0.375]}


@pytest.mark.parametrize("n", [1, 2, 3, 7, 10, 100])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_all_steps_together_go_as_far_as_allowed_and_no_further(n, dtype):
    epsilon, x = 3e-3, images(1, 2, dtype)
    classifier = Classifier(Linear(torch.ones(2, 3, 2, 2)).to(dtype).eval(), input_size=2, mean=0, std=1)
    moved = gradient_sign(classifier, x, torch.tensor([0]), contrast.original, epsilon=epsilon, steps=n)
    furthest = (x + epsilon).clamp(max=1)
    assert (moved <= furthest).all()
    torch.testing.assert_close(moved, furthest)


def test_normalisation_does_not_turn_a_sign():
    rows, x = torch.randn(2, 3, 2, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64), images(1, 2)
    classifier = Classifier(Linear(rows).eval(), input_size=2, mean=(0.5, 0.4, 0.3), std=(0.2, 0.5, 2.0))
    moved = gradient_sign(classifier, x, torch.tensor([0]), contrast.original, epsilon=1e-3, steps=1)
    torch.testing.assert_close(moved, (x + 1e-3 * rows[:1].sign()).clamp(0, 1))


def test_a_push_raises_the_score_it_follows():
    classifier, x = tiny(), images()
    for score in CONTRASTS.values():
        moved = gradient_sign(classifier, x, TARGET, score, epsilon=1e-3, steps=2)
        assert (score(logits_of(classifier, moved), TARGET) > score(logits_of(classifier, x), TARGET)).all()


# --- many settings at once -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_sweep_is_many_single_calls_to_the_last_bit(dtype):
    classifier, x = tiny(dtype), images(dtype=dtype)
    sweep = gradient_sign_sweep(classifier, x, TARGET, CONTRASTS, epsilons=EPSILONS, steps=STEPS)
    assert set(sweep.after) == set(product(CONTRASTS, EPSILONS, STEPS))
    for (name, epsilon, n), logits in sweep.after.items():
        moved = gradient_sign(classifier, x, TARGET, CONTRASTS[name], epsilon=epsilon, steps=n)
        assert torch.equal(logits, classifier(moved).detach())
    assert torch.equal(sweep.before, classifier(x).detach())


@pytest.mark.parametrize(("epsilons", "steps"), [(EPSILONS, STEPS), ((0.01,), (1,)), ((0.1, 0.2, 0.3), (4,))])
def test_a_sweep_shares_the_first_pass(epsilons, steps):
    classifier, passes = tiny(), []
    classifier.register_forward_hook(lambda *_: passes.append(1))
    gradient_sign_sweep(classifier, images(), TARGET, CONTRASTS, epsilons=epsilons, steps=steps)
    # Of n steps the first is shared, so there are n - 1 left, and one pass reads the logits off.
    assert len(passes) == 1 + len(CONTRASTS) * len(epsilons) * sum((n - 1) + 1 for n in steps)


def test_the_papers_settings_are_the_defaults():
    sweep = gradient_sign_sweep(tiny(), images(), TARGET, {"original": contrast.original})
    assert set(sweep.after) == {("original", epsilon, n) for epsilon in (0.003, 0.001) for n in (1, 2, 10)}


@pytest.mark.parametrize("around", [torch.no_grad, torch.inference_mode])
def test_it_works_where_gradients_are_switched_off(around):
    classifier, x = tiny(), images()
    usual = gradient_sign_sweep(classifier, x, TARGET, CONTRASTS, steps=(1, 3))
    with around():
        inside = gradient_sign_sweep(classifier, images(), TARGET, CONTRASTS, steps=(1, 3))
    assert torch.equal(inside.before, usual.before)
    assert all(torch.equal(inside.after[name], logits) for name, logits in usual.after.items())


def test_logits_are_raised_to_float32_and_carry_no_graph():
    classifier, x = tiny(torch.bfloat16), images(dtype=torch.bfloat16)
    sweep = gradient_sign_sweep(classifier, x, TARGET, {"weighted": contrast.weighted}, steps=(1, 2))
    for logits in (sweep.before, *sweep.after.values(), logits_of(classifier, x)):
        assert logits.dtype == torch.float32
        assert not logits.requires_grad
    assert logits_of(tiny(), images()).dtype == torch.float64


# --- what is left behind ---------------------------------------------------------------------------------------------


def half_frozen() -> Classifier:
    classifier = tiny()
    classifier.model.first.requires_grad_(False)
    return classifier


def state(classifier: Classifier) -> list[tuple[bool, bool]]:
    return [(p.requires_grad, p.grad is None) for p in classifier.parameters()]


def test_parameters_are_left_as_they_were():
    classifier, x = half_frozen(), images()
    before, pixels = state(classifier), x.clone()
    assert {needs for needs, _ in before} == {True, False}
    gradient_sign(classifier, x, TARGET, contrast.weighted, epsilon=0.1, steps=3)
    gradient_sign_sweep(classifier, x, TARGET, CONTRASTS, steps=(2,))
    assert state(classifier) == before
    assert all(nothing for _, nothing in before)
    assert torch.equal(x, pixels)
    assert not x.requires_grad


def test_parameters_need_no_gradient_meanwhile():
    classifier, seen = half_frozen(), []
    classifier.register_forward_hook(lambda *_: seen.append(any(p.requires_grad for p in classifier.parameters())))
    gradient_sign_sweep(classifier, images(), TARGET, CONTRASTS, steps=(2,))
    assert seen
    assert not any(seen)


@pytest.mark.parametrize("fails_at", [1, 2, 3])
def test_parameters_are_left_as_they_were_when_it_fails(fails_at):
    classifier, calls = half_frozen(), []
    before = state(classifier)

    def failing(logits: Tensor, target: Tensor) -> Tensor:
        calls.append(1)
        if len(calls) == fails_at:
            raise RuntimeError("no more")
        return contrast.original(logits, target)

    with pytest.raises(RuntimeError, match="no more"):
        gradient_sign(classifier, images(), TARGET, failing, epsilon=0.1, steps=3)
    assert len(calls) == fails_at
    assert state(classifier) == before


@pytest.mark.parametrize("epsilon", [1e-6, 1.0])
def test_the_least_and_the_largest_strength(epsilon):
    x = torch.tensor([0.75, 0.25, 0.5], dtype=torch.float64)[:, None, None].expand(1, 3, 2, 2)
    moved = gradient_sign(as_it_is(Linear(ROWS)), x, torch.tensor([0]), contrast.original, epsilon=epsilon, steps=1)
    assert moved[0, :, 0, 0].tolist() == pytest.approx([min(0.75 + epsilon, 1), max(0.25 - epsilon, 0), 0.5])


@pytest.mark.parametrize("epsilon", [0.0, -0.1, 1.5, math.nan, math.inf])
def test_strengths_that_are_none(epsilon):
    with pytest.raises(ValueError, match=r"epsilon must lie in \(0, 1\]"):
        gradient_sign(tiny(), images(), TARGET, contrast.original, epsilon=epsilon, steps=1)
    with pytest.raises(ValueError, match=r"epsilon must lie in \(0, 1\]"):
        gradient_sign_sweep(tiny(), images(), TARGET, CONTRASTS, epsilons=(0.1, epsilon))


@pytest.mark.parametrize("n", [0, -1])
def test_numbers_of_steps_that_are_none(n):
    with pytest.raises(ValueError, match="number of steps must be at least 1"):
        gradient_sign(tiny(), images(), TARGET, contrast.original, epsilon=0.1, steps=n)
    with pytest.raises(ValueError, match="number of steps must be at least 1"):
        gradient_sign_sweep(tiny(), images(), TARGET, CONTRASTS, steps=(1, n))


def test_bad_input():
    classifier, x = tiny(), images()
    with pytest.raises(ValueError, match=r"^gradient_sign_sweep\(\) needs at least one contrast$"):
        gradient_sign_sweep(classifier, x, TARGET, {})
    with pytest.raises(ValueError, match="epsilon"):
        gradient_sign_sweep(classifier, x, TARGET, CONTRASTS, epsilons=())
    with pytest.raises(ValueError, match="steps"):
        gradient_sign_sweep(classifier, x, TARGET, CONTRASTS, steps=())
    with pytest.raises(ValueError, match=r"\[0, 1\]"):
        gradient_sign(classifier, 2 * x + 1, TARGET, contrast.original, epsilon=0.1, steps=1)
    with pytest.raises(ValueError, match="one class or one per image"):
        gradient_sign(classifier, x, TARGET[:2], contrast.original, epsilon=0.1, steps=1)
    with pytest.raises(ValueError, match="training mode"):
        gradient_sign(Classifier(seeded(nn.Flatten).train(), input_size=8, mean=0, std=1), x, TARGET,
                      contrast.original, epsilon=0.1, steps=1)
