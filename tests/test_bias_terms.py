"""Biases are found however a network calls them: against the score in exact networks, plain gradients in others."""

import pytest
import timm
import torch
import torchvision
from networks import images, seeded
from torch import Tensor, nn
from torch.nn import functional

from contrastlib import contrast
from contrastlib.attribution import Bias, FullGradTerms, full_grad
from contrastlib.models import Classifier

TARGET = torch.tensor([5, 1, 2])


def sums(terms: FullGradTerms) -> dict[str, Tensor]:
    """Each term as one number for each image."""
    numbers = {name: one.double().sum((1, 2, 3)) for name, one in terms.placed.items()}
    for name, number in terms.unplaced.items():
        numbers[name] = numbers.get(name, 0) + number
    return numbers


@pytest.mark.parametrize(("shape", "axis", "constant", "aligned"), [
    ((2, 4, 3, 5), 1, (4,), (4, 1, 1)), ((2, 4, 3, 5), 1, (1, 4, 1, 1), (4, 1, 1)),
    ((2, 3, 5, 4), -1, (4,), (4,)), ((2, 6, 4), -1, (4,), (4,)), ((2, 6, 4), -1, (6, 4), (6, 4)),
    ((2, 4, 6), 1, (4,), (4, 1)), ((2, 4), -1, (4,), (4,)), ((2, 4), 0, (4,), (4,)), ((2, 4, 6), 0, (6,), (6,))])
def test_a_bias_times_its_gradient_by_channel_and_by_place(shape, axis, constant, aligned):
    generator = torch.Generator().manual_seed(0)
    gradient, constant = (torch.randn(size, generator=generator, dtype=torch.float64) for size in (shape, constant))
    bias = Bias("conv", "convolution", constant, axis, shape)
    product = gradient * constant.reshape(aligned)
    torch.testing.assert_close(bias.by_channel(gradient), product)
    torch.testing.assert_close(bias.by_place(gradient), product.sum(axis) if axis else product)


# --- piecewise linear networks ---------------------------------------------------------------------------------------


class Body(nn.Module):
    """Layers for the calls below, between an image of 3 x 8 x 8 and 6 logits."""

    def __init__(self, run) -> None:
        super().__init__()
        self.conv, self.second = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.linear, self.head = nn.Linear(4, 4), nn.Linear(4, 6)
        self.own = nn.Parameter(torch.randn(4))
        self.plain = nn.BatchNorm2d(4, affine=False)
        self.act = timm.layers.BatchNormAct2d(4, act_layer=nn.ReLU6)
        self.run = run

    def forward(self, x: Tensor) -> Tensor:
        x = self.run(self, x)
        return self.head(x.mean((2, 3)) if x.ndim == 4 else x)


def tokens(x: Tensor) -> Tensor:
    return x.flatten(2).transpose(1, 2).contiguous()


def with_in_place(body, x):
    y = body.conv(x)
    z = body.second(y)
    z += y
    z += 1.5
    z.view(len(z), -1).mul_(2)
    z.clamp_(-0.3, 2)
    z[:, :2].relu_()
    return z


def with_in_place_on_a_view(body, x):
    return body.linear(tokens(body.conv(x))).relu_().mean(1)


def with_in_place_on_part_of_a_view(body, x):
    y = body.linear(tokens(body.conv(x)))
    y[..., :3].relu_()
    return y.mean(1)


def with_modules_reused(body, x):
    y = body.second(body.second(body.conv(x)).relu())
    return body.second(functional.avg_pool2d(y, 2))


def with_plain_functions(body, x):
    y = functional.conv2d(input=x, weight=body.conv.weight * 2, bias=body.conv.bias, padding=1)
    y = torch.cat(tensors=[torch.clamp(input=y, max=0.5), y[..., :2]], dim=-1)
    y = torch.add(input=y, other=functional.hardtanh(input=torch.sub(other=y, input=1)))
    y = torch.batch_norm(y, None, body.own, x.new_full((4,), 0.3), x.new_full((4,), 2), False, 0.1, 1e-2, False)
    y = torch.addcmul(body.own.view(1, -1, 1, 1), y, body.own.view(1, -1, 1, 1))
    y = torch.addmm(body.own, y.mean((2, 3)), body.linear.weight, beta=2)
    return functional.linear(y, body.linear.weight, 3 * body.linear.bias)


