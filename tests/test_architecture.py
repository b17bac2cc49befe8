"""Imports run one way, rooms are entered by their faces, and the house stays small. Read from the source."""

import ast
import io
import json
import statistics
import subprocess
import sys
import tokenize
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "contrastlib"

# What a room may use, from the simple to the composed.
COMMON = {"names", "pictures", "store", "tables"}  # they know nothing of the rest
IDEAS = COMMON | {"contrast", "relevance"}
METHODS = IDEAS | {"models", "attribution"}  # an attribution takes a classifier
MEASURES = METHODS | {"data", "perturbation", "evaluation", "published"}
MAY_USE = {
    **dict.fromkeys(COMMON, COMMON),
    **dict.fromkeys(("contrast", "relevance"), IDEAS),
    "models": COMMON | {"models"},
    "data": COMMON | {"data"},
    "attribution": METHODS,
    **dict.fromkeys(("perturbation", "evaluation", "published"), MEASURES),
    "plotting": COMMON | {"plotting"},
    "experiments": MEASURES | {"experiments", "__init__"},
    "explorables": MEASURES | {"plotting", "experiments", "explorables"},
}
ANYTHING = {"training", "__init__"}  # the command line, in `__main__` and behind two doors, stands on all the others
WITHOUT_TORCH = {"names", "pictures", "store", "tables", "plotting"}  # so that a figure redraws in a second
NO_TORCH = ("torch", "torchvision", "timm", "safetensors.torch", "captum")

FACES = ("attribution", "models", "plotting", "data", "explorables")
"""Rooms of several files that others enter by what their `__init__` names, and not by a file."""
DOORS = {"contrastlib.data.birds", "contrastlib.data.photographs", "contrastlib.models.birds"}

# What the page `layout` says, rounded up; the plan allowed 6,600 and 2,400, and the page says what the rest is for.
LINES, METHOD_LINES, FILES, LONGEST, MEDIAN = 7480, 2680, 70, 45, 6
METHOD = {"contrast", "attribution", "relevance", "perturbation", "evaluation", "published", "models"}


def modules() -> dict[str, Path]:
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = modules()
MODULES_BY_PATH = {path: module for module, path in MODULES.items()}


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
    assert {"contrastlib", "contrastlib.contrast", "contrastlib.attribution.cam"} <= set(MODULES)


@pytest.mark.parametrize("module", [m for m in MODULES if room(m) not in ANYTHING and not m.endswith("__main__")])
def test_imports_run_one_way(module):
    assert room(module) in MAY_USE, f"say in tests/test_architecture.py what {room(module)} may use"
    used = {room(name) for name in imports(module) if name.split(".")[0] == "contrastlib"}
    assert used <= MAY_USE[room(module)]


def test_rooms_are_entered_by_their_faces():
    """By other rooms, by tests, and by what builds the book."""
    files = {path: MODULES_BY_PATH.get(path, "") for path in sources()}
    inside = {f"contrastlib.{face}": face for face in FACES}
    for path, module in files.items():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf8"))):
            for name in named(node):
                face = next((face for start, face in inside.items() if name.startswith(f"{start}.")), None)
                if face and room(module) != face and name in MODULES:
                    assert any(name == door or name.startswith(f"{door}.") for door in DOORS), f"{path} imports {name}"


def named(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    return [node.module] if isinstance(node, ast.ImportFrom) and node.module and not node.level else []


def test_no_file_of_the_library_is_private():
    assert not [module for module in MODULES if any(part.startswith("_") and part != "__main__"
                                                   for part in module.split("."))]


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


@pytest.mark.parametrize("module", [m for m in MODULES if room(m) in WITHOUT_TORCH])
def test_drawing_reads_no_torch(module):
    assert not [name for name in reached(module) if name.startswith(NO_TORCH)]


@pytest.mark.parametrize("module", [m for m in MODULES if room(m) in WITHOUT_TORCH])
def test_drawing_loads_no_torch(module):
    code = f"import sys, {module}; print([m for m in {NO_TORCH!r} if m in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def sources() -> list[Path]:
    folders = ("contrastlib", "tests", "book/_ext", "book/_tools")
    return [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]


SILENT = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}
DOCUMENTED = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Module


def code_lines(path: Path) -> set[int]:
    """The lines that do something: no docstrings, comments and blank lines."""
    text = path.read_text(encoding="utf8")
    tokens = [token for token in tokenize.generate_tokens(io.StringIO(text).readline) if token.type not in SILENT]
    lines = {line for token in tokens for line in range(token.start[0], token.end[0] + 1)}
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, DOCUMENTED) and ast.get_docstring(node, clean=False) is not None:
            lines -= set(range(node.body[0].lineno, node.body[0].end_lineno + 1))
    return lines


def function_lengths(path: Path) -> dict[str, int]:
    lines = code_lines(path)
    return {f"{path.relative_to(ROOT)}:{node.name}": len(lines & set(range(node.lineno, node.end_lineno + 1))) - 1
            for node in ast.walk(ast.parse(path.read_text(encoding="utf8")))
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


@pytest.mark.parametrize("path", sources(), ids=lambda p: p.relative_to(ROOT).as_posix())
def test_functions_are_short(path):
    assert not [name for name, length in function_lengths(path).items() if length > LONGEST]


def test_the_library_is_small():
    """The budgets of the page `layout`: a change that adds a capability looks for what it makes superfluous."""
    lines = {module: len(code_lines(path)) for module, path in MODULES.items()}
    assert sum(lines.values()) <= LINES
    assert sum(count for module, count in lines.items() if room(module) in METHOD) <= METHOD_LINES
    assert len(lines) <= FILES
    lengths = [length for path in MODULES.values() for length in function_lengths(path).values()]
    assert statistics.median(lengths) <= MEDIAN


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
