"""How layers are read as maps: the grid and the prefix tokens are inferred, and what was inferred is true."""

import os
import re
from pathlib import Path

import pytest
import torch
import torchvision
from dataset_files import real
from networks import seeded
from timm.models.vision_transformer import VisionTransformer
from torch import nn

from contrastlib import contrast, data, models
from contrastlib.attribution import (
    METHODS,
    attention_relevance,
    attention_rollout,
    attentions,
    grad_cam,
    linear_approximation,
    xgrad_cam,
)
from contrastlib.models import Classifier, Layout, layout_of

NETWORKS = {  # name: (options, layer, how its output is read)
    "timm/vit_tiny_patch16_224": ({}, "blocks.10", Layout("tokens", (14, 14), 1)),
    "timm/deit_tiny_distilled_patch16_224": ({}, "blocks.10", Layout("tokens", (14, 14), 2)),
    "timm/vit_small_patch14_reg4_dinov2": ({"img_size": 98}, "blocks.10", Layout("tokens", (7, 7), 5)),
    "timm/vit_small_patch14_dinov2": ({"img_size": 112}, "blocks.10", Layout("tokens", (8, 8), 1)),
    "timm/vit_small_patch32_224": ({"img_size": (64, 160)}, "blocks.10", Layout("tokens", (2, 5), 1)),
    "timm/vit_base_patch16_gap_224": ({"img_size": 64, "embed_dim": 48, "depth": 2, "num_heads": 3}, "norm",
                                      Layout("tokens", (4, 4))),
    "timm/mixer_s32_224": ({"img_size": 96}, "norm", Layout("tokens", (3, 3))),
    "timm/swin_tiny_patch4_window7_224": ({}, "norm", Layout("channels last", (7, 7))),
    "timm/convnext_atto": ({}, "stages", Layout("channels first", (7, 7))),
    "timm/cait_xxs24_224": ({"img_size": 64}, "blocks", Layout("tokens", (4, 4))),
    "swin_t": ({}, "permute", Layout("channels first", (7, 7))),
    "convnext_tiny": ({}, "features", Layout("channels first", (7, 7))),
    "resnet18": ({}, "layer4", Layout("channels first", (7, 7))),
}


def load(name: str) -> Classifier:
    options = dict(NETWORKS[name][0])
    size = options.get("img_size", 224)
    return models.load(name, weights=None, num_classes=10, input_size=size, model_args=options)


@pytest.mark.parametrize("name", NETWORKS)
def test_the_layout_of_a_real_network_is_found_and_said(name):
    network = load(name)
    _, layer, layout = NETWORKS[name]
    report = network.layers()
    assert network.layer_name == report.recommended == layer
    assert report[layer].layout == layout
    assert str(layout) in str(report)
    maps = grad_cam(network, torch.rand(2, 3, *network.input_size), 3, contrast.weighted, upsample=False)
    assert maps.shape == (2, 1, *layout.grid)


@pytest.fixture(scope="module")
def torchvision_vit() -> Classifier:
    network = torchvision.models.VisionTransformer(
        image_size=48, patch_size=8, num_layers=3, num_heads=2, hidden_dim=16, mlp_dim=32, num_classes=5)
    nn.init.normal_(network.heads.head.weight)
    return Classifier(network.eval(), input_size=48)


def test_the_layout_of_torchvisions_transformer(torchvision_vit):
    assert torchvision_vit.layers()["encoder.layers.encoder_layer_1"].layout == Layout("tokens", (6, 6), 1)
    assert torchvision_vit.layer_name == "encoder.layers.encoder_layer_1"
    untrained = models.load("vit_b_16", weights=None, num_classes=3)  # its head starts as zeros
    assert untrained.layer_name == "encoder.layers.encoder_layer_10"


