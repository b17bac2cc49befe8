"""Checked cells: a value on an edge may be rounded either way, and nothing else may differ."""

import pytest
from checked_cells import Printed, near, same


@pytest.mark.parametrize(("one", "other"), [
    ("0.8", "0.9"), ("-0.1", "0.0"), ("-0.0", "0.0"), ("+0.020", "+0.021"), ("1.2e-05", "1.3e-05"), ("13%", "14%"),
    ("0.999", "1.000"), ("9.99", "10.00"), ("2.0", "2"),
])
def test_one_in_the_last_digit_is_the_same(one, other):
    assert near(one, other)
    assert near(other, one)


@pytest.mark.parametrize(("one", "other"), [
    ("0.8", "1.0"), ("0.80", "0.82"), ("-0.1", "0.1"), ("12", "13"), ("400", "401"), ("13%", "15%"), ("1e-05", "3e-05"),
])
def test_more_is_not(one, other):
    assert not near(one, other)


def test_words_must_be_the_same():
    assert same("most for 0.6, most against 0.9\n", "most for 0.6, most against  0.8\n")
    assert same("a  -0.00 b", "a 0.00 b")
    for other in ("most for 0.6, most near 0.9\n", "most for 0.6\n", "most for 0.6, most against 0.9 0.1\n",
                  "most for -0.6, most against 0.9\n", "most for 0.6, most against nan\n"):
        assert not same("most for 0.6, most against 0.9\n", other)


def test_what_belongs_to_a_name_is_no_number():
    assert not same("blocks.1 works", "blocks.2 works")
    assert not same("t1 0.5", "t2 0.5")
    assert same("p2>0.1: 0.500", "p2>0.1: 0.501")


def test_a_print_compares_itself():
    assert Printed("0.8 of 58") == "0.9 of 58"
    assert Printed("0.8 of 58") != "0.8 of 59"
    assert not Printed("a") != Printed("a")  # noqa: SIM202 - both operators are used by nbval
