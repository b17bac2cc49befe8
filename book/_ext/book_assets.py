"""Local Sphinx extension of the book: MathJax from a package, an honest cache, clean pages, stills of explorables.

Named in `_config.yml` under `sphinx.local_extensions`.
"""

import hashlib
import importlib.util
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.transforms.post_transforms import SphinxPostTransform

CACHE_NAME = ".jupyter_cache-"
# What a chapter's outputs depend on besides its own cells.
CACHE_INPUTS = ("pyproject.toml", "contrastlib/**/*", "book/results/**/*")
# The combined MathJax component and its fonts; all that `tex-chtml-full` ever asks for.
MATHJAX_FILES = ("tex-chtml-full.js", "output/chtml/fonts/woff-v2")
# What an explorable shows with and without scripts.
VIEW, STILL = "application/vnd.jupyter.widget-view+json", "image/png"


def _cache_inputs(root: Path) -> Iterator[Path]:
    for pattern in CACHE_INPUTS:
        for path in sorted(root.glob(pattern)):
            if path.is_file() and path.suffix != ".pyc":
                yield path


def cache_key(root: Path) -> str:
    """Hash the library, the pins, the committed results and the Python version.

    jupyter-cache itself looks at a notebook's code cells only, and would show yesterday's outputs after a
    change in the library.
    """
    digest = hashlib.sha256(sys.version.encode())
    for path in _cache_inputs(root):
        digest.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]


def _set_cache(app: Any, config: Any) -> None:
    if config.nb_execution_mode != "cache" or config.nb_execution_cache_path:
        return
    build = Path(app.outdir).parent
    wanted = build / (CACHE_NAME + cache_key(Path(app.srcdir)))
    for stale in build.glob(CACHE_NAME + "*"):
        if stale != wanted:
            shutil.rmtree(stale, ignore_errors=True)
    config.nb_execution_cache_path = str(wanted)


def _copy_mathjax(app: Any) -> None:
    """Copy MathJax before the pages are written: from PyPI, so that no page asks a CDN for it."""
    if app.builder.format != "html":
        return
    spec = importlib.util.find_spec("sphinx-mathjax-offline")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError("the package sphinx-mathjax-offline is missing: run `make env`")
    source = Path(spec.origin).parent / "static" / "mathjax"
    target = Path(app.outdir) / "_static" / "mathjax"
    for name in MATHJAX_FILES:
        if (source / name).is_dir():
            shutil.copytree(source / name, target / name, dirs_exist_ok=True)
        else:
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source / name, target / name)


def _clean_scripts(
    app: Any,  # noqa: ARG001 - the signature is Sphinx's
    pagename: str,  # noqa: ARG001
    templatename: str,  # noqa: ARG001
    context: dict[str, Any],
    doctree: Any,  # noqa: ARG001
) -> None:
    """Drop thebe's scripts, which name a CDN for a button that is off, and inline scripts that come twice.

    The state of widgets holds names that anybody may have chosen. Where JSON's escape stands for each ``<``, none of
    them can end the script that it stands in (``</SCRIPT>``), nor begin another one or a comment.
    """
    seen: set[str] = set()
    kept = []
    for script in context.get("script_files", ()):
        attributes = getattr(script, "attributes", {})
        body = attributes.get("body") or ""
        name = str(getattr(script, "filename", "") or "")
        if "THEBE_JS_URL" in body or name.endswith("sphinx-thebe.js") or (body and body in seen):
            continue
        seen.add(body)
        if str(attributes.get("type", "")).endswith("+json"):
            attributes["body"] = body.replace("<", r"\u003c")
        kept.append(script)
    context["script_files"] = kept


class StillForExplorable(SphinxPostTransform):
    """Keep an explorable's still for readers whose page runs no script.

    An explorable hands MyST-NB two things to choose from, its view and a picture. MyST-NB takes the view alone; the
    picture goes in beside it, between `noscript` tags, so that a browser with scripts never asks for it.
    """

    default_priority = 3  # MyST-NB chooses at 4
    formats = ("html",)

    def run(self, **_: Any) -> None:
        """Find the outputs that are both."""
        for output in list(self.document.findall(nodes.container)):
            kinds = {child.get("mime_type"): child for child in output.children if isinstance(child, nodes.Element)}
            if output.get("nb_element") != "mime_bundle" or not {VIEW, STILL} <= set(kinds):
                continue
            view, still = kinds[VIEW], kinds[STILL]
            output.remove(still)
            view += nodes.raw("", "<noscript>", format="html")
            view.extend(still.children)
            view += nodes.raw("", "</noscript>", format="html")


def setup(app: Any) -> dict[str, bool]:
    """Connect to Sphinx."""
    app.connect("config-inited", _set_cache)
    app.connect("builder-inited", _copy_mathjax)
    app.connect("html-page-context", _clean_scripts, priority=900)
    app.add_post_transform(StillForExplorable)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