@real
def test_the_transformer_fine_tuned_on_birds():
    """DINOv2 with a head for a hundred species, where its weights and photographs are."""
    dataset = data.load("cub200", "test")
    network = models.load("vit_small_patch14_dinov2", input_size=224, crop=False, class_names=dataset.class_names,
                          weights=Path(os.environ["CONTRASTLIB_DATA"]) / "models" /
                          "vit_small_patch14_dinov2.cub100.safetensors")
    images = network.prepare([dataset.picture(i) for i in range(0, 120, 30)])
    assert network.layers()[network.layer_name].layout == Layout("tokens", (16, 16), 1)
    found = attentions(network, images, 3, contrast.weighted)
    assert str(found) == "12 layers, 6 heads, 16 x 16 patch tokens behind 1 prefix token; the head reads token 0"
    for maps in (grad_cam(network, images, 3, contrast.weighted, upsample=False), attention_rollout.rollout(found),
                 attention_relevance.relevance(found)):
        assert maps.shape == (4, 1, 16, 16)
        assert maps.flatten(1).any(1).all()


def test_an_attention_that_gives_a_tuple_is_read_by_its_output(torchvision_vit):
    layer, images, kept = "encoder.layers.encoder_layer_0.self_attention", torch.rand(2, 3, 48, 48), []
    handle = torchvision_vit.layer(layer).register_forward_hook(lambda _m, _a, output: kept.append(output[0]))
    score = torchvision_vit(images)[:, 1].sum()
    handle.remove()
    patches, gradient = kept[0][:, 1:], torch.autograd.grad(score, kept)[0][:, 1:]
    expected = (patches * gradient.mean(1, keepdim=True)).sum(-1).view(2, 1, 6, 6).detach()
    assert expected.any()
    found = grad_cam(torchvision_vit, images, 1, upsample=False, layer=layer)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6 * expected.abs().max().item())


class Tiny(VisionTransformer):
    """Three blocks on 4 x 4 patches behind a class token and a register."""

    def __init__(self, **options) -> None:
        super().__init__(**{"img_size": 16, "patch_size": 4, "embed_dim": 16, "depth": 3, "num_heads": 2,
                            "num_classes": 5, "reg_tokens": 1, **options})


def tiny(**options) -> Classifier:
    return Classifier(seeded(Tiny, **options).double(), input_size=options.get("img_size", 16), mean=0.5, std=0.5)


IMAGES = torch.rand(3, 3, 16, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(4))
TARGET = torch.tensor([0, 3, 4])


def tokens_and_gradient(network: Classifier, block: int, score) -> tuple[torch.Tensor, torch.Tensor]:
    """Written a second time: run the blocks by hand and differentiate with respect to all tokens of one."""
    vit = network.model
    tokens = vit.norm_pre(vit._pos_embed(vit.patch_embed((IMAGES - 0.5) / 0.5)))
    for i, layer in enumerate(vit.blocks):
        tokens = layer(tokens)
        if i == block:
            kept = tokens
    logits = vit.head(vit.norm(tokens)[:, 0])
    return kept.detach(), torch.autograd.grad(score(logits, TARGET).sum(), kept)[0]


@pytest.mark.parametrize("score", [contrast.original, contrast.weighted, contrast.max])
@pytest.mark.parametrize("block", [0, 1])
def test_grad_cam_on_tokens_is_that_of_the_patch_tokens(block, score):
    network = tiny()
    tokens, gradient = tokens_and_gradient(network, block, score)
    patches, of_patches = tokens[:, 2:].reshape(3, 4, 4, 16), gradient[:, 2:].reshape(3, 4, 4, 16)
    expected = (patches * of_patches.mean((1, 2), keepdim=True)).sum(-1)
    found = grad_cam(network, IMAGES, TARGET, score, layer=f"blocks.{block}", upsample=False)
    torch.testing.assert_close(found[:, 0], expected)
    products = (patches * of_patches).sum(-1)
    if block == 1:  # the last that is read: a LayerNorm sees nothing of a token's length
        assert products.abs().max() < 1e-3 * (patches * of_patches).abs().sum(-1).max()
        return
    exact = linear_approximation(network, IMAGES, TARGET, score, layer=f"blocks.{block}", upsample=False)
    torch.testing.assert_close(exact[:, 0], products)


