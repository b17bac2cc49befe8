"""What a training is made of: recipes, augmentations, schedules, and networks to begin with."""

import math
from dataclasses import replace

import pytest
import timm
import torch
import torchvision
from networks import seeded
from torch import nn
from torchvision import transforms as T
from training_data import Blobs, small

from contrastlib import models
from contrastlib.data import Problem, UnreadableImageError
from contrastlib.experiments.training import (
    RECIPES,
    Loader,
    Recipe,
    evaluate,
    finetunable,
    head_parameters,
    hold_out,
    light_tensor,
    named_recipe,
    new_head,
    optimiser,
    rate,
    shuffled,
    train,
    transform,
)
from contrastlib.models import Classifier, UnknownNameError, WeightsError

BIRDS = [f"bird {i}" for i in range(5)]


def unfilled(build, *args, **options) -> Classifier:
    """A network whose weights are whatever lies in the memory: enough to see which layer is which."""
    with torch.device("meta"):
        model = build(*args, **options)
    return Classifier(model.to_empty(device="cpu"), class_names=[str(i) for i in range(1000)], crop=False)


# Recipes


def test_the_default_is_the_papers_recipe():
    recipe = RECIPES["paper"]
    assert recipe == Recipe()
    assert (recipe.optimiser, recipe.lr, recipe.momentum, recipe.weight_decay) == ("sgd", 1e-3, 0.9, 5e-4)
    assert (recipe.batch_size, recipe.epochs, recipe.head_lr, recipe.nesterov) == (128, 200, None, False)
    assert (recipe.schedule, recipe.label_smoothing, recipe.augmentation) == ("constant", 0, "paper")
    assert (recipe.decay_all, recipe.ema, recipe.gradient_clip) == (True, None, None)


def test_recipes_by_name_and_with_changes():
    assert named_recipe("Short", epochs=3) == replace(RECIPES["short"], epochs=3)
    with pytest.raises(UnknownNameError, match="near names: paper"):
        named_recipe("papers'")
    with pytest.raises(TypeError):
        named_recipe("paper", speed=3)


@pytest.mark.parametrize(("changes", "told"), [
    ({"batch_size": 0}, r"batch_size must lie in \[1, inf\), got 0"),
    ({"lr": 0}, r"lr must lie in \(0, inf\), got 0"),
    ({"lr": math.nan}, "lr must lie in .* got nan"),
    ({"epochs": 0}, "epochs"), ({"ema": 1.0}, "ema"), ({"momentum": 1}, "momentum"), ({"seed": -1}, "seed"),
    ({"optimiser": "lion"}, "optimiser must be one of sgd, adamw, got 'lion'"),
    ({"optimiser": "adamw", "nesterov": True}, "nesterov needs the optimiser sgd"),
    ({"in_memory": True}, "it goes with augmentation light_tensor or none, not with paper"),
])
def test_a_recipe_that_cannot_be_is_refused(changes, told):
    with pytest.raises(ValueError, match=told):
        Recipe(**changes)


# Augmentations


def test_the_papers_augmentations_stand_in_their_order():
    """Wang & Wang's dataset.py, line by line."""
    steps = transform(Classifier(nn.Identity()), "paper").transforms
    assert [type(step) for step in steps] == [
        T.RandomHorizontalFlip, T.RandomVerticalFlip, T.RandomRotation, T.ColorJitter, T.RandomAffine,
        T.RandomResizedCrop, T.RandomPerspective, T.RandomGrayscale, T.RandomApply, T.PILToTensor]
    across, up, turn, colour, move, crop, tilt, grey, apply, _ = steps
    assert (across.p, up.p, turn.degrees) == (0.5, 0.5, [-30, 30])
    assert (colour.brightness, colour.contrast, colour.saturation) == ((0.8, 1.2),) * 3
    assert colour.hue == (-0.1, 0.1)
    assert (move.degrees, move.translate, move.scale, move.shear) == ([0, 0], (0.1, 0.1), None, None)
    assert (crop.size, crop.scale, crop.interpolation) == ((224, 224), (0.7, 1.0), T.InterpolationMode.BILINEAR)
    assert (tilt.distortion_scale, tilt.p, tilt.interpolation) == (0.2, 0.5, T.InterpolationMode.BICUBIC)
    assert (grey.p, apply.p) == (0.2, 0.2)
    blur, = apply.transforms
    assert (blur.kernel_size, blur.sigma) == ((3, 3), (0.1, 2.0))


