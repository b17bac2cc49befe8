/* What all explorables share. No two scripts may use one name at their top level: they are joined as one module. */

// --- small pieces of a page, all of them plain elements that a keyboard and a screen reader know.

let made = 0;
const own = Math.random().toString(36).slice(2, 8); // a page holds one copy of this module for each kind of explorable

export const unique = (stem) => `cl-${stem}-${own}-${++made}`;

export function element(tag, className = "", properties = {}, ...children) {
  const node = Object.assign(document.createElement(tag), properties);
  if (className) node.className = className;
  node.append(...children);
  return node;
}

/* A label with its control behind or below it. */
export function field(text, control, className = "cl-field") {
  return element("label", className, {}, element("span", "cl-label", { textContent: text }), control);
}

export function select(options, change) {
  const node = element("select");
  node.addEventListener("change", () => change(node.value));
  const fill = (list) => node.replaceChildren(
    ...list.map(([value, text]) => element("option", "", { value, textContent: text })));
  fill(options);
  return Object.assign(node, { fill });
}

export function slider(label, min, max, step, input) {
  const node = element("input", "", { type: "range", min, max, step });
  node.setAttribute("aria-label", label);
  node.addEventListener("input", () => input(Number(node.value)));
  return node;
}

/* A row of exclusive choices, as radio buttons that look like one control. */
export function choices(legend, options, change, hidden = false) {
  const name = unique("choice");
  const box = element("fieldset", "cl-choices");
  box.append(element("legend", hidden ? "cl-unseen" : "", { textContent: legend }));
  const inputs = new Map(options.map(([value, text]) => {
    const input = element("input", "", { type: "radio", name, value });
    input.addEventListener("change", () => change(value));
    box.append(element("label", "", {}, input, element("span", "", { textContent: text })));
    return [value, input];
  }));
  return { box, show: (value) => inputs.forEach((input, key) => { input.checked = key === value; }) };
}

export function button(text, click) {
  const node = element("button", "cl-button", { type: "button", textContent: text });
  node.addEventListener("click", click);
  return node;
}

/* Up to three decimals, or two digits and a power of ten for what they would hide; with the sign where it matters. */
export function shown(value, sign = false) {
  const size = Math.abs(value), before = value < 0 ? "−" : sign && value > 0 ? "+" : "";
  if (size === 0) return "0";
  if (size >= 0.001) return before + size.toFixed(size >= 100 ? 0 : size >= 10 ? 1 : 3);
  const [digits, power] = size.toExponential(1).split("e-");
  return `${before}${digits}·10⁻${[...power].map((d) => "⁰¹²³⁴⁵⁶⁷⁸⁹"[d]).join("")}`;
}

export const percent = (share) =>
  share > 0 && share < 0.0005 ? "<0.1 %" : share === 1 || share === 0 ? `${100 * share} %` :
    `${(100 * share).toFixed(share < 0.0995 ? 1 : 0)} %`;

export function listed(words, last = "or") {
  return words.length < 2 ? words.join("") : `${words.slice(0, -1).join(", ")} ${last} ${words.at(-1)}`;
}

/* Run something once after all changes that belong together. */
export function once(run) {
  let waiting = false;
  return () => {
    if (waiting) return;
    waiting = true;
    queueMicrotask(() => { waiting = false; run(); });
  };
}

/* Call `draw` whenever one of a model's traits changes; returns how to stop. */
export function follow(model, traits, draw) {
  const later = once(draw), events = traits.map((name) => `change:${name}`);
  for (const event of events) model.on(event, later);
  return () => { for (const event of events) model.off(event, later); };
}

/* Change traits as one message. */
export function change(model, values) {
  for (const [name, value] of Object.entries(values)) model.set(name, value);
  model.save_changes();
}

// --- arithmetic on maps, the same as in contrastlib.contrast and contrastlib.relevance; no drawing, no page

/* What a Bytes trait holds, whether it comes from a kernel or out of a page. */
function bytes(view) {
  const buffer = ArrayBuffer.isView(view) ? view.buffer : view;
  const start = ArrayBuffer.isView(view) ? view.byteOffset : 0;
  return buffer.slice(start, start + view.byteLength);
}

export const floats = (view) => new Float32Array(bytes(view));
const eighths = (view) => new Int8Array(bytes(view));

/* Classes from the most probable down; of equal ones the lower index first. */
export function ranked(logits) {
  return [...logits.keys()].sort((a, b) => logits[b] - logits[a] || a - b);
}

export function softmax(logits) {
  const top = logits.reduce((a, b) => Math.max(a, b), -Infinity);
  const raw = Array.from(logits, (y) => Math.exp(y - top));
  const total = raw.reduce((a, b) => a + b, 0);
  return raw.map((v) => v / total);
}

