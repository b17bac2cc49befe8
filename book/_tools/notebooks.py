"""Run the chapters and store the outputs of their checked cells; strip everything else.

A checked cell has the tag ``nbval-check-output``: `make test` runs it and compares what it prints with what is
stored here. No other cell keeps an output, so that no picture and no machine's path enters the repository.
"""

import os
import sys
from pathlib import Path
from typing import Any

import nbformat
from build import ROOT, kernel_environment
from nbclient import NotebookClient

CHECK = "nbval-check-output"
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}
KEPT_CELL_METADATA = {"tags", "mystnb"}


def is_checked(cell: Any) -> bool:
    """Return whether nbval compares the outputs of this cell."""
    return CHECK in cell.metadata.get("tags", [])


def tidy(notebook: Any) -> Any:
    """Keep the outputs of checked cells, drop the others, and what editors leave behind."""
    notebook.metadata = nbformat.from_dict(METADATA)
    for number, cell in enumerate(notebook.cells):
        cell.id = f"cell-{number}"
        cell.metadata = {k: v for k, v in cell.metadata.items() if k in KEPT_CELL_METADATA}
        if cell.cell_type != "code":
            continue
        # nbval compares nothing in a cell without a count: checked cells get one, always the same.
        cell.execution_count = 1 if is_checked(cell) else None
        cell.outputs = cell.outputs if is_checked(cell) else []
        for output in cell.outputs:
            if "execution_count" in output:
                output["execution_count"] = 1
    return notebook


def refresh(path: Path) -> bool:
    """Execute one notebook in its own folder and return whether the file changed."""
    before = path.read_text(encoding="utf8")
    notebook = nbformat.reads(before, as_version=4)
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(path.parent)}}).execute()
    after = nbformat.writes(tidy(notebook)) + "\n"
    if after != before:
        path.write_text(after, encoding="utf8")
    return after != before


def main() -> int:
    """Refresh the notebooks named on the command line, or all chapters."""
    os.environ.update(kernel_environment(ROOT / "_build"))
    paths = [Path(name).resolve() for name in sys.argv[1:]] or sorted((ROOT / "chapters").glob("*.ipynb"))
    for path in paths:
        print(f"{path.name}: {'changed' if refresh(path) else 'as it was'}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
