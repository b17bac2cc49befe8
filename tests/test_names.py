"""What a person types finds what they mean, or says what comes near."""

import pytest

from contrastlib.names import UnknownNameError, find, nearest

CLASSES = ("tabby", "tiger cat", "Egyptian cat", "tiger", "jack-o'-lantern", "crane", "crane", "espresso maker",
           "meerkat", "+", "-")


@pytest.mark.parametrize(("typed", "index"), [
    ("tiger cat", 1), ("Tiger_CAT", 1), ("tiger-cat", 1), ("tigercat", 1),
    ("tiger", 3),  # the whole name wins over a part of another
    ("egyptian", 2), ("Jack O Lantern", 4), ("maker", 7), ("meer", 8), ("+", 9), ("-", 10),
])
def test_a_name_is_found_loosely(typed, index):
    assert find(typed, CLASSES, "class") == index


def test_an_ambiguous_name_lists_the_indices():
    with pytest.raises(ValueError, match=r"class 'crane' is ambiguous: crane \(5\), crane \(6\)"):
        find("crane", CLASSES, "class")
    with pytest.raises(ValueError, match=r"ambiguous: tiger cat \(1\), Egyptian cat \(2\)$"):
        find("cat", CLASSES, "class")  # as a word: the meerkat is not meant


def test_many_fits_are_cut_short():
    with pytest.raises(ValueError, match=r"bird \(9\) and 15 more$"):
        find("bir", ["bird"] * 25)


def test_an_unknown_name_gets_the_nearest():
    with pytest.raises(UnknownNameError, match="no class is called 'tbby'; near names: tabby"):
        find("tbby", CLASSES, "class")
    with pytest.raises(UnknownNameError, match="near names: espresso maker"):
        find("expresso", CLASSES, "class")  # near one of its words
    assert nearest("egiptian cat", CLASSES)[0] == "Egyptian cat"


def test_few_names_are_listed_where_none_comes_near():
    with pytest.raises(UnknownNameError, match=r"no photograph is called 'zebra'; there are: chelsea, rocket$"):
        find("zebra", ("chelsea", "rocket"), "photograph")


@pytest.mark.parametrize("typed", ["", "?!"])
def test_no_words_fit_nothing(typed):
    with pytest.raises(UnknownNameError):
        find(typed, ("chelsea",))


def test_the_message_stands_without_quotes_around_it():
    assert str(UnknownNameError("no such thing")) == "no such thing"
    assert isinstance(UnknownNameError("x"), KeyError)