def with_added_constants(body, x):
    y = 1 - body.conv(x)
    y = torch.add(y - 0.5, body.own.view(1, -1, 1, 1), alpha=2)
    y = torch.cat([y, torch.ones_like(y[..., :1]), y.detach()], -1) + torch.zeros(())
    return 2 - y


def with_knees(body, x):
    y = 20 * body.conv(x)
    return functional.hardtanh(y, -1, 3) + functional.relu6(1 * y, inplace=True) + torch.clip(y, min=-0.2)


def with_all_kinds_of_batch_norm(body, x):
    y = functional.batch_norm(body.conv(x), body.plain.running_mean, body.plain.running_var, body.linear.bias, body.own)
    return body.act(body.plain(y) * 40)


def with_the_batch_second(body, x):
    places = torch.linspace(-1, 1, 64, dtype=x.dtype).view(64, 1, 1) * body.own
    y = body.linear(body.conv(x).flatten(2).permute(2, 0, 1)).relu() + places
    return y.relu().clamp(max=0.2).mean(0)


def with_tokens_in_a_row(body, x):
    return body.linear(tokens(body.conv(x)).flatten(0, 1)).relu().unflatten(0, (len(x), -1)).mean(1)


def with_weights_made_of_weights(body, x):
    weight = functional.batch_norm(body.conv.weight.flatten(1)[None], None, None, training=True)
    return functional.conv2d(x, weight.view_as(body.conv.weight) + 0.1, body.conv.bias)


def with_one_number_for_each_image(body, x):
    y = body.conv(x).relu()
    return torch.stack([y.mean((1, 2, 3)) + 0.5, *y.mean((2, 3)).unbind(1)[1:]], 1)


def with_convolutions_over_other_axes(body, x):
    """Along one and three axes, and all of them transposed."""
    weight, own, bias = body.linear.weight, body.own, body.linear.bias
    y = functional.conv1d(body.conv(x).flatten(2), weight[..., None], own).abs()
    y = functional.conv_transpose1d(y, weight[..., None], bias).abs().unflatten(2, (8, 8))
    y = functional.conv_transpose2d(y, weight[..., None, None], own).abs().unflatten(2, (2, 4))
    y = functional.conv3d(y, weight[..., None, None, None], bias).abs()
    y = functional.conv_transpose3d(y, weight[..., None, None, None], own).abs().flatten(2, 3)
    return torch.convolution(y, weight[..., None, None], bias, (1, 1), (0, 0), (1, 1), False, (0, 0), 1).abs()


def with_additions_by_other_names(body, x):
    y = torch.concat([body.conv(x), torch.ones(len(x), 4, 1, 8)], 2).abs()
    y = torch.concatenate([y, torch.ones(len(x), 4, 9, 2)], 3)
    y = functional.instance_norm(y, body.plain.running_mean, body.plain.running_var, body.own, body.linear.bias,
                                 use_input_stats=False).relu_()  # a view, which an activation overwrites
    y = torch.baddbmm(body.own.view(1, 1, 4), tokens(y), body.linear.weight.expand(len(x), -1, -1)).abs()
    return y.mean(1)


CALLS = [with_one_number_for_each_image, with_in_place, with_in_place_on_a_view, with_in_place_on_part_of_a_view,
         with_modules_reused,
         with_plain_functions, with_added_constants, with_knees, with_all_kinds_of_batch_norm, with_the_batch_second,
         with_tokens_in_a_row, with_weights_made_of_weights, with_convolutions_over_other_axes,
         with_additions_by_other_names]


def body(run, **options) -> Classifier:
    return Classifier(seeded(Body, run=run, **options).double(), input_size=8)


@pytest.mark.parametrize("run", CALLS, ids=lambda run: run.__name__)
def test_however_the_network_calls_them_biases_are_found(run):
    terms = full_grad.terms(body(run), images(), TARGET, contrast.weighted)
    terms.check(1e-12)
    assert terms.leaves == ()
    alone = full_grad.terms(body(run), images()[1:2], TARGET[1:2], contrast.weighted)
    torch.testing.assert_close(alone.map(), terms.map()[1:2])


