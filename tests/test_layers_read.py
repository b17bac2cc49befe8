"""Faults that users would meet where layers are read: each with the right value."""

import copy
import pickle
import threading

import pytest
import timm
import torch
from networks import Tiny, images, seeded
from torch import nn
from torch.nn import functional

from contrastlib import contrast
from contrastlib.attribution import grad_cam
from contrastlib.models import Classifier, Layout, layout_of


class Block(nn.Module):
    """Attention and a residual sum; `giving` says in what the tokens are handed on."""

    def __init__(self, width: int, giving=lambda tokens: tokens) -> None:
        super().__init__()
        self.norm, self.qkv, self.out = nn.LayerNorm(width), nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.giving = giving

    def forward(self, x):
        x = x[0] if isinstance(x, tuple) else x
        q, k, v = (part[:, None] for part in self.qkv(self.norm(x)).chunk(3, -1))
        return self.giving(x + self.out(functional.scaled_dot_product_attention(q, k, v)[:, 0]))


class Merge(nn.Module):
    """Four neighbours become one token, without a map in between."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.reduction = nn.Linear(4 * width, width)

    def forward(self, x):
        n, length, width = x.shape
        half = int(length ** 0.5) // 2
        x = x.view(n, half, 2, half, 2, width).permute(0, 1, 3, 2, 4, 5)
        return self.reduction(x.reshape(n, length // 4, 4 * width))


class Hierarchical(nn.Module):
    """16 x 16, 8 x 8 and 4 x 4 tokens of a 64 x 64 image; the width is that of the first grid."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.patch = nn.Conv2d(3, width, 4, 4)
        self.stages = nn.ModuleList(nn.Sequential(Block(width), Block(width)) for _ in range(3))
        self.merges = nn.ModuleList(Merge(width) for _ in range(2))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, 4)

    def trunk(self, x):
        tokens = self.stages[0](self.patch(x).flatten(2).transpose(1, 2))
        for merge, stage in zip(self.merges, self.stages[1:]):
            tokens = stage(merge(tokens))
        return tokens

    def forward(self, x):
        return self.head(self.norm(self.trunk(x)).mean(1))


def test_merged_tokens_are_read_on_the_grid_that_they_were_merged_to():
    network = seeded(Hierarchical)
    classifier, x = Classifier(network, input_size=64, mean=0, std=1), images(2, size=64, dtype=torch.float32)
    assert classifier.layer_name == "norm"
    assert classifier.layers()["stages.2.1"].layout == Layout("tokens", (4, 4))
    assert classifier.layers()["patch"].layout == Layout("channels first", (16, 16))  # as many channels as rows
    tokens = network.trunk(x).detach().requires_grad_()
    (gradient,) = torch.autograd.grad(network.head(network.norm(tokens).mean(1))[:, 1].sum(), tokens)
    expected = (tokens * gradient.mean(1, keepdim=True)).sum(-1).view(2, 4, 4)
    torch.testing.assert_close(grad_cam(classifier, x, 1, layer="stages.2", upsample=False)[:, 0], expected.detach())


