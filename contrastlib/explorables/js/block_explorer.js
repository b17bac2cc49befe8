/* The transformer explorer: block by block, what was published beside what is right. */

import { button, change, choices, decode, element, field, follow, gradient, largest, offer, paint, percent, readable,
  select, shown, slider } from "./base.js";

const PACE = 900; // milliseconds of a block while it plays
const ASKED = ["original", "weighted"];
const NAMES = { published: "as published", corrected: "corrected" };
const TRAITS = ["pictures", "picture", "target", "contrast", "method", "reading", "block", "strength", "colours"];

/* One picture of the state; its frames are decoded when they are looked at. */
class BlockPicture {
  constructor(state) {
    this.state = state;
    this.photo = null;
    this.decoded = new Map();
  }

  /* The frames of a method: a list over target, contrast, block and variant, null where there is none. */
  frames(name) {
    if (!this.decoded.has(name)) {
      const state = this.state.frames[name], { h, w, values } = decode(state), cells = h * w;
      this.decoded.set(name, { shape: state.shape, list: Array.from({ length: values.length / cells }, (_, k) => {
        const map = values.subarray(k * cells, (k + 1) * cells);
        return Number.isNaN(map[0]) ? null : { map, h, w };
      }) });
    }
    return this.decoded.get(name);
  }

  /* Both maps of a block; null for one that there is not. */
  answer({ target, contrast, method, reading }, block) {
    const { shape, list } = this.frames(method.name), [, , blocks, variants] = shape;
    const start = ((target * 2 + ASKED.indexOf(contrast)) * blocks + block) * variants;
    const published = variants > 1 ? list[start + Math.min(reading, variants - 2)] : null;
    return { published, corrected: list[start + variants - 1] };
  }
}

/* Pearson's correlation over the patches; nothing where a map is constant. */
function correlation(a, b) {
  const centred = [a, b].map((map) => {
    const mean = map.reduce((sum, v) => sum + v, 0) / map.length;
    return map.map((v) => v - mean);
  });
  if ([a, b].some((map) => map.every((v) => v === map[0]))) return undefined;
  const dot = (i, j) => centred[i].reduce((sum, v, k) => sum + v * centred[j][k], 0);
  return dot(0, 1) / Math.sqrt(dot(0, 0) * dot(1, 1));
}

function agreement({ published, corrected }, method) {
  if (!method.published.length) return "Nothing was published to compare it with.";
  if (!published || !corrected) return "At this block there are no two maps to compare.";
  const r = correlation(published.map, corrected.map);
  if (r === undefined) return "No correlation: one of the maps is the same everywhere.";
  return `The two maps correlate at ${r.toFixed(2).replace("-", "−")}.`;
}

/* A map with its name, its colours in numbers, and what was computed. */
function mapPanel(variant, read) {
  const { frame, canvas } = readable((x, y) => read(variant, x, y));
  const twin = element("span", "cl-cross"); // the same place in the other map
  twin.hidden = true;
  const none = element("p", "cl-none"), note = element("figcaption", "cl-note");
  const legend = element("div", "cl-legend", {}, element("span"), element("span", "cl-scale"), element("span"));
  frame.append(twin, none);
  const figure = element("figure", "cl-panel", {}, element("p", "cl-variant", { textContent: NAMES[variant] }), frame,
    legend, note);
  return { figure, canvas, twin, none, note, legend, field: null, limit: 0 };
}

/* A small pair of maps for each block, published above corrected, and its number. */
function blockStrip(names, choose) {
  const box = element("div", "cl-strip");
  const items = names.map((name, b) => {
    const maps = { published: element("canvas"), corrected: element("canvas") };
    // The slider does the same for the keyboard.
    const node = element("button", "cl-block", { type: "button", title: name, tabIndex: -1, ariaLabel: `block ${b}` },
      maps.published, maps.corrected, element("span", "", { textContent: String(b) }));
    node.addEventListener("click", () => choose(b));
    box.append(node);
    return { node, maps };
  });
  let drawn = "";

  function show(picture, asking, look, block) {
    items.forEach(({ node }, b) => node.setAttribute("aria-pressed", String(b === block)));
    const key = JSON.stringify([picture.state.title, picture.number, asking, look, Boolean(picture.photo)]);
    if (key === drawn || !picture.photo) return;
    drawn = key;
    items.forEach(({ maps }, b) => {
      for (const [variant, found] of Object.entries(picture.answer(asking, b))) {
        maps[variant].hidden = variant === "published" && !asking.method.published.length;
        maps[variant].classList.toggle("cl-faint", !found);
        paint(maps[variant], picture.photo, found ?? { map: [0], h: 1, w: 1 },
          { ...look, strength: found ? look.strength : 0 });
      }
    });
  }

  return { box, show };
}