def test_names_of_terms():
    def names(run):
        return sums(full_grad.terms(body(run), images(), 0)).keys()

    assert names(with_modules_reused) == {"conv", "second", "head"}
    assert names(with_plain_functions) == {"conv", "clamp", "sub", "hardtanh", "own", "linear", "head"}
    assert names(with_added_constants) == {"conv", "rsub", "sub", "own", "cat", "head"}
    assert names(with_all_kinds_of_batch_norm) == {"conv", "plain", "act", "hardtanh in act.act", "head"}


def channels_last(body, x):
    return body.linear(body.conv(x).permute(0, 2, 3, 1)).relu().permute(0, 3, 1, 2)


def on_a_grid(body, x):
    return body.linear(tokens(body.conv(x))).relu().mean(1)


def batch_second(body, x):
    return body.linear(body.conv(x).flatten(2).permute(2, 0, 1)).relu().mean(0)


@pytest.mark.parametrize("run", [channels_last, on_a_grid, batch_second])
@pytest.mark.parametrize("n", [3, 64])
def test_a_bias_acts_where_its_channels_are(run, n):
    """However the axes lie, and if there are as many images as places."""
    classifier, x = body(run), images(n)
    if run is batch_second and n == 64:
        with pytest.raises(ValueError, match=r"'linear' has as many tokens .* second, 64, .* explain fewer"):
            full_grad.terms(classifier, x, 1)
        return
    terms = full_grad.terms(classifier, x, 1, contrast.weighted)
    network, seen = classifier.model, (x - classifier.mean) / classifier.std
    z = network.linear(tokens(network.conv(seen))).detach().requires_grad_()
    score = contrast.weighted(network.head(z.relu().mean(1)), torch.full((n,), 1))
    expected = torch.autograd.grad(score.sum(), z)[0] @ network.linear.bias
    torch.testing.assert_close(terms.placed["linear"], expected.view(n, 1, 8, 8).detach())
    assert terms.unplaced.keys() == {"head", "contrast"}


@pytest.mark.parametrize(("operation", "axis"), [
    (lambda body, y: torch.group_norm(y, 2, body.linear.bias, body.own), 1),
    (lambda body, y: torch.layer_norm(tokens(y), (4,), body.linear.bias, body.own), 2),
    (lambda body, y: torch.conv2d(y, body.linear.weight[..., None, None], body.own), 1),
    (lambda body, y: torch.conv_transpose2d(y, body.linear.weight[..., None, None], body.own), 1),
    (lambda body, y: y.permute(0, 2, 3, 1) + body.own, 3),
    (lambda _, y: y.clamp(max=0.1), None)], ids=["group", "layer", "conv", "transposed", "channels last", "knee"])
def test_where_what_is_added_acts(operation, axis):
    """Torch's own functions, which are given all arguments by their positions."""
    def behind(z):
        return z.relu().mean({1: (2, 3), 2: 1, 3: (1, 2), None: (2, 3)}[axis])

    classifier = body(lambda body, x: behind(operation(body, body.conv(x))))
    network, x = classifier.model, images()
    y = network.conv((x - classifier.mean) / classifier.std)
    z = operation(network, y).detach().requires_grad_()
    (gradient,) = torch.autograd.grad(network.head(behind(z)).gather(1, TARGET[:, None]).sum(), z)
    added = 0.1 * (y > 0.1) if axis is None else network.own.view(4, 1, 1) if axis == 1 else network.own
    expected = (gradient * added).sum(axis or 1).view(3, 1, 8, 8)
    terms = full_grad.terms(classifier, x, TARGET)
    torch.testing.assert_close(terms.placed["own" if axis else "clamp"], expected.detach())


def test_tokens_on_no_grid_have_no_place():
    classifier = body(lambda body, x: body.linear(tokens(body.conv(x))[:, :5]).relu().mean(1))
    terms = full_grad.terms(classifier, images(), TARGET)
    terms.check(1e-12)
    assert "linear" in terms.unplaced
    assert "linear" not in terms.placed