def test_without_augmentation_a_picture_is_what_the_classifier_prepares():
    classifier, picture = small(), Blobs(1).picture(0).resize((40, 30))
    plain = transform(classifier)(picture)
    assert plain.dtype == torch.uint8
    assert torch.equal(plain.float() / 255, classifier.prepare(picture)[0])


@pytest.mark.parametrize("augmentation", ["paper", "crops_and_flips"])
def test_augmented_pictures_have_the_inputs_size(augmentation):
    image = transform(small(), augmentation)(Blobs(1).picture(0).resize((24, 20)))
    assert (image.shape, image.dtype) == ((3, 16, 16), torch.uint8)


def test_light_augmentation_flips_shifts_and_changes_brightness_and_contrast():
    """Pixel by pixel, with the same draws: the edge is repeated, contrast is scaled about the image's mean."""
    n, h, w, most = 6, 32, 40, 2
    images = torch.rand(n, 3, h, w, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    draw = torch.Generator().manual_seed(0)
    flip, contrast, brightness = torch.rand(3, n, generator=draw)
    down, right = torch.randint(0, 2 * most + 1, (2, n), generator=draw) - most
    found = light_tensor(images, torch.Generator().manual_seed(0))
    assert 0 < (flip < 0.5).sum() < n
    for k in range(n):
        image = images[k].flip(2) if flip[k] < 0.5 else images[k]
        y, x = (torch.arange(h) + down[k]).clamp(0, h - 1), (torch.arange(w) + right[k]).clamp(0, w - 1)
        moved = image[:, y][:, :, x]
        wanted = (moved - moved.mean()) * (0.8 + 0.4 * contrast[k]) + moved.mean() + 0.2 * (brightness[k] - 0.5)
        torch.testing.assert_close(found[k], wanted.clamp(0, 1), rtol=0, atol=1e-7)


def test_light_augmentation_stays_in_range_and_is_drawn_for_each_image():
    images = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(1)).expand(8, -1, -1, -1)
    one, other = (light_tensor(images, torch.Generator().manual_seed(5)) for _ in range(2))
    assert torch.equal(one, other)
    assert one.shape == images.shape
    assert one.min() >= 0
    assert one.max() <= 1
    assert len({tuple(image.flatten().tolist()) for image in one}) == 8


# Order


def test_every_image_once_in_an_order_of_the_epochs_own():
    orders = [shuffled(21, 8, seed=0, epoch=epoch) for epoch in (1, 2, 1)]
    assert orders[0] == orders[2] != orders[1]
    assert [len(positions) for positions in orders[0]] == [8, 8, 5]
    assert sorted(i for positions in orders[0] for i in positions) == list(range(21))
    assert shuffled(21, 8, seed=1, epoch=1) != orders[0]
    assert [len(positions) for positions in shuffled(17, 8, 0, 1)] == [8, 8]  # BatchNorm wants two images
    assert shuffled(1, 8, 0, 1) == [[0]]


def test_memory_holds_what_is_read():
    device, reads = torch.device("cpu"), []

    class Counted(Blobs):
        def picture(self, i):
            reads.append(i)
            return super().picture(i)

    read, held = (Loader(Counted(5), transform(small()), workers=0, in_memory=memory) for memory in (False, True))
    for order in ([[4, 0], [2]], [[0, 2]]):
        for one, other in zip(read.batches(order, device), held.batches(order, device), strict=True):
            assert torch.equal(one[0], other[0])
            assert torch.equal(one[1], other[1])
    assert sorted(reads) == [0, 0, 0, 2, 2, 2, 4, 4]
    assert 0 <= Loader(Blobs(1), transform(small()), workers=None).workers <= 4


def test_what_a_worker_cannot_read_is_raised_as_it_is():
    class Broken(Blobs):
        def picture(self, i):
            if i == 3:
                raise UnreadableImageError(Problem("train/3", "3.png", "cut short"))
            return super().picture(i)

    for workers in (0, 1):
        loader = Loader(Broken(5), transform(small()), workers=workers)
        with pytest.raises(UnreadableImageError, match=r"^3\.png: cut short$"):
            list(loader.batches([[0, 1], [2, 3], [4]], torch.device("cpu")))


def test_a_share_of_each_class_is_held_out():
    data = Blobs(33)
    kept, held = hold_out(data, 0.2, seed=1)
    assert [held.labels.count(label) for label in range(3)] == [2, 2, 2]
    assert sorted([*held.ids, *kept.ids]) == sorted(data.ids)
    assert hold_out(data, 0.2, seed=1)[1].ids == held.ids
    assert hold_out(data, 0.2, seed=2)[1].ids != held.ids
    assert hold_out(data, 0) == (data, None)


