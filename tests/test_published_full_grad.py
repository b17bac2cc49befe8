"""FullGrad as published: each step against a plain computation, and what removing the absolute value does."""

import pytest
import torch
from networks import images, tiny
from torch.nn import functional

from contrastlib import contrast, relevance
from contrastlib.attribution import full_grad as complete
from contrastlib.published import full_grad, white_at_mid_range

TARGET = torch.tensor([5, 1, 2])


def tensors(score=contrast.original):
    """What is post-processed, (N, K, h, w): for the input, the two convolutions and the BatchNorm of the network."""
    network, x = tiny().model, images().requires_grad_()
    first = network.first(x)
    norm = network.norm(first)
    second = network.second(torch.relu(norm))
    value = score(network.head(torch.relu(second).flatten(1)), TARGET).sum()
    gx, g1, gn, g2 = torch.autograd.grad(value, (x, first, norm, second))
    bn = network.norm
    whole = bn.bias - bn.weight * bn.running_mean / (bn.running_var + bn.eps).sqrt()
    found = {"input": gx * x, "first": g1 * network.first.bias[:, None, None], "norm": gn * whole[:, None, None],
             "second": g2 * network.second.bias[:, None, None], "beta": gn * bn.bias[:, None, None]}
    return {name: one.detach() for name, one in found.items()}


def enlarged(one):
    return functional.interpolate(one, size=(8, 8), mode="bilinear", align_corners=True).sum(1, keepdim=True)


def psi(values):
    """The post-processing of the FullGrad repository, image by image."""
    values = values.abs()
    result = []
    for one in values:
        one = one - one.min()
        result.append(one / (one.max() + 1e-6))
    return enlarged(torch.stack(result))


def test_the_published_map():
    found = tensors()
    expected = sum(psi(found[name]) for name in ("input", "first", "norm", "second"))
    torch.testing.assert_close(full_grad(tiny(), images(), TARGET), expected)


def test_rescaling_each_channel_by_itself():
    found = tensors(contrast.weighted)
    expected = 0
    for name in ("input", "first", "norm", "second"):
        one = found[name].abs()
        one = one - one.amin((2, 3), keepdim=True)
        expected = expected + enlarged(one / (one.amax((2, 3), keepdim=True) + 1e-7))
    torch.testing.assert_close(full_grad(tiny(), images(), TARGET, contrast.weighted, rescaled="channel"), expected)


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ({}, ["input", "first", "norm", "second"]),
        ({"input_term": False}, ["first", "norm", "second"]),
        ({"batch_norm": None}, ["input", "first", "second"]),
        ({"convolutions": False, "input_term": False}, ["norm"]),
        ({"convolutions": False, "input_term": False, "batch_norm": "beta"}, ["beta"]),
    ],
)
def test_terms_that_are_left_out(options, names):
    found = tensors()
    maps = full_grad(tiny(), images(), TARGET, absolute=False, rescaled=None, **options)
    torch.testing.assert_close(maps, sum(enlarged(found[name]) for name in names))


@pytest.mark.parametrize("rescaled", ["layer", "channel"])
def test_without_absolute_values_the_rescaled_map_is_never_negative(rescaled):
    for score in (contrast.original, contrast.weighted):
        for target in range(6):
            assert (full_grad(tiny(), images(), target, score, absolute=False, rescaled=rescaled) >= 0).all()


def test_a_complete_map_of_the_most_probable_class_is_not_fully_negative():
    classifier, x = tiny(), images()
    top = classifier(x).argmax(-1)
    terms = complete.terms(classifier, x, top, contrast.weighted)
    # y_t - sum of alpha y: the contrast's own term left out
    assert (terms.score - terms.unplaced["contrast"] >= 0).all()
    assert (terms.map() > 0).flatten(1).any(1).all()


def test_nothing_to_count():
    with pytest.raises(ValueError, match="nothing to count"):
        full_grad(tiny(), images(), 0, input_term=False, convolutions=False, batch_norm=None)


def test_white_is_mid_range():
    maps = torch.tensor([[[[1.0, 2.0], [3.0, 5.0]]], [[[-4.0, -3.0], [-2.0, 0.0]]], [[[7.0, 7.0], [7.0, 7.0]]]])
    shown = white_at_mid_range(maps)
    torch.testing.assert_close(shown[0, 0], torch.tensor([[-1.0, -0.5], [0.0, 1.0]]))
    torch.testing.assert_close(shown[0], shown[1])  # one map has no negative value, the other no positive
    assert not shown[2].any()
    assert (relevance.normalise(maps)[0] > 0).all()
