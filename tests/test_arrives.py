"""An exception of the user's own arrives as it is, and leaves the network as it was; so do files that are at fault."""

import copy
import io
import pickle
from collections.abc import Callable
from typing import Any

import matplotlib.figure
import pytest
import safetensors.torch
import torch
from dataset_files import cub
from networks import images, seeded
from PIL import Image
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn
from training_data import Blobs
from transformer_networks import SIZES, classifier_of, lively, state_of, transformer

from contrastlib import __main__ as cli
from contrastlib import (
    attribution,
    contrast,
    data,
    experiments,
    explorables,
    models,
    perturbation,
    published,
    store,
    tables,
)
from contrastlib.experiments import provenance, selection, training

X, T = images(3, 16, torch.float32), torch.tensor([2, 1, 0])


class Fuse(nn.Module):
    """Hands its input on, and raises where it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.error: BaseException | None = None
        self.when: Callable[[Tensor], bool] = torch.is_tensor

    def forward(self, y: Tensor) -> Tensor:
        if self.error is not None and self.when(y):
            raise self.error
        return 1.0 * y


def convolutions() -> tuple[models.Classifier, Fuse]:
    net = seeded(lambda: nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 8, 3, 2, 1), Fuse(), nn.ReLU(),
        nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(32, 3)))
    return models.Classifier(net, input_size=16, mean=0.4, std=0.3, crop=False,
                             class_names=["red", "green", "blue"]), net[4]


class FusedTransformer(VisionTransformer):
    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.fuse = Fuse()

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(self.fuse(x))


def tokens() -> tuple[models.Classifier, Fuse]:
    classifier = classifier_of(lively(seeded(FusedTransformer, **SIZES)).float())
    return classifier, classifier.model.fuse


BOTH: dict[str, Any] = {
    **{name: lambda c, m=method: m(c, X, T, contrast.weighted) for name, method in attribution.METHODS.items()},
    "class_maps": lambda c: attribution.grad_cam.class_maps(c, X).maps,
    "full_grad": lambda c: attribution.full_grad.terms(c, X, T).map(),
    "full_grad of all": lambda c: attribution.full_grad.class_maps(c, X).maps,
    "layers": lambda c: torch.tensor([len(layer.name) for layer in c.layers(X)]),
    "top": lambda c: torch.tensor([p for row in c.top(X, 2) for *_, p in row]),
    "gradient_sign": lambda c: perturbation.gradient_sign(c, X, T, contrast.weighted, epsilon=0.01, steps=2),
    "as published": lambda c: published.full_grad(c, X, T)}
OF_TOKENS: dict[str, Any] = {
    "rollout": lambda c: attribution.attention_rollout(c, X, T), "blocks": lambda c: explorables.blocks(c, X[0]) and X,
    "relevance": lambda c: attribution.attention_relevance(c, X, T)}
OF_PICTURES: dict[str, Any] = {
    "predict": lambda c: selection.predict(c, Blobs(6), cache=None).logits,
    "evaluate": lambda c: torch.tensor(training.evaluate(c, Blobs(6))),
    "masking": lambda c: explorables.masking(c, X[0], step=50) and X,
    "an experiment": lambda c: torch.tensor(experiments.run(
        "dominance", c, Blobs(6, "test"), limit=6, device="cpu", workers=0)["value"].to_numpy())}
ASKED = [(convolutions, name, ask) for name, ask in (BOTH | OF_PICTURES).items()]
ASKED += [(tokens, name, ask) for name, ask in (BOTH | OF_TOKENS).items()
          if name not in ("linear_approximation", "full_grad of all")]  # which has no map here; which warns


@pytest.mark.parametrize("error", [ValueError("mine"), OSError(28, "mine"), KeyboardInterrupt("mine")], ids=repr)
@pytest.mark.parametrize(("make", "name", "ask"), ASKED, ids=[f"{make.__name__} {name}" for make, name, _ in ASKED])
def test_an_error_in_a_network_arrives_as_it_is(make, name, ask, error):  # noqa: ARG001
    classifier, fuse = make()
    expected, before = ask(make()[0]), state_of(classifier.model)
    fuse.error = error
    with pytest.raises(type(error)) as raised:
        ask(classifier)
    assert raised.value is error
    assert state_of(classifier.model) == before
    assert torch.is_grad_enabled()
    fuse.error = None
    assert torch.equal(ask(classifier), expected)


def black(y: Tensor) -> bool:
    return bool((y == y.flatten()[0]).all())


def several(y: Tensor) -> bool:
    return len(y) > 3


@pytest.mark.parametrize("when", [black, several])
@pytest.mark.parametrize("ask", ["full_grad", "grad_cam", "linear_approximation", "layers"])
def test_a_network_that_refuses_some_images_is_not_taken_for_one_without_a_grid(ask, when):
    """How tokens lie is learnt from a black image and from thirteen; what the network says of them is for the user."""
    classifier, fuse = tokens()
    fuse.error, fuse.when = ValueError("mine"), when
    with pytest.raises(ValueError, match=r"^mine$") as raised:
        BOTH[ask](classifier)
    assert raised.value is fuse.error


def test_an_error_of_the_system_in_a_network_is_no_full_disk(tmp_path):
    classifier, fuse = convolutions()
    fuse.error = FileNotFoundError(2, "no such table", "colours.txt")
    with pytest.raises(FileNotFoundError) as raised:  # and no warning that predictions cannot be kept
        selection.predict(classifier, Blobs(6), cache=tmp_path)
    assert raised.value is fuse.error


def test_an_interrupted_training_leaves_the_network_to_be_used(tmp_path):
    classifier, _ = convolutions()

    def stop(*_: int) -> None:
        raise KeyboardInterrupt

    callback = training.Callback()
    callback.stepped = stop
    with pytest.raises(KeyboardInterrupt):
        training.train(classifier, Blobs(9), Blobs(6, "test"), training.Recipe(epochs=1, batch_size=4), tmp_path,
                       workers=0, callback=callback)
    assert not any(module.training for module in classifier.modules())
    assert classifier(X).shape == (3, 3)


# What is sent to another process


@pytest.mark.parametrize("method", [
    *attribution.METHODS.values(), attribution.full_grad, attribution.attention_rollout], ids=lambda one: one.name)
def test_methods_are_pickled(method):
    classifier = transformer(torch.float32) if method.name == "attention_rollout" else convolutions()[0]
    sent = pickle.loads(pickle.dumps((method, classifier, contrast.foil(0))))
    t = torch.tensor([2, 1, 1])
    assert torch.equal(sent[0](sent[1], X, t, sent[2]), method(classifier, X, t, contrast.foil(0)))
    assert copy.deepcopy(method).name == method.name


def rule(activation: Tensor, gradient: Tensor) -> Tensor:
    return (activation * gradient).sum(1, keepdim=True)


def test_rules_of_ones_own_are_pickled():
    mine = attribution.at_layer(rule)
    again = pickle.loads(pickle.dumps(mine))
    classifier = convolutions()[0]
    assert torch.equal(again(classifier, X, T), attribution.linear_approximation(classifier, X, T))
    assert pickle.loads(pickle.dumps(attribution.grad_cam)) is attribution.grad_cam


@pytest.mark.parametrize("score", [
    contrast.foil(0), contrast.foil(torch.tensor([[0], [1], [2]])), contrast.tempered(0.3), contrast.finer(0.5, 2),
    contrast.max])
def test_contrasts_are_pickled(score):
    logits, target = X[:, 0, :2, :2].flatten(1), torch.tensor([3, 2, 1])
    assert torch.equal(pickle.loads(pickle.dumps(score))(logits, target), score(logits, target))


# Files


def run(folder: Any, **options: Any) -> Any:
    return experiments.run("dominance", convolutions()[0], Blobs(6, "test"), limit=6, shard=3, device="cpu", workers=0,
                           folder=folder, **options)


@pytest.mark.parametrize("content", [
    "", "[1]", "5", "null", '"run"', "[" * 100_000, '{"about": []}', '{"about": 5, "key": "k", "accepted": []}',
    '{"about": {"images": 5}, "key": "k", "accepted": []}', '{"about": null, "key": null, "accepted": null}',
    '{"about": {"images": "6 of 6", "experiment": "dominance", "setting": {"shard": 0}}, "key": 1, "accepted": []}'])
def test_a_damaged_record_of_a_run_is_named_by_all_who_read_it(tmp_path, capsys, content):
    run(tmp_path / "run")
    (tmp_path / "run" / "run.json").write_text(content, encoding="utf8")
    for restart in (False, True) if '"key": "k"' not in content else (False,):
        with pytest.raises(experiments.runner.ChangedRunError, match=r"run"):
            run(tmp_path / "run", restart=restart)
    with pytest.raises(ValueError, match=r"run\.json is damaged"):
        provenance.of_run(tmp_path / "run")
    assert cli.main(["experiments", "status", str(tmp_path / "run")]) == 2
    assert "run.json is damaged" in capsys.readouterr().err
    (tmp_path / "rows.json").write_text("[[", encoding="utf8")
    with pytest.raises(ValueError, match=r"rows\.json is damaged"):
        list(provenance.of_tables(tmp_path))


def test_a_file_of_weights_in_the_place_of_a_shard_is_computed_again(tmp_path):
    expected = run(tmp_path / "run")
    safetensors.torch.save_file({"fc.weight": torch.ones(2, 2, dtype=torch.bfloat16)},
                                tmp_path / "run" / "shards" / "000000.safetensors")
    with pytest.warns(selection.ShardWarning, match=r"000000\.safetensors is damaged"):
        assert run(tmp_path / "run").equals(expected)


@pytest.mark.parametrize(("content", "words"), [
    (b"classifier,value\na,many\n", "could not convert string to float: 'many'"),
    (b"classifier,n\na,1.5\n", "'1.5'"), (b"classifier,n\na," + b"9" * 30, "too large"), (b"caf\xe9,n\n", "utf-8"),
    (b"a,b\n" + b"x" * 200_000 + b",1\n", "field larger than field limit"), (b"a,b\n1,2,3\n", "line 2: 3 cells")])
def test_a_table_that_cannot_be_read_is_named(tmp_path, content, words):
    (tmp_path / "rows.csv").write_bytes(content)
    with pytest.raises(ValueError, match=rf"rows\.csv, .*{words}"):
        tables.load(tmp_path / "rows.csv")


def test_rows_without_their_group_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"the rows have no column 'split'; they have classifier"):
        tables.save(tmp_path / "rows.csv", [{"classifier": "a"}], ["classifier", "split"], {})
    assert not list(tmp_path.glob("rows.*"))


def test_a_picture_cut_short_is_refused_however_it_comes():
    classifier, file = convolutions()[0], io.BytesIO()
    Image.linear_gradient("L").convert("RGB").save(file, "PNG")
    half = file.getvalue()[:len(file.getvalue()) // 2]
    with pytest.raises(ValueError, match="the picture is damaged: "):
        classifier.prepare(Image.open(io.BytesIO(half)))
    with pytest.raises(ValueError, match="the picture cannot be read: the picture is damaged: "):
        explorables.picture_of(classifier, half)
    with pytest.raises(ValueError, match="the picture is not an image file that can be read"):
        explorables.picture_of(classifier, b"hello")


@pytest.mark.parametrize("content", [b"", b" \n\n", "é\n".encode("latin1"), "oak\nash\n".encode("utf16")])
def test_names_of_classes_are_text(tmp_path, capsys, content):
    (tmp_path / "trees.txt").write_bytes(content)
    assert cli.main(["layers", "birds_vgg", "--weights", "none", "--classes", str(tmp_path / "trees.txt")]) == 2
    assert "trees.txt is no text in UTF-8 with the name of a class in each line" in capsys.readouterr().err


def test_a_mark_of_the_encoding_is_no_part_of_a_name(tmp_path):
    (tmp_path / "trees.txt").write_bytes("\ufeffoak\nash\n".encode())
    assert cli._names(str(tmp_path / "trees.txt")) == ["oak", "ash"]


def test_a_picture_is_written_whole_or_not_at_all(tmp_path, capsys, monkeypatch):
    def full(_figure: object, path: Any, **_: Any) -> None:
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    (tmp_path / "why.png").write_bytes(b"old")
    monkeypatch.setattr(matplotlib.figure.Figure, "savefig", full)
    words = ["explain", "chelsea", "--model", "birds_vgg", "--output", str(tmp_path / "why.png")]
    assert cli.main(words) == 2
    assert "No space left on device" in (told := capsys.readouterr().err)
    assert "why.png" in told
    assert (tmp_path / "why.png").read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["why.png"]


def test_a_checkpoint_of_another_network_is_named(tmp_path):
    recipe = training.Recipe(epochs=1, batch_size=4, augmentation="none")
    training.train(convolutions()[0], Blobs(9), Blobs(6, "test"), recipe, tmp_path, workers=0)
    state = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    torch.save({**state, "model": {"fc.weight": torch.ones(2)}}, tmp_path / "checkpoint.pt")
    with pytest.raises(store.DamagedError, match=r"checkpoint\.pt is damaged, or no checkpoint of a training"):
        training.train(convolutions()[0], Blobs(9), Blobs(6, "test"), recipe, tmp_path, workers=0)


def test_index_files_that_cannot_be_read_are_named(tmp_path):
    folder = cub(tmp_path)
    (folder / "classes.txt").unlink()
    (folder / "classes.txt").mkdir()
    with pytest.raises(data.DataError, match=r"classes\.txt is no text file that can be read"):
        data.load("cub200", root=tmp_path)
