"""All classes at once: the same maps as one call per class, whichever way the Jacobian is read."""

import pytest
import torch
from networks import images, pooled, seeded, tiny, torchvision_network
from torch import nn

from contrastlib import contrast
from contrastlib.attribution import METHODS, at_layer, grad_cam
from contrastlib.models import Classifier

CAMS = {name: method for name, method in METHODS.items() if method.reads == "layer"}
TARGET = torch.tensor([5, 1, 2])


def one_by_one(method, classifier, x, classes):
    return torch.cat([method(classifier, x, c, upsample=False) for c in classes], dim=1)


@pytest.mark.parametrize("name", METHODS)
def test_maps_are_those_of_single_calls(name):
    maps = METHODS[name].class_maps(tiny(), images())
    torch.testing.assert_close(maps.maps, one_by_one(METHODS[name], tiny(), images(), range(6)))
    assert torch.equal(maps.classes, torch.arange(6).expand(3, -1))
    torch.testing.assert_close(maps.logits, tiny()(images()).detach())


def watched(method):
    """The same attribution, and the shapes of the gradients that its rule is given for maps."""
    given = []

    @at_layer
    def spy(activation, gradient):
        given.append(tuple(gradient.shape))
        return method.combine(activation, gradient)

    spy.cancels = method.cancels  # asked once before, with a gradient of its own
    return spy, given


@pytest.mark.parametrize("name", CAMS)
def test_both_ways_of_reading_the_jacobian(name):
    """20 classes on a 4 x 4 map: pixel by pixel (16 passes) and, a few at a time, class by class agree."""
    classifier = tiny(classes=20)
    method, given = watched(CAMS[name])
    by_pixel = method.class_maps(classifier, images())
    assert len(given) == 1
    as_many = method.class_maps(classifier, images(), range(16))
    assert len(given) == 2
    torch.testing.assert_close(as_many.maps, by_pixel.maps[:, :16])
    few = [method.class_maps(classifier, images(), range(start, start + 5)).maps for start in (0, 5, 10, 15)]
    assert len(given) == 22
    torch.testing.assert_close(by_pixel.maps, torch.cat(few, dim=1))
    torch.testing.assert_close(by_pixel.maps, one_by_one(CAMS[name], classifier, images(), range(20)))


@pytest.mark.parametrize("name", CAMS)
def test_behind_pooling_one_number_for_each_channel_is_enough(name):
    classifier = pooled(classes=80)
    x = images(2, 16, torch.float64)
    method, given = watched(CAMS[name])
    quick = method.class_maps(classifier, x).maps
    assert given == [(18, 1, 7, 7), (2, 9, 7, 7)], "channel by channel, and once to see whether they add up"
    torch.testing.assert_close(quick, one_by_one(CAMS[name], classifier, x, range(80)))


def test_a_rule_that_does_not_add_its_channels_up_takes_the_general_way():
    @at_layer
    def across_channels(activation, gradient):
        return (gradient * activation).sum(1, keepdim=True) / activation.abs().sum(1, keepdim=True).clamp_min(0.1)

    classifier, x = pooled(classes=80), images(2, 16, torch.float64)
    maps = across_channels.class_maps(classifier, x).maps
    torch.testing.assert_close(maps[:, 7:8], across_channels(classifier, x, 7, upsample=False))


@pytest.mark.parametrize("unit", [1e-4, 1, 1e4])
def test_a_rule_whose_channels_nearly_add_up_takes_the_general_way(unit):
    """A thousandth of the neighbouring channel comes in, whatever the activations are measured in."""
    @at_layer
    def coupled(activation, gradient):
        return (gradient * (activation + 1e-3 * activation.roll(1, 1))).sum(1, keepdim=True)

    classifier, x = pooled(classes=80), images(2, 16, torch.float64)
    with torch.no_grad():
        classifier.model[0].weight *= unit
        classifier.model[0].bias *= unit
    direct = one_by_one(coupled, classifier, x, range(80))
    torch.testing.assert_close(coupled.class_maps(classifier, x).maps / unit, direct / unit)


@pytest.mark.parametrize(("network", "channels"), [("resnet18", 512), ("mobilenet_v3_small", 576)])
def test_pooling_is_recognised_in_real_architectures(network, channels):
    classifier = Classifier(torchvision_network(network), input_size=64)
    method, given = watched(grad_cam)
    method.class_maps(classifier, images(2, 64, torch.float32))
    assert given[0] == (2 * channels, 1, 2, 2)


class MeanOver(nn.Module):
    """A 6 x 6 map of 6 channels, averaged over two axes: (N, 6), whichever they are."""

    def __init__(self, axes: tuple[int, int]) -> None:
        super().__init__()
        self.conv, self.head, self.axes = nn.Conv2d(3, 6, 3), nn.Linear(6, 40), axes

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.conv(x).mean(self.axes))


