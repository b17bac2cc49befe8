"""Tables of measured rows: what is kept, what is replaced, and what is refused."""

import json

import pytest

from contrastlib import results

ROWS = [{"model": "a", "metric": "accuracy", "value": 0.5}, {"model": "a", "metric": "share", "value": "0,1"}]


def test_rows_come_back_as_they_were_put_in(tmp_path):
    path = tmp_path / "rows.csv"
    results.save(path, ROWS, ["model"], {"seed": 0})
    assert results.load(path) == [{key: str(value) for key, value in row.items()} for row in ROWS]
    assert json.loads((tmp_path / "rows.json").read_text()) == {"a": {"seed": 0}}


def test_a_group_is_replaced_and_the_others_stay(tmp_path):
    path = tmp_path / "rows.csv"
    results.save(path, [{"model": "b", "metric": "accuracy", "value": 1}], ["model"], {"seed": 1})
    results.save(path, ROWS, ["model"], {"seed": 2})
    results.save(path, [{"model": "a", "metric": "accuracy", "value": 0.25}], ["model"], {"seed": 3})
    assert [(row["model"], row["value"]) for row in results.load(path)] == [("a", "0.25"), ("b", "1")]
    assert json.loads((tmp_path / "rows.json").read_text()) == {"a": {"seed": 3}, "b": {"seed": 1}}


def test_nothing_else_is_left_in_the_folder(tmp_path):
    results.save(tmp_path / "rows.csv", ROWS, ["model"], {})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["rows.csv", "rows.json"]


def test_provenance_says_what_ran():
    about = results.provenance(device="cpu")
    assert {"python", "torch", "timm", "device"} <= set(about)
    assert about["device"] == "cpu"


@pytest.mark.parametrize(("rows", "says"), [
    ([], "at least one"),
    ([ROWS[0], {"model": "a"}], "same columns"),
    ([ROWS[0], {**ROWS[1], "model": "b"}], "one group"),
])
def test_rows_that_do_not_go_together_are_refused(rows, says, tmp_path):
    with pytest.raises(ValueError, match=says):
        results.save(tmp_path / "rows.csv", rows, ["model"], {})
    assert not list(tmp_path.iterdir())


def test_other_columns_and_a_damaged_table_are_named(tmp_path):
    path = tmp_path / "rows.csv"
    results.save(path, ROWS, ["model"], {})
    with pytest.raises(ValueError, match="the new rows have model, error"):
        results.save(path, [{"model": "a", "error": 1}], ["model"], {})
    path.write_text("model,value\na,1\na\n")
    with pytest.raises(ValueError, match="line 3: 1 cells for 2 columns"):
        results.load(path)