def test_the_bias_of_a_norm_over_places_has_its_own_at_each():
    classifier = body(lambda body, x: body.second(body.norm(body.conv(x))).relu())
    network, x = classifier.model, images()
    network.norm = nn.LayerNorm((4, 8, 8)).double().eval()
    nn.init.normal_(network.norm.bias, generator=torch.Generator().manual_seed(0))
    z = network.norm(network.conv((x - classifier.mean) / classifier.std)).detach().requires_grad_()
    logits = network.head(network.second(z).relu().mean((2, 3)))
    (gradient,) = torch.autograd.grad(logits.gather(1, TARGET[:, None]).sum(), z)
    terms = full_grad.terms(classifier, x, TARGET)
    torch.testing.assert_close(terms.placed["norm"], (gradient * network.norm.bias).sum(1, keepdim=True).detach())


def test_a_module_that_runs_at_two_resolutions_has_one_map():
    terms = full_grad.terms(body(with_modules_reused), images(), TARGET)
    assert terms.placed["second"].shape == (3, 1, 8, 8)


@pytest.mark.parametrize("cut", [nn.ReLU6(inplace=True), nn.Hardtanh(0, 6), lambda x: x.clamp(max=6)],
                         ids=["relu6", "hardtanh", "clamp"])
def test_what_is_cut_off_is_constant_beyond_the_knee(cut):
    at = torch.tensor(6.0, requires_grad=True)
    flat = 1 - torch.autograd.grad(cut(1 * at), at)[0].double()  # at the knee itself torch's versions differ

    class Cut(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = nn.Linear(12, 2, bias=False)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(cut(x).flatten(1))

    x = torch.tensor([1.0, 0.75, 0.25, 0.875], dtype=torch.float64).reshape(1, 1, 2, 2).expand(1, 3, 2, 2)
    classifier = Classifier(seeded(Cut).double(), input_size=2, mean=0, std=0.125)  # the network sees 8, 6, 2, 7
    terms = full_grad.terms(classifier, x, 1)
    weight = classifier.model.head.weight[1].reshape(3, 4).sum(0).detach()
    (knee,) = terms.placed.values()
    mask = torch.tensor([1, flat, 0, 1], dtype=torch.float64)
    torch.testing.assert_close(knee.flatten(), weight * 6 * mask)
    torch.testing.assert_close(terms.input.flatten(), weight * x[0, 0].flatten() * 8 * (1 - mask))


# --- networks that are not piecewise linear --------------------------------------------------------------------------


def products(classifier: Classifier, x: Tensor, target: Tensor, score: contrast.Contrast) -> dict[str, Tensor]:
    """For each parameter that is added somewhere, its product with its gradient, image by image."""
    added = {name: p for name, p in classifier.model.named_parameters()
             if "bias" in name or name in ("cls_token", "pos_embed", "class_token", "encoder.pos_embedding")}
    found: dict[str, Tensor] = {}
    for i in range(len(x)):
        value = score(classifier(x[i:i + 1]), target[i:i + 1]).sum()
        gradients = torch.autograd.grad(value, list(added.values()))
        for (name, p), gradient in zip(added.items(), gradients, strict=True):
            owner = name.rpartition(".")[0] or name
            found.setdefault(owner, torch.zeros(len(x), dtype=x.dtype))[i] += (gradient * p).sum().detach()
    return found


class Attending(nn.Module):
    """Attention between the cells of a map, in one of the ways in which torch can be asked for it."""

    def __init__(self, batch_first: bool, need_weights: bool, kdim: int | None = None) -> None:
        super().__init__()
        self.embed = nn.Conv2d(3, 8, 2, stride=2)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=batch_first, kdim=kdim)
        nn.init.normal_(self.attention.in_proj_bias)
        nn.init.normal_(self.attention.out_proj.bias)
        self.batch_first, self.need_weights = batch_first, need_weights
        self.head = nn.Linear(8, 6)

    def forward(self, x: Tensor) -> Tensor:
        x = tokens(self.embed(x))
        x = x if self.batch_first else x.transpose(0, 1)
        x = self.attention(x, x, x, need_weights=self.need_weights)[0].relu()
        return self.head(x.mean(1 if self.batch_first else 0))


def vit():
    return timm.models.vision_transformer.VisionTransformer(
        img_size=32, patch_size=8, embed_dim=16, depth=2, num_heads=2, num_classes=6)


def torch_vit():
    network = torchvision.models.VisionTransformer(32, 8, 2, 2, 16, 32, num_classes=6)
    nn.init.normal_(network.heads.head.weight)
    return network