/* Steps through the blocks until the last, or until it is stopped. */
function player(last, get, set) {
  let timer = 0;
  const node = button("", () => (timer ? stop() : start()));
  const show = () => { node.textContent = timer ? "■ stop" : "▶ play"; };
  function stop() { clearInterval(timer); timer = 0; show(); }
  function start() {
    if (get() >= last) set(0);
    timer = setInterval(() => {
      if (!node.isConnected) { stop(); return; }
      set(Math.min(get() + 1, last));
      if (get() >= last) stop();
    }, PACE);
    show();
  }
  show();
  return { node, stop };
}

function render({ model, el }) {
  const methods = model.get("methods"), blocks = model.get("blocks"), last = blocks.length - 1;
  let pictures = [], known = null, gone = false, classes = null, readings = null, listedFor = {};

  const asked = () => ({ ...Object.fromEntries(["target", "contrast", "reading"].map((key) => [key, model.get(key)])),
    method: methods.find((m) => m.name === model.get("method")) ?? methods[0] });
  const look = () => ({ colours: model.get("colours"), strength: model.get("strength") });

  // what can be chosen
  const says = element("output", "cl-says");
  const which = select([], (value) => change(model, { picture: Number(value), target: 0 }));
  const whichField = field("picture", which);
  const classBox = element("div"), readingBox = element("div");
  const contrasts = choices("contrast", ASKED.map((name) => [name, name]),
    (value) => change(model, { contrast: value }));
  const method = choices("method", methods.map(({ name }) => [name, name]),
    (value) => change(model, { method: value }));
  const play = player(last, () => model.get("block"), (block) => change(model, { block }));
  const choose = (block) => { play.stop(); change(model, { block }); };
  const block = slider("block", 0, last, 1, choose), number = element("output", "cl-degrees");
  const strip = blockStrip(blocks, choose), rows = element("p", "cl-key");

  // what is seen
  const panels = { published: mapPanel("published", read), corrected: mapPanel("corrected", read) };
  const agrees = element("output", "cl-agrees"), here = element("output", "cl-here");
  agrees.title = "Pearson's correlation over the patches: 1 for the same map but for its scale";

  // how it is shown
  const strength = slider("strength of the overlay", 0, 1, 0.05, (value) => change(model, { strength: value }));
  const colours = choices("colours", [["RdBu", "red and blue"], ["bwr", "the papers'"]],
    (value) => change(model, { colours: value }));
  const looks = element("details", "cl-looks", {}, element("summary", "", { textContent: "how it is drawn" }),
    field("overlay", strength), colours.box);

  el.append(element("div", "cl-widget cl-blocks", {}, says,
    element("div", "cl-pair", {}, whichField, classBox, contrasts.box, method.box, readingBox),
    element("div", "cl-walk", {}, play.node, field("block", block), number),
    element("div", "cl-two", {}, panels.published.figure, panels.corrected.figure),
    element("div", "cl-told", {}, agrees, here), rows, strip.box, looks));

  function read(from, x, y) {
    const values = [];
    for (const [variant, panel] of Object.entries(panels)) {
      panel.twin.hidden = x === undefined || variant === from || !panel.field;
      if (x === undefined || !panel.field) continue;
      Object.assign(panel.twin.style, { left: `${100 * x}%`, top: `${100 * y}%` });
      const { canvas, field: cells } = panel;
      const value = cells[Math.floor(y * canvas.height) * canvas.width + Math.floor(x * canvas.width)];
      // What is no colour either is nothing but rounding.
      values.push(`${NAMES[variant]} ${shown(Math.abs(value) < panel.limit / 255 ? 0 : value, true)}`);
    }
    here.textContent = values.length ? `here ${values.join(", ")}` : "";
  }

  function drawPanel(variant, picture, found, asking, text) {
    const panel = panels[variant], { method: how } = asking, flat = found && !largest(found.map);
    const reading = variant === "corrected" ? how.corrected
      : how.published[Math.min(asking.reading, how.published.length - 1)];
    const missing = !reading ? "Nothing was published for this method." : !found ? reading.absent
      : flat ? "The map is zero everywhere." : "";
    panel.none.textContent = missing;
    panel.none.hidden = !missing;
    panel.legend.style.visibility = missing ? "hidden" : ""; // its place is kept, so that nothing jumps
    panel.note.textContent = reading?.notes[asking.contrast] ?? "";
    panel.canvas.setAttribute("aria-label", `${NAMES[variant]}: ${missing || text}`);
    panel.field = null;
    if (!picture.photo) return;
    const field = paint(panel.canvas, picture.photo, missing ? { map: [0], h: 1, w: 1 } : found,
      { ...look(), strength: missing ? 0 : model.get("strength") });
    panel.canvas.classList.toggle("cl-faint", Boolean(missing));
    if (missing) return;
    panel.field = field;
    const limit = panel.limit = largest(found.map), [low, scale, high] = panel.legend.children;
    low.textContent = shown(-limit);
    high.textContent = shown(limit, true);
    scale.style.background = gradient(model.get("colours"));
  }

  /* Radio buttons whose texts depend on the picture or the method. */
  function drawChoices(picture, asking) {
    if (listedFor.picture !== picture) {
      const star = (one) => (one.index === picture.state.label ? "★ " : "");
      classes = choices("class", picture.state.classes.map((one, i) =>
        [i, `${star(one)}${one.name} ${percent(one.probability)}`]), (value) => change(model, { target: value }));
      if (picture.state.classes.some(star)) {
        classes.box.append(element("small", "cl-key", { textContent: "★ is the true class" }));
      }
      classBox.replaceChildren(classes.box);
    }
    if (listedFor.method !== asking.method) {
      const { published } = asking.method;
      readings = choices("published map read", published.map((one, i) => [i, one.name]),
        (value) => change(model, { reading: value }));
      readingBox.replaceChildren(readings.box);
      readingBox.hidden = published.length < 2;
    }
    listedFor = { picture, method: asking.method };
    classes.show(asking.target);
    readings.show(Math.min(asking.reading, asking.method.published.length - 1));
    contrasts.show(asking.contrast);
    method.show(asking.method.name);
    colours.show(model.get("colours"));
    strength.value = String(model.get("strength"));
    which.value = String(model.get("picture"));
  }

  function load() {
    known = model.get("pictures");
    pictures = known.map((state, number) => Object.assign(new BlockPicture(state), { number }));
    offer(pictures, which, whichField, () => { if (!gone) draw(); });
  }

  function draw() {
    if (known !== model.get("pictures")) load();
    const picture = pictures[model.get("picture")], asking = asked(), at = model.get("block");
    const rather = asking.contrast === "weighted" ? " rather than the others" : "";
    const text = `Why ${picture.state.classes[asking.target].name}${rather}, by ${
      asking.method.phrase.replace("{}", at)}?`;
    says.textContent = text;
    const answer = picture.answer(asking, at);
    for (const [variant, found] of Object.entries(answer)) drawPanel(variant, picture, found, asking, text);
    agrees.textContent = agreement(answer, asking.method);
    here.textContent = "";
    block.value = String(at);
    block.setAttribute("aria-valuetext", `block ${at}, ${blocks[at]}`);
    number.textContent = `${at} (0 to ${last})`;
    drawChoices(picture, asking);
    rows.textContent = `every block${asking.method.published.length ? ", as published above, corrected below" : ""}`;
    strip.show(picture, asking, look(), at);
  }

  draw();
  const stop = follow(model, TRAITS, draw);
  return () => { gone = true; play.stop(); stop(); };
}

export default { render };
