"""Pictures in rows, and the table of confusions: what is drawn where, and what is refused."""

import numpy as np
import pytest

from contrastlib import plotting

PHOTO = np.random.default_rng(0).random((20, 20, 3))
MASK = np.zeros((20, 20), bool)
MASK[5:9, 5:9] = True


def words(figure):
    return [text.get_text() for text in figure.texts if text.get_text()]


def test_pictures_stand_in_rows_with_their_titles():
    figure = plotting.gallery([PHOTO] * 5, list("abcde"), columns=3, row_labels=["up", "down"])
    assert words(figure) == ["a", "b", "c", "up", "d", "e", "down"]
    left, top = zip(*[(round(ax.get_position().x0, 3), round(ax.get_position().y0, 3)) for ax in figure.axes])
    assert left[:2] == left[3:]
    assert len(set(top)) == 2
    assert top[0] > top[3]


def test_a_mark_is_an_outline_and_an_empty_one_draws_nothing():
    figure = plotting.gallery([PHOTO] * 3, marks=[MASK, np.zeros_like(MASK), None], columns=3)
    assert [len(ax.collections) for ax in figure.axes] == [2, 0, 0]


def test_a_table_of_confusions_shows_counts_and_pictures_at_both_edges():
    counts = np.array([[8, 2, 0], [0, 9, 0], [1, 0, 7]])
    figure = plotting.confusion(counts, [PHOTO] * 3, groups=["a", "a", "b"])
    table, *pictures = figure.axes
    assert len(pictures) == 6
    assert sorted(text.get_text() for text in table.texts) == ["1", "2", "7", "8", "9"]
    assert table.images[0].get_array().tolist() == [[0, 2, 0], [0, 0, 0], [1, 0, 0]]
    strong = [line for line in table.lines if line.get_linewidth() > 0.5]
    assert [line.get_ydata()[0] for line in strong][:1] == [1.5]


def test_a_table_without_mistakes_is_white():
    figure = plotting.confusion(np.eye(2, dtype=int), [PHOTO] * 2)
    assert (figure.axes[0].images[0].get_array() == 0).all()


@pytest.mark.parametrize(("call", "says"), [
    (lambda: plotting.gallery([]), "needs pictures"),
    (lambda: plotting.gallery([PHOTO], columns=0), "needs pictures and columns, got 1 and 0"),
    (lambda: plotting.gallery([PHOTO], ["a", "b"]), "2 titles for 1"),
    (lambda: plotting.gallery([PHOTO], marks=[MASK[:5]]), r"must be \(20, 20\) like its picture, got \(5, 20\)"),
    (lambda: plotting.confusion(np.zeros((2, 3)), [PHOTO] * 2), r"must be \(C, C\), got shape \(2, 3\)"),
    (lambda: plotting.confusion(np.eye(2), [PHOTO]), "1 pictures and 0 groups for 2 classes"),
])
def test_bad_input_is_named(call, says):
    with pytest.raises(ValueError, match=says):
        call()
