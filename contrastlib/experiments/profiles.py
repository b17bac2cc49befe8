"""Settings of the experiments that have a name: what the book's rows were made with, and the papers' own."""

from dataclasses import replace
from typing import Any

from contrastlib.experiments.experiment import Setting

# Layers of ``birds_vgg``: before the last BatchNorm, behind the last ReLU, and a finer one.
BIRDS = ("features.25", "features.27", "features.13")
# The last map of ``birds_vit``: what its stem hands to the transformer.
TOKENS = ("patch_embed.backbone",)

HARD, HARD_VIT = (Setting(name, "drawn_birds", "hard") for name in ("birds_vgg", "birds_vit"))
PHOTOGRAPHS = Setting("tf_efficientnet_lite0", "imagenet")
# Six more networks for the same photographs; four of the files of weights were not published as such, but converted.
PAPERS = ("original", "mean", "max", "weighted")
_TENSORFLOW: dict[str, Any] = {"mean": 0.5, "std": 0.5}
IMAGENET = {
    "lite1": replace(PHOTOGRAPHS, model="tf_efficientnet_lite1"),
    "lite2": replace(PHOTOGRAPHS, model="tf_efficientnet_lite2"),
    "squeezenet1_0": replace(PHOTOGRAPHS, model="squeezenet1_0", weights="models/squeezenet1_0.imagenet.safetensors"),
    "squeezenet1_1": replace(PHOTOGRAPHS, model="squeezenet1_1", weights="models/squeezenet1_1.imagenet.safetensors"),
    "mobilenetv2": replace(PHOTOGRAPHS, model="mobilenetv2_100", **_TENSORFLOW, model_args=("pad_type=same",),
                           weights="models/mobilenetv2_100.imagenet.safetensors"),
    "mobilenetv3": replace(PHOTOGRAPHS, model="tf_mobilenetv3_large_minimal_100", **_TENSORFLOW,
                           weights="models/tf_mobilenetv3_large_minimal_100.imagenet.safetensors")}
CUB100 = replace(PHOTOGRAPHS, dataset="cub200", weights="models/tf_efficientnet_lite0.cub100.safetensors", crop=False)
# The papers' network of birds.
CUB200 = Setting("vgg16_bn", "cub200", weights="vgg16_bn.cub200.safetensors", crop=False)
# A self-supervised transformer with a linear head for a hundred species.
DINO = Setting("vit_small_patch14_dinov2", "cub200", weights="models/vit_small_patch14_dinov2.cub100.safetensors",
               crop=False, input_size=224)
# The review's transformer; ``python -m contrastlib.training --dataset food101 --model vit_b_16`` makes the weights.
FOOD = Setting("vit_b_16", "food101", weights="vit_b_16.food101.safetensors", limit=1000)

RIVALS: dict[str, Any] = {"rule": "p2>0.1"}
SURE: dict[str, Any] = {"rule": "p2<0.1", "targets": ("t1",)}

# By experiment and name.
PROFILES: dict[str, dict[str, Setting]] = {
    "gradient-sign": {
        "embedded": replace(HARD, limit=400, shard=32), "embedded-vit": replace(HARD_VIT, limit=400, shard=32),
        "photographs": replace(PHOTOGRAPHS, limit=200, shard=20),
        **{name: replace(setting, limit=200, shard=10, contrasts=PAPERS) for name, setting in IMAGENET.items()},
        "figure1": Setting("vgg16", "imagenet", shard=64)},
    "masking": {
        "embedded": replace(HARD, **RIVALS, limit=320, layers=BIRDS),
        "embedded-sure": replace(HARD, **SURE, limit=120, layers=BIRDS[1:]),
        "embedded-vit": replace(HARD_VIT, **RIVALS, limit=120, layers=TOKENS),
        # At the last layer of this network, in front of pooling and one linear layer, all three methods are one.
        "cub100": replace(CUB100, **RIVALS, limit=300, layers=("bn2=grad_cam", "blocks.4")),
        "cub100-sure": replace(CUB100, **SURE, limit=200, layers=("bn2=grad_cam", "blocks.4=grad_cam")),
        "table1": replace(CUB200, **RIVALS, layers=("features.40", "features.42")),
        "table2": replace(CUB200, **SURE, layers=("features.40=grad_cam", "features.42=grad_cam"))},
    "masking-curves": {
        "embedded": replace(HARD, **RIVALS, limit=160, layers=BIRDS, normalised=BIRDS),
        "embedded-sure": replace(HARD, **SURE, limit=120, layers=BIRDS[1:], normalised=BIRDS[1:]),
        "embedded-vit": replace(HARD_VIT, **RIVALS, limit=120, layers=TOKENS, normalised=TOKENS),
        "cub100": replace(CUB100, **RIVALS, limit=120, normalised=("bn2",),
                          layers=("bn2=grad_cam", "blocks.4=grad_cam", "blocks.4=linear_approximation")),
        "cub100-sure": replace(CUB100, **SURE, limit=200, layers=("bn2=grad_cam",), normalised=("bn2",))},
    "logit-norm": {
        "embedded": replace(HARD, limit=400, shard=50), "embedded-vit": replace(HARD_VIT, limit=400, shard=50),
        "photographs": replace(PHOTOGRAPHS, limit=100, shard=10),
        **{name: replace(setting, limit=100, shard=10) for name, setting in IMAGENET.items()},
        "figure6": Setting("vgg16", "imagenet", limit=1000, shard=10)},
    "dominance": {
        "embedded": replace(HARD, split="test", layers=("features.27=grad_cam",), shard=50),
        "embedded-hard": replace(HARD, layers=("features.27=grad_cam",), shard=50),
        "cub100": replace(CUB100, layers=("bn2=grad_cam",), shard=50),
        "photographs": replace(PHOTOGRAPHS, layers=("bn2=grad_cam",), shard=50)},
    "full-grad": {
        "embedded": replace(HARD, limit=400, shard=20), "photographs": replace(PHOTOGRAPHS, limit=100, shard=10),
        "figure3": replace(CUB200, **RIVALS, shard=4)},
    "coherence": {
        "embedded": replace(HARD_VIT, limit=800, shard=20),
        "cub100": replace(DINO, limit=200, shard=10, targets=("t1",)), "figure5": FOOD},
    "rollout-slips": {
        "embedded": replace(HARD_VIT, limit=400, shard=20), "cub100": replace(DINO, limit=200, shard=10),
        "figure5": FOOD},
    # An image that is predicted rightly beyond doubt costs one forward pass, any other about eighty.
    "misclassified": {
        "embedded": replace(HARD, shard=50, layers=("features.27=grad_cam", "features.13=linear_approximation")),
        "embedded-vit": replace(
            HARD_VIT, shard=50, layers=("patch_embed.backbone=grad_cam", "blocks.3.norm1=linear_approximation")),
        "cub100": replace(CUB100, shard=50, layers=("bn2=grad_cam", "blocks.4=linear_approximation")),
        "photographs": replace(PHOTOGRAPHS, shard=50, layers=("bn2=grad_cam", "blocks.5=linear_approximation"))}}