/* The maps that contrastlib.explorables.encode() packs, one after another; NaN where there is none. Each has one byte
   for each value and a scale; some have a second byte for what the first one rounds away. */
export function decode(state) {
  const [h, w] = state.shape.slice(-2), cells = h * w;
  const coarse = eighths(state.coarse), fine = eighths(state.fine), scales = floats(state.scales);
  const values = new Float32Array(scales.length * cells).fill(NaN);
  let from = 0; // a map that is not there takes no place
  scales.forEach((scale, k) => {
    if (Number.isNaN(scale)) return;
    for (let i = k * cells; i < (k + 1) * cells; i++) values[i] = scale * coarse[from++];
  });
  state.fine_of.forEach((k, n) => {
    for (let i = 0; i < cells; i++) values[k * cells + i] += (scales[k] * fine[n * cells + i]) / 254;
  });
  return { h, w, values };
}

/* 0 at 0, 1 at 50, infinite at 100, logarithmic between. */
export function temperature(position) {
  if (position <= 0) return 0;
  return position >= 100 ? Infinity : 10 ** ((position - 50) / 50);
}

/* What each other class is subtracted with: a softmax at temperature T over some of them, whose ends are the strongest
   and the plain mean. */
export function weights(logits, target, T, among) {
  const others = (among ?? [...logits.keys()]).filter((s) => s !== target);
  const best = others.reduce((m, s) => Math.max(m, logits[s]), -Infinity);
  const raw = new Float64Array(logits.length);
  let total = 0;
  for (const s of others) {
    const gap = logits[s] - best;
    raw[s] = T === 0 ? Number(gap === 0) : Math.exp(T === Infinity ? 0 : gap / T);
    total += raw[s];
  }
  return raw.map((v) => v / (total || 1));
}

/* The target's map minus the weighted maps of the others. */
export function combine({ h, w, values }, target, alpha) {
  const cells = h * w, out = new Float64Array(cells);
  for (let i = 0; i < cells; i++) out[i] = values[target * cells + i];
  alpha.forEach((weight, s) => {
    if (weight > 0) for (let i = 0; i < cells; i++) out[i] -= weight * values[s * cells + i];
  });
  return out;
}

export const largest = (map) => map.reduce((m, v) => Math.max(m, Math.abs(v)), 0);

const axes = new Map();

/* For each of N pixels the two cells of n between which it lies, and how near it is to the second. */
function axis(n, N) {
  const key = `${n}/${N}`;
  if (!axes.has(key)) {
    axes.set(key, Array.from({ length: N }, (_, i) => {
      const x = Math.min(Math.max(((i + 0.5) * n) / N - 0.5, 0), n - 1), low = Math.floor(x);
      return [low, Math.min(low + 1, n - 1), x - low];
    }));
  }
  return axes.get(key);
}

/* Bilinear, cell centres kept in place: the library's relevance.upsample. */
export function upsample(map, h, w, H, W) {
  const out = new Float32Array(H * W), columns = axis(w, W);
  axis(h, H).forEach(([r0, r1, fr], y) => {
    for (let x = 0; x < W; x++) {
      const [c0, c1, fc] = columns[x];
      const top = map[r0 * w + c0] * (1 - fc) + map[r0 * w + c1] * fc;
      const bottom = map[r1 * w + c0] * (1 - fc) + map[r1 * w + c1] * fc;
      out[y * W + x] = top * (1 - fr) + bottom * fr;
    }
  });
  return out;
}

// --- a photograph with a signed map over it, and a place on it that can be read off by mouse, finger or keyboard.

const SIDE = 224; // pixels of the longer side

/* Diverging colours from against to for: ColorBrewer's RdBu, which colour-blind readers can tell apart, and the papers'
   blue, white and red. */
const ANCHORS = {
  RdBu: ["053061", "2166ac", "4393c3", "92c5de", "d1e5f0", "f7f7f7", "fddbc7", "f4a582", "d6604d", "b2182b", "67001f"],
  bwr: ["0000ff", "ffffff", "ff0000"],
};
const LEVELS = 255; // on either side of zero
const tables = new Map();

function table(name) {
  if (!tables.has(name)) {
    const anchors = ANCHORS[name].map((hex) => [0, 2, 4].map((i) => parseInt(hex.slice(i, i + 2), 16)));
    const colours = new Uint8ClampedArray(3 * (2 * LEVELS + 1));
    for (let i = 0; i <= 2 * LEVELS; i++) {
      const at = (i / (2 * LEVELS)) * (anchors.length - 1), low = Math.min(Math.floor(at), anchors.length - 2);
      for (let c = 0; c < 3; c++) {
        colours[3 * i + c] = anchors[low][c] + (at - low) * (anchors[low + 1][c] - anchors[low][c]);
      }
    }
    tables.set(name, colours);
  }
  return tables.get(name);
}

