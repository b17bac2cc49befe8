"""Settings of the experiments that have a name: what the book's rows were made with, and the papers' own."""

from dataclasses import replace

from contrastlib.experiments.experiment import Setting

BIRDS = ("features.25", "features.27", "features.13")
"""Layers of ``birds_vgg``: before the last BatchNorm, behind the last ReLU, and a finer one."""

TOKENS = ("patch_embed.backbone",)
"""The last map of ``birds_vit``: what its stem hands to the transformer."""

DINO = Setting("vit_small_patch14_dinov2", "cub200", weights="models/vit_small_patch14_dinov2.cub100.safetensors",
               crop=False, input_size=224)
"""A self-supervised transformer with a linear head for a hundred species."""

FOOD = Setting("vit_b_16", "food101", weights="vit_b_16.food101.safetensors", limit=1000)
"""The review's transformer; ``python -m contrastlib.training --dataset food101 --model vit_b_16`` makes the weights."""

CUB_WEIGHTS = "models/tf_efficientnet_lite0.cub100.safetensors"

PROFILES: dict[str, dict[str, Setting]] = {
    "gradient-sign": {
        "embedded": Setting("birds_vgg", "drawn_birds", "hard", limit=400, shard=32),
        "embedded-vit": Setting("birds_vit", "drawn_birds", "hard", limit=400, shard=32),
        "photographs": Setting("tf_efficientnet_lite0", "imagenet", limit=200, shard=20),
        "figure1": Setting("vgg16", "imagenet", shard=64),
    },
    "masking": {
        "embedded": Setting("birds_vgg", "drawn_birds", "hard", rule="p2>0.1", limit=320, layers=BIRDS),
        "embedded-sure": Setting("birds_vgg", "drawn_birds", "hard", rule="p2<0.1", limit=320, layers=BIRDS[1:],
                                 targets=("t1",)),
        "embedded-vit": Setting("birds_vit", "drawn_birds", "hard", rule="p2>0.1", limit=320, layers=TOKENS),
        # At the last layer of this network, in front of pooling and one linear layer, all three methods are one.
        "cub100": Setting("tf_efficientnet_lite0", "cub200", weights=CUB_WEIGHTS, crop=False, rule="p2>0.1", limit=300,
                          layers=("bn2=grad_cam", "blocks.4")),
        "cub100-sure": Setting("tf_efficientnet_lite0", "cub200", weights=CUB_WEIGHTS, crop=False, rule="p2<0.1",
                               limit=300, layers=("bn2=grad_cam", "blocks.4=grad_cam"), targets=("t1",)),
        "table1": Setting("vgg16_bn", "cub200", weights="vgg16_bn.cub200.safetensors", crop=False, rule="p2>0.1",
                          layers=("features.40", "features.42")),
        "table2": Setting("vgg16_bn", "cub200", weights="vgg16_bn.cub200.safetensors", crop=False, rule="p2<0.1",
                          layers=("features.40=grad_cam", "features.42=grad_cam"), targets=("t1",)),
    },
    "masking-curves": {
        "embedded": Setting("birds_vgg", "drawn_birds", "hard", rule="p2>0.1", limit=320, layers=BIRDS,
                            normalised=BIRDS),
        "embedded-sure": Setting("birds_vgg", "drawn_birds", "hard", rule="p2<0.1", limit=320, layers=BIRDS[1:],
                                 normalised=BIRDS[1:], targets=("t1",)),
        "embedded-vit": Setting("birds_vit", "drawn_birds", "hard", rule="p2>0.1", limit=320, layers=TOKENS,
                                normalised=TOKENS),
        "cub100": Setting("tf_efficientnet_lite0", "cub200", weights=CUB_WEIGHTS, crop=False, rule="p2>0.1", limit=300,
                          layers=("bn2=grad_cam", "blocks.4=grad_cam", "blocks.4=linear_approximation"),
                          normalised=("bn2",)),
        "cub100-sure": Setting("tf_efficientnet_lite0", "cub200", weights=CUB_WEIGHTS, crop=False, rule="p2<0.1",
                               limit=300, layers=("bn2=grad_cam",), normalised=("bn2",), targets=("t1",)),
    },
    "logit-norm": {
        "embedded": Setting("birds_vgg", "drawn_birds", "hard", limit=400, shard=50),
        "embedded-vit": Setting("birds_vit", "drawn_birds", "hard", limit=400, shard=50),
        "photographs": Setting("tf_efficientnet_lite0", "imagenet", limit=100, shard=10),
        "figure6": Setting("vgg16", "imagenet", limit=1000, shard=10),
    },
    "dominance": {
        "embedded": Setting("birds_vgg", "drawn_birds", "test", layers=("features.27=grad_cam",), shard=50),
        "embedded-hard": Setting("birds_vgg", "drawn_birds", "hard", layers=("features.27=grad_cam",), shard=50),
        "cub100": Setting("tf_efficientnet_lite0", "cub200", weights=CUB_WEIGHTS, crop=False,
                          layers=("bn2=grad_cam",), shard=50),
        "photographs": Setting("tf_efficientnet_lite0", "imagenet", layers=("bn2=grad_cam",), shard=50),
    },
    "full-grad": {
        "embedded": Setting("birds_vgg", "drawn_birds", "hard", limit=400, shard=20),
        "photographs": Setting("tf_efficientnet_lite0", "imagenet", limit=100, shard=10),
        "figure3": Setting("vgg16_bn", "cub200", weights="vgg16_bn.cub200.safetensors", crop=False, rule="p2>0.1",
                           shard=4),
    },
    "coherence": {
        "embedded": Setting("birds_vit", "drawn_birds", "hard", limit=800, shard=20),
        "cub100": replace(DINO, limit=200, shard=10, targets=("t1",)),
        "figure5": FOOD,
    },
    "rollout-slips": {
        "embedded": Setting("birds_vit", "drawn_birds", "hard", limit=400, shard=20),
        "cub100": replace(DINO, limit=200, shard=10),
        "figure5": FOOD,
    },
    # An image that is predicted rightly beyond doubt costs one forward pass, any other about eighty.
    "misclassified": {
        "embedded": Setting("birds_vgg", "drawn_birds", "hard", shard=50,
                            layers=("features.27=grad_cam", "features.13=linear_approximation")),
        "embedded-vit": Setting("birds_vit", "drawn_birds", "hard", shard=50,
                                layers=("patch_embed.backbone=grad_cam", "blocks.2=linear_approximation")),
        "cub100": Setting("tf_efficientnet_lite0", "cub200", weights=CUB_WEIGHTS, crop=False, shard=50,
                          layers=("bn2=grad_cam", "blocks.4=linear_approximation")),
        "photographs": Setting("tf_efficientnet_lite0", "imagenet", shard=50,
                               layers=("bn2=grad_cam", "blocks.5=linear_approximation")),
    },
}
"""By experiment and name."""
