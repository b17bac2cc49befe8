"""The published rollout: the procedure run as it is described, with its hooks, against each slip as a formula."""

import dataclasses
import warnings

import pytest
import torch
from networks import images, seeded
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from contrastlib import contrast, relevance
from contrastlib.attribution import AttentionRollout, attentions
from contrastlib.models import Classifier
from contrastlib.published import (
    SLIPS,
    attentions_of_two_calls,
    columns_normalised,
    gradient_of_scores,
    gradient_rollout,
    reversed_gradients,
)

TARGET = torch.tensor([5, 1, 2])
PUBLISHED = ("reversed gradients", "gradient of scores", "columns normalised")


def network() -> VisionTransformer:
    """Three layers that attend to some tokens more than to others."""
    made = seeded(VisionTransformer, img_size=16, patch_size=4, embed_dim=16, depth=3, num_heads=2, num_classes=6)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in made.parameters():
            if parameter.ndim > 1:
                parameter.copy_(torch.randn(parameter.shape, generator=generator) / 2)
    return made.double()


def transformer() -> Classifier:
    return Classifier(network(), input_size=16, mean=0, std=1)


class Procedure:
    """What the review's notebook does, from its description: hooks, lists that grow, and a loop over pairs."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self.attentions: list[Tensor] = []
        self.gradients: list[Tensor] = []
        for block in model.blocks:
            block.attn.fused_attn = False
            block.attn.attn_drop.register_forward_hook(lambda _m, _i, output: self.attentions.append(output.detach()))
            block.attn.attn_drop.register_backward_hook(lambda _m, given, _o: self.gradients.append(given[0]))

    def __call__(self, image: Tensor, target: int, score=contrast.original, relu: bool = False) -> Tensor:
        self.model.zero_grad()
        score(self.model(image), torch.tensor([target])).sum().backward()
        result = torch.eye(17, dtype=torch.float64)
        for attention, gradient in zip(self.attentions, self.gradients, strict=True):
            fused = (attention * gradient).mean(1)
            if relu:
                fused = fused.relu()
            a = (fused + torch.eye(17)) / 2
            result = (a / a.sum(dim=-1)) @ result
        return result[0, 0, 1:].view(4, 4)


@pytest.fixture
def procedure():
    with warnings.catch_warnings():  # torch warns of just this kind of hook
        warnings.simplefilter("ignore")
        yield Procedure(network())


def rollout(i: int = 0, score=contrast.original, **options) -> Tensor:
    return gradient_rollout(transformer(), images(size=16)[i:i + 1], TARGET[i:i + 1], score, **options)[0, 0]


@pytest.mark.parametrize("relu", [True, False])
@pytest.mark.parametrize("score", [contrast.original, contrast.probability])
def test_the_published_procedure_is_three_slips(procedure, score, relu):
    found = procedure(images(size=16)[:1], 5, score, relu)
    torch.testing.assert_close(rollout(0, score, slips=PUBLISHED, relu=relu), found)
    assert relevance.correlation(found[None, None], rollout(0, score, slips=(), relu=relu)[None, None]).item() < 0.95


def test_a_second_call_holds_the_first(procedure):
    first = procedure(images(size=16)[:1], 5)
    again = procedure(images(size=16)[:1], 5)
    assert len(procedure.attentions) == len(procedure.gradients) == 6
    assert not torch.allclose(first, again)
    torch.testing.assert_close(rollout(0, slips=(*PUBLISHED, "twice")), again)


def test_a_second_call_holds_the_first_of_another_image(procedure):
    procedure(images(size=16)[:1], 5)
    found = procedure(images(size=16)[1:2], 1)
    first, second = (reversed_gradients(gradient_of_scores(
        attentions(transformer(), images(size=16)[i:i + 1], TARGET[i:i + 1]))) for i in (0, 1))
    both = attentions_of_two_calls(first, second)
    assert torch.equal(both.logits, second.logits)
    assert [len(both.probabilities), len(both.gradients)] == [6, 6]
    result = torch.eye(17, dtype=torch.float64)
    for matrix in AttentionRollout(scaled=False).unnormalised(both):
        result = columns_normalised(matrix) @ result
    torch.testing.assert_close(result[0, 0, 1:].view(4, 4), found)


@pytest.mark.parametrize("relu", [True, False])
def test_without_slips_it_is_the_literal_rollout(relu):
    x = images(size=16)
    found = gradient_rollout(transformer(), x, TARGET, contrast.weighted, slips=(), relu=relu)
    literal = AttentionRollout(relu=relu, scaled=False)(transformer(), x, TARGET, contrast.weighted, upsample=False)
    assert torch.equal(found, literal)


def test_each_slip_alone_changes_the_map():
    x = images(size=16)
    right = gradient_rollout(transformer(), x, TARGET, contrast.weighted, slips=())
    for slip in SLIPS:
        wrong = gradient_rollout(transformer(), x, TARGET, contrast.weighted, slips=(slip,))
        assert relevance.relative_error(wrong, right).min() > 0.01, slip
    everything = gradient_rollout(transformer(), x, TARGET)
    torch.testing.assert_close(everything, gradient_rollout(transformer(), x, TARGET, contrast.max, slips=SLIPS))


def test_images_are_explained_one_by_one():
    x = images(size=16)
    together = gradient_rollout(transformer(), x, TARGET, contrast.weighted)
    for i in range(3):
        torch.testing.assert_close(together[i, 0], rollout(i, contrast.weighted))


def test_reversed_gradients():
    found = attentions(transformer(), images(size=16), TARGET)
    wrong = reversed_gradients(found)
    assert wrong.probabilities == found.probabilities
    for gradient, other in zip(found.gradients, reversed(wrong.gradients), strict=True):
        assert gradient is other


def test_gradient_of_scores_is_that_before_the_softmax():
    generator = torch.Generator().manual_seed(0)
    scores, direction = torch.randn(2, 3, 2, 17, 17, generator=generator, dtype=torch.float64)
    scores.requires_grad_()
    p = scores.softmax(-1)
    (expected,) = torch.autograd.grad((p * direction).sin().sum(), scores, retain_graph=True)
    (of_p,) = torch.autograd.grad((p * direction).sin().sum(), p)
    found = dataclasses.replace(attentions(transformer(), images(size=16), TARGET), probabilities=(p.detach(),),
                                gradients=(of_p,))
    (wrong,) = gradient_of_scores(found).gradients
    torch.testing.assert_close(wrong, expected)
    torch.testing.assert_close(wrong.sum(-1), torch.zeros(3, 2, 17, dtype=torch.float64))


def test_columns_normalised_divides_columns_by_row_sums():
    matrix = torch.tensor([[[1.0, 3.0], [2.0, 8.0]]])
    assert columns_normalised(matrix).tolist() == [[[1 / 4, pytest.approx(3 / 10)], [2 / 4, pytest.approx(8 / 10)]]]
    torch.testing.assert_close(columns_normalised(matrix), matrix / matrix.sum(dim=-1))  # as it is written
    right = AttentionRollout(relu=True, scaled=False)
    (first, *_) = right.unnormalised(attentions(transformer(), images(size=16), TARGET))
    assert (columns_normalised(first).sum(-1) - 1).abs().max() > 0.01
    with pytest.raises(RuntimeError, match="must match the size"):
        first / first.sum(dim=-1)


def test_probability_shrinks_the_gradient_beside_the_identity():
    classifier, x = transformer(), images(size=16)
    odds, of_p = (attentions(classifier, x, TARGET, score) for score in (contrast.weighted, contrast.probability))
    p = classifier(x).softmax(-1).gather(-1, TARGET[:, None]).detach()
    factor = (p * (1 - p)).view(3, 1, 1, 1)
    assert factor.max() <= 0.25
    for small, large in zip(of_p.gradients, odds.gradients):
        torch.testing.assert_close(small, factor * large)
    wrong = gradient_rollout(classifier, x, TARGET, contrast.weighted, slips=("probability",))
    scaled = dataclasses.replace(odds, gradients=tuple(factor * gradient for gradient in odds.gradients))
    torch.testing.assert_close(wrong, AttentionRollout(scaled=False).rollout(scaled))


def test_an_unknown_slip():
    with pytest.raises(ValueError, match="unknown slip 'columns'; choose from reversed gradients, "):
        gradient_rollout(transformer(), images(size=16), TARGET, slips=("columns", "twice"))


def test_no_hook_is_left():
    classifier = transformer()
    gradient_rollout(classifier, images(size=16), TARGET)
    assert not any(m._forward_hooks or m._forward_pre_hooks or m._backward_hooks for m in classifier.modules())