# Steps


def test_learning_rates_rise_and_fall():
    cosine = Recipe(schedule="cosine", warmup=0.2)
    rates = [rate(cosine, step, 10) for step in range(10)]
    assert rates[:3] == pytest.approx([1 / 3, 2 / 3, 1])
    assert rates[6] == pytest.approx(0.5)  # half of the way down
    assert rates[9] == pytest.approx((1 + math.cos(math.pi * 7 / 8)) / 2)
    cycle = [rate(Recipe(schedule="one_cycle", warmup=0.3), step, 100) for step in range(100)]
    assert cycle.index(max(cycle)) == 30
    assert max(cycle) == 1
    assert 0.04 < cycle[0] < 0.05
    assert cycle[99] < 0.001
    assert {rate(Recipe(), step, 10) for step in range(10)} == {1.0}


def test_the_head_has_its_own_learning_rate():
    classifier = small()
    groups = optimiser(classifier, Recipe(lr=0.02, head_lr=0.1)).param_groups
    by_rate = {group["lr"]: [id(p) for p in group["params"]] for group in groups}
    assert by_rate[0.1] == [id(p) for p in classifier.model[-1].parameters()]
    assert len(by_rate[0.02]) == 4
    assert {group["weight_decay"] for group in groups} == {5e-4}


def test_vectors_may_go_without_decay():
    groups = optimiser(small(), Recipe(optimiser="adamw", decay_all=False, weight_decay=0.05)).param_groups
    assert {group["weight_decay"]: {p.ndim for p in group["params"]} for group in groups} == {0.05: {2, 4}, 0: {1}}
    assert groups[0]["betas"] == (0.9, 0.999)


# Networks to begin with


def test_pretrained_weights_get_a_new_head():
    old = models.load("tf_efficientnet_lite0")
    new = finetunable("tf_efficientnet_lite0", BIRDS, crop=False)
    assert (new.class_names, new.num_classes) == (tuple(BIRDS), 5)
    assert new(torch.rand(1, 3, 64, 64)).shape == (1, 5)
    kept, fresh = old.model.state_dict(), new.model.state_dict()
    assert [name for name in kept if not torch.equal(kept[name], fresh[name])] == [
        "classifier.weight", "classifier.bias"] if kept.keys() == fresh.keys() else False
    assert torch.equal(old.mean, new.mean)
    assert torch.equal(old.std, new.std)
    assert (new.input_size, new.recipe.crop, new.recipe.resize) == (old.input_size, False, None)
    assert new.weights.digest == old.weights.digest
    assert new.weights.source.endswith(", with a new head")
    assert not new.training
    again = finetunable("tf_efficientnet_lite0", BIRDS, crop=False)
    assert torch.equal(again.model.classifier.weight, new.model.classifier.weight)
    other = finetunable("tf_efficientnet_lite0", BIRDS, crop=False, seed=1)
    assert not torch.equal(other.model.classifier.weight, new.model.classifier.weight)


def test_weights_with_these_very_classes_keep_their_head():
    old = models.load("tf_efficientnet_lite0")
    again = finetunable("tf_efficientnet_lite0", old.class_names)
    assert torch.equal(again.model.classifier.weight, old.model.classifier.weight)


@pytest.mark.parametrize(("name", "head"), [
    ("resnet18", "fc"), ("vgg11_bn", "classifier.6"), ("densenet121", "classifier"), ("squeezenet1_1", "classifier.1"),
    ("googlenet", "fc"), ("mobilenet_v3_small", "classifier.3"), ("convnext_tiny", "classifier.2"),
])
def test_the_last_layer_of_torchvisions_networks_is_replaced(name, head):
    options = {"init_weights": False, "aux_logits": False} if name == "googlenet" else {}
    classifier = unfilled(torchvision.models.get_model, name, weights=None, num_classes=1000, **options)
    before = dict(classifier.model.named_modules())
    new = new_head(classifier, BIRDS)
    after = dict(new.model.named_modules())
    assert [name for name in after if after[name] is not before[name]] == [head]
    layer = after[head]
    assert (layer.out_features if isinstance(layer, nn.Linear) else layer.out_channels) == 5
    assert type(layer) is type(before[head])
    assert {id(p) for p in head_parameters(new)} == {id(p) for p in layer.parameters()}


