"""The project says one thing in several files: these tests hold them equal."""

import re
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]


def name_of(requirement: str) -> str:
    return re.match(r"[A-Za-z0-9._-]+", requirement)[0].lower().replace("_", "-").replace(".", "-")


def test_conda_users_get_the_same_environment():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf8"))
    [pip] = [entry["pip"] for entry in environment["dependencies"] if isinstance(entry, dict)]
    assert sorted(pip) == sorted([*EXTRAS["dev"], "-e ."])


def test_conda_users_get_a_python_that_the_project_takes():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf8"))
    [python] = [d for d in environment["dependencies"] if isinstance(d, str) and d.startswith("python")]
    assert python.startswith("python" + PROJECT["requires-python"])


def test_every_pin_is_exact_and_given_once():
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.]+", pin) for pin in EXTRAS["dev"])
    names = [name_of(pin) for pin in EXTRAS["dev"]]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("requirement", [*PROJECT["dependencies"], *EXTRAS["photographs"], *EXTRAS["networks"],
                                         *EXTRAS["explore"]])
def test_what_a_user_needs_is_pinned_for_the_book(requirement):
    pins = {name_of(pin): pin.split("==")[1] for pin in EXTRAS["dev"]}
    packaging = pytest.importorskip("packaging.requirements")
    wanted = packaging.Requirement(requirement)
    assert wanted.specifier.contains(pins[name_of(requirement)])


def test_the_citation_names_this_version():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf8"))
    assert str(citation["version"]) == PROJECT["version"]
    assert citation["license"] == PROJECT["license"]


def test_the_distribution_carries_the_type_marker():
    assert (ROOT / "contrastlib" / "py.typed").is_file()
