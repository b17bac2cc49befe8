"""What the data page says about the two networks is what their records say."""

import re
from pathlib import Path

import pytest

from contrastlib import models, tables
from contrastlib.models.birds import TRAINED, record

BOOK = Path(__file__).parents[1] / "book"
PAGE = (BOOK / "data.md").read_text(encoding="utf8")
NAMES = ("birds_vgg", "birds_vit")


def cells(row: str) -> list[str]:
    (line,) = re.findall(rf"^\| {row} \|(.*)\|$", PAGE, re.MULTILINE)
    return [cell.strip() for cell in line.split("|")]


@pytest.mark.parametrize("column", [0, 1], ids=NAMES)
def test_the_table_of_the_two_networks(column):
    name = NAMES[column]
    about, network = record(name), models.load(name, weights=None, num_classes=16)
    parameters = sum(p.numel() for p in network.parameters())
    size = (TRAINED / name / "best.safetensors").stat().st_size
    minutes = sum(row["seconds"] for row in about["history"]) / 60
    assert cells("classifier")[column] == f"`{name}`"
    assert cells("parameters")[column] == f"{parameters:,}".replace(",", " ")
    assert cells("file of weights")[column] == f"{size / 1e6:.1f} MB"
    assert cells("epochs")[column] == str(about["recipe"]["epochs"])
    assert cells("trained in, two cores")[column] == f"{minutes:.0f} minutes"
    assert cells("accuracy on `test`")[column] == f"{about['files']['best']['test_accuracy']:.1%}".replace("%", " %")


def test_the_rows_of_the_selection_agree_with_the_records():
    table = tables.load(BOOK / "results/selection.csv")
    accuracies = table.set_index(["classifier", "data set", "split"])["accuracy"].to_dict()
    for name in NAMES:
        assert float(accuracies[name, "drawn_birds", "test"]) == pytest.approx(
            record(name)["files"]["best"]["test_accuracy"], abs=0.002)
    assert set(table["rule"]) == {"p2>0.1", "p3>0.1", "p2<0.1"}
