/* A photograph with a signed map over it, and a place on it that can be read off by mouse, finger or keyboard. */

import { largest, upsample } from "./maps.js";
import { element } from "./parts.js";

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
