/* Remove what a map ranks highest, or lowest, and follow what the network still believes. */

import { change, choices, decode, element, field, floats, follow, inked, lineChart, listed, meanHeight, offer, pixels,
  select, slider, swatch, upsample } from "./base.js";

const ENDS = ["highest", "lowest"];
const BETTER = { highest: "The lower curve ranks the evidence better.",
  lowest: "The higher curve ranks the evidence better." };
const MASKING = ["pictures", "picture", "target", "removed", "share"];

/* The rank of each value, 0 for the lowest; of equal ones the earlier first: the library's perturbation.ranks. */
function ranksOf(values) {
  const order = Uint32Array.from(values.keys()).sort((a, b) => values[a] - values[b] || a - b);
  const rank = new Uint32Array(values.length);
  order.forEach((pixel, place) => { rank[pixel] = place; });
  return rank;
}

/* One picture of the state. The maps of target and contrast lie one after another, as do the curves. */
class MaskedPicture {
  constructor(state, contrasts, shares) {
    Object.assign(this, { state, contrasts, shares, rank: new Map(), photo: null, blurred: null });
    this.maps = decode(state.maps);
    this.curves = floats(state.curves);
  }

  async load() {
    [this.photo, this.blurred] = await Promise.all([pixels(this.state.photo), pixels(this.state.blurred)]);
  }

  curve(target, removed, k) {
    const at = ((target * ENDS.length + ENDS.indexOf(removed)) * this.contrasts + k) * this.shares;
    return Array.from(this.curves.subarray(at, at + this.shares));
  }

  ranks(target, k) {
    const key = target * this.contrasts + k;
    if (!this.rank.has(key)) {
      const { h, w, values } = this.maps, map = values.subarray(key * h * w, (key + 1) * h * w);
      this.rank.set(key, ranksOf(upsample(map, h, w, this.photo.height, this.photo.width)));
    }
    return this.rank.get(key);
  }

  /* The photograph where it stays, the blurred one where it was removed. */
  paint(canvas, { target, removed, share }, k) {
    if (!this.photo) return;
    const { width, height } = this.photo, rank = this.ranks(target, k), count = Math.round((share / 100) * rank.length);
    if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
    const out = new Uint32Array(rank.length);
    const [stays, gone] = [this.photo, this.blurred].map(({ data }) => new Uint32Array(data.buffer));
    for (let i = 0; i < out.length; i++) {
      out[i] = (removed === "lowest" ? rank[i] >= count : rank[i] < out.length - count) ? stays[i] : gone[i];
    }
    canvas.getContext("2d").putImageData(new ImageData(new Uint8ClampedArray(out.buffer), width, height), 0, 0);
  }
}

function saying(asking, names, values, contrasts) {
  const [one, other] = asking.target ? [names[1], names[0]] : names;
  const has = (v) => v.toFixed(2);
  if (asking.share === 0) return `With nothing removed, ${one} has ${has(values[0])} against ${other}.`;
  if (asking.share === 100) return `With everything blurred, ${one} has ${has(values[0])} against ${other}.`;
  const most = asking.removed === "highest" ? "most" : "least";
  const found = contrasts.map((name, k) =>
    `${has(values[k])}${k ? "" : ` against ${other}`} by the ${name} ${k ? "one" : "map"}`);
  return `With ${asking.share} % removed, what speaks ${most} for ${one} first, it has ${listed(found, "and")}.`;
}

function render({ model, el }) {
  const contrasts = model.get("contrasts"), colours = model.get("colours"), step = model.get("step");
  const shares = Array.from({ length: 100 / step + 1 }, (_, i) => i * step);
  const question = () => Object.fromEntries(["target", "removed", "share"].map((key) => [key, model.get(key)]));
  let pictures = [], known = null, gone = false;

  const says = element("output", "cl-says");
  const which = select([], (value) => change(model, { picture: Number(value) }));
  const whichField = field("picture", which);
  const target = select([], (value) => change(model, { target: Number(value) }));
  const removed = choices("removed first", [["highest", "what speaks most for it"], ["lowest", "what speaks least"]],
    (value) => change(model, { removed: value }));
  const share = slider("share of the picture that is removed, in per cent", 0, 100, step,
    (value) => change(model, { share: value }));
  const degrees = element("output", "cl-degrees"), better = element("p", "cl-rest");
  const chart = lineChart({ xs: shares, xlabel: "removed, %", ylabel: "relative probability", range: [0, 1],
    height: 236, pick: (i) => change(model, { share: shares[i] }) });

  const panels = contrasts.map((name, k) => {
    const canvas = element("canvas"), value = element("span", "cl-number"), area = element("span", "cl-area");
    canvas.setAttribute("role", "img");
    const caption = element("figcaption", "", {}, swatch(colours[k]),
      inked(element("strong", "", { textContent: name }), colours[k]), value, area);
    return { canvas, value, area, figure: element("figure", "cl-panel", {}, canvas, caption) };
  });
  const root = element("div", "cl-widget cl-masking", {}, says,
    element("div", "cl-pair", {}, whichField, field("how likely is", target)), removed.box,
    element("div", "cl-halves", {}, element("div", "cl-panels", {}, ...panels.map(({ figure }) => figure)),
      element("div", "cl-curves", {}, chart.node, element("div", "cl-under", {}, share), degrees, better)));
  el.append(root);

  function load() {
    known = model.get("pictures");
    pictures = known.map((state) => new MaskedPicture(state, contrasts.length, shares.length));
    offer(pictures, which, whichField, () => { if (!gone) draw(); }, (picture) => picture.load());
  }

  function drawChoices(names, asking) {
    which.value = String(model.get("picture"));
    target.fill([names, [...names].reverse()].map(([one, other], i) => [String(i), `${one} against ${other}`]));
    target.value = String(asking.target);
    removed.show(asking.removed);
    share.value = String(asking.share);
    share.setAttribute("aria-valuetext", `${asking.share} % removed`);
    degrees.textContent = `${asking.share} % removed`;
    better.textContent = BETTER[asking.removed];
  }

  function draw() {
    if (known !== model.get("pictures")) load();
    const picture = pictures[model.get("picture")], asking = question();
    root.classList.toggle("cl-empty", !picture);
    if (!picture) { says.textContent = "No picture yet."; return; }
    const at = shares.indexOf(asking.share), { names } = picture.state;
    const curves = contrasts.map((_, k) => picture.curve(asking.target, asking.removed, k));
    const text = saying(asking, names, curves.map((curve) => curve[at]), contrasts);
    says.textContent = text;
    drawChoices(names, asking);
    panels.forEach(({ canvas, value, area }, k) => {
      value.textContent = curves[k][at].toFixed(2);
      area.textContent = `area ${meanHeight(curves[k]).toFixed(2)}`;
      canvas.setAttribute("aria-label", `what is left by the ${contrasts[k]} map with ${asking.share} % removed`);
      picture.paint(canvas, asking, k);
    });
    chart.draw(contrasts.map((_, k) => ({ colour: colours[k], values: curves[k] })), at, text);
  }

  draw();
  const stop = follow(model, MASKING, draw);
  return () => { gone = true; stop(); chart.stop(); };
}

export default { render };