export const gradient = (name) => `linear-gradient(to right, ${ANCHORS[name].map((hex) => "#" + hex).join(", ")})`;

/* The pixels of a photograph, its longer side SIDE. */
export async function pixels(source) {
  const image = new Image();
  image.src = source;
  await image.decode();
  const scale = SIDE / Math.max(image.naturalWidth, image.naturalHeight);
  const canvas = element("canvas", "", { width: Math.round(image.naturalWidth * scale),
    height: Math.round(image.naturalHeight * scale) });
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.imageSmoothingQuality = "high";
  context.drawImage(image, 0, 0, canvas.width, canvas.height);
  return context.getImageData(0, 0, canvas.width, canvas.height);
}

async function loadPhoto(picture) { picture.photo = await pixels(picture.state.photo); }

/* Offer pictures to choose from. Their photographs arrive a moment later and are drawn then. */
export function offer(pictures, which, around, arrived, load = loadPhoto) {
  which.fill(pictures.map(({ state }, i) => [String(i), state.title || `picture ${i + 1}`]));
  around.hidden = pictures.length < 2;
  for (const picture of pictures) load(picture).then(arrived);
}

/* Draw a map (h, w) over a photograph, zero in the middle of the colours. */
export function paint(canvas, photo, { map, h, w }, { limit, colours, strength }) {
  const { width, height, data } = photo;
  if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
  const field = upsample(map, h, w, height, width), lut = table(colours);
  const out = new ImageData(width, height), reach = limit || largest(map) || 1;
  for (let i = 0; i < field.length; i++) {
    const level = Math.min(Math.max(Math.round((LEVELS * field[i]) / reach), -LEVELS), LEVELS) + LEVELS;
    for (let c = 0; c < 3; c++) {
      out.data[4 * i + c] = (1 - strength) * data[4 * i + c] + strength * lut[3 * level + c];
    }
    out.data[4 * i + 3] = 255;
  }
  canvas.getContext("2d").putImageData(out, 0, 0);
  return field;
}

/* A canvas whose values can be read off: the mouse points, the arrow keys walk. `read(x, y)` gets shares of the width
   and height, or nothing when the pointer leaves. */
export function readable(read, className = "cl-canvas") {
  const frame = element("div", className), canvas = element("canvas", "", { width: SIDE, height: SIDE, tabIndex: 0 });
  const cross = element("span", "cl-cross");
  cross.hidden = true;
  canvas.setAttribute("role", "img");
  frame.append(canvas, cross);
  let at = [0.5, 0.5];
  const go = (x, y, show) => {
    at = [Math.min(Math.max(x, 0), 0.999), Math.min(Math.max(y, 0), 0.999)];
    cross.hidden = !show;
    cross.style.left = `${100 * at[0]}%`;
    cross.style.top = `${100 * at[1]}%`;
    read(...at);
  };
  canvas.addEventListener("pointermove", (event) => {
    const box = canvas.getBoundingClientRect();
    go((event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height, false);
  });
  canvas.addEventListener("pointerleave", () => { cross.hidden = true; read(); });
  canvas.addEventListener("blur", () => { cross.hidden = true; read(); });
  canvas.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    if (!step) return;
    event.preventDefault();
    go(at[0] + step[0] / 28, at[1] + step[1] / 28, true);
  });
  return { frame, canvas };
}

// --- a line chart as SVG: few ticks, lines with their intervals, and a marker that the pointer sets.

const MARGIN = { left: 38, right: 12, top: 24, bottom: 36 };
const SPACE = "http://www.w3.org/2000/svg";

