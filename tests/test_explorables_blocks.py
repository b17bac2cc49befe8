"""The transformer explorer: every frame is the library's own map, and what there is not is not shown."""

import itertools
import json

import numpy as np
import pytest
import torch
from ipywidgets.embed import dependency_state
from matplotlib.figure import Figure
from matplotlib.text import Text
from transformer_networks import torchvision_transformer, transformer

from contrastlib import contrast, data, explorables, models, published
from contrastlib.attribution import AttentionRollout, attention_relevance, attention_rollout, attentions, grad_cam
from contrastlib.contrast import NAMES
from contrastlib.experiments import coherence
from contrastlib.explorables import BlockExplorer, block_picture, decode, encode

SIDES = {"timm": 16, "torchvision": 32}
PARTS = {"timm": ("blocks.{}", "norm1", "attn"),
         "torchvision": ("encoder.layers.encoder_layer_{}", "ln_1", "self_attention")}
SCORES = {"original": contrast.original, "weighted": contrast.weighted}
SHOWN = {"original": contrast.original, "weighted": contrast.probability}  # what the review went back from
ROLLOUT_SLIPS = {"original": [s for s in published.SLIPS if s not in ("probability", "twice")],
                 "weighted": [s for s in published.SLIPS if s != "twice"]}


@pytest.fixture(scope="module", params=PARTS)
def made(request):
    """Family, classifier, image and explorer."""
    # Doubles, because the fresh networks are sure of themselves and a probability near one has lost its gradient.
    classifier = transformer() if request.param == "timm" else torchvision_transformer()
    side = SIDES[request.param]
    image = torch.rand(1, 3, side, side, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    return request.param, classifier, image, explorables.blocks(classifier, image)


def targets(classifier, image) -> list[int]:
    return [index for index, _, _ in classifier.top(image, 2)[0]]


def ask(explorer, **choices):
    for name, value in choices.items():
        setattr(explorer, name, value)
    return explorer.relevance("published"), explorer.relevance("corrected")


def assert_same(frame, direct):
    """Within half a step of eight bits."""
    direct = direct[0, 0].double().numpy()
    assert np.abs(direct).max() > 0 or not frame.any()
    np.testing.assert_allclose(frame, direct, rtol=0, atol=np.abs(direct).max() * (0.5 / 127 + 1e-4))


@pytest.mark.parametrize("asked", SCORES)
@pytest.mark.parametrize("target", [0, 1])
def test_rollout_is_the_librarys_and_the_published_one(made, asked, target):
    _, classifier, image, explorer = made
    chosen = targets(classifier, image)[target]
    ask(explorer, method="attention rollout", contrast=asked, target=target)
    own = attentions(classifier, image, chosen, SCORES[asked])
    for block in range(3):
        _, corrected = ask(explorer, block=block)
        assert_same(corrected, AttentionRollout().rollout(own, block))
    shown, corrected = ask(explorer, block=0)
    assert_same(corrected, attention_rollout(classifier, image, chosen, SCORES[asked], upsample=False))
    assert_same(shown, published.gradient_rollout(classifier, image, chosen, SCORES[asked],
                                                  slips=ROLLOUT_SLIPS[asked], relu=asked == "original"))


@pytest.mark.parametrize("asked", SCORES)
def test_the_published_rollout_from_a_later_block_is_the_product_of_the_later_matrices(made, asked):
    _, classifier, image, explorer = made
    relu = asked == "original"
    found = attentions(classifier, image, targets(classifier, image)[0], SHOWN[asked])
    slipped = published.reversed_gradients(published.gradient_of_scores(found))
    matrices = [published.columns_normalised(m)
                for m in AttentionRollout(relu=relu, scaled=False).unnormalised(slipped)]
    ask(explorer, method="attention rollout", contrast=asked, target=0)
    assert_same(ask(explorer, block=0)[0], published.with_slips(found, published.SLIPS[:3], relu=relu))
    for block, product in {1: matrices[2] @ matrices[1], 2: matrices[2]}.items():
        assert_same(ask(explorer, block=block)[0], product[:, :1, 1:].unflatten(-1, found.grid))


@pytest.mark.parametrize("asked", SCORES)
@pytest.mark.parametrize("target", [0, 1])
def test_grad_cam_is_the_librarys_at_each_place_of_each_block(made, asked, target):
    family, classifier, image, explorer = made
    chosen = targets(classifier, image)[target]
    pattern, norm, attention = PARTS[family]
    ask(explorer, method="Grad-CAM", contrast=asked, target=target)
    for block in range(3):
        name = pattern.format(block)
        for reading, part in enumerate((attention, norm)):
            shown, corrected = ask(explorer, block=block, reading=reading)
            if block == 2:
                assert corrected is None  # nothing reads the patches behind the last block
                assert (shown is None) == (part == attention)
            else:
                assert_same(corrected, grad_cam(classifier, image, chosen, SCORES[asked], layer=name, upsample=False))
            if part == norm or (family == "timm" and block < 2):
                direct = grad_cam(classifier, image, chosen, SHOWN[asked], layer=f"{name}.{part}", upsample=False)
                assert_same(shown, direct.relu() if asked == "original" else direct)


def test_behind_torchvisions_attention_the_maps_are_those_of_the_experiment():
    """Its output is two things, which grad_cam refuses."""
    classifier, image = torchvision_transformer(), torch.rand(1, 3, 32, 32, dtype=torch.float64)
    chosen = torch.tensor(targets(classifier, image)[:1])
    explorer = explorables.blocks(classifier, image, method="Grad-CAM")
    found = list(itertools.islice(coherence.all_maps(classifier, image, chosen, contrast.probability), 9))
    behind = {int(block): maps for method, block, maps in found if method == "grad_cam attention"}
    assert set(behind) == {0, 1}
    for block, maps in behind.items():
        assert_same(ask(explorer, block=block)[0], maps)


@pytest.mark.parametrize("asked", SCORES)
def test_of_relevance_nothing_was_published(made, asked):
    _, classifier, image, explorer = made
    own = attentions(classifier, image, targets(classifier, image)[0], SCORES[asked])
    ask(explorer, method="attention relevance", contrast=asked, target=0)
    for block in range(3):
        shown, corrected = ask(explorer, block=block)
        assert shown is None
        assert_same(corrected, attention_relevance.relevance(own, block))
    assert np.isnan(explorer.correlation())


def test_the_network_is_left_as_it_was_found(made):
    _, classifier, image, explorer = made
    assert not any(m._forward_hooks for m in classifier.model.modules())
    with torch.no_grad():
        again = explorables.blocks(classifier, image)
    assert again.pictures == explorer.pictures
    assert all(parameter.grad is None for parameter in classifier.parameters())


def test_the_correlation_is_that_of_the_two_maps(made):
    explorer = made[-1]
    maps = ask(explorer, method="attention rollout", contrast="weighted", target=0, block=1)
    assert explorer.correlation() == pytest.approx(np.corrcoef(*(m.ravel() for m in maps))[0, 1])
    ask(explorer, method="Grad-CAM", block=2)
    assert np.isnan(explorer.correlation())
    with pytest.raises(ValueError, match="one of published, corrected, got 'both'"):
        explorer.relevance("both")


def test_every_method_says_what_was_computed_for_each_contrast(made):
    explorer = made[-1]
    for method in explorer.methods:
        for reading in [*method["published"], method["corrected"]]:
            assert all(reading["notes"][asked].endswith(".") for asked in SCORES)
        assert "with ReLU" not in method["corrected"]["notes"]["weighted"]
    assert set(SCORES) <= set(NAMES)
    ask(explorer, method="Grad-CAM", block=1, contrast="weighted", target=1)
    name = explorer.pictures[0]["classes"][1]["name"]
    assert explorer.sentence() == f"Why {name} rather than the others, by Grad-CAM at block 1?"
    explorer.contrast = "original"
    assert explorer.sentence(block=False) == f"Why {name}, by Grad-CAM?"


@pytest.mark.parametrize("method", ["attention rollout", "Grad-CAM", "attention relevance"])
def test_its_still_is_a_figure_with_all_blocks(made, method):
    explorer = made[-1]
    explorer.method, explorer.reading = method, 0
    figure = explorer.still()
    assert isinstance(figure, Figure)
    written = [line for text in figure.findobj(Text) for line in text.get_text().split("\n")]
    assert {f"block {b}" for b in range(3)} <= set(written)
    assert written.count("no map") == (2 if method == "Grad-CAM" else 0)
    assert ("as published" in " ".join(written)) == (method != "attention relevance")
    assert "image/png" in explorer._repr_mimebundle_()[0]


def test_of_many_blocks_the_still_shows_six():
    classifier = transformer(torch.float32, depth=9)
    figure = explorables.blocks(classifier, torch.rand(1, 3, 16, 16)).still()
    written = [text.get_text() for text in figure.findobj(Text) if text.get_text().startswith("block")]
    assert written == [f"block {b}" for b in (0, 2, 3, 5, 6, 8)]


def test_the_birds_fit_into_a_page():
    network, pictures = models.load("birds_vit"), data.load("drawn_birds", "hard")
    chosen = (11, 21, 5)
    explorer = explorables.blocks(network, {str(i): pictures.picture(i) for i in chosen},
                              labels=[pictures.labels[i] for i in chosen], method="Grad-CAM", block=2)
    state = json.dumps(dependency_state(explorer, drop_defaults=False))
    assert len(state) - len(explorer._esm) - len(explorer._css) < 100_000
    assert [one["title"] for one in explorer.pictures] == ["11", "21", "5"]
    assert [one["label"] for one in explorer.pictures] == [pictures.labels[i] for i in chosen]
    assert explorer.blocks == [f"blocks.{b}" for b in range(4)]
    assert (explorer.method, explorer.block) == ("Grad-CAM", 2)


def test_frames_come_back_within_half_a_step():
    frames = np.random.default_rng(0).normal(size=(2, 2, 3, 2, 4, 5)).astype(np.float32)
    frames[0, 1, 2, 0], frames[1, 0, 0, 1] = np.nan, 0
    state = encode(frames)
    back = decode(state)
    assert len(state["coarse"]) == 23 * 20  # what is not there takes no place
    assert np.isnan(back[0, 1, 2, 0]).all()
    assert not back[1, 0, 0, 1].any()
    step = np.nan_to_num(np.abs(frames).max((-2, -1), keepdims=True)) / 127
    assert (np.abs(np.nan_to_num(back) - np.nan_to_num(frames)) <= step * 0.501).all()


@pytest.mark.parametrize(("frames", "said"), [
    (np.zeros((2, 3, 1, 1, 4, 4)), r"must be \(2, 2, B, V, h, w\).* got shape \(2, 3"),
    (np.zeros((2, 2, 4, 4)), "got shape"),
    (np.where(np.eye(4), np.nan, np.zeros((2, 2, 1, 1, 4, 4))), "finite, or NaN all over")])
def test_frames_that_are_none_are_refused(frames, said):
    with pytest.raises(ValueError, match=said):
        block_picture(np.zeros((3, 4, 4)), {"rollout": frames}, [(0, "a", 1.0), (1, "b", 0.0)])


def test_choices_that_there_are_not_are_refused(made):
    explorer = made[-1]
    for name, value in {"block": 3, "picture": 1, "method": "LRP", "target": 2, "contrast": "max", "strength": 1.5,
                        "colours": "jet", "reading": -1}.items():
        with pytest.raises(Exception, match=name):
            setattr(explorer, name, value)
    with pytest.raises(ValueError, match=r"block must lie in \[0, 3\), got 7"):
        explorables.blocks(made[1], made[2], block=7)
    with pytest.raises(ValueError, match="attention rollout, Grad-CAM, attention relevance, got 'LRP'"):
        explorables.blocks(made[1], made[2], method="LRP")


def test_a_reading_that_a_method_has_not_is_its_last(made):
    explorer = made[-1]
    first = ask(explorer, method="attention rollout", reading=0, block=0, contrast="weighted", target=0)[0]
    np.testing.assert_array_equal(ask(explorer, reading=1)[0], first)


def test_networks_without_blocks_are_refused():
    image = torch.rand(1, 3, 128, 128)
    with pytest.raises(ValueError, match=r"birds_vgg has no blocks, which timm's .* have as blocks\.0"):
        explorables.blocks(models.load("birds_vgg"), image)
    with pytest.raises(ValueError, match=r"no attention ran in EfficientNet .* use grad_cam"):
        explorables.blocks(models.load("tf_efficientnet_lite0"), torch.rand(1, 3, 224, 224))
    with pytest.raises(ValueError, match="returned one logit"):
        explorables.blocks(transformer(torch.float32, num_classes=1), torch.rand(1, 3, 16, 16))


def test_photographs_and_labels_must_fit(made):
    _, classifier, image, explorer = made
    with pytest.raises(ValueError, match="1 photographs need as many labels, got 2"):
        explorables.blocks(classifier, image, labels=[0, 1])
    with pytest.raises(ValueError, match="at least one picture"):
        explorables.blocks(classifier, {})
    state = dict(explorer.pictures[0], frames={})
    with pytest.raises(ValueError, match="no frames of attention rollout"):
        BlockExplorer([state], explorer.methods, explorer.blocks)
    with pytest.raises(ValueError, match="frames of 2 blocks and 2 variants, got 3"):
        BlockExplorer(explorer.pictures, explorer.methods, explorer.blocks[:2])


def test_a_head_that_pools_the_patches_has_maps_behind_the_last_block():
    classifier = transformer(torch.float32, global_pool="avg", class_token=False)
    explorer = explorables.blocks(classifier, torch.rand(1, 3, 16, 16), method="Grad-CAM", block=2)
    assert explorer.relevance("published") is not None
    assert explorer.relevance("corrected").shape == (4, 4)
