"""A page and a running kernel that share one widget: what a notebook does, without a notebook.

The kernel's side is ipywidgets itself, over the kernel's own messages. The page's side is the widget's JavaScript with
a model of a few lines, which hands every change to the kernel and takes every change from it.
"""

import base64
import contextlib
import queue
import time
from collections.abc import Callable, Iterator
from typing import Any

from jupyter_client.manager import start_new_kernel

MODEL = """
const listeners = {};
const unpack = (text) => new DataView(Uint8Array.from(atob(text), (c) => c.charCodeAt(0)).buffer);
const put = (state, [key, ...rest], value) => rest.length ? put(state[key], rest, value) : (state[key] = value);
const fill = (state, buffers) => {
  for (const { path, data } of buffers) put(state, path, unpack(data));
  return state;
};
const fire = (key) => {
  for (const event of ["change:" + key, "change"]) (listeners[event] ?? []).forEach((f) => f());
};
const pack = (buffer) => btoa(Array.from(new Uint8Array(buffer), (c) => String.fromCharCode(c)).join(""));
let state = {}, changed = {};
window.model = {
  get: (key) => state[key],
  set(key, value) { state[key] = value; changed[key] = value; fire(key); },
  save_changes() { const sent = changed; changed = {}; if (Object.keys(sent).length) toKernel({ state: sent }); },
  send(content, _callbacks, buffers) { toKernel({ content, buffers: buffers.map(pack) }); },
  on: (event, f) => (listeners[event] ??= []).push(f),
  off: (event, f) => { listeners[event] = (listeners[event] ?? []).filter((g) => g !== f); },
};
window.fromKernel = (update, buffers) => {
  const known = fill(update, buffers);
  Object.assign(state, known);
  Object.keys(known).forEach(fire);
};
window.show = async () => {
  const style = document.createElement("style");
  style.textContent = state._css;
  document.head.append(style);
  const url = URL.createObjectURL(new Blob([state._esm], { type: "text/javascript" }));
  const el = document.body.appendChild(document.createElement("div"));
  await (await import(url)).default.render({ model, el });
};
"""


class Live:
    """A kernel, and a tab that shows its widget.

    Attributes:
        tab: the tab.
        complaints: errors that the page reported.
    """

    def __init__(self, client: Any, tab: Any) -> None:
        self.tab, self.client = tab, client
        self.complaints: list[str] = []
        self.widget = ""
        tab.on("pageerror", lambda error: self.complaints.append(str(error)))
        tab.on("console", lambda m: self.complaints.append(m.text) if m.type == "error" else None)
        tab.expose_binding("toKernel", lambda _source, message: self._to_kernel(message))
        tab.goto("about:blank")
        tab.add_script_tag(content=MODEL)

    def run(self, code: str) -> str:
        """Run a cell and give what it printed; what happens to the widget meanwhile reaches the page."""
        asked, printed = self.client.execute(code), []
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            message = self._next()
            if message is None or message["parent_header"].get("msg_id") != asked:
                continue
            kind, content = message["msg_type"], message["content"]
            if kind == "stream":
                printed.append(content["text"])
            elif kind == "error":
                raise RuntimeError("\n".join(content["traceback"]))
            elif kind == "status" and content["execution_state"] == "idle":
                return "".join(printed).strip()
        raise TimeoutError(code)

    def show(self, name: str) -> None:
        """Show a widget of the kernel in the tab."""
        self.widget = self.run(f"print({name}.model_id)")
        self.run(f"{name}.send_state()")
        self.tab.evaluate("show()")

    def until(self, done: Callable[[], bool], seconds: float = 60) -> None:
        """Carry messages until something has happened."""
        deadline = time.monotonic() + seconds
        while not done():
            if time.monotonic() > deadline:
                raise TimeoutError("the page and the kernel did not come to it")
            self._next()

    def _next(self) -> dict[str, Any] | None:
        """Take a message from the kernel, and hand it on if it is the widget's."""
        self.tab.evaluate("0")  # lets the page's own messages through
        try:
            message = self.client.get_iopub_msg(timeout=0.2)
        except queue.Empty:
            return None
        data = message["content"].get("data", {})
        if message["msg_type"] == "comm_msg" and message["content"]["comm_id"] == self.widget \
                and data.get("method") in ("update", "echo_update"):
            self._to_page(data, message["buffers"])
        return message

    def _to_page(self, data: dict[str, Any], buffers: list[Any]) -> None:
        packed = [{"path": path, "data": base64.b64encode(bytes(buffer)).decode()}
                  for path, buffer in zip(data.get("buffer_paths", []), buffers)]
        if data["method"] == "update":
            self.tab.evaluate("([state, buffers]) => fromKernel(state, buffers)", [data["state"], packed])

    def _to_kernel(self, message: dict[str, Any]) -> None:
        data = ({"method": "update", "state": message["state"], "buffer_paths": []} if "state" in message
                else {"method": "custom", "content": message["content"]})
        sent = self.client.session.msg("comm_msg", {"comm_id": self.widget, "data": data})
        sent["buffers"] = [base64.b64decode(text) for text in message.get("buffers", [])]
        self.client.shell_channel.send(sent)


@contextlib.contextmanager
def live(tab: Any, **options: Any) -> Iterator[Live]:
    """Start a kernel for a tab, and stop it."""
    manager, client = start_new_kernel(kernel_name="python3", **options)
    try:
        yield Live(client, tab)
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
