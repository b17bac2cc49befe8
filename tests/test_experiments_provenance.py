"""Which code made a number: digests of small packages written here, the library's own, and what pages say about it."""

import json
import re
from pathlib import Path

import pytest
from networks import tiny

from contrastlib.experiments import PROFILES, Setting, by_name, masking, provenance
from contrastlib.names import UnknownNameError

MASKING = "contrastlib.experiments.masking"


def forget() -> None:
    for function in (provenance._imports, provenance._source, provenance._code):
        function.cache_clear()


@pytest.fixture
def house(tmp_path, monkeypatch):
    """Writes files of a package called ``house`` and gives the digest of one of its modules."""
    folder = tmp_path / "house"
    monkeypatch.setattr(provenance, "PACKAGE", folder)

    def digest(module: str, **files: str) -> str:
        for name, text in files.items():
            path = folder.joinpath(*name.split("__IN__"))
            path = path / "__init__.py" if path.is_dir() or name.endswith("_face") else path.with_suffix(".py")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf8")
        forget()
        return provenance.digest(module)

    yield digest
    forget()


BODY = "import math\n\n\ndef area(r):\n    return math.pi * r**2\n"


def test_a_digest_is_sixteen_digits_and_always_the_same(house):
    digest = house("house.circle", circle=BODY)
    assert re.fullmatch("[0-9a-f]{16}", digest)
    assert house("house.circle", circle=BODY) == digest


@pytest.mark.parametrize("text", [
    '"""About circles."""\n\n' + BODY,
    BODY.replace("    return", '    """The area of a circle.\n\n    Args:\n        r: radius.\n    """\n    return'),
    BODY.replace("    return", "    # Paper: 3.14. Here: pi.\n    return"),
    BODY.replace("\n\n\n", "\n\n\n\n\n") + "\n\n",
    BODY.replace("\n", "  \n"),
    BODY + '"""What an area is."""\n',
])
def test_explanations_do_not_count(house, text):
    assert house("house.circle", circle=text) == house("house.circle", circle=BODY)


@pytest.mark.parametrize("text", [
    BODY.replace("r**2", "r**3"), BODY + "PI = 3\n", BODY.replace("area", "size"),
    BODY.replace("    return", "    label = '''circle'''\n    return"), BODY.replace("    return", "     return"),
    BODY.replace("import math", "import cmath as math"),
])
def test_code_counts(house, text):
    assert house("house.circle", circle=text) != house("house.circle", circle=BODY)


@pytest.mark.parametrize("imported", [
    "from house.radius import radius", "from house import radius", "import house.radius", "import house.radius as r",
    "def area():\n    from house.radius import radius\n    return radius",
])
def test_what_a_module_imports_counts(house, imported):
    before = house("house.circle", circle=imported + "\n", radius="radius = 1\n")
    assert provenance.closure("house.circle") == {"house.circle", "house.radius"}
    assert house("house.circle", radius="radius = 2\n") != before


def test_what_its_imports_import_counts_and_circles_end(house):
    files = {"one": "from house.two import b\na = 1\n", "two": "from house.three import c\nb = 1\n",
             "three": "from house.one import a\nc = 1\n"}
    before = house("house.one", other="d = 1\n", **files)
    assert provenance.closure("house.one") == {"house.one", "house.two", "house.three"}
    assert house("house.one", other="d = 2\n") == before
    assert house("house.one", three="from house.one import a\nc = 2\n") != before


def test_a_face_only_hands_on(house):
    face = "from house.maps_face.near import near\nfrom house.maps_face.far import far as distant\nOWN = 1\n"
    inside = {"maps_face__IN__near": "near = 1\n", "maps_face__IN__far": "far = 1\n"}
    before = house("house.user", user="from house.maps_face import distant\n", maps_face=face, **inside)
    assert provenance.closure("house.user") == {"house.user", "house.maps_face.far"}
    assert house("house.user", maps_face__IN__near="near = 2\n") == before
    assert house("house.user", maps_face=face + "from house.maps_face.new import new\n") == before
    assert house("house.user", maps_face__IN__far="far = 2\n") != before


def test_what_a_face_defines_itself_counts_with_all_it_reads(house):
    face = "from house.maps_face.near import near\nALL = [near]\n"
    house("house.user", user="from house.maps_face import ALL\n", maps_face=face, maps_face__IN__near="near = 1\n")
    assert provenance.closure("house.user") == {"house.user", "house.maps_face", "house.maps_face.near"}


def test_the_name_of_a_module_counts(house):
    assert house("house.one", one=BODY, two=BODY) != house("house.two")


@pytest.mark.parametrize("module", ["contrastlib.experiments.nothing", "torch", "contrastlibrary", "masking"])
def test_a_module_that_is_not_there(module):
    with pytest.raises(ValueError, match=f"contrastlib has no module '{module}'"):
        provenance.digest(module)


def test_masking_depends_on_its_methods_and_on_no_other_data_or_network():
    modules = provenance.closure(MASKING)
    assert {MASKING, "contrastlib.attribution.cam", "contrastlib.attribution.class_maps",
            "contrastlib.perturbation", "contrastlib.evaluation", "contrastlib.contrast", "contrastlib.relevance",
            "contrastlib.attribution.base", "contrastlib.published",
            "contrastlib.models.classifier"} <= modules
    strangers = {"models.birds", "models.zoo", "attribution",
                 "experiments.runner", "experiments.masking_curves", "experiments.profiles"}
    assert not modules & {f"contrastlib.{name}" for name in strangers}
    assert not [name for name in modules if name.split(".")[1] in ("data", "plotting", "training", "explorables")]


