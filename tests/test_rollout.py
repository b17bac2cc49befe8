"""Rollout and attention relevance against their formulas, written again with plain loops; how a model must be left."""

import dataclasses

import pytest
import torch
from networks import images
from timm.models.deit import VisionTransformerDistilled
from torch import Tensor
from torch.nn import functional
from transformer_networks import TARGET, by_hand, classifier_of, state_of, transformer

from contrastlib import contrast, relevance
from contrastlib.attribution import (
    AttentionRelevance,
    AttentionRollout,
    Attentions,
    attention_relevance,
    attention_rollout,
    attentions,
    through_layers,
)


def product(a: list[list[float]], b: list[list[float]]) -> list[list[float]]:
    return [[sum(x * row[j] for x, row in zip(line, b)) for j in range(len(b[0]))] for line in a]


def plus_identity(matrix: list[list[float]]) -> list[list[float]]:
    return [[value + (i == j) for j, value in enumerate(row)] for i, row in enumerate(matrix)]


def fused_by_hand(p: Tensor, g: Tensor, options: AttentionRollout) -> list[list[float]]:
    """One layer of one image, (heads, L, L) each."""
    heads, length = len(p), p.shape[-1]
    fuse = {"mean": lambda values: sum(values) / heads, "max": max, "min": min}[options.fusion]
    matrix = [[fuse([(p[h, i, j] * g[h, i, j]).item() for h in range(heads)]) for j in range(length)]
              for i in range(length)]
    if options.relu:
        matrix = [[max(value, 0.0) for value in row] for row in matrix]
    places = sorted(((i, j) for i in range(length) for j in range(length)), key=lambda ij: abs(matrix[ij[0]][ij[1]]))
    for i, j in places[:int(options.discard * length * length)]:
        if (i, j) != (0, 0):
            matrix[i][j] = 0.0
    return matrix


def rollout_by_hand(ps: list[Tensor], gs: list[Tensor], options: AttentionRollout) -> list[float]:
    """The map of one image whose class token is read, patch by patch; (heads, L, L) for each layer."""
    layers = [fused_by_hand(p, g, options) for p, g in zip(ps, gs)]
    scale = 1.0
    if options.scaled:
        scale = max(sum(abs(value) for value in row) for matrix in layers for row in matrix)
    result = None
    for matrix in layers:
        matrix = [[value / scale for value in row] for row in matrix]
        b = [[value / 2 for value in row] for row in plus_identity(matrix)]
        b = [[value / sum(abs(other) for other in row) for value in row] for row in b]
        result = b if result is None else product(b, result)
    return result[0][1:]


def relevance_by_hand(ps: list[Tensor], gs: list[Tensor], relu: bool) -> list[float]:
    length = ps[0].shape[-1]
    result = plus_identity([[0.0] * length for _ in range(length)])
    for p, g in zip(ps, gs):
        products = p * g
        mean = (products.clamp(min=0) if relu else products).mean(0).tolist()
        step = product(mean, result)
        result = [[a + b for a, b in zip(row, other)] for row, other in zip(result, step)]
    return result[0][1:]


# --- rollout ---------------------------------------------------------------------------------------------------------

OPTIONS = [AttentionRollout(), AttentionRollout(scaled=False), AttentionRollout(relu=True),
           AttentionRollout(relu=True, fusion="max", discard=0.5), AttentionRollout(fusion="min", discard=0.9),
           AttentionRollout(fusion="max", scaled=False), AttentionRollout(relu=True, discard=0.3, scaled=False)]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_rollout_is_the_formula(options):
    classifier, x = transformer(), images(size=16)
    maps = options(classifier, x, TARGET, contrast.weighted, upsample=False)
    probabilities, gradients = by_hand(classifier, x, TARGET, contrast.weighted)
    for i in range(3):
        expected = rollout_by_hand([p[i] for p in probabilities], [g[i] for g in gradients], options)
        torch.testing.assert_close(maps[i, 0].flatten(), torch.tensor(expected, dtype=torch.float64))


@pytest.mark.parametrize("relu", [True, False])
def test_attention_relevance_is_the_formula(relu):
    classifier, x = transformer(), images(size=16)
    maps = AttentionRelevance(relu=relu)(classifier, x, TARGET, contrast.weighted, upsample=False)
    probabilities, gradients = by_hand(classifier, x, TARGET, contrast.weighted)
    for i in range(3):
        expected = relevance_by_hand([p[i] for p in probabilities], [g[i] for g in gradients], relu)
        torch.testing.assert_close(maps[i, 0].flatten(), torch.tensor(expected, dtype=torch.float64))
    assert (maps >= 0).all() if relu else (maps < 0).any()