SMOOTH = {
    "attention": (lambda: Attending(True, False), 8), "attention, weights": (lambda: Attending(True, True), 8),
    "attention, batch second": (lambda: Attending(False, False), 8),
    "attention, separate": (lambda: Attending(False, True, kdim=8), 8),
    "vit": (vit, 32), "torchvision vit": (torch_vit, 32),
    "convnext": (lambda: timm.create_model("convnext_atto", depths=[1] * 4, dims=[8] * 4, num_classes=6), 32),
    "group norm": (lambda: timm.models.ResNet(timm.models.resnet.BasicBlock, [1] * 4, 6, channels=[32] * 4,
                                              norm_layer=timm.layers.GroupNorm), 64),
}


@pytest.mark.parametrize("name", SMOOTH)
def test_biases_of_smooth_networks_are_all_counted(name):
    build, size = SMOOTH[name]
    classifier = Classifier(seeded(build).double(), input_size=size)
    with torch.no_grad():
        for parameter in classifier.model.parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(3))
    x = images(3, size)
    terms = full_grad.terms(classifier, x, TARGET, contrast.weighted)
    found = sums(terms)
    expected = products(classifier, x, TARGET, contrast.weighted)
    assert expected.keys() <= found.keys() == expected.keys() | {"contrast"}
    for key, value in expected.items():
        torch.testing.assert_close(found[key], value, msg=lambda text, key=key: f"{key}: {text}")
    assert terms.leaves
    torch.testing.assert_close(full_grad.terms(classifier, x[1:2], 1, contrast.weighted).total, terms.total[1:2])


class PlusOne(torch.autograd.Function):
    """A constant that is added where no torch function is called."""

    @staticmethod
    def forward(_ctx, x):
        return x + 1

    @staticmethod
    def backward(_ctx, gradient):
        return gradient


def with_something_unseen(body, x):
    return PlusOne.apply(body.conv(x)).relu()


def with_images_one_by_one(body, x):
    return torch.stack([body.conv(image).relu() for image in x])


def with_a_constant_added_in_place_to_a_view(body, x):
    y = body.conv(x)
    y[:, :2].add_(1)
    return y.relu()


def with_a_product(body, x):
    return body.conv(x) * body.second(x[:, [0, 1, 2, 0]])


def with_a_curve_of_weights(body, x):
    return body.conv(x).relu() * body.own.sigmoid().view(1, -1, 1, 1)


