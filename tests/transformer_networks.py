"""Small transformers with seeded weights, what they compute written again, and what must be left of them."""

import math

import torch
from networks import seeded
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn
from torchvision.models import VisionTransformer as TorchvisionTransformer

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


def state_of(network: nn.Module) -> dict[str, object]:
    return {
        "modes": [m.training for m in network.modules()],
        "fused": [vars(m).get("fused_attn") for m in network.modules()],
        "gradients": [p.grad is None for p in network.parameters()],
        "frozen": [p.requires_grad for p in network.parameters()],
        "hooks": [(*m._forward_hooks, *m._forward_pre_hooks, *m._backward_hooks) for m in network.modules()],
        "values": [hash(t.numpy().tobytes()) for t in network.state_dict().values()],
    }