def chain(*steps: tuple[int, int]) -> Attentions:
    """A class token and 2 x 2 patches; each layer lets one token read one other."""
    ones = torch.ones(1, 1, 5, 5, dtype=torch.float64)
    gradients = [torch.zeros_like(ones) for _ in steps]
    for gradient, (i, j) in zip(gradients, steps):
        gradient[0, 0, i, j] = 1
    return Attentions((ones,) * len(steps), tuple(gradients), (2, 2), 1, (0,), torch.zeros(1, 3))


def test_layers_are_multiplied_in_the_right_order():
    """The first layer lets token 2 read token 3, the last the class token read token 2: it has seen 3 through 2."""
    right, wrong = chain((2, 3), (0, 2)), chain((0, 2), (2, 3))
    literal = AttentionRollout(scaled=False)
    # A row of the fused matrix with one entry 1: half its own, half the other's; then half of that half.
    assert literal.rollout(right).flatten().tolist() == [0, 0.25, 0.25, 0]
    assert literal.rollout(wrong).flatten().tolist() == [0, 0.5, 0, 0]
    assert attention_relevance.relevance(right).flatten().tolist() == [0, 1, 1, 0]
    assert attention_relevance.relevance(wrong).flatten().tolist() == [0, 1, 0, 0]


def test_from_block_leaves_the_first_layers_out():
    found = attentions(transformer(), images(size=16), TARGET, contrast.weighted)
    for method, of in ((attention_rollout, attention_rollout.rollout),
                       (attention_relevance, attention_relevance.relevance)):
        first, second, third = method.matrices(found)
        for block, rows in ((0, third @ second @ first), (1, third @ second), (2, third)):
            torch.testing.assert_close(of(found, block), rows[:, 0, 1:].view(3, 1, 4, 4))
        torch.testing.assert_close(of(found), of(found, 0))
        for block in (-1, 3):
            with pytest.raises(ValueError, match=rf"from_block must lie in \[0, 3\), got {block}"):
                of(found, block)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_absolute_values_of_a_row_sum_to_one(options):
    found = attentions(transformer(), images(size=16), TARGET, contrast.weighted)
    for matrix in options.matrices(found):
        torch.testing.assert_close(matrix.abs().sum(-1), torch.ones(3, 17, dtype=torch.float64))
        if options.relu:
            torch.testing.assert_close(matrix.sum(-1), torch.ones(3, 17, dtype=torch.float64))
            assert (matrix >= 0).all()


@pytest.mark.parametrize("options", [{}, {"relu": True}, {"discard": 0.5, "fusion": "max"}])
def test_scaled_rollout_does_not_depend_on_the_scores_scale(options):
    classifier, x = transformer(), images(size=16)

    def ten_times(logits, target):
        return 10 * contrast.weighted(logits, target)

    scaled, literal = AttentionRollout(**options), AttentionRollout(**options, scaled=False)
    for other in (contrast.probability, ten_times):
        same, another = ([method(classifier, x, TARGET, score) for score in (other, contrast.weighted)]
                         for method in (scaled, literal))
        torch.testing.assert_close(*same)
        assert relevance.relative_error(*another).min() > 0.1


def test_the_scale_puts_attention_beside_the_identity():
    found = attentions(transformer(), images(size=16), TARGET, contrast.weighted)
    fused = [2 * matrix - torch.eye(17) for matrix in attention_rollout.unnormalised(found)]
    largest = torch.stack([matrix.abs().sum(-1).amax(-1) for matrix in fused])
    torch.testing.assert_close(largest.amax(0), torch.ones(3, dtype=torch.float64))


@pytest.mark.parametrize("options", [{}, {"relu": True}, {"discard": 0.5}])
def test_an_image_whose_score_nothing_moves_has_a_map_of_zeros(options):
    """And the others in the batch have theirs, however small what moves them is."""
    found, method = attentions(transformer(), images(size=16), TARGET, contrast.weighted), AttentionRollout(**options)
    moved = torch.tensor([0, 1e-9, 1e9], dtype=torch.float64).view(3, 1, 1, 1)
    maps = method.rollout(dataclasses.replace(found, gradients=tuple(moved * g for g in found.gradients)))
    assert torch.equal(maps[0], torch.zeros(1, 4, 4, dtype=torch.float64))
    torch.testing.assert_close(maps[1:], method.rollout(found)[1:])


