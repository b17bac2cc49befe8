/* The temperature dial. Runs on live state in a notebook and on embedded state in a built page; needs no library. */

const SHOWN = 5; // bars: the classes that are subtracted most

function bytes(view) {
  if (view instanceof DataView) return view.buffer.slice(view.byteOffset, view.byteOffset + view.byteLength);
  if (ArrayBuffer.isView(view)) return view.buffer.slice(view.byteOffset, view.byteOffset + view.byteLength);
  return view.slice(0);
}

function temperature(position) {
  if (position <= 0) return 0;
  return position >= 100 ? Infinity : 10 ** ((position - 50) / 50);
}

/* Weights of the other classes: a softmax at temperature T, whose ends are the strongest rival and the plain mean. */
function weights(logits, target, T) {
  const others = [...logits.keys()].filter((s) => s !== target);
  const best = Math.max(...others.map((s) => logits[s]));
  const raw = new Float64Array(logits.length);
  for (const s of others) {
    const gap = logits[s] - best;
    raw[s] = T === 0 ? Number(gap === 0) : Math.exp(T === Infinity ? 0 : gap / T);
  }
  const total = raw.reduce((a, b) => a + b, 0);
  return raw.map((w) => w / total);
}

function combine(maps, scale, alpha, target, cells) {
  const out = new Float64Array(cells);
  for (let i = 0; i < cells; i++) out[i] = maps[target * cells + i];
  alpha.forEach((w, s) => {
    if (w > 0) for (let i = 0; i < cells; i++) out[i] -= w * maps[s * cells + i];
  });
  return out.map((v) => v * scale);
}

/* Bilinear, cell centres kept in place: the library's relevance.upsample. */
function upsample(map, h, w, H, W) {
  const out = new Float32Array(H * W);
  const axis = (n, N) => Array.from({ length: N }, (_, i) => {
    const x = Math.min(Math.max(((i + 0.5) * n) / N - 0.5, 0), n - 1);
    const low = Math.floor(x);
    return [low, Math.min(low + 1, n - 1), x - low];
  });
  const rows = axis(h, H), columns = axis(w, W);
  rows.forEach(([r0, r1, fr], y) => columns.forEach(([c0, c1, fc], x) => {
    const top = map[r0 * w + c0] * (1 - fc) + map[r0 * w + c1] * fc;
    const bottom = map[r1 * w + c0] * (1 - fc) + map[r1 * w + c1] * fc;
    out[y * W + x] = top * (1 - fr) + bottom * fr;
  }));
  return out;
}

/* Blue against, white neither, red for: zero-centred, scaled to the map's own largest magnitude. */
function paint(context, photo, field, H, W) {
  const limit = field.reduce((m, v) => Math.max(m, Math.abs(v)), 0) || 1;
  context.drawImage(photo, 0, 0, W, H);
  const image = context.getImageData(0, 0, W, H);
  for (let i = 0; i < H * W; i++) {
    const v = field[i] / limit, fade = 255 * (1 - Math.abs(v));
    const colour = v > 0 ? [255, fade, fade] : [fade, fade, 255];
    for (let c = 0; c < 3; c++) image.data[4 * i + c] = 0.5 * image.data[4 * i + c] + 0.5 * colour[c];
  }
  context.putImageData(image, 0, 0);
}

function element(tag, className, attributes = {}) {
  const node = Object.assign(document.createElement(tag), attributes);
  if (className) node.className = className;
  return node;
}

function controls(model, name) {
  const side = element("div", "cl-side");
  const select = element("select");
  for (const c of model.get("choices")) select.append(element("option", "", { value: c, textContent: name(c) }));
  const why = element("label", "", { textContent: "Why " });
  why.append(select, "?");
  const slider = element("input", "", { type: "range", min: 0, max: 100, step: 1 });
  const dial = element("label", "", { textContent: "Temperature of the contrast" });
  dial.append(slider);
  const marks = element("div", "cl-marks");
  for (const [text, position] of [["max", 0], ["weighted", 50], ["mean", 100]]) {
    const button = element("button", "", { type: "button", textContent: text });
    button.addEventListener("click", () => { model.set("position", position); model.save_changes(); });
    marks.append(button);
  }
  const says = element("output"), bars = element("ul", "cl-bars"), reads = element("div", "cl-reads");
  bars.setAttribute("aria-label", "what is subtracted");
  select.addEventListener("change", () => { model.set("target", Number(select.value)); model.save_changes(); });
  slider.addEventListener("input", () => { model.set("position", Number(slider.value)); model.save_changes(); });
  side.append(why, dial, marks, says, bars, reads);
  return { side, select, slider, says, bars, reads };
}

function listWeights(bars, alpha, name) {
  const order = [...alpha.keys()].sort((a, b) => alpha[b] - alpha[a]).slice(0, SHOWN);
  bars.replaceChildren(...order.map((s) => {
    const row = element("li");
    const bar = element("span", "cl-bar");
    bar.style.width = `${100 * alpha[s]}%`;
    row.append(element("span", "cl-name", { textContent: name(s), title: name(s) }), bar,
      element("span", "cl-value", { textContent: alpha[s].toFixed(3) }));
    return row;
  }));
  return order[0];
}

function render({ model, el }) {
  const [classes, h, w] = model.get("shape");
  const maps = new Int8Array(bytes(model.get("maps")));
  const logits = Array.from(new Float32Array(bytes(model.get("logits"))));
  const names = model.get("names"), name = (c) => names[c] ?? `class ${c}`;
  const canvas = element("canvas", "", { width: 224, height: 224 });
  canvas.setAttribute("role", "img");
  const context = canvas.getContext("2d", { willReadFrequently: true });
  const ui = controls(model, name);
  const root = element("div", "cl-dial");
  root.append(canvas, ui.side);
  el.append(root);
  const photo = new Image();

  function draw() {
    const target = model.get("target"), T = temperature(model.get("position"));
    ui.select.value = String(target);
    ui.slider.value = String(model.get("position"));
    const shownT = T === 0 ? "0" : T === Infinity ? "∞" : T < 10 ? T.toPrecision(2) : T.toFixed(0);
    ui.slider.setAttribute("aria-valuetext", `temperature ${shownT}`);
    const alpha = weights(logits, target, T);
    const map = combine(maps, model.get("scale"), alpha, target, h * w);
    const rival = listWeights(ui.bars, alpha, name);
    const share = Math.round(100 * alpha[rival]);
    const which = T === Infinity ? `the average of the ${classes - 1} others` :
      T === 0 ? name(rival) : `the others, ${name(rival)} counting ${share} %`;
    ui.says.textContent = `T = ${shownT}: why ${name(target)} rather than ${which}?`;
    ui.reads.textContent = `strongest for ${Math.max(...map).toFixed(3)}, against ${Math.min(...map).toFixed(3)}`;
    canvas.setAttribute("aria-label", ui.says.textContent);
    if (photo.complete && photo.naturalWidth) paint(context, photo, upsample(map, h, w, 224, 224), 224, 224);
  }

  photo.onload = draw;
  photo.src = model.get("photo");
  model.on("change:target", draw);
  model.on("change:position", draw);
  draw();
  return () => { model.off("change:target", draw); model.off("change:position", draw); };
}

export default { render };
