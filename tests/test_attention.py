"""Attention and its gradient, read from networks: against the networks written again, and where it cannot be read."""

import math

import pytest
import torch
from networks import images, seeded, tiny, torchvision_network
from timm.models.deit import VisionTransformerDistilled
from timm.models.swin_transformer import SwinTransformer
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn
from torch.nn import functional
from torchvision.models import SwinTransformer as TorchvisionSwin
from transformer_networks import (
    TARGET,
    by_hand,
    classifier_of,
    forward_by_hand,
    lively,
    state_of,
    torchvision_transformer,
    transformer,
)

from contrastlib import contrast
from contrastlib.attribution import Attentions, attention_relevance, attention_rollout, attentions
from contrastlib.models import Classifier

# --- reading ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("score", [contrast.original, contrast.mean, contrast.max, contrast.weighted])
def test_probabilities_and_gradients_are_the_networks(score):
    classifier, x = transformer(), images(size=16)
    found = attentions(classifier, x, TARGET, score)
    probabilities, gradients = by_hand(classifier, x, TARGET, score)
    assert len(found.probabilities) == 3
    assert max(p.amax().item() for p in probabilities) > 0.5, "attention must differ from place to place"
    for layer in range(3):
        torch.testing.assert_close(found.probabilities[layer], probabilities[layer])
        torch.testing.assert_close(found.gradients[layer], gradients[layer])
        torch.testing.assert_close(found.probabilities[layer].sum(-1), torch.ones(3, 2, 17, dtype=torch.float64))
    torch.testing.assert_close(found.logits, classifier(x))


def test_gradients_are_finite_differences():
    classifier, x, step = transformer(), images(1, 16), 1e-6
    target = TARGET[:1]
    found = attentions(classifier, x, target, contrast.weighted)
    for layer, head, i, j in ((0, 0, 0, 3), (0, 1, 7, 7), (1, 1, 5, 16), (2, 0, 0, 0), (2, 1, 0, 9), (2, 1, 4, 9)):
        nudge = torch.zeros_like(found.probabilities[layer])
        nudge[0, head, i, j] = step
        with torch.no_grad():
            up, down = (contrast.weighted(forward_by_hand(classifier.model, x, (layer, way * nudge))[0], target)
                        for way in (1, -1))
        difference = ((up - down) / (2 * step)).item()
        assert found.gradients[layer][0, head, i, j].item() == pytest.approx(difference, rel=1e-5, abs=1e-8)


def test_the_same_as_hooks_on_the_unfused_path():
    classifier, x = transformer(), images(size=16)
    kept: list[Tensor] = []
    blocks = classifier.model.blocks
    for block in blocks:
        block.attn.fused_attn = False
    handles = [block.attn.attn_drop.register_forward_hook(lambda _m, _i, output: kept.append(output))
               for block in blocks]
    gradients = torch.autograd.grad(contrast.weighted(classifier(x), TARGET).sum(), kept)
    for handle in handles:
        handle.remove()
    found = attentions(classifier, x, TARGET, contrast.weighted)
    for layer in range(3):
        torch.testing.assert_close(found.probabilities[layer], kept[layer].detach())
        torch.testing.assert_close(found.gradients[layer], gradients[layer])


class Mixing(nn.Module):
    """16 tokens of an image of 16 x 16, one attention between them, and a head that reads all of them."""

    def __init__(self, attend) -> None:
        super().__init__()
        self.embed, self.head = nn.Conv2d(3, 12, 4, stride=4), nn.Linear(16 * 12, 6)
        self.attend = attend

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.attend(self.embed(x).flatten(2).transpose(1, 2).contiguous()).flatten(1))


class Calls(nn.Module):
    """A function as a module."""

    def __init__(self, function) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


def mixing(attend) -> Classifier:
    return classifier_of(seeded(Mixing, attend=attend).double())