@pytest.mark.parametrize("name", PROFILES)
def test_every_experiment_has_a_digest_of_its_own(name):
    experiment = by_name(name)
    assert experiment.module == f"contrastlib.experiments.{name.replace('-', '_')}"
    assert {experiment.module, "contrastlib.experiments.experiment"} <= provenance.closure(experiment.module)
    digests = [provenance.digest(other.module) for other in map(by_name, PROFILES)]
    assert digests.count(provenance.digest(experiment.module)) == 1


# --- which rows were made by which code -----------------------------------------------------------------------------


def about(**changes: object) -> dict[str, object]:
    return {"module": MASKING, "code": provenance.digest(MASKING), "images": 320, "seconds": 61.5, "device": "one CPU",
            "date": "2025-01-31", "commit": "11af251", **changes}


def written(folder: Path, name: str, content: dict[str, object]) -> None:
    (folder / name).write_text(json.dumps(content), encoding="utf8")


def test_tables_tell_which_code_made_them(tmp_path):
    gone = about(module="contrastlib.experiments.gone", code="0" * 16)
    old = about(code="0123456789abcdef", images=5)
    nameless = {name: value for name, value in about().items() if name != "commit"}
    written(tmp_path, "masking.json", {"birds": about(), "cub": old})
    written(tmp_path, "gone.json", {"all": gone, "more": nameless})
    found = list(provenance.of_tables(tmp_path))
    assert [(made["table"], made["group"]) for made in found] == [
        ("gone.csv", "all"), ("gone.csv", "more"), ("masking.csv", "birds"), ("masking.csv", "cub")]
    assert [made["verdict"] for made in found] == [
        "the code is gone (contrastlib.experiments.gone)", "code unchanged since", "code unchanged since",
        f"code has changed since (0123456789abcdef, now {provenance.digest(MASKING)})"]
    assert [made["commit"] for made in found] == ["11af251", "unknown", "11af251", "11af251"]
    assert old.items() <= found[3].items()


def test_tables_that_no_experiment_made_are_passed_over(tmp_path):
    written(tmp_path, "benchmarks.json", {"seconds": {"date": "2025-01-31"}, "note": "by hand"})
    (tmp_path / "masking.csv").write_text("value\n1\n", encoding="utf8")
    assert list(provenance.of_tables(tmp_path)) == []


def run_folder(path: Path, shards: int, digest: str) -> Path:
    (path / "shards").mkdir(parents=True)
    for number in range(shards):
        (path / "shards" / f"{number:06d}.safetensors").touch()
    written(path, "run.json", {"about": {"experiment": "masking-curves", "setting": {"shard": 16}, "code": digest,
                                         "images": "50 of 320"}})
    return path


def test_a_run_says_how_far_it_is(tmp_path):
    now = provenance.digest("contrastlib.experiments.masking_curves")
    folder = run_folder(tmp_path / "run", 3, now)
    assert provenance.of_run(folder) == f"{folder}: 3 of 4 shards of 50 images, no rows yet; code unchanged since"
    (folder / "shards" / "000003.safetensors").touch()
    (folder / "shards" / ".000003.safetensors.writing").touch()
    (folder / "rows.csv").touch()
    assert provenance.of_run(folder) == f"{folder}: 4 of 4 shards of 50 images, rows written; code unchanged since"


def test_a_run_says_that_the_code_has_changed(tmp_path):
    line = provenance.of_run(run_folder(tmp_path / "run", 0, "0123456789abcdef"))
    assert "0 of 4 shards" in line
    assert "code has changed since (0123456789abcdef, now " in line


def test_a_folder_without_a_run(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"holds no run: there is no run\.json in it"):
        provenance.of_run(tmp_path)


# --- names -----------------------------------------------------------------------------------------------------------


def test_experiments_by_name():
    assert by_name("gradient_sign") is by_name("gradient-sign")
    assert all(by_name(name).name == name for name in PROFILES)
    with pytest.raises(UnknownNameError, match=r"no experiment is called 'maskin'.*masking"):
        by_name("maskin")


def test_every_experiment_has_an_embedded_profile():
    assert all("embedded" in profiles for profiles in PROFILES.values())


@pytest.mark.parametrize(("experiment", "profile"), [(e, p) for e in PROFILES for p in PROFILES[e]])
def test_a_profile_names_methods_targets_and_layers_that_are_there(experiment, profile):
    setting = PROFILES[experiment][profile]
    assert isinstance(setting, Setting)
    read = {layer for layer, _ in masking.layers_and_methods(setting, tiny())}
    assert set(setting.normalised) <= read
    assert set(setting.targets) <= {"t1", "t2"}
    assert Setting(**{name: tuple(value) if isinstance(value, list) else value
                      for name, value in json.loads(json.dumps(vars(setting))).items()}) == setting


@pytest.mark.parametrize(("field", "value", "says"), [
    ("precision", "float16", "float32 or bfloat16, got 'float16'"), ("shard", 0, "shard must be at least 1, got 0"),
    ("limit", 0, "at least 1, got 0"),
    ("model_args", ("pad_type",), r"NAME=VALUE, such as pad_type=same; got 'pad_type'"),
])
def test_settings_that_are_none(field, value, says):
    with pytest.raises(ValueError, match=says):
        Setting("tiny", "none", **{field: value})


def test_a_setting_names_its_group():
    assert Setting("tiny", "none").group == {"split": "test", "images": "all", "precision": "float32"}
    setting = Setting("tiny", "none", split="hard", rule="p2>0.1", precision="bfloat16", compiled=True)
    assert setting.group == {"split": "hard", "images": "p2>0.1", "precision": "bfloat16 compiled"}
