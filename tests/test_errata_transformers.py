"""Errata on FullGrad and transformers: their effects are read off the rows in `book/results`, or measured anew."""

import pytest
import torch
from test_errata_measured import PAGE, effect, table
from torch import Tensor, nn

from contrastlib import contrast, data, models, perturbation, published, relevance
from contrastlib.attribution import AttentionRollout, attentions, full_grad, grad_cam
from contrastlib.tables import pick

BIRDS, DINO = "birds_vit", "vit_small_patch14_dinov2"


@pytest.fixture(scope="module")
def hard() -> tuple[models.Classifier, Tensor, Tensor]:
    """The transformer, 64 hard birds, and their most probable class."""
    network, birds = models.load("birds_vit"), data.load("drawn_birds", "hard", count=64)
    images = network.prepare([birds.picture(i) for i in range(64)])
    with torch.no_grad():
        return network, images, network(images).argmax(-1)


def test_no_form_of_full_grad_is_negative_everywhere():
    """Of the complete map and six other forms, two contrasts, two classes, on two networks."""
    rows = pick(table("full_grad"), metric="negative everywhere").query("map != 'grad_cam'")
    assert rows["map"].nunique() == 7
    assert effect(18)[:2] == [(rows["value"] * rows["n"]).round().sum(), rows["n"].sum()]
    share = pick(table("full_grad"), metric="negative share", classifier="birds_vgg", map="complete", target="t1")
    assert effect(18)[2:4] == pytest.approx(share["value"].tolist(), abs=0.006)


def test_a_bias_without_a_place_is_in_no_map():
    """So the complete map of the first class may sum to less than zero."""
    network, birds = models.load("birds_vgg"), data.load("drawn_birds", "hard", count=32)
    images = network.prepare([birds.picture(i) for i in range(32)])
    before = full_grad.terms(network, images, 0)
    network.model.classifier[-1].bias.data[0] += 15
    torch.testing.assert_close(full_grad.terms(network, images, 0).map(), before.map())
    terms = full_grad.terms(network, images, 0, contrast.weighted)
    terms.check()
    first = perturbation.logits_of(network, images).argmax(-1) == 0
    assert effect(18)[4:] == [first.sum(), (terms.map().sum((1, 2, 3)) < 0).sum()]


def test_a_complete_map_of_the_first_class_can_be_negative_everywhere():
    """One linear layer whose weights all speak against the class that its bias puts first."""
    layer = nn.Linear(3 * 4 * 4, 2)
    layer.weight.data = torch.tensor([[-1.0], [0.0]]).expand(2, 48).clone()
    layer.bias.data = torch.tensor([100.0, 0.0])
    network = models.Classifier(nn.Sequential(nn.Flatten(), layer).eval(), input_size=4, mean=0, std=1)
    images = 0.1 + 0.9 * torch.rand(2, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    for score in (contrast.original, contrast.weighted):
        terms = full_grad.terms(network, images, 0, score)
        terms.check()
        torch.testing.assert_close(terms.map(), -images.sum(1, keepdim=True))
    assert (network(images).argmax(-1) == 0).all()


def test_white_at_mid_range_changes_colours():
    rows = pick(table("full_grad"), metric="pixels of the wrong colour", map="complete", target="t1",
                contrast="weighted")
    assert effect(19) == pytest.approx((100 * rows["value"]).tolist(), abs=0.6)
    assert len(rows) == 2


def test_the_grid_of_the_base_transformer():
    network = models.load("vit_b_16", weights=None, num_classes=2)
    layout = network.layers()[network.layer_name].layout
    assert effect(38) == [*layout.grid, layout.prefix]


def test_signed_maps_have_negative_areas_and_rectified_ones_none(hard):
    network, images, target = hard
    maps = grad_cam(network, images, target)
    assert effect(39) == [pytest.approx(100 * (maps < 0).float().mean().item(), abs=0.6)]
    assert not (maps.relu() < 0).any()


@pytest.mark.parametrize(("number", "slip"), [
    (40, "reversed gradients"), (41, "gradient of scores"), (42, "columns normalised"), (43, "probability"),
    (44, "normalised with 0.5"), (45, "twice")])
def test_what_a_slip_does_to_the_contrastive_rollout(number, slip):
    found = [pick(table("rollout_slips"), classifier=name, rectified="no", contrast="weighted", slip=slip,
                  metric="correlation with the corrected map")["value"].item() for name in (BIRDS, DINO)]
    assert effect(number)[:2] == pytest.approx(found, abs=0.006)


def test_all_slips_together():
    found = [pick(table("rollout_slips"), classifier=name, rectified="no", contrast="weighted", slip="as published",
                  metric="correlation with the corrected map")["value"].item() for name in (BIRDS, DINO)]
    assert effect(40)[2:4] == pytest.approx(found, abs=0.006)


def test_the_published_rollout_marks_what_matters_less(hard):
    """By how much the log-odds fall when the six patches that a map marks most are blurred."""
    network, images, target = hard
    before = contrast.weighted(perturbation.logits_of(network, images), target)
    blurred = perturbation.BASELINES["blur"](images)

    def fall(slips: tuple[str, ...]) -> float:
        maps = published.gradient_rollout(network, images, target, contrast.weighted, slips=slips)
        gone = torch.zeros(len(images), 64).scatter(1, maps.flatten(1).topk(6).indices, 1).view(-1, 1, 8, 8)
        gone = torch.nn.functional.interpolate(gone, size=(128, 128)).bool()
        after = perturbation.logits_of(network, torch.where(gone, blurred, images))
        return (before - contrast.weighted(after, target)).mean().item()

    found = [fall(("reversed gradients", "gradient of scores", "columns normalised")), fall(())]
    assert effect(40)[4:] == pytest.approx(found, abs=0.03)


def test_negative_values_of_the_rollout_wrap_around(hard):
    """Erratum 13 on maps it was made for: signed rollout divided by its maximum."""
    network, images, target = hard
    maps = AttentionRollout(scaled=False).rollout(attentions(network, images, target, contrast.weighted))
    shown = published.as_bytes((maps / maps.amax((-2, -1), keepdim=True)).clamp(-1, 1))
    assert ((shown > 127) & (maps < 0)).float().mean() > 0.25  # of all pixels, shown red and are negative


def test_the_module_that_is_hooked_is_not_called(hard):
    network, images, _ = hard
    called = []
    handles = [block.attn.attn_drop.register_forward_hook(lambda *_: called.append(1))
               for block in network.model.blocks]
    with torch.no_grad():
        network(images[:1])
    for handle in handles:
        handle.remove()
    assert not called


def test_three_places_of_one_block_give_three_maps(hard):
    network, images, target = hard
    maps = {place: grad_cam(network, images, target, layer=f"blocks.2{place}", upsample=False)
            for place in ("", ".norm1", ".attn")}
    found = [relevance.correlation(maps[""], maps[place]).mean().item() for place in (".norm1", ".attn")]
    assert effect(46) == pytest.approx(found, abs=0.02)
    with pytest.raises(ValueError, match="no gradient"):
        grad_cam(network, images[:1], 0, layer="blocks.3")


def test_every_erratum_on_transformers_says_what_it_does():
    assert "wait for their chapters" not in PAGE
    for number in (18, 19, *range(38, 48)):
        (line,) = [line for line in PAGE.splitlines() if line.startswith(f"| {number} |")]
        assert len(line.rsplit("|", 2)[1].strip()) > 20, f"erratum {number} has no effect"