@pytest.mark.parametrize(
    ("run", "leaves"),
    [
        (with_something_unseen, ()),
        (with_images_one_by_one, ("conv2d in conv",)),
        (with_a_constant_added_in_place_to_a_view, ("add",)),
        (with_a_product, ("mul",)),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_what_cannot_be_counted_is_left_and_named(run, leaves):
    for n in (3, 2):  # images by which the channels can be divided, or not
        terms = full_grad.terms(body(run), images(n), TARGET[:n])
        assert terms.leaves == leaves
        with pytest.raises(ValueError, match=leaves[0].split()[0] if leaves else "not seen"):
            terms.check()


CURVES = [
    "celu", "cos", "elu", "erf", "exp", "exp2", "expm1", "gelu", "gumbel_softmax", "hardsigmoid", "hardswish", "log",
    "log10", "log1p", "log2", "log_softmax", "logsumexp", "mish", "norm", "normalize", "reciprocal", "rsqrt", "selu",
    "sigmoid", "silu", "sin", "softmax", "softmin", "softplus", "softshrink", "softsign", "sqrt", "square", "std",
    "std_mean", "tanh", "tanhshrink", "var", "var_mean"]
CURVES_WITH_MORE = {
    "cosine_similarity": lambda y: functional.cosine_similarity(y, y.flip(1)), "glu": functional.glu,
    "linalg_norm": torch.linalg.norm, "linalg_vector_norm": torch.linalg.vector_norm,
    "local_response_norm": lambda y: functional.local_response_norm(y[:, None], 2), "pow": lambda y: y ** 1.5,
    "rms_norm": lambda y: functional.rms_norm(y, (4,)), "rpow": lambda y: 2 ** y, "rdiv": lambda y: 1 / y,
    "log_sigmoid": nn.LogSigmoid()}
PRODUCTS = {
    "bilinear": lambda y: functional.bilinear(y, y, y.new_ones(2, 4, 4)),
    "bmm": lambda y: torch.bmm(y[:, None], y[..., None]),
    "conv1d": lambda y: functional.conv1d(y[None], y[:, None], groups=len(y)),
    "conv2d": lambda y: functional.conv2d(y[None, ..., None], y[:, None, :, None], groups=len(y)),
    "conv3d": lambda y: functional.conv3d(y[None, ..., None, None], y[:, None, :, None, None], groups=len(y)),
    "div": lambda y: y / y.flip(1), "divide": lambda y: torch.divide(y, y.flip(1)),
    "dot": lambda y: torch.dot(y.flatten(), y.flatten()), "einsum": lambda y: torch.einsum("nk,nk->n", y, y),
    "linear": lambda y: functional.linear(y, y), "matmul": lambda y: y @ y.T, "mm": lambda y: torch.mm(y, y.T),
    "mul": lambda y: y * y, "multiply": lambda y: torch.multiply(y, y), "rmatmul": lambda y: y.__rmatmul__(y.T),
    "outer": lambda y: torch.outer(y.flatten(), y.flatten()), "tensordot": lambda y: torch.tensordot(y, y.T, 1),
    "true_divide": lambda y: torch.true_divide(y, y.flip(1)),
    "addbmm": lambda y: torch.addbmm(y.new_ones(1, 1), y[:, None], y[..., None]),
    "addcdiv": lambda y: torch.addcdiv(y.new_ones(4), y, y.flip(1)),
    "addcmul": lambda y: torch.addcmul(y.new_ones(4), y, y), "addmm": lambda y: torch.addmm(y.new_ones(1), y, y.T),
    "baddbmm": lambda y: torch.baddbmm(y.new_ones(1, 1, 1), y[:, None], y[..., None])}


def curve(name):
    """A function of torch by its name, over the second axis where it goes along one."""
    function = getattr(functional, name, None) or getattr(torch, name)
    along = ("softm", "log_soft", "logsumexp", "gumbel", "std", "var")
    return lambda y: function(y, dim=1) if name.startswith(along) else function(y)


@pytest.mark.parametrize("of_image", [{name: curve(name) for name in CURVES}, CURVES_WITH_MORE, PRODUCTS],
                         ids=["curves", "curves with more", "products"])
def test_whatever_is_not_linear_is_named(of_image):
    def left_by(function):
        def run(body, x):
            found = function(body.conv(x).abs().mean((2, 3)) + 1)
            values = sum(one.sum() for one in (found if isinstance(found, tuple) else [found]))
            return body.conv(x).mean((2, 3)) + values * torch.zeros(4)
        return full_grad.terms(body(run), images(), TARGET).leaves

    assert {name: left_by(function) for name, function in of_image.items()} == {name: (name,) for name in of_image}


def test_what_is_done_to_weights_alone_leaves_nothing():
    terms = full_grad.terms(body(with_a_curve_of_weights), images(), TARGET)
    assert terms.leaves == ()
    terms.check(1e-12)


def test_a_norm_over_the_batch_leaves_a_residual():
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, track_running_stats=False), nn.Flatten(),
                            nn.Linear(4 * 36, 6)).eval()
    terms = full_grad.terms(Classifier(network, input_size=8), images(dtype=torch.float32), 0)
    assert terms.leaves == ("batch_norm in 1",)
    assert list(terms.placed) == ["0", "1"]


class TokensBehindBatchNorm(nn.Module):
    """Its gradient comes to BatchNorm laid out as tokens are, which torch takes for another layout (one image)."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.mix = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, 4)
        self.head = nn.Linear(4, 6)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.mix(tokens(self.norm(self.conv(x)))).relu().mean(1))


def test_tokens_of_a_single_image_behind_batch_norm():
    classifier = Classifier(seeded(TokensBehindBatchNorm).double(), input_size=8)
    together = full_grad.terms(classifier, images(), TARGET)
    alone = full_grad.terms(classifier, images()[:1], TARGET[:1])
    together.check(1e-12)
    alone.check(1e-12)
    torch.testing.assert_close(alone.map(), together.map()[:1])
