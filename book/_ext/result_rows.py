"""The directive ``{made-by}``: which rows were made by which code, and whether that code has changed since.

Named in `_config.yml` under `sphinx.local_extensions`.
"""

from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.util.docutils import SphinxDirective

from contrastlib.experiments import provenance

HEAD = ("table", "rows about", "images", "time", "made", "the code since")
WIDTHS = (20, 38, 8, 9, 12, 13)


class MadeBy(SphinxDirective):
    """A table with a line for each group of rows; its argument is the folder of tables, beside the page."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Make the table anew at each build, since code changes without the page."""
        self.env.note_reread()
        folder = Path(self.env.doc2path(self.env.docname)).parent / self.arguments[0]
        made = list(provenance.of_tables(folder))
        if not made:
            raise self.error(f"no table in {folder} says what made it")
        return [_table([_cells(line) for line in made])]


def _cells(made: dict[str, Any]) -> list[str]:
    minutes = f"{made['seconds'] / 60:.0f} min" if made["seconds"] >= 90 else f"{made['seconds']:.0f} s"
    code = made["verdict"].removeprefix("code ").replace("unchanged since", "unchanged").replace("has ", "")
    when = f"{made['date']} {made['commit'][:8]}"
    return [made["table"].removesuffix(".csv"), made["group"], str(made["images"]), minutes, when, code]


def _table(lines: list[list[str]]) -> nodes.table:
    group = nodes.tgroup("", *(nodes.colspec(colwidth=width) for width in WIDTHS), cols=len(HEAD))
    group += nodes.thead("", _row(list(HEAD)))
    group += nodes.tbody("", *map(_row, lines))
    return nodes.table("", group, classes=["made-by"])


def _row(cells: list[str]) -> nodes.row:
    return nodes.row("", *(nodes.entry("", nodes.paragraph("", cell)) for cell in cells))


def setup(app: Any) -> dict[str, bool]:
    """Connect to Sphinx."""
    app.add_directive("made-by", MadeBy)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