function svg(tag, attributes = {}, ...children) {
  const node = document.createElementNS(SPACE, tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

/* A colour of a line as the theme shows it: css makes it lighter on dark pages. */
export function inked(node, colour) {
  node.classList.add("cl-ink");
  node.style.setProperty("--cl-own", colour);
  return node;
}

/* A short piece of a line, to stand before its name. */
export const swatch = (colour) => inked(element("span", "cl-swatch", { ariaHidden: "true" }), colour);

/* Round numbers from low to high, about so many. */
function roundNumbers(low, high, about) {
  const raw = (high - low) / about, power = 10 ** Math.floor(Math.log10(raw));
  const step = power * ([1, 2, 5].find((f) => f * power >= raw * 0.999) ?? 10), first = Math.ceil(low / step - 1e-9);
  const count = Math.floor(high / step + 1e-9) - first + 1, digits = Math.max(0, -Math.floor(Math.log10(step) + 1e-9));
  return Array.from({ length: count }, (_, i) => [(first + i) * step, ((first + i) * step).toFixed(digits)]);
}

/* The mean height of a line over evenly spaced places, by the trapezoidal rule: the library's faithfulness.area. */
export function meanHeight(values) {
  const sum = values.reduce((a, b) => a + b, 0) - (values[0] + values.at(-1)) / 2;
  return sum / (values.length - 1);
}

/* The ends of the vertical axis: a little beyond all that is drawn, and never beyond what a value can be. */
function reach(lines, limits) {
  const all = lines.flatMap(({ values, spread }) => values.flatMap((v, i) => [v - (spread?.[i] || 0),
    v + (spread?.[i] || 0)]));
  const low = Math.min(...all), high = Math.max(...all), room = 0.06 * (high - low) || 0.05;
  return [Math.max(low - room, limits[0]), Math.min(high + room, limits[1])];
}

/* Lines are { colour, values, spread, strong }: one value for each x, the half width of its interval, whether the line
   stands out. The vertical axis has a fixed `range`, or reaches as far as the lines within `limits`. `pick` gets the
   index of the x nearest to where the pointer presses. */
export function lineChart({ xs, xlabel, ylabel, height = 200, range = null, limits = [-Infinity, Infinity], pick }) {
  const node = svg("svg", { role: "img", class: "cl-chart" }), frame = element("div", "cl-chart-frame", {}, node);
  const text = (x, y, words, anchor) => svg("text", { x, y, "text-anchor": anchor }, words.replace("-", "−"));
  const ends = [Math.min(...xs), Math.max(...xs)];
  let width = 0, shown = null;

  const px = (x) => MARGIN.left + ((x - ends[0]) / (ends[1] - ends[0])) * (width - MARGIN.left - MARGIN.right);

  function grid(py, low, high) {
    const bottom = height - MARGIN.bottom, right = width - MARGIN.right;
    const rows = roundNumbers(low, high, height / 45).flatMap(([y, words]) => [
      svg("line", { class: "cl-grid", x1: MARGIN.left, x2: right, y1: py(y), y2: py(y) }),
      text(MARGIN.left - 6, py(y) + 4, words, "end")]);
    const columns = roundNumbers(...ends, Math.min(5, width / 55)).flatMap(([x, words]) => [
      svg("line", { class: "cl-tick", x1: px(x), x2: px(x), y1: bottom, y2: bottom + 4 }),
      text(px(x), bottom + 16, words, "middle")]);
    return [...rows, ...columns, text((MARGIN.left + right) / 2, height - 4, xlabel, "middle"), text(2, 12, ylabel)];
  }

  function band({ values, spread }, py) {
    const side = (sign) => values.map((v, i) => `${px(xs[i])},${py(v + sign * spread[i])}`);
    return svg("polygon", { class: "cl-band", points: [...side(1), ...side(-1).reverse()].join(" ") });
  }

  function paintLines() {
    if (!shown || !width) return;
    const { lines, at } = shown, [low, high] = range ?? reach(lines, limits);
    const py = (y) => height - MARGIN.bottom
      - ((Math.min(Math.max(y, low), high) - low) / (high - low)) * (height - MARGIN.top - MARGIN.bottom);
    node.setAttribute("viewBox", `0 0 ${width} ${height}`);
    const drawn = [...lines].sort((a, b) => Number(a.strong ?? 0) - Number(b.strong ?? 0)).map((line) => {
      const points = line.values.map((v, i) => `${px(xs[i])},${py(v)}`).join(" ");
      const known = line.spread?.every(Number.isFinite);
      return inked(svg("g", { class: line.strong ? "cl-strong" : "" }, ...(known ? [band(line, py)] : []),
        svg("polyline", { points }), svg("circle", { cx: px(xs[at]), cy: py(line.values[at]), r: 4 })), line.colour);
    });
    const marker = svg("line", { class: "cl-marker", x1: px(xs[at]), x2: px(xs[at]), y1: MARGIN.top,
      y2: height - MARGIN.bottom });
    node.replaceChildren(...grid(py, low, high), marker, ...drawn);
  }

  function press(event) {
    const x = event.clientX - node.getBoundingClientRect().left;
    const far = (i) => Math.abs(px(xs[i]) - x);
    pick(xs.reduce((best, _, i) => (far(i) < far(best) ? i : best), 0));
  }
  node.addEventListener("pointerdown", (event) => { node.setPointerCapture(event.pointerId); press(event); });
  node.addEventListener("pointermove", (event) => { if (event.buttons & 1) press(event); });

  // Drawn in the pixels there are, so that letters keep their size on a narrow screen.
  frame.style.height = `${height}px`;
  const watch = new ResizeObserver(() => { width = frame.clientWidth; paintLines(); });
  watch.observe(frame);

  function draw(lines, at, says) {
    shown = { lines, at };
    node.setAttribute("aria-label", says);
    paintLines();
  }

  return { node: frame, draw, stop: () => watch.disconnect() };
}
