"""The command line: what it prints, what it draws, and one clear line where the input is wrong."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import safetensors.torch
import torch
from networks import Tiny, seeded
from PIL import Image
from torch import nn

from contrastlib import __version__, models, tables
from contrastlib.__main__ import DOORS, main, parser
from contrastlib.data import photographs
from contrastlib.models import Classifier, Weights

NAMES = ("tabby", "tiger cat", "Egyptian cat", "tiger", "a class whose name is so long that no title holds it", "crane")


@pytest.fixture(autouse=True)
def tiny(monkeypatch, tmp_path):
    """An empty folder to write to, and a network that takes no time instead of the embedded one."""
    monkeypatch.chdir(tmp_path)
    classifier = Classifier(seeded(Tiny), class_names=NAMES, input_size=8, weights=Weights("a test"), name="Tiny")
    asked = {}

    def load(name, **options):
        asked.update(options, name=name)
        return classifier

    monkeypatch.setattr(models, "load", load)
    classifier.asked = asked
    return classifier


def run(capsys, *words: str) -> tuple[int, str, str]:
    code = main(words)
    out, err = capsys.readouterr()
    return code, out, err


def size(path) -> tuple[int, int]:
    with Image.open(path) as image:
        image.load()
        return image.size


def test_the_top_five_are_printed_and_a_picture_is_written(tiny, capsys, tmp_path):
    code, out, err = run(capsys, "explain", "chelsea")
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[0] == "chelsea, seen by Tiny (a test)"
    assert len(lines) == 7
    top = tiny.top(tiny.prepare(photographs.load("chelsea").image))[0]
    for line, (index, name, probability) in zip(lines[1:], top):
        assert line.split() == f"{probability:.3f} {name} ({index}) {'<- target' * (index == top[0][0])}".split()
    assert lines[-1] == "wrote chelsea-why.png"
    assert size(tmp_path / "chelsea-why.png")[0] == 1110
    assert tiny.asked == {"name": "tf_efficientnet_lite0", "weights": "default", "device": "cpu"}


def test_a_target_outside_the_top_five_is_printed_too(tiny, capsys):
    image = tiny.prepare(photographs.load("chelsea").image)
    least = tiny.top(image, k=6)[0][-1]
    _, out, _ = run(capsys, "explain", "chelsea", "--target", str(least[0]))
    assert f"{least[1]} ({least[0]})  <- target" in out.splitlines()[6]


@pytest.mark.parametrize("words", [
    ("--foil", "Tiger_Cat", "crane", "--target", "egyptian"), ("--contrast", "max"), ("--contrast", "mean"),
    ("--contrast", "tempered", "--temperature", "3"), ("--contrast", "finer"), ("--contrast", "probability"),
    ("--method", "gradient"), ("--method", "gradient-x-input"), ("--method", "hirescam"),
    ("--method", "xgrad_cam", "--layer", "act"), ("--method", "linear_approximation", "--target", "4"),
])
def test_every_contrast_and_method_draws(capsys, tmp_path, words):
    code, _, err = run(capsys, "explain", "chelsea", *words, "--output", "why.png")
    assert (code, err) == (0, "")
    assert size(tmp_path / "why.png")[0] == 1110


def test_the_maps_are_the_library_s_own(tiny, capsys, monkeypatch):
    from contrastlib import attribution, contrast, plotting

    drawn = {}
    original = plotting.compare
    monkeypatch.setattr(plotting, "compare", lambda image, maps, titles, **options: drawn.update(
        maps=maps, titles=titles) or original(image, maps, titles, **options))
    run(capsys, "explain", "chelsea", "--target", "tabby", "--foil", "crane", "tiger", "--layer", "act")
    image = tiny.prepare(photographs.load("chelsea").image)
    for got, asked in zip(drawn["maps"], (contrast.original, contrast.foil([5, 3]))):
        assert torch.equal(got, attribution.grad_cam(tiny, image, 0, asked, layer="act")[0, 0])
    assert drawn["titles"] == ["why tabby?\noriginal", "why tabby, not crane, tiger?\nfoil"]


def test_the_layers_of_a_network_are_listed(capsys, monkeypatch):
    code, out, _ = run(capsys, "layers", "mine", "--weights", "none", "--input-size", "8")
    assert code == 0
    assert re.search(r"^-> +last .*4 x 4 map, channels first .*recommended$", out, re.MULTILINE)
    monkeypatch.undo()
    out = run(capsys, "layers", "birds_vit")[1]
    assert re.search(r"^-> +blocks\.2 .*8 x 8 patch tokens behind 1 prefix token .*recommended$", out, re.MULTILINE)
    assert re.search(r"blocks\.3 .*100% .*no gradient", out)
    assert "blocks.0.norm1" not in out
    assert "blocks.0.norm1" in run(capsys, "layers", "birds_vit", "--weights", "none", "--parts")[1]
    code, _, err = run(capsys, "layers", "birds_vot")
    assert code == 2
    assert "birds_vit" in err


def test_a_file_of_the_reader_s_own(tiny, capsys, tmp_path):
    photographs.load("chelsea").image.save(tmp_path / "my cat.jpg")
    (tmp_path / "names.txt").write_text("a\n\nb\n")
    words = ("--weights", "w.safetensors", "--classes", "names.txt", "--model", "resnet18")
    code, out, _ = run(capsys, "explain", "my cat.jpg", *words)
    assert code == 0
    assert out.startswith("my cat, seen by Tiny")
    assert (tmp_path / "my cat-why.png").is_file()
    assert tiny.asked == {"name": "resnet18", "weights": "w.safetensors", "class_names": ["a", "b"], "device": "cpu"}


@pytest.mark.parametrize(("words", "message"), [
    (("chelsae",), "no file or embedded photograph is called 'chelsae'; near names: chelsea"),
    (("none.png",), "no file or embedded photograph is called 'none.png'; there are: chelsea, rocket"),
    (("text.png",), "text.png is not an image file"),
    (("chelsea", "--target", "tigr cat"), "no class is called 'tigr cat'; near names: tiger cat"),
    (("chelsea", "--target", "cat"), "class 'cat' is ambiguous: tiger cat (1), Egyptian cat (2)"),
    (("chelsea", "--target", "6"), "a class index of Tiny must lie in [0, 6), got 6"),
    (("chelsea", "--target", "tabby", "--foil", "tabby"), "a foil cannot be the target itself"),
    (("chelsea", "--foil", "tabby", "--contrast", "max"), "--contrast foil and --foil CLASS ... go together"),
    (("chelsea", "--contrast", "foil"), "--contrast foil and --foil CLASS ... go together"),
    (("chelsea", "--contrast", "tempered"), "--contrast tempered and --temperature T go together"),
    (("chelsea", "--temperature", "2"), "--contrast tempered and --temperature T go together"),
    (("chelsea", "--contrast", "tempered", "--temperature", "-1"), "temperature must lie in [0, inf]"),
    (("chelsea", "--layer", "secnd"), "has no layer 'secnd'; near names: second"),
    (("chelsea", "--layer", "head"), "is no map"),
    (("chelsea", "--layer", "act", "--method", "gradient"), "takes no --layer"),
    (("chelsea", "--output", "no/folder/why.png"), "there is no folder no/folder to write why.png to"),
    (("chelsea", "--output", "why.docx"), "--output why.docx: a picture can be one of eps, "),
    (("photo.png", "--output", "photo.png"), "is the photograph itself, which would be lost"),
    (("chelsea", "--device", "abacus"), "abacus"), (("chelsea", "--classes", "none.txt"), "none.txt"),
])
def test_wrong_input_gets_one_line_and_code_2(capsys, tmp_path, words, message):
    (tmp_path / "text.png").write_text("no image")
    photographs.load("chelsea").image.save(tmp_path / "photo.png")
    before = (tmp_path / "photo.png").read_bytes()
    code, out, err = run(capsys, "explain", *words)
    assert (code, out) == (2, "")
    assert err.startswith("contrastlib: ")
    assert message in err
    assert err.count("\n") == 1
    assert {path.name for path in tmp_path.iterdir()} == {"text.png", "photo.png"}
    assert (tmp_path / "photo.png").read_bytes() == before


def test_no_gpu_is_said(capsys, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert run(capsys, "explain", "chelsea", "--device", "cuda:1")[2] == (
        "contrastlib: --device cuda:1: no CUDA device can be used here\n")


@pytest.mark.parametrize("words", [
    ("text.png",), ("chelsea", "--output", "why.docx"), ("chelsea", "--contrast", "tempered", "--temperature", "-1"),
    ("chelsea", "--layer", "act", "--method", "gradient"), ("chelsea", "--device", "abacus"),
    ("chelsea", "--classes", "none.txt")])
def test_what_the_words_alone_show_to_be_wrong_costs_no_loading_of_networks(capsys, monkeypatch, tmp_path, words):
    (tmp_path / "text.png").write_text("no image")
    monkeypatch.setattr(models, "load", lambda *_, **__: pytest.fail("a network was loaded"))
    assert run(capsys, "explain", *words)[0] == 2


@pytest.mark.parametrize(("words", "says"), [
    (("--rule", "p2=0.1"), "a rule has a rank, a comparison and a threshold in [0, 1], as p2>0.1 has; got 'p2=0.1'"),
    (("--output", "rows.json"), "rows go into a .csv file"), (("--limit", "0"), "--limit must be at least 1, got 0"),
])
def test_nor_does_what_cannot_be_selected_by(capsys, monkeypatch, words, says):
    monkeypatch.setattr(models, "load", lambda *_, **__: pytest.fail("a network was loaded"))
    code, _, err = run(capsys, "select", "--dataset", "drawn_birds", "--model", "birds_vgg", *words)
    assert code == 2
    assert says in err


def test_options_that_take_several_words_can_be_given_several_times(capsys, monkeypatch):
    from contrastlib import plotting

    titles = []
    original = plotting.compare
    monkeypatch.setattr(plotting, "compare", lambda image, maps, names, **options: titles.extend(names) or original(
        image, maps, names, **options))
    assert run(capsys, "explain", "chelsea", "--target", "tabby", "--foil", "crane", "--foil", "tiger")[0] == 0
    assert titles[1] == "why tabby, not crane, tiger?\nfoil"
    given = parser().parse_args(["select", "--dataset", "a", "--model", "b", "--rule", "p2>0.1", "--rule", "p3>0.1"])
    assert given.rule == ["p2>0.1", "p3>0.1"]


def test_a_picture_without_a_suffix_gets_one(capsys, tmp_path):
    assert run(capsys, "explain", "chelsea", "--output", "why")[1].endswith("wrote why.png\n")
    assert size(tmp_path / "why.png")[0] == 1110


@pytest.mark.parametrize(("command", "says"), [
    (("explain", "chelsea", "--weights", "w.safetensors"), "3 must be named, with --classes FILE"),
    (("layers", "birds_vgg", "--weights", "w.safetensors"), "3 must be named, with --classes FILE"),
    (("select", "--model", "birds_vgg", "--dataset", "drawn_birds", "--weights", "w.safetensors"),
     "the file has 3 classes, the network 16: 3 must be named, with --classes FILE or by the data set"),
    (("explain", "chelsea", "--classes", "two.txt"), "pass --weights PATH to a file with 2, or --weights None for"),
    (("explain", "chelsea", "--model", "birds_vgg", "--weights", "w.safetensors", "--classes", "two.txt"),
     "the file has 3 classes, the network 2: 3 must be named"),
])
def test_what_the_library_says_to_python_is_said_in_the_words_of_the_command_line(
        capsys, monkeypatch, tmp_path, command, says):
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    (tmp_path / "two.txt").write_text("a\nb\n")
    network = models.load("birds_vgg", weights=None, num_classes=3)
    safetensors.torch.save_file(network.model.state_dict(), tmp_path / "w.safetensors")
    command = [*command, *(() if "--model" in command or "layers" in command else ("--model", "birds_vgg"))]
    code, _, err = run(capsys, *command)
    assert code == 2
    assert says in err
    assert not re.search(r"\w=\w", err)


def test_what_is_said_of_layers_and_names_too(capsys, monkeypatch):
    unnamed = Classifier(seeded(Tiny), input_size=8, name="Tiny")
    monkeypatch.setattr(models, "load", lambda _name, **_: unnamed)
    err = run(capsys, "explain", "chelsea", "--target", "tabby")[2]
    assert err == "contrastlib: the classes of Tiny have no names: pass --classes FILE, or an index\n"
    flat = Classifier(nn.Sequential(nn.Flatten(), nn.Linear(192, 3)).eval(), class_names=["a", "b", "c"], input_size=8)
    monkeypatch.setattr(models, "load", lambda _name, **_: flat)
    err = run(capsys, "explain", "chelsea")[2]
    assert "name one with --layer ...: python -m contrastlib layers MODEL --parts says what each gives" in err


def test_ctrl_c_is_130_in_one_line(capsys, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(models, "load", interrupted)
    assert run(capsys, "explain", "chelsea") == (130, "", "stopped: the same command goes on with what is kept\n")


@pytest.mark.parametrize("words", [("explain", "chelsea", "--contrast", "best"), ("guess",), ()])
def test_words_that_are_none_get_the_usage(capsys, words):
    with pytest.raises(SystemExit) as stopped:
        main(words)
    assert stopped.value.code == 2
    assert "usage: python -m contrastlib" in capsys.readouterr().err


def test_photographs_are_listed_with_their_credit(capsys):
    code, out, _ = run(capsys, "photographs")
    assert code == 0
    for name in photographs.names():
        entry = photographs.CATALOGUE[name]
        assert f"{name}\n  {entry.credit}\n  {entry.licence}\n" in out


@pytest.mark.parametrize(("words", "shown"), [
    (["explain", "--help"], "python -m contrastlib explain cat.jpg --target"), (["--help"], "layers"),
    (["experiments", "run", "--help"], "--accept-changes"), (["experiments", "list"], "Figures 1 and 7: pushing along"),
    (["experiments", "status"], "commit"),
])
def test_what_needs_no_network_waits_for_no_network_library(words, shown):
    code = (f"import sys; from contrastlib.__main__ import main\ntry: main({words})\nexcept SystemExit: pass\n"
            "print([m for m in ('torch', 'matplotlib', 'numpy') if m in sys.modules])")
    result = python("-c", code)
    assert shown in result.stdout
    assert result.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize("words", [["explain"], ["select"], ["layers"], ["photographs"], ["experiments", "list"],
                                   ["experiments", "run"], ["experiments", "status"], ["training"]])
def test_every_option_says_what_it_is(words):
    door, *command = words if words[0] in DOORS else ["", *words]
    made = parser(door)
    if command:
        (commands,) = (action for action in made._actions if action.nargs == "A...")
        made = commands.choices[command[0]]
    assert [action.dest for action in made._actions if not action.help] == []


def test_a_door_is_a_command_too(capsys):
    code, out, _ = run(capsys, "experiments", "list")
    assert (code, "gradient-sign" in out) == (0, True)
    code, _, err = run(capsys, "training", "--dataset", "nothing", "--model", "resnet18", "--device", "cpu")
    assert (code, err.startswith("contrastlib.training: no data set is called 'nothing'")) == (2, True)
    assert python("-m", "contrastlib.experiments", "list").stdout == out


def test_it_runs_as_a_module():
    assert python("-m", "contrastlib", "--version").stdout.strip() == f"contrastlib {__version__}"
    assert python("-m", "contrastlib").returncode == 2


def test_what_a_rule_selects_is_printed_and_kept(capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(models, "load", lambda name, **_: Classifier(seeded(Sixteen), name=name, input_size=8))
    code, out, err = run(capsys, "select", "--dataset", "drawn_birds", "--split", "hard", "--model", "tiny",
                         "--limit", "12", "--rule", "p2>0.01", "p2>0.99", "--output", "rows.csv")
    assert (code, err) == (0, "predictions: 1 of 1 batches\n")
    lines = out.splitlines()
    assert lines[0].startswith("tiny (the user's own model) on drawn_birds hard: 12 images, accuracy ")
    assert lines[1].startswith("  p2>0.01: 12 of 12 images (100.0%), accuracy ")
    assert lines[2].startswith("  p2>0.99: 0 of 12 images (0.0%); of all ")
    rows = tables.load("rows.csv")[["rule", "selected", "images"]]
    assert rows.to_numpy().tolist() == [["p2>0.01", "12", "12"], ["p2>0.99", "0", "12"]]
    about = json.loads((tmp_path / "rows.json").read_text())["tiny, drawn_birds, hard"]
    assert len(about["data"]) == len(about["classifier"]) == 64


@pytest.mark.parametrize(("words", "says"), [
    (("--dataset", "cud200", "--model", "tiny"), "no data set is called 'cud200'; near names: cub200"),
    (("--dataset", "cub200", "--model", "tiny", "--root", "nowhere"), "nowhere"),
    (("--dataset", "drawn_birds", "--model", "tiny", "--limit", "0"), "--limit must be at least 1, got 0"),
    (("--dataset", "drawn_birds", "--model", "tiny", "--limit", "4"), "Tiny has 6 classes and drawn_birds has 16"),
])
def test_what_cannot_be_selected_from_is_named(words, says, capsys):
    code, _, err = run(capsys, "select", *words)
    assert code == 2
    assert says in err
    assert err.count("\n") == 1


class Sixteen(nn.Module):
    """A network with as many classes as there are species."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(3, 16)

    def forward(self, images):
        return self.head(images.mean((2, 3)))


def python(*words: str) -> subprocess.CompletedProcess:
    root = Path(__file__).parents[1]
    return subprocess.run([sys.executable, *words], cwd=root, capture_output=True, text=True, check=False)
