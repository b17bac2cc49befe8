"""One script from several: what a browser is handed has no files to import from."""

import re
from functools import cache
from pathlib import Path

HERE = Path(__file__).parent
_IMPORT = re.compile(r'^import\s*\{[^}]*\}\s*from\s*"\./([\w.]+)";\n', re.MULTILINE)
_EXPORT = re.compile(r"^export (?!default)", re.MULTILINE)


@cache
def script(name: str) -> str:
    """A module of ``js/`` with all that it imports, as one module.

    Imports must be relative and by name, and no two modules may use one name at their top level for different things;
    a browser would refuse the result.

    Args:
        name: file name, such as ``explorer.js``.

    Returns:
        the source, without imports, with the default export of the named module.
    """
    parts: dict[str, str] = {}
    _collect(name, parts)
    return "\n".join(parts.values())


def _collect(name: str, parts: dict[str, str]) -> None:
    source = (HERE / "js" / name).read_text(encoding="utf8")
    for wanted in _IMPORT.findall(source):
        if wanted not in parts:
            _collect(wanted, parts)
    parts[name] = _EXPORT.sub("", _IMPORT.sub("", source))