def test_discard_keeps_the_class_token_for_itself_and_drops_ties():
    found = chain((0, 2))
    found = dataclasses.replace(found, gradients=(torch.arange(25, dtype=torch.float64).view(1, 1, 5, 5) / 10,))
    half = AttentionRollout(discard=0.5, scaled=False).unnormalised(found)[0][0] * 2 - torch.eye(5)
    assert half.flatten().nonzero().flatten().tolist() == list(range(12, 25))  # int(12.5) are dropped; 0 is 0 anyway
    smallest = dataclasses.replace(found, gradients=(found.gradients[0] + 0.1,))
    kept = AttentionRollout(discard=0.5, scaled=False).unnormalised(smallest)[0][0] * 2 - torch.eye(5)
    assert kept[0, 0].item() == pytest.approx(0.1)
    without = AttentionRollout(discard=0.5, scaled=False).unnormalised(dataclasses.replace(smallest, prefix=0))[0][0]
    assert without[0, 0].item() == 0.5
    tied = dataclasses.replace(found, gradients=(torch.full((1, 1, 5, 5), 0.3, dtype=torch.float64),))
    assert torch.count_nonzero(AttentionRollout(discard=0.1).unnormalised(tied)[0] * 2 - torch.eye(5)) == 1


def test_rectifier_and_sign():
    classifier, x = transformer(), images(size=16)
    assert (AttentionRollout(relu=True)(classifier, x, TARGET) >= 0).all()
    maps = attention_rollout(classifier, x, TARGET, contrast.weighted)
    assert (maps < 0).any()
    assert (maps > 0).any()


@pytest.mark.parametrize("method", [attention_rollout, attention_relevance])
def test_maps_have_the_size_of_the_image_and_no_gradient(method):
    classifier, x = transformer(), images(size=16)
    small = method(classifier, x, TARGET, upsample=False)
    assert small.shape == (3, 1, 4, 4)
    maps = method(classifier, x, TARGET)
    assert maps.dtype == torch.float64
    assert not maps.requires_grad
    torch.testing.assert_close(maps, relevance.upsample(small, (16, 16)))
    assert method.name == {AttentionRollout: "attention_rollout"}.get(type(method), "attention_relevance")


@pytest.mark.parametrize("method", [attention_rollout, AttentionRollout(discard=0.5), attention_relevance], ids=str)
@pytest.mark.parametrize("options", [{}, {"global_pool": "avg"}])
def test_each_image_is_explained_by_itself(method, options):
    classifier, x = transformer(**options), images(size=16)
    together = method(classifier, x, TARGET, contrast.weighted)
    alone = [method(classifier, x[i:i + 1], TARGET[i:i + 1], contrast.weighted) for i in range(3)]
    torch.testing.assert_close(together, torch.cat(alone))
    torch.testing.assert_close(method(classifier, x, 5, contrast.weighted)[0], together[0])


def test_options_are_checked():
    with pytest.raises(ValueError, match="fusion must be one of mean, max, min, got 'sum'"):
        AttentionRollout(fusion="sum")
    for share in (-0.1, 1.0, float("nan")):
        with pytest.raises(ValueError, match=r"discard is a share in \[0, 1\)"):
            AttentionRollout(discard=share)
    assert dataclasses.replace(attention_rollout, relu=True) == AttentionRollout(relu=True)
    assert attention_rollout == AttentionRollout(relu=False, fusion="mean", discard=0.0, scaled=True)
    assert attention_relevance == AttentionRelevance(relu=True)


def test_through_layers_carries_the_mean_row():
    found = attentions(transformer(build=VisionTransformerDistilled), images(size=16), TARGET, contrast.weighted)
    matrices = [torch.rand(3, 18, 18, dtype=torch.float64) for _ in range(3)]
    rows = (matrices[2] @ matrices[1] @ matrices[0])[:, :2].mean(1)
    torch.testing.assert_close(through_layers(found, matrices), rows[:, 2:].view(3, 1, 4, 4))


# --- how the model is left, and what it may be like ------------------------------------------------------------------


