"""Open a page as a reader without a network would, and note everything that goes wrong."""

import contextlib
import functools
import http.server
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

# Images that the browser puts off until they are scrolled to are loaded now, so that a missing one shows.
LOAD_IMAGES = """async () => {
  const images = [...document.images];
  images.forEach((image) => { image.loading = "eager"; });
  await Promise.all(images.map((image) => image.decode().catch(() => {})));
  return images.filter((image) => !image.naturalWidth).map((image) => image.getAttribute("src"));
}"""

# An equation is broken if it stayed text, is an error box, or holds a macro that MathJax does not know:
# that one is drawn in red and is no error to MathJax.
BAD_EQUATIONS = """async () => {
  const places = [...document.querySelectorAll(".math")];
  if (!places.length) return [];
  while (!window.MathJax?.startup?.promise) await new Promise((done) => setTimeout(done, 20));
  await MathJax.startup.promise;
  const bad = places.filter((p) => !p.querySelector("mjx-container")).map((p) => "not drawn: " + p.textContent);
  for (const item of MathJax.startup.document.math) {
    item.root.walkTree((node) => {
      const red = node.isKind("mtext") && node.attributes.get("mathcolor") === "red";
      if (red || node.isKind("merror")) bad.push("not understood: " + item.math);
    });
  }
  return bad;
}"""

DEAD_WIDGETS = """async () => {
  const views = document.querySelectorAll('script[type="application/vnd.jupyter.widget-view+json"]');
  if (!views.length) return 0;
  while (document.documentElement.dataset.widgets !== "ready") await new Promise((done) => setTimeout(done, 20));
  return views.length - document.querySelectorAll(".book-widget[data-rendered]").length;
}"""

# What makes a narrow window scroll sideways: elements that stick out on the right with nothing around them that
# scrolls or cuts them off, and elements whose text does.
STICKING_OUT = """() => {
  const wide = document.documentElement.clientWidth;
  if (document.documentElement.scrollWidth <= wide) return [];
  const scrolls = (e) => getComputedStyle(e).overflowX !== "visible";
  const kept = (e) => e && e !== document.body && (scrolls(e) || kept(e.parentElement));
  const out = [...document.querySelectorAll("article *")].filter((e) => !kept(e)
    && Math.max(e.getBoundingClientRect().right, e.getBoundingClientRect().left + e.scrollWidth) > wide + 1);
  const inmost = out.filter((e) => ![...e.children].some((child) => out.includes(child)));
  return ["page: " + document.documentElement.scrollWidth, ...inmost.slice(0, 8).map((e) => e.outerHTML.slice(0, 120))];
}"""


class Visit:
    """One opened page: the tab, and what was asked for and said while it loaded."""

    def __init__(self, tab: Any, site: str) -> None:
        self.tab = tab
        self.foreign: list[str] = []
        self.complaints: list[str] = []
        self.missing: list[str] = []
        tab.set_default_timeout(30_000)
        tab.route("**/*", lambda route: self._ask(route, site))
        tab.on("console", lambda m: self.complaints.append(m.text) if m.type == "error" else None)
        tab.on("pageerror", lambda error: self.complaints.append(str(error)))
        tab.on("response", lambda r: self.missing.append(f"{r.status} {r.url}") if r.status >= 400 else None)

    def _ask(self, route: Any, site: str) -> None:
        url = route.request.url
        if urlsplit(url).scheme in ("http", "https") and not url.startswith(site):
            self.foreign.append(url)
            route.abort()
        else:
            route.continue_()

    def problems(self) -> dict[str, Any]:
        """Everything wrong with the page, by kind; empty if nothing is."""
        found = {
            "images": self.tab.evaluate(LOAD_IMAGES),
            "equations": self.tab.evaluate(BAD_EQUATIONS),
            "widgets": self.tab.evaluate(DEAD_WIDGETS),
        }
        self.tab.set_viewport_size({"width": 400, "height": 800})
        found["sticking out"] = self.tab.evaluate(STICKING_OUT)
        found |= {"foreign": self.foreign, "complaints": self.complaints, "missing": self.missing}
        return {kind: what for kind, what in found.items() if what}


class _Silent(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args: object) -> None:
        pass


class _Server(http.server.ThreadingHTTPServer):
    def handle_error(self, *_: object) -> None:
        """A tab that is closed while it loads breaks its connection: no news."""


@contextlib.contextmanager
def serve(folder: Path) -> Iterator[str]:
    """Serve a folder on a free port of this machine and give its address."""
    handler = functools.partial(_Silent, directory=str(folder))
    with _Server(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()