@pytest.mark.parametrize("axes", [(2, 3), (-1, -2), (1, 2), (-3, 3), (-2, 1)])
@pytest.mark.parametrize("name", CAMS)
def test_an_average_over_other_axes_is_no_pooling(name, axes):
    classifier, x = Classifier(seeded(MeanOver, axes=axes).double(), input_size=8, layer="conv"), images()
    method, given = watched(CAMS[name])
    torch.testing.assert_close(method.class_maps(classifier, x).maps, one_by_one(CAMS[name], classifier, x, range(40)))
    assert given[0] == ((18, 1, 6, 6) if axes in [(2, 3), (-1, -2)] else (3, 6, 6, 6))


def test_class_by_class_where_convolutions_follow():
    """Seconds instead of milliseconds a pass, measured on depthwise convolutions, if it were transposed."""
    classifier = tiny(classes=80)
    method, given = watched(grad_cam)
    maps = method.class_maps(classifier, images(), layer="norm")
    assert len(given) == 80
    torch.testing.assert_close(maps.maps[:, 79:], grad_cam(classifier, images(), 79, layer="norm", upsample=False))


@pytest.mark.parametrize(("budget", "rows"), [(5.5, [5, 5, 5, 1]), (0.5, [1] * 16), (16, [16])])
def test_so_many_rows_of_gradients_live_at_once_as_fit(monkeypatch, budget, rows):
    """The budget counts maps of the layer for the whole batch."""
    classifier, x, batched = tiny(classes=20), images(), []
    expected = grad_cam.class_maps(classifier, x).maps
    bytes_of_layer = 3 * 5 * 4 * 4 * 8
    grad = torch.autograd.grad

    def watching(*args, **options):
        if options.get("is_grads_batched"):
            batched.append(len(args[2]))
        return grad(*args, **options)

    monkeypatch.setattr(torch.autograd, "grad", watching)
    monkeypatch.setattr("contrastlib.attribution.class_maps._ON_CPU", int(budget * bytes_of_layer))
    torch.testing.assert_close(grad_cam.class_maps(classifier, x).maps, expected)
    assert batched == rows


class OnceOnly(torch.autograd.Function):
    """Doubles its input; its gradient cannot be differentiated again or batched."""

    @staticmethod
    def forward(_ctx, x):
        return 2 * x

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(_ctx, gradient):
        return 2 * gradient


class Unseen(torch.autograd.Function):
    """A rectifier whose gradient is computed where torch does not see it, as extensions do."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x.relu()

    @staticmethod
    def backward(ctx, gradient):
        return gradient.detach().clone() * (ctx.saved_tensors[0] > 0)


class Beside(nn.Module):
    """Such a function beside what torch sees: a derivative of the gradient exists, and lacks a part."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.inner, self.head = nn.Conv2d(3, 8, 4, 4), nn.Linear(8, 8), nn.Linear(8, 30)

    def forward(self, x):
        pooled = self.flat(self.conv(x))
        return self.head(pooled + Unseen.apply(self.inner(pooled)))

    def flat(self, maps):
        return maps.mean((2, 3))


class BesideUnpooled(Beside):
    def flat(self, maps):
        return maps.relu().flatten(2).amax(2)


@pytest.mark.parametrize("network", [Beside, BesideUnpooled])
@pytest.mark.parametrize("name", CAMS)
def test_a_gradient_of_the_networks_own_is_not_left_out(network, name, caplog):
    classifier, method = Classifier(seeded(network).double(), input_size=16), METHODS[name]
    with caplog.at_level("INFO", logger="contrastlib"):
        everything = method.class_maps(classifier, images(size=16), layer="conv")
    assert "class by class" in caplog.text
    expected = torch.cat([method(classifier, images(size=16), c, layer="conv", upsample=False) for c in range(30)], 1)
    torch.testing.assert_close(everything.maps, expected)


def test_operations_that_cannot_be_differentiated_twice(caplog):
    classifier = tiny(classes=20)
    plain = grad_cam.class_maps(classifier, images()).maps
    classifier.model.head.register_forward_pre_hook(lambda _module, args: (OnceOnly.apply(args[0]),))
    with caplog.at_level("INFO", logger="contrastlib"):
        doubled = grad_cam.class_maps(classifier, images()).maps
    assert "class by class" in caplog.text
    assert "differentia" in caplog.text  # and why
    torch.testing.assert_close(doubled, plain * 2)


