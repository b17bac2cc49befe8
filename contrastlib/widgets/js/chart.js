/* A line chart as SVG: few ticks, lines with their intervals, and a marker that the pointer sets. */

import { element } from "./parts.js";

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
