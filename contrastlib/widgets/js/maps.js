/* Arithmetic on class maps, the same as in contrastlib.contrast and contrastlib.relevance; no drawing, no page. */

/* What a Bytes trait holds, whether it comes from a kernel or out of a page. */
export function bytes(view) {
  const buffer = ArrayBuffer.isView(view) ? view.buffer : view;
  const start = ArrayBuffer.isView(view) ? view.byteOffset : 0;
  return buffer.slice(start, start + view.byteLength);
}

export const floats = (view) => new Float32Array(bytes(view));
export const eighths = (view) => new Int8Array(bytes(view));

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

/* The maps of all classes, C * h * w floats. Each class has eight bits and a scale; the likeliest ones have a second
   byte for what the first one rounds away, because a contrast subtracts just those maps from each other. */
export function decode(method, order) {
  const [h, w] = method.shape, cells = h * w;
  const coarse = eighths(method.maps), fine = eighths(method.fine), scales = floats(method.scales);
  const values = new Float32Array(coarse.length);
  scales.forEach((scale, c) => {
    for (let i = c * cells; i < (c + 1) * cells; i++) values[i] = scale * coarse[i];
  });
  for (let k = 0; k < fine.length / cells; k++) {
    const c = order[k];
    for (let i = 0; i < cells; i++) values[c * cells + i] += (scales[c] * fine[k * cells + i]) / 254;
  }
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