def test_the_model_is_left_as_found():
    classifier = transformer()
    classifier.model.blocks[1].attn.fused_attn = False
    before, mode = state_of(classifier.model), torch.is_grad_enabled()
    assert before["fused"].count(False) == 1
    assert before["fused"].count(True) == 2
    sdpa, multi_head = functional.scaled_dot_product_attention, functional.multi_head_attention_forward
    maps = attention_rollout(classifier, images(size=16), TARGET, contrast.weighted)
    torch.testing.assert_close(maps, attention_rollout(transformer(), images(size=16), TARGET, contrast.weighted))
    assert state_of(classifier.model) == before
    assert torch.is_grad_enabled() == mode
    assert functional.scaled_dot_product_attention is sdpa
    assert functional.multi_head_attention_forward is multi_head


def test_the_model_is_left_as_found_after_an_exception():
    def broken(_logits, _target):
        raise ArithmeticError("a contrast that fails")

    classifier = transformer()
    classifier.model.blocks[1].attn.fused_attn = False
    before = state_of(classifier.model)
    with torch.no_grad():
        with pytest.raises(ArithmeticError):
            attention_rollout(classifier, images(size=16), TARGET, broken)
        with pytest.raises(ValueError, match=r"\[0, 6\)"):
            attention_rollout(classifier, images(size=16), 6)
        handle = classifier.model.blocks[1].attn.proj.register_forward_hook(broken)
        with pytest.raises(TypeError):
            attention_rollout(classifier, images(size=16), TARGET)
        handle.remove()
        assert not torch.is_grad_enabled()
    assert state_of(classifier.model) == before


@pytest.mark.parametrize("around", [torch.no_grad, torch.inference_mode])
@pytest.mark.parametrize("method", [attention_rollout, attention_relevance])
def test_under_no_grad_and_inference_mode(method, around):
    classifier = transformer()
    expected = method(classifier, images(size=16), TARGET, contrast.weighted)
    with around():  # the images are made inside, as a user's loader would
        maps = method(classifier, images(size=16), TARGET, contrast.weighted)
    torch.testing.assert_close(maps, expected)


def test_a_frozen_model():
    expected = attention_rollout(transformer(), images(size=16), TARGET, contrast.weighted)
    classifier = transformer().requires_grad_(False)
    maps = attention_rollout(classifier, images(size=16), TARGET, contrast.weighted)
    torch.testing.assert_close(maps, expected)


def test_nothing_is_recorded_before_the_first_attention():
    classifier, asked = transformer(), []
    for layer in (classifier.model.patch_embed, classifier.model.blocks[0].norm1, classifier.model.blocks[0].norm2):
        layer.register_forward_hook(lambda _m, _i, output: asked.append(output.requires_grad))
    x = images(size=16).requires_grad_()
    attentions(classifier, x, TARGET)
    assert asked[:3] == [False, False, True]
    assert x.grad is None


@pytest.mark.parametrize(("dtype", "within"), [(torch.bfloat16, 0.2), (torch.float16, 0.02)])
@pytest.mark.parametrize("method", [attention_rollout, attention_relevance])
def test_half_precision(method, dtype, within):
    classifier = transformer(dtype)
    maps = method(classifier, images(size=16).to(dtype), TARGET, contrast.weighted)
    exact = method(transformer(), images(size=16), TARGET, contrast.weighted)
    assert maps.dtype == torch.float32
    assert relevance.relative_error(maps, exact).max() < within
    found = attentions(classifier, images(size=16).to(dtype), TARGET)
    assert {t.dtype for t in (*found.probabilities, *found.gradients, found.logits)} == {torch.float32}


def test_autocast():
    exact = attention_rollout(transformer(), images(size=16), TARGET, contrast.weighted)
    with torch.autocast("cpu", torch.bfloat16):
        maps = attention_rollout(transformer(torch.float32), images(size=16).float(), TARGET, contrast.weighted)
    assert maps.dtype == torch.float32
    assert relevance.relative_error(maps, exact).max() < 0.1


def test_a_compiled_network():
    classifier, x = transformer(torch.float32, depth=1), images(size=16, dtype=torch.float32)
    expected = attention_rollout(classifier, x, TARGET, contrast.weighted, upsample=False)
    network = torch.compile(classifier.model, backend="aot_eager")
    with torch.no_grad():
        logits = network(x)
    compiled = classifier_of(network)
    compiled.read_as = classifier.read_as  # probing a compiled network compiles it again for every module
    torch.testing.assert_close(attention_rollout(compiled, x, TARGET, contrast.weighted, upsample=False), expected)
    with torch.no_grad():
        torch.testing.assert_close(compiled(x), logits)
