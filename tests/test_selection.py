"""Predictions of a data set, kept on disk and never trusted when damaged; and rules that choose images from them."""

import json
import math
import os
import warnings
from pathlib import Path

import pytest
import safetensors.torch
import torch
from dataset_files import noise, real
from PIL import Image
from torch import nn

from contrastlib import data, models
from contrastlib.data import DataWarning, ImageDataset, Problem, UnreadableImageError
from contrastlib.experiments import selection
from contrastlib.experiments.selection import CacheWarning, Predictions, ShardWarning, predict, select
from contrastlib.models import Classifier

ROOT = Path(__file__).parents[1]


class Greys(ImageDataset):
    """Pictures of one grey each; a negative one cannot be decoded."""

    def picture(self, i):
        if self.items[i] < 0:
            raise UnreadableImageError(Problem(self.ids[i], f"folder/{self.ids[i]}", "cannot be decoded"))
        return Image.new("RGB", (6, 4), (self.items[i],) * 3)

    def _content(self, i):
        return str(self.items[i]).encode()


def greys(*values, classes=3):
    return Greys("greys", "test", [f"class {c}" for c in range(classes)], [f"{i}.png" for i in range(len(values))],
                 [i % classes for i in range(len(values))], values)


class Linear(nn.Module):
    """Logits that are multiples of the mean grey in [0, 1]; counts how many images it has seen."""

    def __init__(self, *slopes):
        super().__init__()
        self.slopes = nn.Parameter(torch.tensor(slopes, dtype=torch.float32))
        self.seen = 0

    def forward(self, x):
        self.seen += len(x)
        return x.mean((1, 2, 3))[:, None] * self.slopes