def test_vgg16_bn_begins_as_in_the_papers():
    """Their classifier[6] becomes Linear(4096, 200); the picture is squeezed to 224 x 224."""
    new = new_head(unfilled(torchvision.models.vgg16_bn, weights=None), 200)
    assert (new.model.classifier[6].in_features, new.model.classifier[6].out_features) == (4096, 200)
    assert new.recipe.apply(Blobs(1).picture(0).resize((50, 30))).shape == (1, 3, 224, 224)


def test_torchvisions_transformer_gets_the_head_of_another_data_set():
    new = new_head(unfilled(torchvision.models.vit_b_16, weights=None), 101)
    assert (new.model.heads.head.in_features, new.model.heads.head.out_features) == (768, 101)
    assert new.num_classes == 101


def test_a_network_with_two_heads_gets_two():
    new = new_head(unfilled(timm.create_model, "deit_tiny_distilled_patch16_224", pretrained=False), 5)
    assert {tuple(p.shape) for p in head_parameters(new)} == {(5, 192), (5,)}
    assert len(head_parameters(new)) == 4


def test_logits_are_those_of_the_new_head():
    for name in ("squeezenet1_1", "googlenet"):
        loaded = models.load(name, weights=None, class_names=BIRDS)
        new = new_head(loaded, 3)
        assert new(torch.rand(1, 3, 64, 64)).shape == (1, 3)
        assert new.class_names is None


def test_random_weights_depend_on_the_seed():
    one, two, other = (finetunable("shufflenet_v2_x0_5", BIRDS, weights=None, seed=seed) for seed in (0, 0, 1))
    assert torch.equal(one.model.fc.weight, two.model.fc.weight)
    assert not torch.equal(one.model.fc.weight, other.model.fc.weight)
    assert one.weights.source == "random initialisation"
    assert one.class_names == tuple(BIRDS)


def test_weights_from_a_file(tmp_path):
    def stored(classes):
        network = seeded(torchvision.models.shufflenet_v2_x0_5, num_classes=classes)
        torch.save(network.state_dict(), tmp_path / f"{classes}.pth")
        return network, tmp_path / f"{classes}.pth"

    network, path = stored(5)  # the data set's classes: the head stays
    begun = finetunable("shufflenet_v2_x0_5", BIRDS, weights=path)
    assert torch.equal(begun.model.fc.weight, network.fc.weight)
    network, path = stored(1000)  # the library's own: a new head
    begun = finetunable("shufflenet_v2_x0_5", BIRDS, weights=path)
    assert torch.equal(begun.model.conv5[0].weight, network.conv5[0].weight)
    assert begun.model.fc.out_features == 5
    _, path = stored(7)
    with pytest.raises(WeightsError, match="7 classes, the network 5; a file must have the data set's number of"):
        finetunable("shufflenet_v2_x0_5", BIRDS, weights=path)


def test_what_was_trained_is_loaded_by_name(tmp_path):
    """The file and what the record says about pictures are all that is needed."""
    begun = finetunable("shufflenet_v2_x0_5", Blobs(1).class_names, weights=None, input_size=32, crop=False)
    recipe = Recipe(epochs=1, batch_size=6, augmentation="none", lr=0.01)
    record = train(begun, Blobs(12), Blobs(6, "test"), recipe, tmp_path, workers=0)
    loaded = models.load("shufflenet_v2_x0_5", weights=tmp_path / "best.safetensors", class_names=record["class_names"],
                         digest=record["files"]["best"]["digest"], **record["preprocessing"])
    picture = loaded.prepare(Blobs(1).picture(0))
    assert torch.equal(picture, begun.prepare(Blobs(1).picture(0)))
    assert torch.equal(loaded(picture), begun(picture))
    assert evaluate(loaded, Blobs(6, "test")).accuracy == record["files"]["best"]["test_accuracy"]
    assert (tmp_path / "best.safetensors").stat().st_mode == (tmp_path / "record.json").stat().st_mode


def test_a_network_without_a_last_layer_is_refused():
    class Odd(nn.Module):
        def forward(self, x):
            return x.mean((2, 3))

    with pytest.raises(ValueError, match="Odd has no last linear layer or 1 x 1 convolution with 3 outputs"):
        new_head(Classifier(Odd(), class_names=["a", "b", "c"]), 2)
    with pytest.raises(ValueError, match="needs at least one class"):
        new_head(small(), 0)
