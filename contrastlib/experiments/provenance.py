"""Which code made which rows, and whether it has changed since; no torch.

The digest of a module's code is taken of its source and of all that it imports from this library. Comments, docstrings
and blank lines do not count, so that a better explanation leaves it as it is. Of a package only the modules count whose
names are imported, so that a new attribution does not age the rows of the old ones.
"""

import ast
import hashlib
import io
import json
import tokenize
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

PACKAGE = Path(__file__).parents[1]
ABOUT = "run.json"

# What reading a file of JSON raises where it holds something else.
_OTHER = (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, OSError, RecursionError)


def digest(module: str) -> str:
    """Of the code that a module, such as ``contrastlib.experiments.masking``, runs: 16 hexadecimal digits.

    Raises:
        ValueError: this library has no such module.
    """
    if _path(module) is None:
        raise ValueError(f"contrastlib has no module {module!r}")
    text = "".join(f"{name}\n{_code(name)}\n" for name in sorted(closure(module)))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def closure(module: str) -> set[str]:
    """A module and all modules of this library that it imports, directly or through others, or inside functions."""
    seen, new = set[str](), {module}
    while new:
        seen |= new
        new = {name for user in new for name in _imports(user) if _path(name)} - seen
    return seen


def _path(module: str) -> Path | None:
    first, *rest = module.split(".")
    place = PACKAGE.joinpath(*rest)
    files = (place.with_suffix(".py"), place / "__init__.py") if first == PACKAGE.name else ()
    return next(filter(Path.is_file, files), None)


@cache
def _imports(module: str) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(_source(module))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names |= {_home(node.module, alias.name) for alias in node.names}
    return names


def _home(module: str, name: str) -> str:
    """The module that a name imported from another comes from: a package's face only hands it on."""
    if _path(f"{module}.{name}"):
        return f"{module}.{name}"
    homes = (node.module for node in ast.parse(_source(module)).body if isinstance(node, ast.ImportFrom) and node.module
             and name in (alias.asname or alias.name for alias in node.names))
    home = next(homes, None)
    return _home(home, name) if home else module


@cache
def _source(module: str) -> str:
    return path.read_text(encoding="utf8") if (path := _path(module)) else ""


@cache
def _code(module: str) -> str:
    """The lines of a module that do something, the same in every Python, which `ast.unparse` does not promise."""
    lines = _source(module).splitlines()
    for token in tokenize.generate_tokens(io.StringIO(_source(module)).readline):
        if token.type == tokenize.COMMENT:
            lines[token.start[0] - 1] = lines[token.start[0] - 1][:token.start[1]]
    for node in ast.walk(ast.parse(_source(module))):  # strings that stand alone on their lines
        if (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
                and not lines[node.lineno - 1][:node.col_offset].strip()):
            lines[node.lineno - 1:node.end_lineno] = [""] * ((node.end_lineno or node.lineno) - node.lineno + 1)
    return "\n".join(line.rstrip() for line in lines if line.strip())


def of_tables(folder: Path) -> Iterator[dict[str, Any]]:
    """What made each group of rows of each table in a folder, as far as experiments made them.

    Yields what stands beside the table, such as images, seconds, commit and digest of the code; with the table's name,
    the group, and the verdict on whether the code is still the same.
    """
    for path in sorted(folder.glob("*.json")):
        try:
            groups = json.loads(path.read_text(encoding="utf8")).items()
        except _OTHER as error:
            raise ValueError(f"{path} is damaged: {error}") from error
        for group, about in groups:
            if isinstance(about, dict) and "module" in about:
                yield {"commit": "unknown", **about, "table": path.with_suffix(".csv").name, "group": group,
                       "verdict": _verdict(about)}


def of_run(folder: Path) -> str:
    """How far a run is, such as ``runs/masking-embedded: 12 of 32 shards of 500 images, no rows yet; code unchanged``.

    Raises:
        FileNotFoundError: the folder holds no run.
        ValueError: its record is damaged.
    """
    path = folder / ABOUT
    if not path.is_file():
        raise FileNotFoundError(f"{folder} holds no run: there is no {ABOUT} in it")
    try:
        about = json.loads(path.read_text(encoding="utf8"))["about"]
        images = int(about["images"].split()[0])
        shards = -(-images // about["setting"]["shard"])
        verdict = _verdict({"module": f"contrastlib.experiments.{about['experiment'].replace('-', '_')}", **about})
    except _OTHER as error:
        raise ValueError(f"{path} is damaged, or no record of a run") from error
    done = sum((folder / "shards" / f"{number:06d}.safetensors").is_file() for number in range(shards))
    rows = "rows written" if (folder / "rows.csv").is_file() else "no rows yet"
    return f"{folder}: {done} of {shards} shards of {images} images, {rows}; {verdict}"


def _verdict(about: dict[str, Any]) -> str:
    try:
        now = digest(about["module"])
    except ValueError:
        return f"the code is gone ({about['module']})"
    if now != about["code"]:
        return f"code has changed since ({about['code']}, now {now})"
    return "code unchanged since" + (", but changed on the way" if about.get("accepted_changes") else "")