@pytest.mark.parametrize("n", [1, 3, 16])
def test_tokens_along_the_first_axis_are_refused_however_many_images_there_are(n):
    """With 16 images of 16 tokens each the shape does not tell which axis is which."""
    class TokensFirst(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.patch, self.mix, self.head = nn.Conv2d(3, 8, 8, 8), nn.Linear(8, 8), nn.Linear(8, 4)

        def forward(self, x):
            return self.head(self.mix(self.patch(x).flatten(2).permute(2, 0, 1)).relu().mean(0))

    classifier, x = Classifier(seeded(TokensFirst), input_size=32), images(n, size=32, dtype=torch.float32)
    for call in (grad_cam, grad_cam.class_maps):
        with pytest.raises(ValueError, match=r"layer 'mix'.* another (batch|length) than the .*; name the block"):
            call(classifier, x, 1 if call is grad_cam else [1], layer="mix")
    assert grad_cam(classifier, x, 1, layer="patch", upsample=False).shape == (n, 1, 4, 4)


def test_as_many_latents_as_merged_tokens_are_no_grid():
    class Latents(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.patch, self.latents = nn.Conv2d(3, 8, 8, 8), nn.Parameter(torch.randn(1, 16, 8))
            self.reading, self.head = nn.Linear(8, 8), nn.Linear(8, 4)

        def forward(self, x):
            tokens = self.patch(x).flatten(2).transpose(1, 2)
            weights = (self.latents @ tokens.transpose(1, 2)).softmax(-1)
            return self.head(self.reading(weights @ tokens).mean(1))

    classifier = Classifier(seeded(Latents), input_size=64)
    with pytest.raises(ValueError, match="do not lie in reading order: when a cell of the 4 x 4 grid"):
        grad_cam(classifier, images(1, size=64, dtype=torch.float32), 1, layer="reading")


def test_channels_last_with_about_as_many_channels_as_rows():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = timm.create_model("mambaout_femto", num_classes=3).eval()
    classifier, x = Classifier(network), images(1, size=224, dtype=torch.float32)
    assert classifier.layers()["stages.0"].layout == Layout("channels last", (56, 56))
    kept = []
    handle = network.stages[0].register_forward_hook(lambda _m, _a, output: kept.append(output))
    score = classifier(x)[:, 1].sum()
    handle.remove()
    (gradient,) = torch.autograd.grad(score, kept)
    expected = (kept[0] * gradient.mean((1, 2), keepdim=True)).sum(-1).detach()
    torch.testing.assert_close(grad_cam(classifier, x, 1, layer="stages.0", upsample=False)[:, 0], expected)


@pytest.mark.parametrize(("shape", "kinds", "expected"), [
    ((1, 8, 8, 8), {"channels last"}, Layout("channels last", (8, 8))),
    ((1, 8, 8, 8), {"channels first"}, Layout("channels first", (8, 8))),
    ((1, 8, 8, 7), (), Layout("channels last", (8, 8))),  # the squarer cells
    ((1, 7, 8, 8), (), Layout("channels first", (8, 8))),
    ((1, 4, 8, 2), {"channels first"}, Layout("channels first", (8, 2))),  # a convolution may stride as it likes
])
def test_what_the_network_does_decides_where_both_readings_fit(shape, kinds, expected):
    assert layout_of(shape, (64, 64), kinds=kinds) == expected


@pytest.mark.parametrize(("shape", "kinds"), [
    ((1, 8, 8, 8), ()), ((1, 8, 8, 8), {"channels first", "channels last"}),
    ((1, 4, 50, 48), {"channels last"}),  # windows of 50 tokens: as channels first it would be a map of 50 x 48
    ((1, 16, 60, 20), ()),
])
def test_what_may_be_anything_is_refused(shape, kinds):
    with pytest.raises(ValueError, match=r"channels first or (channels )?last"):
        layout_of(shape, (64, 64), kinds=kinds)


@pytest.mark.parametrize("giving", [lambda x: x, lambda x: (x,), lambda x: (x, None)])
def test_the_default_is_a_block_and_no_part_of_one(giving):
    class Transformer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.patch, self.cls = nn.Conv2d(3, 16, 8, 8), nn.Parameter(torch.randn(1, 1, 16))
            self.blocks = nn.ModuleList(Block(16, giving) for _ in range(3))
            self.head = nn.Linear(16, 4)

        def forward(self, x):
            x = self.patch(x).flatten(2).transpose(1, 2)
            x = torch.cat([self.cls.expand(len(x), -1, -1), x], 1)
            for block in self.blocks:
                x = block(x)
            return self.head((x[0] if isinstance(x, tuple) else x)[:, 0])

    classifier = Classifier(seeded(Transformer), input_size=32)
    assert classifier.layer_name == "blocks.1"  # at the last one the class token alone is read
    assert grad_cam(classifier, images(1, size=32, dtype=torch.float32), 1, upsample=False).shape == (1, 1, 4, 4)


class LastPart(nn.Module):
    """What ends a block, and adds the residual itself."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.dense = nn.Linear(width, width)

    def forward(self, hidden, residual):
        return self.dense(hidden) + residual


def test_a_block_that_ends_with_a_part_of_it_is_a_block():
    class Ending(nn.Module):
        def __init__(self, width: int) -> None:
            super().__init__()
            self.attention, self.output = Block(width), LastPart(width)

        def forward(self, x):
            return self.output(self.attention(x), x)

    class Transformer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.patch, self.head = nn.Conv2d(3, 16, 8, 8), nn.Linear(16, 4)
            self.cls = nn.Parameter(torch.randn(1, 1, 16))
            self.encoder = nn.ModuleDict({"layer": nn.ModuleList(Ending(16) for _ in range(3))})

        def forward(self, x):
            x = self.patch(x).flatten(2).transpose(1, 2)
            x = torch.cat([self.cls.expand(len(x), -1, -1), x], 1)
            for block in self.encoder["layer"]:
                x = block(x)
            return self.head(x[:, 0])

    report = Classifier(seeded(Transformer), input_size=32).layers()
    assert report.recommended == "encoder.layer.1"
    assert report["encoder.layer.2.attention.qkv"].inside


def test_what_is_recommended_can_be_explained():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = timm.create_model("hiera_tiny_224", img_size=(64, 64), embed_dim=24, num_classes=4).eval()
    classifier = Classifier(network, input_size=64)
    report = classifier.layers()
    assert report.recommended == classifier.layer_name
    assert report[report.recommended].layout == Layout("tokens", (2, 2))  # in reading order again at last
    assert grad_cam(classifier, images(1, size=64, dtype=torch.float32), 1, upsample=False).shape == (1, 1, 2, 2)


def test_a_network_without_a_default_layer_says_so_every_time():
    class Unfolded(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.unfold, self.patch, self.head = nn.Unfold(8, stride=8), nn.Linear(192, 16), nn.Linear(16, 4)

        def forward(self, x):
            return self.head(self.patch(self.unfold(x).transpose(1, 2)).mean(1))

    classifier = Classifier(seeded(Unfolded), input_size=32)
    for _ in range(2):
        with pytest.raises(ValueError, match="no layer of Unfolded runs once and gives a map"):
            grad_cam(classifier, images(1, size=32, dtype=torch.float32), 1)


# --- compiled, scripted, copied, used by several -------------------------------------------------------------------


def small() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 12, 3, 2, 1), nn.ReLU(),
                         nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(12, 4))


@pytest.mark.parametrize("compiled", ["network", "classifier"])
def test_compiled_and_used_before_it_is_explained(compiled):
    network, x = seeded(small), images(2, size=32, dtype=torch.float32)
    expected = grad_cam(Classifier(network), x, [1, 2], contrast.weighted, layer="3", upsample=False)
    inner = torch.compile(copy.deepcopy(network), backend="eager") if compiled == "network" else copy.deepcopy(network)
    classifier = Classifier(inner, input_size=32)
    if compiled == "classifier":
        classifier.compile(backend="eager")
    classifier.eval()
    with torch.no_grad():
        logits = classifier(x)
    assert classifier.layer_name == ("_orig_mod.3" if compiled == "network" else "3")
    torch.testing.assert_close(grad_cam(classifier, x, [1, 2], contrast.weighted, upsample=False), expected)
    with torch.no_grad():
        assert torch.equal(classifier(x), logits)


@pytest.mark.filterwarnings("ignore:.*torch.jit")
@pytest.mark.parametrize("make", [torch.jit.script, lambda net: torch.jit.trace(net, torch.rand(1, 3, 32, 32)),
                                  lambda net: torch.export.export(net, (torch.rand(1, 3, 32, 32),)).module()])
def test_scripted_traced_and_exported_networks_have_no_layers(make):
    network, x = seeded(small), images(1, size=32, dtype=torch.float32)
    classifier = Classifier(make(copy.deepcopy(network)), input_size=32, class_names=list("abcd"))
    with torch.no_grad():
        torch.testing.assert_close(classifier(x), Classifier(network)(x))
    for ask in (lambda: classifier.layer_name, classifier.layers, lambda: grad_cam(classifier, x, 1, layer="3")):
        with pytest.raises(ValueError, match=r"scripted, traced or exported: .*wrap the network as it was before"):
            ask()


def test_a_used_classifier_is_saved_and_copied():
    classifier, x = Classifier(seeded(small), input_size=32), images(1, size=32, dtype=torch.float32)
    expected = grad_cam(classifier, x, 1)
    for again in (pickle.loads(pickle.dumps(classifier)), copy.deepcopy(classifier)):
        assert torch.equal(grad_cam(again, x, 1), expected)
        assert again.layer() is not classifier.layer()


def test_what_others_run_meanwhile_is_no_part_of_the_report():
    classifier, x = Classifier(seeded(Tiny), input_size=8), images(1, dtype=torch.float32)
    expected, stop = classifier.layers(), threading.Event()

    def run() -> None:
        while not stop.is_set():
            with torch.no_grad():
                classifier(x)

    others = [threading.Thread(target=run) for _ in range(2)]
    for thread in others:
        thread.start()
    try:
        for _ in range(20):
            assert Classifier(classifier.model, input_size=8).layers() == expected
    finally:
        stop.set()
        for thread in others:
            thread.join()


class Placed(nn.Module):
    """Tokens of overlapping patches, the class token at a place among them; `order` turns the tokens of a block."""

    def __init__(self, place: int) -> None:
        super().__init__()
        self.place, self.patch, self.token = place, nn.Conv2d(3, 16, 16, 8, 4), nn.Parameter(torch.randn(1, 1, 16))
        self.blocks, self.head = nn.Sequential(Block(16), Block(16)), nn.Linear(16, 4)

    def forward(self, x):
        tokens = self.patch(x).flatten(2).transpose(1, 2)
        token = self.token.expand(len(x), -1, -1)
        tokens = self.blocks(torch.cat([tokens[:, :self.place], token, tokens[:, self.place:]], 1))
        return self.head(tokens[:, self.place] + tokens.mean(1))


@pytest.mark.parametrize("place", [32, 64])
def test_a_class_token_among_or_behind_the_patches_is_no_prefix(place):
    in_front = Classifier(seeded(Placed, place=0), input_size=64)
    assert in_front.read_as((1, 65, 16), (64, 64)) == Layout("tokens", (8, 8), 1)
    classifier = Classifier(seeded(Placed, place=place), input_size=64)
    with pytest.raises(ValueError, match="no 8 x 8 grid behind 1 prefix token"):
        grad_cam(classifier, images(1, size=64, dtype=torch.float32), 1, layer="blocks.1")
    assert "no 8 x 8 grid" in classifier.layers()["blocks.1"].problem


class Heads(nn.Module):
    """Tokens taken apart into heads, which a module sees in some order of the axes."""

    def __init__(self, order: tuple[int, ...], heads: int, width: int) -> None:
        super().__init__()
        self.patch, self.seen = nn.Conv2d(3, heads * width, 8, 8), nn.Tanh()
        self.reading, self.head = nn.Linear(heads * width, heads * width), nn.Linear(heads * width, 4)
        self.order, self.heads = order, heads

    def forward(self, x):
        tokens = self.reading(self.patch(x).flatten(2).transpose(1, 2))  # (N, L, K)
        heads = self.seen(tokens.unflatten(-1, (self.heads, -1)).permute(self.order))
        back = heads.permute([self.order.index(axis) for axis in range(4)]).flatten(2)
        return self.head(back.mean(1))


@pytest.mark.parametrize(("order", "heads", "width"), [
    ((0, 2, 1, 3), 2, 60), ((0, 2, 3, 1), 2, 60), ((0, 1, 2, 3), 7, 8)])
def test_heads_of_tokens_are_no_map(order, heads, width):
    classifier = Classifier(seeded(Heads, order=order, heads=heads, width=width), input_size=64)
    with pytest.raises(ValueError, match=r"layer 'seen': .*64 tokens or their heads, no map"):
        grad_cam(classifier, images(2, size=64, dtype=torch.float32), 1, layer="seen")
    assert "seen" not in [layer.name for layer in classifier.layers() if not layer.problem]


@pytest.mark.parametrize("n", [2, 16])
def test_tokens_that_come_first_are_refused_for_as_many_images_too(n):
    class First(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.patch, self.mix, self.head = nn.Conv2d(3, 8, 8, 8), nn.Linear(8, 8), nn.Linear(8, 4)

        def forward(self, x):
            return self.head(self.mix(self.patch(x).flatten(2).permute(2, 0, 1)).mean(0))

    classifier = Classifier(seeded(First), input_size=32)
    with pytest.raises(ValueError, match=r"another batch than|a batch of another length than"):
        grad_cam(classifier, images(n, size=32, dtype=torch.float32), 1, layer="mix")


def test_the_cells_of_a_map_in_another_order_are_no_map():
    """MobileViTv2 unfolds 8 x 8 cells into 2 x 2 cells of 4 x 4 patches, 4 x 16, and goes on with convolutions."""
    classifier = Classifier(seeded(timm.create_model, model_name="mobilevitv2_050", num_classes=5), input_size=64)
    with pytest.raises(ValueError, match=r"shape \(1, 64, 4, 16\) holds the cells of a map in another order, no map"):
        grad_cam(classifier, torch.rand(1, 3, 64, 64), 0, layer="stages.2.1.transformer.0")
    found = grad_cam(classifier, torch.rand(1, 3, 64, 64), 0, layer="stages.2", upsample=False)
    assert found.shape == (1, 1, 8, 8)
