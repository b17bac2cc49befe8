/* Shows the book's explorables without a kernel and without any other script.

   MyST-NB writes the state of every widget into the page. This file gives each anywidget found there a small
   model (get, set, on, off, save_changes, send), imports the widget's own module and lets it draw itself.
   Only anywidgets are drawn: a plain ipywidgets control would need a kernel to do anything, so it is reported
   as an error, which the browser test turns into a failure. */
(function () {
  "use strict";
  const VIEW = 'script[type="application/vnd.jupyter.widget-view+json"]';
  const STATE = 'script[type="application/vnd.jupyter.widget-state+json"]';
  const never = new AbortController().signal; // views of a page live as long as the page

  function bytes(base64) {
    const text = atob(base64);
    const out = new Uint8Array(text.length);
    for (let i = 0; i < text.length; i++) out[i] = text.charCodeAt(i);
    return new DataView(out.buffer); // what a live notebook hands over for a Bytes trait
  }

  function withBuffers(record) {
    const state = structuredClone(record.state);
    for (const buffer of record.buffers || []) {
      let at = state;
      for (const key of buffer.path.slice(0, -1)) at = at[key] ??= {};
      at[buffer.path.at(-1)] = bytes(buffer.data);
    }
    return state;
  }

  function same(a, b) {
    if (Object.is(a, b)) return true;
    if (typeof a !== "object" || typeof b !== "object" || !a || !b) return false;
    if (ArrayBuffer.isView(a) || ArrayBuffer.isView(b)) return false;
    return JSON.stringify(a) === JSON.stringify(b);
  }

  class Model {
    #state;
    #handlers = new Map();
    kernel = false; // explorables hide what only a kernel could answer
    constructor(record) { this.#state = withBuffers(record); }
    get(key) { return this.#state[key]; }
    set(key, value) {
      const changes = typeof key === "object" ? key : { [key]: value };
      const changed = Object.keys(changes).filter((k) => !same(this.#state[k], changes[k]));
      for (const k of changed) this.#state[k] = changes[k];
      for (const k of changed) this.#fire("change:" + k, changes[k]);
      if (changed.length) this.#fire("change");
    }
    on(names, handler) {
      for (const name of names.split(/\s+/)) {
        if (!this.#handlers.has(name)) this.#handlers.set(name, []);
        this.#handlers.get(name).push(handler);
      }
    }
    off(names, handler) {
      for (const name of names ? names.split(/\s+/) : [...this.#handlers.keys()]) {
        const left = handler ? (this.#handlers.get(name) || []).filter((h) => h !== handler) : [];
        this.#handlers.set(name, left);
      }
    }
    save_changes() {} // there is no kernel to tell; `set` has already told the views
    send() {}
    #fire(name, value) { for (const h of [...(this.#handlers.get(name) || [])]) h(this, value); }
  }

  const models = new Map();
  const modules = new Map();
  const styles = new Set();

  function addStyle(css) {
    if (!css || styles.has(css)) return;
    styles.add(css);
    const style = document.createElement("style");
    style.textContent = css;
    document.head.append(style);
  }

  async function importWidget(source) {
    if (!modules.has(source)) {
      const url = URL.createObjectURL(new Blob([source], { type: "text/javascript" }));
      modules.set(source, import(url));
    }
    const module = await modules.get(source);
    const widget = module.default ?? module;
    return typeof widget === "function" ? widget() : widget;
  }

  async function open(id, record) {
    const model = new Model(record);
    const widget = await importWidget(record.state._esm);
    await widget.initialize?.({ model, signal: never });
    return { model, widget };
  }

  async function show(script, records) {
    const id = JSON.parse(script.textContent).model_id;
    const record = records[id];
    if (!record) throw new Error(`no state for widget ${id} in this page`);
    if (record.model_module !== "anywidget") {
      throw new Error(`${record.model_name} needs a kernel; the book shows anywidgets only`);
    }
    addStyle(record.state._css);
    if (!models.has(id)) models.set(id, open(id, record));
    const { model, widget } = await models.get(id);
    const el = document.createElement("div");
    el.className = "book-widget";
    script.after(el);
    await widget.render({ model, el, signal: never });
    el.dataset.rendered = "true";
  }

  function complain(script, error) {
    console.error("widget:", error);
    const note = document.createElement("p");
    note.className = "book-widget-error";
    note.textContent = "This explorable could not be shown here; it works in the notebook.";
    script.after(note);
  }

  async function main() {
    const records = {};
    for (const s of document.querySelectorAll(STATE)) {
      Object.assign(records, JSON.parse(s.textContent).state);
    }
    for (const s of document.querySelectorAll(VIEW)) {
      await show(s, records).catch((error) => complain(s, error));
    }
    document.documentElement.dataset.widgets = "ready";
  }

  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", main);
  else main();
})();