def classifier(*slopes, **options):
    options = {"input_size": 4, "mean": 0, "std": 1, "crop": False, "name": "linear"} | options
    return Classifier(Linear(*slopes).eval(), class_names=[f"class {i}" for i in range(len(slopes))], **options)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """Caches of one's own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "contrastlib/predictions"


def predictions(*probabilities, labels=None):
    p = torch.tensor(probabilities)
    labels = torch.zeros(len(p), dtype=torch.int64) if labels is None else torch.tensor(labels)
    return Predictions(tuple(f"{i}.png" for i in range(len(p))), labels, p.log())


# Predictions


@pytest.mark.parametrize(("batch_size", "workers"), [(64, 0), (2, 0), (1, 2), (2, 3), (3, 1)])
def test_logits_worked_out_by_hand(batch_size, workers):
    found = predict(classifier(1, 3, 2), greys(0, 51, 255, 102, 204), batch_size=batch_size, workers=workers)
    assert found.ids == tuple(f"{i}.png" for i in range(5))
    assert torch.equal(found.labels, torch.tensor([0, 1, 2, 0, 1]))
    greyness = torch.tensor([0, 0.2, 1, 0.4, 0.8])
    assert torch.allclose(found.logits, greyness[:, None] * torch.tensor([1.0, 3.0, 2.0]))
    assert (found.logits.dtype, found.labels.dtype) == (torch.float32, torch.int64)
    exponentials = [math.exp(1), math.exp(3), math.exp(2)]
    assert found.ranked[2].tolist() == [1, 2, 0]
    assert found.ranked[0].tolist() == [0, 1, 2]  # of equal ones the first
    for k, exponential in zip((1, 2, 3), sorted(exponentials, reverse=True)):
        assert found.p(k)[2].item() == pytest.approx(exponential / sum(exponentials))
    assert found.accuracy == pytest.approx(3 / 5)  # all but the third and the fourth
    assert (found.unreadable, found.positions, len(found)) == ((), (0, 1, 2, 3, 4), 5)
    assert found.data_digest == greys(0, 51, 255, 102, 204).digest()
    assert not found.logits.requires_grad


def test_the_classifiers_own_preparation_is_applied():
    dataset = greys(255, 0).prepared(lambda _: torch.zeros(3, 9, 9))
    assert predict(classifier(1, 2, 3), dataset).logits[0].tolist() == [1, 2, 3]


def test_double_precision_is_given_back_as_float32():
    assert predict(classifier(1, 2, 3).double(), greys(255)).logits.dtype == torch.float32


def test_progress_is_told(monkeypatch):
    monkeypatch.setattr(selection, "_SHARD", 3)
    steps = []
    predict(classifier(1, 2, 3), greys(*range(7)), batch_size=2, progress=lambda *step: steps.append(step))
    assert steps == [(1, 3), (2, 3), (3, 3)]


def test_what_cannot_be_predicted():
    with pytest.raises(ValueError, match=r"linear has 2 classes and greys has 3; give weights for these"):
        predict(classifier(1, 2), greys(0))
    with pytest.raises(ValueError, match="greys test has no images"):
        predict(classifier(1, 2, 3), greys())
    with pytest.raises(ValueError, match="batch_size must be positive, got 0"):
        predict(classifier(1, 2, 3), greys(0), batch_size=0)
    with pytest.raises(ValueError, match=r"linear gives a logit that is not finite for 1\.png"):
        predict(classifier(1, 3e38, 3, std=0.1), greys(0, 255))
    with pytest.raises(ValueError, match="training mode"):
        predict(classifier(1, 2, 3).train(), greys(0))


def test_imagenette_says_how_to_have_a_thousand_classes(tmp_path):
    from dataset_files import imagenette

    imagenette(tmp_path)
    images = data.load("imagenette", root=tmp_path, size="160")
    network = classifier(*range(1000))
    with pytest.raises(ValueError, match=r"linear has 1000 classes and imagenette has 10; see .*with_imagenet_labels"):
        predict(network, images)
    assert predict(network, images.with_imagenet_labels()).labels.tolist() == list(images.imagenet_labels)


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("batch_size", [1, 2, 64])
def test_unreadable_images_are_counted_and_named(batch_size, workers):
    dataset = greys(0, -1, 51, -1, 255)
    for _ in range(2):  # computed, then from disk
        with pytest.warns(DataWarning, match=r"greys test: 2 images are left out: folder/1\.png: cannot be decoded; "
                                             r"folder/3\.png: cannot be decoded$"):
            found = predict(classifier(1, 3, 2), dataset, batch_size=batch_size, workers=workers)
        assert found.ids == ("0.png", "2.png", "4.png")
        assert found.labels.tolist() == [0, 2, 1]
        assert [problem.id for problem in found.unreadable] == ["1.png", "3.png"]
        assert found.logits[:, 0].tolist() == pytest.approx([0, 0.2, 1])
        assert select(found, "p1>0.5").indices == (4,)  # a position in the data set


def test_images_missing_from_the_start_are_listed_too():
    dataset = greys(0, 51)
    dataset.problems = (Problem("x.png", "folder/x.png", "there is no such file"),)
    assert [problem.id for problem in predict(classifier(1, 2, 3), dataset).unreadable] == ["x.png"]


def test_a_data_set_without_a_readable_image():
    with pytest.warns(DataWarning, match="1 image is left out"):
        found = predict(classifier(1, 3, 2), greys(-1))
    assert found.logits.shape == (0, 3)
    assert math.isnan(found.accuracy)
    with pytest.raises(ValueError, match=r"no predictions to select from \(1 images unreadable\)"):
        select(found, "p2>0.1")


# On disk


def test_what_was_computed_is_not_computed_again(cache, tmp_path):
    network = classifier(1, 3, 2)
    first = predict(network, greys(0, 51, 255))
    assert len(list(cache.iterdir())) == 1
    second = predict(network, greys(0, 51, 255), batch_size=1, workers=1)
    assert network.model.seen == 3
    assert torch.equal(first.logits, second.logits)
    assert (first.ids, first.positions, first.weights_digest) == (second.ids, second.positions, second.weights_digest)
    predict(classifier(1, 3, 2), greys(0, 51, 255), cache=tmp_path / "elsewhere")
    assert len(list((tmp_path / "elsewhere").iterdir())) == 1
    predict(network, greys(0, 51, 255), cache=None)
    assert network.model.seen == 6
    assert len(list(cache.iterdir())) == 1


def test_anything_that_changes_the_logits_is_noticed(cache, monkeypatch):
    dataset = greys(0, 51, 255)
    predict(classifier(1, 3, 2), dataset)
    changed = [
        (classifier(1, 3, 2.0001), dataset), (classifier(1, 3, 2, mean=0.5), dataset),
        (classifier(1, 3, 2, std=(1, 1, 2)), dataset), (classifier(1, 3, 2, interpolation="bicubic"), dataset),
        (classifier(1, 3, 2, input_size=5), dataset), (classifier(1, 3, 2, name="other"), dataset),
        (classifier(1, 3, 2), greys(0, 51, 254)), (classifier(1, 3, 2), dataset.subset([1, 0, 2])),
        (classifier(1, 3, 2), dataset.subset([0, 2])), (classifier(1, 3, 2).double(), dataset)]
    for k, (network, images) in enumerate(changed, 2):
        predict(network, images)
        assert len(list(cache.iterdir())) == k
        assert network.model.seen == len(images)
    network = classifier(1, 3, 2)
    with torch.no_grad():
        network.model.slopes[0] = 7  # after the network was read from wherever
    assert predict(network, dataset).logits[2, 0] == 7
    monkeypatch.setattr(selection.provenance, "digest", lambda _module: "other code")
    assert predict(network, dataset).logits[2, 0] == 7
    assert network.model.seen == 6


@pytest.mark.parametrize("name", ["birds_vgg", "birds_vit"])
def test_a_network_has_the_fingerprint_that_stands_beside_its_rows(name):
    """As the runner has it: frozen, in another memory layout."""
    about = json.loads((ROOT / "book/results/gradient_sign.json").read_text(encoding="utf8"))
    (made,) = [made for group, made in about.items() if group.startswith(f"{name}, ")]
    network = models.load(name).requires_grad_(False)
    assert selection.fingerprint(network) == made["classifier"]
    assert selection.fingerprint(network.to(memory_format=torch.channels_last)) == made["classifier"]


def test_buffers_and_layers_count_too():
    def wrapped(*layers):
        return Classifier(nn.Sequential(Linear(1, 3, 2), *layers).eval(), input_size=4, mean=0, std=1, crop=False,
                          class_names=tuple("abc"), name="wrapped")

    norms = [nn.BatchNorm1d(3), nn.BatchNorm1d(3)]
    norms[1].running_mean += 1
    networks = [wrapped(), wrapped(nn.ReLU()), wrapped(nn.GELU()), *map(wrapped, norms)]
    assert len({predict(network, greys(255)).weights_digest for network in networks}) == 5


@pytest.mark.parametrize("damage", [
    lambda content: content[:len(content) // 2], lambda _: b"", lambda content: content[:-1] + b"\x7f",
    lambda content: content.replace(b'problems', b'problemz'), lambda _: b"<html>404</html>"])
def test_a_damaged_file_is_computed_again(cache, damage):
    network, dataset = classifier(1, 3, 2), greys(0, 51, 255)
    first = predict(network, dataset)
    (path,) = cache.rglob("*.safetensors")
    path.write_bytes(damage(path.read_bytes()))
    with pytest.warns(ShardWarning, match=rf"{path} is damaged: .*: it is computed again"):
        again = predict(network, dataset)
    assert torch.equal(again.logits, first.logits)
    assert network.model.seen == 6
    assert torch.equal(predict(network, dataset).logits, first.logits)
    assert network.model.seen == 6


def test_a_file_of_something_else_is_computed_again(cache):
    predict(classifier(1, 3, 2), greys(0, 51, 255))
    (stranger,) = cache.rglob("*.safetensors")
    first = predict(classifier(5, 5, 5), greys(0, 51, 255))
    path = next(p for p in cache.rglob("*.safetensors") if p != stranger)
    for content in (stranger.read_bytes(), safetensors.torch.save({"logits": torch.zeros(3, 3)})):
        path.write_bytes(content)
        with pytest.warns(ShardWarning, match="computed again"):
            assert torch.equal(predict(classifier(5, 5, 5), greys(0, 51, 255)).logits, first.logits)


def test_a_folder_that_cannot_be_written_costs_a_warning(tmp_path):
    (tmp_path / "file").write_text("no folder")
    with pytest.warns(CacheWarning, match="cannot be kept"):
        found = predict(classifier(1, 3, 2), greys(0, 51), cache=tmp_path / "file")
    assert len(found) == 2


@pytest.mark.parametrize("workers", [0, 2])
def test_an_interrupted_run_goes_on_where_it_last_wrote(cache, monkeypatch, workers):
    monkeypatch.setattr(selection, "_SHARD", 4)
    dataset = greys(0, 10, -1, 30, 40, 50, 60, 70, 80, 90)
    network = classifier(1, 3, 2)

    def interrupt(done, _):
        if done == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        predict(network, dataset, batch_size=2, progress=interrupt, workers=workers)
    assert len(list(cache.iterdir())) == 1
    before = network.model.seen
    with pytest.warns(DataWarning, match=r"1 image is left out: folder/2\.png"):
        found = predict(network, dataset, batch_size=3, workers=workers)
    assert network.model.seen - before == 6  # the four first images were looked at and written
    with pytest.warns(DataWarning):
        whole = predict(network, dataset, cache=None)
    assert torch.equal(found.logits, whole.logits)
    assert (found.ids, found.unreadable, found.positions) == (whole.ids, whole.unreadable, whole.positions)
    with pytest.warns(DataWarning):
        predict(network, dataset)
    assert len(list(cache.iterdir())) == 1


# Rules


P = ((0.6, 0.3, 0.1), (0.05, 0.05, 0.9), (0.15, 0.7, 0.15), (0.34, 0.33, 0.33), (0.0, 1.0, 0.0))


@pytest.mark.parametrize(("rule", "indices"), [
    ("p2>0.1", (0, 2, 3)), ("p2<0.1", (1, 4)), ("p3>0.1", (2, 3)), ("p1>=0.9", (1, 4)), ("p_2 > .2", (0, 3)),
    ("p3<=0.05", (1, 4)), ("p1<0.5", (3,)), ("p2>5e-2", (0, 2, 3)), ("p1>0", (0, 1, 2, 3, 4)), ("p3>1", ())])
def test_rules_choose_in_the_order_of_the_data(rule, indices):
    labels = [0, 2, 0, 0, 0]  # the first, the second and the fourth are right
    chosen = select(predictions(*P, labels=labels), rule)
    assert chosen.indices == indices
    assert (chosen.n, chosen.share, chosen.total) == (len(indices), pytest.approx(len(indices) / 5), 5)
    assert chosen.accuracy == pytest.approx(3 / 5)
    right = [i in (0, 1, 3) for i in indices]
    assert chosen.accuracy_selected == pytest.approx(sum(right) / len(right) if right else math.nan, nan_ok=True)


def test_a_threshold_itself_is_on_neither_side():
    half = predictions((0.5, 0.25, 0.25))
    assert select(half, "p1>0.5").n == select(half, "p1<0.5").n == 0
    assert select(half, "p1>=0.5").n == select(half, "p1<=0.5").n == 1


def test_a_selection_in_a_line():
    found = predictions(*P, labels=[0, 2, 0, 0, 0])
    assert str(select(found, "p_2 > 0.10")) == "p2>0.1: 3 of 5 images (60.0%), accuracy 66.7%; of all 60.0%"
    assert str(select(found, "p3>1")) == "p3>1: 0 of 5 images (0.0%); of all 60.0%"


@pytest.mark.parametrize("rule", ["", "p2", "p2>", "p>0.1", "p2=0.1", "p2>1.5", "p2>-0.1", "q2>0.1", "p2>0.1 or p3",
                                  "p2>."])
def test_rules_that_are_none(rule):
    with pytest.raises(ValueError, match=r"a rule has a rank, a comparison and a threshold in \[0, 1\], as p2>0\.1"):
        select(predictions(*P), rule)


@pytest.mark.parametrize("rule", ["p4>0.1", "p0>0.1"])
def test_ranks_that_are_none(rule):
    with pytest.raises(ValueError, match=r"needs k in \[1, 3\], the number of classes"):
        select(predictions(*P), rule)


def test_a_damaged_photograph_in_a_real_layout(tmp_path):
    from dataset_files import cub, write

    images = cub(tmp_path) / "images"
    write(images / "001.Black_footed_Albatross/0000.jpg", noise()[:600])
    with pytest.warns(DataWarning, match=r"1 image is left out: .*0000\.jpg: cannot be decoded \(.*[Tt]runcated"):
        found = predict(classifier(1, 2), data.load("cub200", "train", tmp_path), workers=2)
    assert found.positions == (1, 2, 3)


@real
class TestRealData:
    def test_a_classifier_of_birds(self):
        weights = Path(os.environ["CONTRASTLIB_DATA"]) / "models/tf_efficientnet_lite0.cub100.safetensors"
        network = models.load("tf_efficientnet_lite0", weights=weights, num_classes=100, crop=False)
        birds = data.load("cub200", "test").subset(range(40))
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            found = predict(network, birds, batch_size=16)
        assert found.accuracy > 0.7
        chosen = select(found, "p2>0.1")
        assert 0 < chosen.n < 40
        i = chosen.indices[0]
        by_hand = network(birds.prepared(network.prepare)[i].image[None])[0].double().softmax(-1).sort().values
        assert by_hand[-2].item() > 0.1
        assert by_hand[-2].item() == pytest.approx(found.p(2)[i].item(), abs=1e-4)


def test_a_number_that_one_shard_lacks_is_unknown_there(tmp_path):
    """Such as of a map that cancels for all images of a shard: the images of the columns must stay the same."""
    def measure(_samples, positions):
        numbers = {("every",): torch.tensor(positions)[:, None]}
        return numbers if 0 in positions else {**numbers, ("some", "t1"): torch.ones(len(positions), 2)}

    shards = selection.Shards(tmp_path / "shards", "key", greys(0, 50, 100), [[0, 1], [2]])
    assert list(shards.compute([0, 1], measure, 0)) == [0, 1]
    values = shards.load_all().values
    assert values["every",].tolist() == [[0], [1], [2]]
    torch.testing.assert_close(values["some", "t1"], torch.tensor([[torch.nan] * 2] * 2 + [[1, 1]]), equal_nan=True)
