"""Imports run one way, and nothing grows too long to be read in one sitting. Read from the source, never imported."""

import ast
import json
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "contrastlib"

# A room may use rooms of its own row and of the rows above it that its entry names; nothing else.
COMMON = {"names", "pictures", "atomic", "rows", "uncertainty", "store", "tables"}  # they know nothing of the rest
IDEAS = COMMON | {"contrast", "hooks", "relevance"}
METHODS = IDEAS | {"attribution"}
MEASURES = METHODS | {"perturbation", "faithfulness", "localisation", "published"}
DRAWING = ["results", "plotting"]  # each may use those before it; none knows torch
MAY_USE = {
    **dict.fromkeys(COMMON, COMMON),
    **dict.fromkeys(IDEAS - COMMON, IDEAS),
    "attribution": METHODS | {"models"},  # it takes a classifier
    **dict.fromkeys(MEASURES - METHODS, MEASURES | {"models", "data"}),
    "models": COMMON | {"models"},
    "data": COMMON | {"data"},
    "selection": COMMON | {"selection", "models", "data"},
    "interop": MEASURES | {"interop", "models"},
    "results": COMMON | {"results"},
    "plotting": COMMON | {"results", "plotting"},
}
ANYTHING = {"experiments", "explorables", "training", "__main__", "__init__"}  # they stand on all the others
NO_TORCH = ("torch", "torchvision", "timm", "safetensors.torch", "captum")


def modules() -> dict[str, Path]:
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = modules()


def room(module: str) -> str:
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else "__init__"


def targets(node: ast.AST, module: str) -> list[str]:
    """Names that an import statement asks for, relative ones made absolute."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if not isinstance(node, ast.ImportFrom):
        return []
    base = node.module or ""
    if node.level:
        here = module.split(".") if MODULES[module].name == "__init__.py" else module.split(".")[:-1]
        base = ".".join([*here[: len(here) - node.level + 1], *([base] if base else [])])
    return [base if f"{base}.{alias.name}" not in MODULES else f"{base}.{alias.name}" for alias in node.names]


@cache
def imports(module: str) -> frozenset[str]:
    tree = ast.parse(MODULES[module].read_text(encoding="utf8"))
    return frozenset(name for node in ast.walk(tree) for name in targets(node, module))


def reached(module: str) -> set[str]:
    """All that importing a module imports: its own imports, theirs, and the packages around them."""
    seen: set[str] = set()
    todo = [module]
    while todo:
        name = todo.pop()
        if name in seen:
            continue
        seen.add(name)
        if name in MODULES:
            parents = [name.rsplit(".", i)[0] for i in range(1, name.count(".") + 1)]
            todo += [*imports(name), *parents]
    return seen


def test_there_is_a_library_to_look_at():
    assert {"contrastlib", "contrastlib.contrast", "contrastlib.hooks"} <= set(MODULES)


@pytest.mark.parametrize("module", [m for m in MODULES if room(m) not in ANYTHING])
def test_imports_run_one_way(module):
    assert room(module) in MAY_USE, f"say in tests/test_architecture.py what {room(module)} may use"
    used = {room(name) for name in imports(module) if name.split(".")[0] == "contrastlib"}
    assert used <= MAY_USE[room(module)]


def test_no_room_needs_itself_through_others():
    for module in MODULES:
        others = imports(module) & set(MODULES) - {module}
        circles = [other for other in others if module in reached_by_name(other)]
        assert not circles, f"{module} and {circles} import each other"


def reached_by_name(module: str) -> set[str]:
    """Like `reached`, without the packages around a module, which are imported before it in any case."""
    seen: set[str] = set()
    todo = [module]
    while todo:
        name = todo.pop()
        if name not in seen:
            seen.add(name)
            todo += imports(name) if name in MODULES else []
    return seen


@pytest.mark.parametrize("module", [m for m in MODULES if room(m) in DRAWING])
def test_drawing_reads_no_torch(module):
    assert not [name for name in reached(module) if name.startswith(NO_TORCH)]


@pytest.mark.parametrize("module", [m for m in MODULES if room(m) in DRAWING])
def test_drawing_loads_no_torch(module):
    code = f"import sys, {module}; print([m for m in {NO_TORCH!r} if m in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def sources() -> list[Path]:
    folders = ("contrastlib", "tests", "book/_ext", "book/_tools")
    return [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]


@pytest.mark.parametrize("path", sources(), ids=lambda p: p.relative_to(ROOT).as_posix())
def test_functions_are_short(path):
    text = path.read_text(encoding="utf8")
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            docstring = len((ast.get_docstring(node, clean=False) or "").splitlines())
            assert node.end_lineno - node.lineno + 1 - docstring <= 50, f"{node.name} is too long"


CHAPTERS = sorted((ROOT / "chapters").glob("*.ipynb"))
CHECK = "nbval-check-output"  # the tag of a checked cell; readers of the book do not see it


def code_cells(path: Path) -> list[dict]:
    cells = json.loads(path.read_text(encoding="utf8"))["cells"]
    cells = [cell | {"text": "".join(cell["source"])} for cell in cells if cell["cell_type"] == "code"]
    return [cell | {"checked": CHECK in cell["metadata"].get("tags", [])} for cell in cells]


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda p: p.stem)
def test_a_chapter_is_more_words_than_code(path):
    cells = code_cells(path)
    lines = [[line for line in cell["text"].splitlines() if line.strip()] for cell in cells]
    assert max(map(len, lines)) <= 15
    assert sum(map(len, lines)) <= 70
    trees = [ast.parse(cell["text"]) for cell in cells]
    assert not [node.name for tree in trees for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda p: p.stem)
def test_a_chapter_stores_the_outputs_of_its_checked_cells_and_no_others(path):
    """`make notebooks` does this. nbval compares nothing in a cell without a stored output or without a count."""
    checked = [cell for cell in code_cells(path) if cell["checked"]]
    assert checked
    assert all(cell["outputs"] and cell["execution_count"] for cell in checked)
    assert not [cell["text"] for cell in code_cells(path) if cell["outputs"] and not cell["checked"]]


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda p: p.stem)
def test_a_chapter_runs_in_any_python(path):
    kernel = json.loads(path.read_text(encoding="utf8"))["metadata"]["kernelspec"]["name"]
    assert kernel == "python3"