@pytest.mark.parametrize("how", ["original", "mean", "max", "weighted", "probability", "foil", "tempered", "finer"])
@pytest.mark.parametrize("name", METHODS)
def test_any_contrast_is_a_weighted_sum(name, how):
    function = contrast.by_name(how, foils=[0, 4], temperature=3.0)
    direct = METHODS[name](tiny(), images(), TARGET, function, upsample=False)
    torch.testing.assert_close(METHODS[name].class_maps(tiny(), images()).combine(function, TARGET), direct)


@pytest.mark.parametrize("name", CAMS)
@pytest.mark.parametrize("network", ["resnet18", "vgg11_bn", "densenet121", "mobilenet_v3_small"])
def test_weighted_sum_equals_direct_on_real_architectures_in_float32(network, name):
    classifier = Classifier(torchvision_network(network), input_size=64)
    x, target = images(2, 64, torch.float32), torch.tensor([3, 7])
    direct = CAMS[name](classifier, x, target, contrast.weighted, upsample=False)
    summed = CAMS[name].class_maps(classifier, x).combine(contrast.weighted, target)
    assert (summed - direct).abs().max() <= 1e-5 * direct.abs().max()


def test_some_classes_and_classes_of_each_image():
    everything = grad_cam.class_maps(tiny(), images()).maps
    some = grad_cam.class_maps(tiny(), images(), [4, 1])
    assert torch.equal(some.maps, everything[:, [4, 1]])
    own = torch.tensor([[0, 1], [2, 3], [4, 5]])
    maps = grad_cam.class_maps(tiny(), images(), own).maps
    torch.testing.assert_close(maps, torch.stack([everything[i, own[i]] for i in range(3)]))


@pytest.mark.parametrize("name", CAMS)
def test_one_image_and_one_channel(name):
    def build() -> nn.Module:
        return nn.Sequential(nn.Conv2d(3, 1, 3), nn.Flatten(), nn.Linear(36, 40))

    classifier, x = Classifier(seeded(build).double(), input_size=8, layer="0"), images(1)
    for classes in (range(40), range(5)):
        maps = CAMS[name].class_maps(classifier, x, classes).maps
        torch.testing.assert_close(maps, one_by_one(CAMS[name], classifier, x, classes))


def test_many_repeated_classes_use_the_transposed_way_too():
    own = torch.arange(20).repeat(3, 1).flip(1)
    everything = grad_cam.class_maps(tiny(classes=20), images()).maps
    torch.testing.assert_close(grad_cam.class_maps(tiny(classes=20), images(), own).maps, everything.flip(1))


@pytest.mark.parametrize("classes", [[5, 1, 1], [1, 5, 1], [5, 1, 5, 1, 1]])
def test_a_class_that_is_named_twice_counts_once(classes):
    direct = grad_cam(tiny(), images(), 5, contrast.foil([1]), upsample=False)
    maps = grad_cam.class_maps(tiny(), images(), classes)
    torch.testing.assert_close(maps.combine(contrast.foil([1]), 5), direct)
    assert maps.maps.shape[1] == len(classes)


def test_a_contrast_that_needs_missing_maps_is_refused():
    maps = grad_cam.class_maps(tiny(), images(), [5, 1, 2])
    with pytest.raises(ValueError, match="classes=None"):
        maps.combine(contrast.weighted, TARGET)
    complete = grad_cam.class_maps(tiny(), images()).combine(contrast.foil([1]), 5)
    torch.testing.assert_close(maps.combine(contrast.foil([1]), 5), complete)


@pytest.mark.parametrize("unit", [1e-3, 1, 1e3])
def test_a_millionth_of_the_weight_may_be_missing(unit):
    maps, total = grad_cam.class_maps(tiny(), images(), [5, 1]), grad_cam.class_maps(tiny(), images())

    def little(share):
        return lambda logits, _target: unit * ((1 - share) * logits[:, 5] - share * logits[:, 2])

    found, expected = (one.combine(little(0.9e-6), 5) / unit for one in (maps, total))
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
    with pytest.raises(ValueError, match=r"puts 1\.1e-06 of its weight"):
        maps.combine(little(1.1e-6), 5)
    assert not maps.combine(lambda logits, _target: 0 * logits[:, 5], 5).any()


@pytest.mark.parametrize(
    ("classes", "error", "says"),
    [
        ([6], ValueError, r"\[0, 6\)"),
        ([-1], ValueError, r"\[0, 6\)"),
        ([], (ValueError, TypeError), "at least one|integers"),
        ([0.5], TypeError, "integers"),
        (torch.zeros(2, 2, dtype=torch.int64), ValueError, r"\(K,\) or \(3, K\)"),
    ],
)
def test_classes_that_do_not_fit(classes, error, says):
    with pytest.raises(error, match=says):
        grad_cam.class_maps(tiny(), images(), classes)