def multi_head(batch_first=True, **options) -> nn.MultiheadAttention:
    layer = seeded(nn.MultiheadAttention, embed_dim=12, num_heads=3, batch_first=batch_first, **options).double()
    with torch.no_grad():
        layer.in_proj_bias.normal_(generator=torch.Generator().manual_seed(0))
    return layer


def of_torch(mask=None, **options):
    """Attention of 4 heads by torch's function."""
    def attend(tokens):
        heads = tokens.unflatten(-1, (4, 3)).transpose(1, 2)
        q, k, v = 3 * heads, 2 * heads.roll(1, 2), heads.roll(2, 2)
        mixed = functional.scaled_dot_product_attention(q, k, v, mask, **options)
        return mixed.transpose(1, 2).flatten(2)

    return attend


@pytest.mark.parametrize("mask", [None, "bool", "float"])
@pytest.mark.parametrize("scale", [None, 0.7])
def test_attention_step_by_step_is_torchs(mask, scale):
    noise = torch.randn(16, 16, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    given = {"bool": (noise > 0.3).fill_diagonal_(True), "float": noise, None: None}[mask]
    classifier, x = mixing(of_torch(given, scale=scale)), images(size=16)
    found = attentions(classifier, x, TARGET)
    torch.testing.assert_close(found.logits, classifier(x).detach())
    assert [p.shape for p in found.probabilities] == [(3, 4, 16, 16)]
    if mask == "bool":
        assert not found.probabilities[0][:, :, ~given].any()


@pytest.mark.parametrize(("options", "told"), [
    ({"is_causal": True}, "is_causal=True"), ({"enable_gqa": True}, "enable_gqa=True"),
    ({"dropout_p": 0.1}, "dropout_p=0.1")])
def test_unusual_attention_is_refused(options, told):
    with pytest.raises(ValueError, match=f"only plain self-attention .* {told}"):
        attentions(mixing(of_torch(**options)), images(size=16), TARGET)


@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("average", [True, False, None])
def test_multi_head_attention_is_torchs(batch_first, average):
    layer, seen = multi_head(batch_first), []
    options = {"need_weights": False} if average is None else {"average_attn_weights": average}

    def attend(tokens):
        tokens = tokens if batch_first else tokens.transpose(0, 1)
        out, weights = layer(tokens, tokens, tokens, **options)
        seen.append(weights)
        return out if batch_first else out.transpose(0, 1)

    classifier, x = mixing(attend), images(size=16)
    expected = classifier(x).detach()
    found = attentions(classifier, x, TARGET)
    torch.testing.assert_close(found.logits, expected)
    if average is None:
        assert not any(isinstance(weights, Tensor) for weights in seen)
    else:
        torch.testing.assert_close(seen[1].detach(), seen[0].detach())
    assert [p.shape for p in found.probabilities] == [(3, 3, 16, 16)]


@pytest.mark.parametrize(("built", "called", "told"), [
    ({}, {"key_padding_mask": torch.zeros(3, 16, dtype=torch.bool)}, "key_padding_mask"),
    ({}, {"attn_mask": torch.zeros(16, 16, dtype=torch.float64)}, "attn_mask"),
    ({"add_bias_kv": True}, {}, "bias_k, bias_v"),
    ({"add_zero_attn": True}, {}, "add_zero_attn"),
    ({"kdim": 12, "vdim": 7}, {}, "use_separate_proj_weight"),
])
def test_unusual_multi_head_attention_is_refused(built, called, told):
    layer = multi_head(**built)
    classifier = mixing(lambda x: layer(x, x, x[..., :built.get("vdim", 12)], **called)[0])
    with pytest.raises(ValueError, match=f"only plain self-attention .*{told}"):
        attentions(classifier, images(size=16), TARGET)


def test_other_tokens_as_keys_and_single_images_are_refused():
    layer = multi_head()
    for attend, told in ((lambda x: layer(x, x.roll(1, 1), x)[0], "cross-attention"),
                         (lambda x: torch.stack([layer(one, one, one)[0] for one in x]), "an input of shape|cross-")):
        with pytest.raises(ValueError, match=told):
            attentions(mixing(attend), images(size=16), TARGET)


def test_torchs_own_encoder_layer_does_not_take_its_fast_path():
    layer = seeded(nn.TransformerEncoderLayer, d_model=12, nhead=2, batch_first=True).double()
    classifier, x = mixing(layer), images(size=16)
    with torch.no_grad():
        expected = classifier(x)
    found = attentions(classifier, x, TARGET)
    torch.testing.assert_close(found.logits, expected)
    assert len(found.probabilities) == 1


def test_torchvisions_transformer():
    classifier, x = torchvision_transformer(), images(size=32)
    kept: list[Tensor] = []

    def by_matrix(module, args, _output):
        x = args[0]
        n, length, width = x.shape
        q, k, _ = functional.linear(x, module.in_proj_weight, module.in_proj_bias).split(width, -1)
        q, k = (t.reshape(n, length, 2, width // 2).transpose(1, 2) for t in (q, k))
        kept.append((q @ k.transpose(-2, -1) / math.sqrt(width // 2)).softmax(-1))

    layers = [block.self_attention for block in classifier.model.encoder.layers]
    handles = [layer.register_forward_hook(by_matrix) for layer in layers]
    logits = classifier(x).detach()
    for handle in handles:
        handle.remove()
    found = attentions(classifier, x, TARGET, contrast.weighted)
    assert str(found) == "3 layers, 2 heads, 4 x 4 patch tokens behind 1 prefix token; the head reads token 0"
    torch.testing.assert_close(found.logits, logits)
    for p, expected in zip(found.probabilities, kept, strict=True):
        torch.testing.assert_close(p, expected.detach())
    assert not found.gradients[-1][:, :, 1:].any()
    maps = attention_rollout(classifier, x, TARGET, contrast.weighted)
    assert maps.shape == (3, 1, 32, 32)
    assert (maps < 0).any()
    assert (maps > 0).any()


# --- layouts ---------------------------------------------------------------------------------------------------------

PATCHES = "4 x 4 patch tokens"


@pytest.mark.parametrize(("options", "told"), [
    ({}, f"{PATCHES} behind 1 prefix token; the head reads token 0"),
    ({"build": VisionTransformerDistilled}, f"{PATCHES} behind 2 prefix tokens; the head reads tokens 0 and 1"),
    ({"global_pool": "avg"}, f"{PATCHES} behind 1 prefix token; the head reads all 16 patch tokens"),
    ({"global_pool": "avg", "class_token": False}, f"{PATCHES}; the head reads all 16 patch tokens"),
    ({"reg_tokens": 4, "init_values": 0.5}, f"{PATCHES} behind 5 prefix tokens; the head reads token 0"),
    ({"pool_include_prefix": True, "global_pool": "avg"},
     f"{PATCHES} behind 1 prefix token; the head reads 17 of 17 tokens"),
])
def test_tokens_are_found(options, told):
    classifier, x = transformer(**options), images(size=16)
    found = attentions(classifier, x, TARGET, contrast.weighted)
    assert str(found) == f"3 layers, 2 heads, {told}"
    # The map is the plain product of the layers' matrices, rows of the tokens read, columns of the patches.
    for method in (attention_rollout, attention_relevance):
        first, second, third = method.matrices(found)
        rows = (third @ second @ first)[:, list(found.read)].mean(1)
        maps = method(classifier, x, TARGET, contrast.weighted, upsample=False)
        torch.testing.assert_close(maps, rows[:, found.prefix:].view(3, 1, 4, 4))


@pytest.mark.parametrize(("read", "told"), [
    ((0,), "token 0"), ((6,), "token 6"), ((0, 1, 2), "tokens 0 and 1 and 2"), ((0, 1, 2, 3), "4 of 7 tokens"),
    ((0, 1, 2, 3, 4, 5), "6 of 7 tokens"), ((1, 2, 3, 4, 5, 6), "all 6 patch tokens")])
def test_what_the_head_reads_is_said(read, told):
    each = torch.zeros(1, 3, 7, 7)
    found = Attentions((each,) * 2, (each,) * 2, (2, 3), 1, read, torch.zeros(1, 6))
    assert str(found) == f"2 layers, 3 heads, 2 x 3 patch tokens behind 1 prefix token; the head reads {told}"


def test_dinov2_with_registers():
    classifier = classifier_of(
        lively(seeded(VisionTransformer, img_size=42, patch_size=14, embed_dim=16, depth=2, num_heads=2, num_classes=6,
                      reg_tokens=4, no_embed_class=True, init_values=1e-1)), 42)
    found = attentions(classifier, images(2, 42, torch.float32), 3)
    assert str(found) == "2 layers, 2 heads, 3 x 3 patch tokens behind 5 prefix tokens; the head reads token 0"


def test_a_grid_that_is_not_square():
    classifier = transformer(img_size=(16, 24))
    found = attentions(classifier, torch.rand(2, 3, 16, 24, dtype=torch.float64), 3)
    assert found.grid == (4, 6)
    maps = attention_rollout(classifier, torch.rand(2, 3, 16, 24, dtype=torch.float64), 3)
    assert maps.shape == (2, 1, 16, 24)


# --- what cannot be explained so -------------------------------------------------------------------------------------


def swin() -> SwinTransformer:
    return SwinTransformer(img_size=32, patch_size=2, embed_dim=8, depths=(1, 1), num_heads=(1, 2), window_size=4,
                           num_classes=6)


def torchvision_swin() -> TorchvisionSwin:
    return TorchvisionSwin(patch_size=[2, 2], embed_dim=8, depths=[1, 1], num_heads=[1, 2], window_size=[4, 4],
                           num_classes=6)


def test_windows_are_refused():
    classifier = classifier_of(seeded(swin), 32)
    before = state_of(classifier.model)
    with pytest.raises(ValueError, match=r"within windows of 16 tokens, 2 x 16 of them.*use grad_cam, at layer '"):
        attention_rollout(classifier, images(2, 32, torch.float32), 3)
    with pytest.raises(ValueError, match=r"within windows of 16 tokens, 1 x 16 of them"):
        attention_rollout(classifier, images(1, 32, torch.float32), 3)
    assert state_of(classifier.model) == before


def test_attention_that_does_not_go_through_torch_is_named():
    with pytest.raises(ValueError, match=r"attention of ShiftedWindowAttention cannot be read.*use grad_cam"):
        attention_rollout(classifier_of(seeded(torchvision_swin), 32), images(2, 32, torch.float32), 3)


def test_attention_that_is_partly_written_out_is_refused_by_its_blocks():
    def written_out(tokens):
        return (tokens @ tokens.transpose(1, 2)).softmax(-1) @ tokens

    attend = of_torch()
    classifier = mixing(nn.Sequential(*map(Calls, (attend, written_out, attend, written_out))))
    before = state_of(classifier.model)
    for method in (attention_rollout, attention_relevance):
        with pytest.raises(ValueError, match=r"attention of attend.1, attend.3 is computed step by step .* grad_cam"):
            method(classifier, images(size=16), TARGET)
    assert state_of(classifier.model) == before


def own(tokens, values):
    """Attention that no function of torch computes, from the scores of one head."""
    return values(tokens @ tokens.transpose(1, 2) / 4) @ tokens


def with_a_null_token(tokens):
    keys = torch.cat([tokens, torch.zeros_like(tokens[:, :1])], 1)
    return (tokens @ keys.transpose(1, 2)).softmax(-1) @ keys


def linear_attention(tokens):
    return tokens.softmax(-1) @ (tokens.softmax(1).transpose(1, 2) @ tokens)


def plain(tokens):
    heads = tokens.unflatten(-1, (4, 3)).transpose(1, 2)
    return functional.scaled_dot_product_attention(heads, 2 * heads, 3 * heads).transpose(1, 2).flatten(2)


@pytest.mark.parametrize("mix", [
    lambda tokens: own(tokens, lambda scores: scores.exp() / scores.exp().sum(-1, keepdim=True)),
    lambda tokens: own(tokens, torch.sigmoid),
    lambda tokens: own(tokens, lambda scores: scores.log_softmax(-1).exp()),
])
@pytest.mark.parametrize("place", [0, 1, 2])
def test_attention_without_a_softmax_is_refused_wherever_it_stands(mix, place):
    steps = [plain, plain]
    steps.insert(place, mix)
    with pytest.raises(ValueError, match=rf"attention of attend.{place} is computed step by step .* grad_cam"):
        attention_rollout(mixing(nn.Sequential(*map(Calls, steps))), images(size=16), TARGET)


@pytest.mark.parametrize("mix", [
    with_a_null_token, linear_attention, lambda tokens: 3 * tokens + tokens.roll(1, 1),
])
def test_what_mixes_the_tokens_between_two_layers_is_not_dropped(mix):
    classifier = mixing(nn.Sequential(*map(Calls, (plain, mix, plain))))
    before = state_of(classifier.model)
    for method in (attention_rollout, attention_relevance):
        with pytest.raises(ValueError, match=r"between the attention of attend.0 and that of attend.2 something else"):
            method(classifier, images(size=16), TARGET)
    assert state_of(classifier.model) == before


@pytest.mark.parametrize("attend", [
    lambda tokens: plain(tokens) - 0.6 * plain(2 * tokens),  # differential attention
    lambda tokens: tokens + plain(plain(tokens)) + plain(2 * tokens),
])
def test_attention_side_by_side_is_no_chain(attend):
    with pytest.raises(ValueError, match="the attention of attend does not follow that of attend, it runs beside it"):
        attention_rollout(mixing(Calls(attend)), images(size=16), TARGET)


def test_layers_that_follow_each_other_are_chained():
    classifier = mixing(nn.Sequential(*map(Calls, (plain, torch.tanh, plain, plain))))
    found = attentions(classifier, images(size=16), TARGET)
    expected = found.logits.new_zeros(3, 16, 16)
    for p in found.probabilities[:1]:
        tokens = classifier.model.embed(images(size=16)).flatten(2).transpose(1, 2)
        heads = tokens.unflatten(-1, (4, 3)).transpose(1, 2)
        expected = (2 * heads @ heads.transpose(2, 3) / 3 ** 0.5).softmax(-1)
        torch.testing.assert_close(p, expected.detach())
    assert len(found.probabilities) == 3


def test_a_softmax_between_other_things_than_tokens_is_no_attention():
    """Weights of 12 channels for each of 16 tokens, along the tokens and along the channels."""
    attend = of_torch()
    for axis in (1, 2):
        classifier = mixing(lambda x, axis=axis: attend(x) * x.transpose(axis, 2).softmax(-1).transpose(axis, 2))
        found = attentions(classifier, images(size=16), TARGET)
        assert [p.shape for p in found.probabilities] == [(3, 4, 16, 16)]
        torch.testing.assert_close(found.logits, classifier(images(size=16)).detach())


def test_a_network_without_attention():
    with pytest.raises(ValueError, match="no attention ran in Tiny that could be read; use grad_cam, at layer 'last'"):
        attention_rollout(tiny(), images(), TARGET)
    classifier = classifier_of(torchvision_network("resnet18"), 64)
    with pytest.raises(ValueError, match=r"no attention ran in ResNet that could be read; .* layer 'layer4'"):
        attention_relevance(classifier, images(2, 64, torch.float32), 3)


def test_attention_between_other_tokens_is_refused():
    with pytest.raises(ValueError, match="attention of 1 to 16 tokens is not self-attention"):
        attentions(transformer(global_pool="map", class_token=False), images(size=16), TARGET)


class Pyramid(nn.Module):
    """Attention between 16 tokens, then between 4."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Conv2d(3, 4, 4, stride=4)
        self.head = nn.Linear(4, 6)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x)
        for _ in range(2):
            tokens = x.flatten(2).transpose(1, 2)[:, None]
            mixed = functional.scaled_dot_product_attention(tokens, tokens, tokens)
            x = functional.avg_pool2d(mixed[:, 0].transpose(1, 2).unflatten(2, x.shape[-2:]), 2)
        return self.head(x.flatten(1))


def test_layers_between_other_numbers_of_tokens_are_refused():
    with pytest.raises(ValueError, match="the layers attend between 16, 4 tokens in turn"):
        attentions(classifier_of(seeded(Pyramid).double()), images(size=16), TARGET)


class Flat(nn.Module):
    """Attention without an axis of heads."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Conv2d(3, 6, 4, stride=4)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.embed(x).flatten(2).transpose(1, 2)
        return functional.scaled_dot_product_attention(tokens, tokens, tokens).mean(1)


def test_attention_without_heads_is_refused():
    with pytest.raises(ValueError, match=r"attention of shape \(3, 16, 16\) is not \(N, heads, L, L\) with N = 3"):
        attentions(classifier_of(seeded(Flat).double()), images(size=16), TARGET)


def test_a_head_that_reads_nothing():
    classifier = transformer()
    nn.init.zeros_(classifier.model.head.weight)
    with pytest.raises(RuntimeError, match="do not depend on the last attention"):
        attentions(classifier, images(size=16), TARGET)


def test_logits_that_are_not_differentiable():
    classifier = transformer()
    classifier.model.head.register_forward_hook(lambda _m, _i, output: output.detach())
    with pytest.raises(RuntimeError, match="through anything differentiable"):
        attentions(classifier, images(size=16), TARGET)


def test_a_saturated_probability_gives_a_map_of_zeros():
    """A logit ahead by 200: nothing moves the probability in float32. The tokens that are read are found anyway."""
    classifier = transformer(torch.float32)
    with torch.no_grad():
        classifier.model.head.bias.copy_(torch.tensor([200.0, 0, 0, 0, 0, 0]))
    x = images(size=16, dtype=torch.float32)
    assert attentions(classifier, x, 0, contrast.probability).read == (0,)
    assert not attention_rollout(classifier, x, 0, contrast.probability).any()
    assert attention_rollout(classifier, x, 0, contrast.weighted).any()


def test_an_attention_that_nothing_uses_counts_as_the_identity():
    classifier, x = transformer(), images(size=16)
    expected = attention_rollout(classifier, x, TARGET, contrast.weighted, upsample=False)
    unused = torch.rand(3, 2, 17, 8, dtype=torch.float64)

    def beside(_module, _args, _output):
        functional.scaled_dot_product_attention(unused[:len(_output)], unused[:len(_output)], unused[:len(_output)])

    classifier.model.blocks[0].register_forward_hook(beside)
    found = attentions(classifier, x, TARGET, contrast.weighted)
    assert len(found.probabilities) == 4
    assert not found.gradients[1].any()
    torch.testing.assert_close(attention_rollout.rollout(found), expected)


@pytest.mark.parametrize("method", [attention_rollout, attention_relevance])
def test_bad_input(method):
    classifier, x = transformer(), images(size=16)
    says = r"reads the attention of all layers and takes no layer, got layer='blocks.1'; see from_block$"
    with pytest.raises(ValueError, match=says):
        method(classifier, x, TARGET, layer="blocks.1")
    with pytest.raises(ValueError, match=r"one image needs images\[None\]"):
        method(classifier, x[0], TARGET)
    with pytest.raises(TypeError, match="class indices"):
        method(classifier, x, 1.5)
    with pytest.raises(ValueError, match="one per image"):
        method(classifier, x, [1, 2])
    with pytest.raises(ValueError, match="training mode"):
        method(classifier_of(classifier.model.train()), x, TARGET)
