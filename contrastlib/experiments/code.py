"""Which code made a number: a digest of a module's source and of all that it imports from this library.

Comments, docstrings and blank lines do not count, so that a better explanation leaves the digest as it is. Of a package
only the modules count whose names are imported, so that a new attribution does not age the rows of the old ones.
"""

import ast
import hashlib
import io
import tokenize
from functools import cache
from pathlib import Path

PACKAGE = Path(__file__).parents[1]


def digest(module: str) -> str:
    """The digest of the code that a module runs.

    Args:
        module: dotted name, such as ``contrastlib.experiments.masking``.

    Returns:
        16 hexadecimal digits of a SHA-256 over the source of the module and of every module of this library that it
        imports, directly or through others.

    Raises:
        ValueError: this library has no such module.
    """
    if _path(module) is None:
        raise ValueError(f"contrastlib has no module {module!r}")
    total = hashlib.sha256()
    for name in sorted(closure(module)):
        total.update(f"{name}\n{_code(name)}\n".encode())
    return total.hexdigest()[:16]


def closure(module: str) -> set[str]:
    """A module and all modules of this library that it imports, directly or through others, or inside functions.

    Args:
        module: dotted name.

    Returns:
        dotted names.
    """
    seen: set[str] = set()
    waiting = [module]
    while waiting:
        name = waiting.pop()
        if name not in seen and _path(name) is not None:
            seen.add(name)
            waiting += _imports(name)
    return seen


def _path(module: str) -> Path | None:
    first, *rest = module.split(".")
    if first != PACKAGE.name:
        return None
    place = PACKAGE.joinpath(*rest)
    return next((path for path in (place.with_suffix(".py"), place / "__init__.py") if path.is_file()), None)


@cache
def _imports(module: str) -> list[str]:
    names = []
    for node in ast.walk(ast.parse(_source(module))):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names += [_home(node.module, alias.name) for alias in node.names]
    return names


def _home(module: str, name: str) -> str:
    """The module that a name imported from another comes from: a package's face only hands it on."""
    if _path(f"{module}.{name}") is not None:
        return f"{module}.{name}"
    for node in ast.parse(_source(module)).body:
        if isinstance(node, ast.ImportFrom) and node.module and any(
                (alias.asname or alias.name) == name for alias in node.names):
            return _home(node.module, name)
    return module


@cache
def _source(module: str) -> str:
    path = _path(module)
    return "" if path is None else path.read_text(encoding="utf8")


@cache
def _code(module: str) -> str:
    """The lines of a module that do something."""
    lines = _source(module).splitlines()
    for (row, column), text in _comments(module):
        lines[row - 1] = lines[row - 1][:column] + lines[row - 1][column + len(text):]
    silent = {number for node in ast.walk(ast.parse(_source(module))) for number in _docstring_lines(node, lines)}
    code = (line.rstrip() for number, line in enumerate(lines, 1) if number not in silent)
    return "\n".join(line for line in code if line)


def _comments(module: str) -> list[tuple[tuple[int, int], str]]:
    tokens = tokenize.generate_tokens(io.StringIO(_source(module)).readline)
    return [(token.start, token.string) for token in tokens if token.type == tokenize.COMMENT]


def _docstring_lines(node: ast.AST, lines: list[str]) -> range:
    """Of strings that stand alone: docstrings, and the texts behind constants. Code on the same line stays."""
    if (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
            and not lines[node.lineno - 1][:node.col_offset].strip()):
        return range(node.lineno, (node.end_lineno or node.lineno) + 1)
    return range(0)
