"""What a chapter says and what its cells print must be the same."""

import re
from pathlib import Path

import nbformat
import pytest

CHAPTERS = sorted((Path(__file__).parents[1] / "chapters").glob("*.ipynb"))


def cells(path):
    return nbformat.read(path, as_version=4).cells


def printed(path):
    return "".join(out.get("text", "") for cell in cells(path) if cell.cell_type == "code" for out in cell.outputs)


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda p: p.stem)
def test_numbers_in_bold_are_printed_by_a_checked_cell(path):
    """A number set in bold is a result: it stands in the stored output, which nbval compares with a new run."""
    prose = "\n".join(cell.source for cell in cells(path) if cell.cell_type == "markdown")
    quoted = re.findall(r"\*\*(-?\d+\.\d+)\*\*", prose)
    assert quoted, "a chapter quotes at least one result"
    results = re.findall(r"-?\d+\.\d+", printed(path))
    assert not set(quoted) - set(results)


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda p: p.stem)
def test_more_words_than_code(path):
    code = [[line for line in cell.source.splitlines() if line.strip()]
            for cell in cells(path) if cell.cell_type == "code"]
    words = sum(len(cell.source.split()) for cell in cells(path) if cell.cell_type == "markdown")
    assert words > sum(len(line.split()) for cell in code for line in cell)


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda p: p.stem)
def test_only_checked_cells_keep_outputs_and_no_picture_is_stored(path):
    for cell in cells(path):
        if cell.cell_type != "code":
            continue
        assert bool(cell.outputs) == ("nbval-check-output" in cell.metadata.get("tags", []))
        assert all(out.output_type == "stream" and out.name == "stdout" for out in cell.outputs)