@pytest.mark.parametrize("layer", ["blocks.0", "blocks.2.norm1"])
@pytest.mark.parametrize("name", [name for name, method in METHODS.items() if method.reads == "layer"])
def test_class_maps_on_tokens_give_every_contrast(name, layer):
    network, method = tiny(), METHODS[name]
    found = method.class_maps(network, IMAGES, layer=layer)
    for score in (contrast.original, contrast.weighted, contrast.mean):
        direct = method(network, IMAGES, TARGET, score, layer=layer, upsample=False)
        torch.testing.assert_close(found.combine(score, TARGET), direct)


def test_another_size_of_image_has_another_grid():
    network = tiny(dynamic_img_size=True)
    for h, w in ((16, 16), (24, 16), (8, 32)):
        images = torch.rand(2, 3, h, w, dtype=torch.float64)
        assert grad_cam(network, images, 0, layer="blocks.0", upsample=False).shape == (2, 1, h // 4, w // 4)


@pytest.mark.parametrize("layer", ["blocks.2", "norm", "blocks"])
@pytest.mark.parametrize("call", [grad_cam, grad_cam.class_maps])
def test_a_layer_whose_patch_tokens_nobody_reads_is_refused_with_one_that_works(layer, call):
    network = tiny()
    with pytest.raises(ValueError, match=r"4 x 4 patch tokens get no gradient: .*Layer 'blocks\.1' works"):
        call(network, IMAGES, *([0] if call is grad_cam else []), layer=layer)
    assert grad_cam(network, IMAGES, 0, layer="blocks.2.norm1").any()  # keys and values still matter there


CANCELLING = [
    ("timm/vit_tiny_patch16_224", linear_approximation, "blocks.10", "blocks.11.norm1"),
    ("torchvision/vit_b_32", linear_approximation, "encoder.layers.encoder_layer_10",
     "encoder.layers.encoder_layer_11.ln_1"),
    ("torchvision/swin_t", linear_approximation, "features.7", "norm"),
    ("timm/convnext_atto", linear_approximation, "stages.1", "stages.2.downsample.0"),
    # What this block mixes in is an average minus the token itself: the sum over all places is nothing.
    ("timm/poolformer_s12", grad_cam, "stages.1.blocks.0.norm1", "stages.1.blocks.0.norm2"),
]


@pytest.mark.parametrize(("name", "rule", "layer", "works"), CANCELLING, ids=[row[0] for row in CANCELLING])
def test_a_layer_whose_terms_cancel_is_refused_with_one_that_works(name, rule, layer, works):
    network = models.load(name, weights=None, num_classes=10)
    for module in network.model.modules():
        if isinstance(module, torch.nn.Linear) and not module.weight.any():
            torch.nn.init.normal_(module.weight)
    images = torch.rand(2, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    says = rf"at layer '{re.escape(layer)}' the terms of {rule.name} cancel .*, at layer '{re.escape(works)}' for one"
    with pytest.raises(ValueError, match=says):
        rule(network, images, 1, contrast.weighted, layer=layer)
    with pytest.raises(ValueError, match=says):
        rule.class_maps(network, images, [1, 2], layer=layer)
    assert rule(network, images, 1, contrast.weighted, layer=works).any()
    other = grad_cam if rule is linear_approximation else linear_approximation
    assert other(network, images, 1, contrast.weighted, layer=layer).any()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_terms_cancel_in_any_precision(dtype):
    """By Euler's theorem: what is read through a LayerNorm does not change when a token grows."""
    network = tiny().to(dtype)
    images = IMAGES.to(dtype)
    with pytest.raises(ValueError, match=r"cancel .* Read it behind that, at layer 'blocks\.2\.norm1' for one; print"):
        linear_approximation(network, images, TARGET, contrast.weighted, layer="blocks.1")
    for layer in ("blocks.0", "blocks.0.attn", "blocks.1.norm1", "blocks.2.norm1"):
        for rule in (linear_approximation, grad_cam, xgrad_cam):
            assert rule(network, images, TARGET, contrast.weighted, layer=layer).any()


class Normalised(nn.Module):
    """Divides what each place of a map holds by its length, where no layer shows it."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.head = nn.Conv2d(3, 4, 3), nn.Linear(4, 5)

    def forward(self, x):
        return self.head(nn.functional.normalize(self.conv(x), dim=1).mean((2, 3)))


def test_where_no_layer_behind_is_better_none_is_named():
    network = Classifier(seeded(Normalised).double(), input_size=16)
    with pytest.raises(ValueError, match=r"of what it divides\. print\(classifier\.layers\(\)\.table\(parts=True\)\)"):
        linear_approximation(network, IMAGES, TARGET, contrast.weighted)
    assert grad_cam(network, IMAGES, TARGET, contrast.weighted).any()


@pytest.mark.parametrize(("dtype", "rounding"), [(torch.float64, 1e-4), (torch.float32, 1e-4),
                                                 (torch.float16, 2 ** -11), (torch.bfloat16, 2 ** -8)])
def test_what_is_left_of_the_terms_is_compared_with_rounding(dtype, rounding):
    """Two channels, of which one takes away from the other all but a share of both together."""
    activation = torch.ones(1, 2, 3, 3, dtype=dtype)
    for share, cancels in ((0.9 * rounding, True), (1.1 * rounding, False)):
        gradient = torch.tensor([1 + share, share - 1]).view(1, 2, 1, 1).expand(1, 2, 3, 3)
        assert linear_approximation.cancels(activation, gradient) is cancels
        assert linear_approximation.cancels(-activation, -1e3 * gradient) is cancels


def test_terms_of_a_rule_cancel():
    generator = torch.Generator().manual_seed(0)
    activation, gradient = torch.randn(2, 2, 8, 6, 6, generator=generator)
    along = (activation * gradient).sum(1, keepdim=True) / activation.square().sum(1, keepdim=True)
    across = gradient - along * activation
    assert linear_approximation.cancels(activation, across)
    assert not linear_approximation.cancels(activation, across + 0.01 * along * activation)
    assert not grad_cam.cancels(activation, across)
    assert grad_cam.cancels(activation, gradient - gradient.mean((-2, -1), keepdim=True))
    assert not linear_approximation.cancels(activation, torch.zeros_like(gradient)), "there is nothing that cancels"
    first = torch.tensor([1.0, 0])[:, None, None, None]
    assert not linear_approximation.cancels(activation, across + first * gradient), "one image has a map"


def test_what_is_no_grid_is_refused_with_what_was_found():
    network = tiny()
    with pytest.raises(ValueError, match=r"layer 'head': .*shape \(3, 5\) is no map"):
        grad_cam(network, IMAGES, 0, layer="head")
    with pytest.raises(ValueError, match=r"layer 'fc_norm': .*is no map"):
        grad_cam(network, IMAGES, 0, layer="fc_norm")
    for module in network.model.modules():
        if hasattr(module, "fused_attn"):
            module.fused_attn = False
    with pytest.raises(ValueError, match=r"'blocks\.1\.attn\.attn_drop': .*a matrix between 18 tokens"):
        grad_cam(network, IMAGES, 0, layer="blocks.1.attn.attn_drop")


def test_windows_are_no_map_of_each_image():
    network = load("timm/swin_tiny_patch4_window7_224")
    with pytest.raises(ValueError, match=r"another batch than the 2 images \(windows"):
        grad_cam(network, torch.rand(2, 3, 224, 224), 0, layer="layers.0.blocks.0.attn")
    assert "windows" in network.layers()["layers.0.blocks.0.attn"].problem


def test_tokens_in_another_order_are_refused():
    network = models.load("timm/hiera_tiny_224", weights=None, num_classes=10)
    with pytest.raises(ValueError, match=r"Hiera do not lie in reading order: when a cell of the 56 x 56"):
        grad_cam(network, torch.rand(1, 3, 224, 224), 0, layer="blocks.0")


@pytest.mark.parametrize(("shape", "image", "expected"), [
    ((2, 7, 9, 16), (112, 144), Layout("channels last", (7, 9))),
    ((2, 16, 7, 9), (112, 144), Layout("channels first", (7, 9))),
    ((2, 63, 16), (112, 144), Layout("tokens", (7, 9), 0)),
    ((2, 68, 16), (112, 144), Layout("tokens", (7, 9), 5)),
    ((2, 8, 8, 8), (64, 64), Layout("channels first", (8, 8))),
])
def test_a_shape_is_read(shape, image, expected):
    found = layout_of(shape, image, [(28, 36), (7, 9)], {"channels first"} if shape == (2, 8, 8, 8) else ())
    assert found == expected
    output = torch.rand(shape)
    maps = found.to_map(output)
    assert maps.shape[0] == 2
    assert maps.shape[2:] == found.grid
    assert torch.equal(found.from_map(maps, output), output)
    assert found.from_map(maps, output).data_ptr() != output.data_ptr()


def test_shapes_that_say_nothing_are_refused():
    with pytest.raises(ValueError, match=r"50 tokens are no grid: the network's own maps are 28 x 36, 7 x 9"):
        layout_of((2, 50, 16), (112, 144), [(28, 36), (7, 9)])
    with pytest.raises(ValueError, match="own maps are none"):
        layout_of((2, 50, 16), (112, 144))
    with pytest.raises(ValueError, match="is no map"):
        layout_of((2, 50), (112, 144))
    with pytest.raises(ValueError, match="channels first or channels last"):
        layout_of((2, 7, 8, 7), (56, 60))


# --- the layer doctor ------------------------------------------------------------------------------------------------


def test_the_doctor_sees_signs_zero_gradients_and_what_writes_in_place():
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3, padding=1)
            self.act = nn.ReLU(inplace=True)
            self.unread = nn.Conv2d(4, 4, 1)
            self.twice = nn.Conv2d(4, 4, 1)
            self.head = nn.Linear(4, 2)

        def forward(self, x):
            x = self.act(self.conv(x))
            self.unread(x)
            x = self.twice(self.twice(x))
            left = x[..., :2]  # what lies on the right is never read
            return self.head(left.mean((2, 3)))

    network = Classifier(seeded(Net), input_size=8)
    report = network.layers()
    assert report["conv"].signs == "both"
    assert report["conv"].overwritten_by == "act"
    assert report["act"].signs == "non-negative"
    assert report["act"].overwritten_by is None
    assert report["conv"].zero_gradient >= 0.75
    assert report["act"].zero_gradient == 0.75
    assert report["unread"].zero_gradient == 1
    assert "no gradient" in report["unread"].problem
    assert report["twice"].problem == "runs 2 times in a forward pass"
    with pytest.raises(KeyError):
        report["nothing"]
    text = str(report)
    assert "8 x 8 map, channels first" in text
    assert "runs 2 times" in text
    assert "75%" in text


def test_the_doctor_leaves_the_network_as_it_was():
    network = tiny()
    network.requires_grad_(False)
    before = {k: v.clone() for k, v in network.state_dict().items()}
    with torch.inference_mode():
        report = network.layers(IMAGES)
    assert report.recommended == "blocks.1"
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in network.modules())
    assert all(torch.equal(v, before[k]) for k, v in network.state_dict().items())
    assert not any(p.requires_grad or p.grad is not None for p in network.parameters())


def test_parts_of_blocks_are_listed_only_when_asked_for():
    report = tiny().layers()
    assert "blocks.0.norm1" not in str(report)
    assert "layers inside these" in str(report)
    assert "blocks.0.norm1" in report.table(parts=True)
    assert report["blocks.0.norm1"].inside
    assert not report["blocks.0"].inside
    assert next(line for line in str(report).splitlines() if line.startswith("->")).split()[1] == "blocks.1"


def test_tokens_between_windows_are_read():
    network = load("timm/swin_tiny_patch4_window7_224")
    assert network.read_as((2, 3136, 96), (224, 224)) == Layout("tokens", (56, 56))
    assert network.read_as((2, 7, 7, 768), (224, 224)) == Layout("channels last", (7, 7))


def test_the_order_of_tokens_does_not_depend_on_what_the_network_has_learnt():
    for options in ({}, {"mean": 0.5, "std": 0.5}, {"mean": 0, "std": 1}):
        assert models.load("birds_vit", **options).read_as((1, 65, 128), (128, 128)) == Layout("tokens", (8, 8), 1)
