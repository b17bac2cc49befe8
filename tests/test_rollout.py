"""Attention read from networks, rollout and attention relevance, against the formulas written with plain loops."""

import dataclasses
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
from torchvision.models import VisionTransformer as TorchvisionTransformer

from contrastlib import contrast, relevance
from contrastlib.attribution import (
    AttentionRelevance,
    AttentionRollout,
    Attentions,
    attention_relevance,
    attention_rollout,
    attentions,
)
from contrastlib.attribution._attention import _Reader, through_layers
from contrastlib.models import Classifier

TARGET = torch.tensor([5, 1, 2])
SIZES = {"img_size": 16, "patch_size": 4, "embed_dim": 16, "depth": 3, "num_heads": 2, "num_classes": 6}


def lively(network: nn.Module) -> nn.Module:
    """Weights as random as those of a trained network: fresh ones attend to all tokens alike."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.ndim > 1:
                # Patches large enough for each token to stay what its own patch made it, as in a trained network.
                size = 8 if parameter.ndim == 4 else 2
                width = parameter[0].numel() if parameter.ndim == 4 else parameter.shape[-1]
                parameter.copy_(size * torch.randn(parameter.shape, generator=generator) / math.sqrt(width))
    return network


def classifier_of(network: nn.Module, size: int = 16) -> Classifier:
    return Classifier(network, input_size=size, mean=0, std=1)


def transformer(dtype=torch.float64, build=VisionTransformer, **options) -> Classifier:
    """Three layers, two heads, 4 x 4 patches behind a class token, six classes."""
    return classifier_of(lively(seeded(build, **{**SIZES, **options})).to(dtype))


def torchvision_transformer(dtype=torch.float64) -> Classifier:
    network = seeded(TorchvisionTransformer, image_size=32, patch_size=8, num_layers=3, num_heads=2, hidden_dim=16,
                     mlp_dim=32, num_classes=6)
    return classifier_of(lively(network).to(dtype), 32)


# --- the network and the formulas, written again ---------------------------------------------------------------------


def forward_by_hand(network: VisionTransformer, x: Tensor, nudge=None) -> tuple[Tensor, list[Tensor]]:
    """Logits and attention of timm's transformer, from its weights; one attention may be nudged."""
    kept = []
    x = network._pos_embed(network.patch_embed(x))
    for number, block in enumerate(network.blocks):
        n, length, width = x.shape
        heads = block.attn.num_heads
        q, k, v = block.attn.qkv(block.norm1(x)).view(n, length, 3, heads, width // heads).permute(2, 0, 3, 1, 4)
        p = torch.softmax(torch.einsum("nhid,nhjd->nhij", q, k) / math.sqrt(width // heads), -1)
        if nudge is not None and nudge[0] == number:
            p = p + nudge[1]
        kept.append(p)
        mixed = torch.einsum("nhij,nhjd->nihd", p, v).reshape(n, length, width)
        x = x + block.attn.proj(mixed)
        x = x + block.mlp(block.norm2(x))
    return network.head(network.norm(x)[:, 0]), kept


def by_hand(classifier: Classifier, x: Tensor, target: Tensor, score) -> tuple[list[Tensor], list[Tensor]]:
    logits, kept = forward_by_hand(classifier.model, x)
    gradients = torch.autograd.grad(score(logits, target).sum(), kept)
    return [p.detach() for p in kept], list(gradients)


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


@pytest.mark.parametrize("mask", [None, "bool", "float"])
@pytest.mark.parametrize("scale", [None, 0.7])
def test_attention_step_by_step_is_torchs(mask, scale):
    generator = torch.Generator().manual_seed(0)
    q, k, v = torch.randn(3, 2, 4, 5, 6, generator=generator, dtype=torch.float64)
    noise = torch.randn(5, 5, generator=generator, dtype=torch.float64)
    given = {"bool": (noise > 0.3).fill_diagonal_(True), "float": noise, None: None}[mask]
    expected = functional.scaled_dot_product_attention(q, k, v, attn_mask=given, scale=scale)
    with torch.no_grad(), _Reader() as reader:
        found = functional.scaled_dot_product_attention(q, k, v, given, scale=scale)
    torch.testing.assert_close(found.detach(), expected)
    assert [p.shape for p in reader.probabilities] == [(2, 4, 5, 5)]
    assert functional.scaled_dot_product_attention(q, k, v).requires_grad is False


@pytest.mark.parametrize(("options", "told"), [
    ({"is_causal": True}, "is_causal=True"), ({"enable_gqa": True}, "enable_gqa=True"),
    ({"dropout_p": 0.1}, "dropout_p=0.1")])
def test_unusual_attention_is_refused(options, told):
    q = torch.rand(2, 4, 5, 6)
    with _Reader(), pytest.raises(ValueError, match=f"only plain self-attention .* {told}"):
        functional.scaled_dot_product_attention(q, q, q, **options)


@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("average", [True, False, None])
def test_multi_head_attention_is_torchs(batch_first, average):
    layer = seeded(nn.MultiheadAttention, embed_dim=12, num_heads=3, batch_first=batch_first).double()
    with torch.no_grad():
        layer.in_proj_bias.normal_(generator=torch.Generator().manual_seed(0))
    x = torch.rand(4, 5, 12, dtype=torch.float64)
    options = {"need_weights": False} if average is None else {"average_attn_weights": average}
    expected, weights = layer(x, x, x, **options)
    with torch.no_grad(), _Reader() as reader:
        found, read = layer(x, x, x, **options)
    torch.testing.assert_close(found, expected)
    assert (weights is None) == (read is None)
    if average is not None:
        torch.testing.assert_close(read, weights)
    assert reader.probabilities[0].shape == ((4, 3, 5, 5) if batch_first else (5, 3, 4, 4))


@pytest.mark.parametrize(("built", "called", "told"), [
    ({}, {"key_padding_mask": torch.zeros(4, 5, dtype=torch.bool)}, "key_padding_mask"),
    ({}, {"attn_mask": torch.zeros(5, 5)}, "attn_mask"),
    ({"add_bias_kv": True}, {}, "bias_k, bias_v"),
    ({"add_zero_attn": True}, {}, "add_zero_attn"),
    ({"kdim": 12, "vdim": 7}, {}, "use_separate_proj_weight"),
])
def test_unusual_multi_head_attention_is_refused(built, called, told):
    layer = seeded(nn.MultiheadAttention, embed_dim=12, num_heads=3, batch_first=True, **built)
    x = torch.rand(4, 5, 12)
    value = torch.rand(4, 5, built.get("vdim", 12)) if built.get("vdim") else x
    with _Reader(), pytest.raises(ValueError, match=f"only plain self-attention .*{told}"):
        layer(x, x, value, **called)


def test_other_tokens_as_keys_and_single_images_are_refused():
    layer = seeded(nn.MultiheadAttention, embed_dim=12, num_heads=3, batch_first=True)
    with _Reader(), pytest.raises(ValueError, match="cross-attention"):
        layer(torch.rand(4, 5, 12), torch.rand(4, 6, 12), torch.rand(4, 6, 12))
    x = torch.rand(5, 12)
    with _Reader(), pytest.raises(ValueError, match=r"an input of shape|cross-attention"):
        layer(x, x, x)


def test_torchs_own_encoder_layer_does_not_take_its_fast_path():
    layer = seeded(nn.TransformerEncoderLayer, d_model=12, nhead=2, batch_first=True)
    x = torch.rand(4, 5, 12)
    with torch.no_grad():
        expected = layer(x)
        with _Reader() as reader:
            found = layer(x)
    torch.testing.assert_close(found, expected)
    assert len(reader.probabilities) == 1


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


# --- how the model is left, and what it may be like ------------------------------------------------------------------


def state_of(network: nn.Module) -> dict[str, object]:
    return {
        "modes": [m.training for m in network.modules()],
        "fused": [vars(m).get("fused_attn") for m in network.modules()],
        "gradients": [p.grad is None for p in network.parameters()],
        "frozen": [p.requires_grad for p in network.parameters()],
        "hooks": [(*m._forward_hooks, *m._forward_pre_hooks, *m._backward_hooks) for m in network.modules()],
        "values": [hash(t.numpy().tobytes()) for t in network.state_dict().values()],
    }


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
    """Attention between 16 tokens, then between 4; a projection into one head at the start."""

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
    with pytest.raises(ValueError, match=r"takes no layer, got layer='blocks.1'; see from_block"):
        method(classifier, x, TARGET, layer="blocks.1")
    with pytest.raises(ValueError, match=r"one image needs images\[None\]"):
        method(classifier, x[0], TARGET)
    with pytest.raises(TypeError, match="class indices"):
        method(classifier, x, 1.5)
    with pytest.raises(ValueError, match="one per image"):
        method(classifier, x, [1, 2])
    with pytest.raises(ValueError, match="training mode"):
        method(classifier_of(classifier.model.train()), x, TARGET)


def test_through_layers_carries_the_mean_row():
    found = attentions(transformer(build=VisionTransformerDistilled), images(size=16), TARGET, contrast.weighted)
    matrices = [torch.rand(3, 18, 18, dtype=torch.float64) for _ in range(3)]
    rows = (matrices[2] @ matrices[1] @ matrices[0])[:, :2].mean(1)
    torch.testing.assert_close(through_layers(found, matrices), rows[:, 2:].view(3, 1, 4, 4))
