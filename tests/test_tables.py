"""Tables of measured rows: what is kept, what is replaced, and what is refused."""

import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from contrastlib import tables

COMMITTED = sorted((Path(__file__).parents[1] / "book" / "results").rglob("*.csv"))
ROWS = [{"model": "a", "metric": "accuracy", "value": 0.5}, {"model": "a", "metric": "0,1", "value": 2 / 3}]


@pytest.mark.parametrize("path", COMMITTED, ids=lambda p: p.stem)
def test_a_committed_table_is_written_as_it_was_read(path):
    assert tables.as_csv(tables.load(path)).encode() == path.read_bytes()


def test_rows_come_back_as_they_were_put_in(tmp_path):
    path = tmp_path / "rows.csv"
    tables.save(path, ROWS, ["model"], {"seed": 0})
    back = tables.load(path)
    assert back["metric"].tolist() == ["accuracy", "0,1"]
    assert back["value"].tolist() == [0.5, 0.666667]  # six significant digits
    assert json.loads((tmp_path / "rows.json").read_text()) == {"a": {"seed": 0}}


def test_groups_are_replaced_and_the_others_stay(tmp_path):
    path = tmp_path / "rows.csv"
    tables.save(path, [{"model": m, "metric": "accuracy", "value": 0} for m in "ca"], ["model"], {"seed": 0})
    tables.save(path, [{"model": "b", "metric": "accuracy", "value": 1}], ["model"], {"seed": 1})
    tables.save(path, ROWS, ["model"], {"seed": 2})
    tables.save(path, [{"model": "a", "metric": "accuracy", "value": 0.25}], ["model"], {"seed": 3})
    assert tables.load(path)[["model", "value"]].to_numpy().tolist() == [["a", 0.25], ["b", 1.0], ["c", 0.0]]
    assert json.loads((tmp_path / "rows.json").read_text()) == {"a": {"seed": 3}, "b": {"seed": 1}, "c": {"seed": 0}}


@pytest.mark.parametrize("name", ["a\nb", 'a"b', "a,b", " a ", "NA", "None", "1.50", "Füße"])
def test_any_text_comes_back(name, tmp_path):
    path = tmp_path / "rows.csv"
    tables.save(path, [{"model": name, "value": math.nan, "n": 3}], ["model"], {})
    back = tables.load(path)
    assert back["model"].tolist() == [name]
    assert back["value"].isna().all()
    assert back["n"].tolist() == [3]


@pytest.mark.parametrize("name", ["a\rb", "a\r\nb"])
def test_a_carriage_return_is_kept_as_a_line_feed(name, tmp_path):
    path = tmp_path / "rows.csv"
    tables.save(path, [{"model": name, "value": 1}], ["model"], {})
    assert tables.load(path)["model"].tolist() == ["a\nb"]
    tables.save(path, [{"model": name, "value": 2}], ["model"], {})
    assert tables.load(path)["value"].tolist() == [2]  # in the place of the first


def test_groups_whose_names_read_alike_are_two(tmp_path):
    path = tmp_path / "rows.csv"
    for model, images in (("a, b", "c"), ("a", "b, c")):
        tables.save(path, [{"model": model, "images": images, "value": 1}], ["model", "images"], {})
    assert sorted(tables.load(path)["model"]) == ["a", "a, b"]


SAVING = """
import sys
from contrastlib import tables
for i in range(10):
    tables.save(sys.argv[1], [{"model": f"{sys.argv[2]}{i}", "value": i}], ["model"], {"i": i})
"""


def test_two_processes_that_save_into_one_table_lose_nothing(tmp_path):
    path = tmp_path / "rows.csv"
    running = [subprocess.Popen([sys.executable, "-c", SAVING, str(path), name]) for name in "ab"]
    assert [process.wait(120) for process in running] == [0, 0]
    assert len(tables.load(path)) == len(json.loads(path.with_suffix(".json").read_text())) == 20


def test_provenance_says_what_ran():
    about = tables.provenance(device="cpu")
    assert {"python", "torch", "timm", "device"} <= set(about)
    assert about["device"] == "cpu"


@pytest.mark.parametrize(("rows", "says"), [
    ([], "at least one"),
    ([ROWS[0], {"model": "a"}], "same columns"),
])
def test_rows_that_do_not_go_together_are_refused(rows, says, tmp_path):
    with pytest.raises(ValueError, match=says):
        tables.save(tmp_path / "rows.csv", rows, ["model"], {})
    assert not list(tmp_path.iterdir())


def test_other_columns_and_a_damaged_table_are_named(tmp_path):
    path = tmp_path / "rows.csv"
    tables.save(path, ROWS, ["model"], {})
    with pytest.raises(ValueError, match="the new rows have model, error"):
        tables.save(path, [{"model": "a", "error": 1}], ["model"], {})


@pytest.mark.parametrize("row", ["a", "a,1,2"])
def test_a_row_with_other_cells_than_the_header_is_named(row, tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text(f"model,value\na,1\n{row}\n")
    with pytest.raises(ValueError, match="line 3"):
        tables.load(path)


def test_picking_finds_a_number_however_it_is_written():
    rows = tables.typed([{"epsilon": e, "data set": d, "value": 1} for e in ("0.003", "0.001", "") for d in "xy"])
    assert len(tables.pick(rows, epsilon=3e-3)) == len(tables.pick(rows, epsilon="3e-3")) == 2
    assert len(tables.pick(rows, epsilon=None, data_set="x")) == 1


@pytest.mark.parametrize(("where", "says"), [
    ({"epsilon": 1}, "no rows have epsilon '1'; there are: 0.003"),
    ({"steps": 1}, "no column 'steps'; they have epsilon, value"),
])
def test_what_is_not_there_is_named(where, says):
    with pytest.raises(ValueError, match=says):
        tables.pick(tables.typed([{"epsilon": "0.003", "value": 1}]), **where)


@pytest.mark.parametrize(("value", "text"), [
    (0.003, "0.003"), ("3e-3", "0.003"), (np.float64(0.003), "0.003"), (10, "10"), ("10.0", "10"), (None, ""),
    (" ", ""), (math.nan, ""), ("-inf", "-inf"), (-math.inf, "-inf"), ("p2>0.1", "p2>0.1"),
    ("tempered 2", "tempered 2"), ("1st", "1st"),
])
def test_a_cell_reads_the_same_in_every_form(value, text):
    assert tables.cell(value) == text
