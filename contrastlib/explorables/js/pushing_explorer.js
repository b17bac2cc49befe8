/* Push pictures, step by step, along the gradient of a score, and see what the network makes of them. */

import { change, choices, element, field, floats, follow, lineChart, percent, pixels, slider, swatch } from "./base.js";

const METRICS = ["accuracy", "probability pₜ", "change of logit yₜ"]; // how their charts are headed
const SURE = 1.96; // standard errors of a 95 % interval
const PUSHING = ["step", "contrast"];

const stepsOf = (n) => (n === 1 ? "1 step" : `${n} steps`);
const signed = (value) => (value > 0 ? "+" : "") + value.toFixed(2).replace("-", "−");
const cut = (table, width, at) => Array.from(table.subarray(at * width, (at + 1) * width));

function pushedSentence(step, contrast, count, now, before) {
  const right = count === 1 ? `the picture is named ${now[0] ? "rightly" : "wrongly"}`
    : `${percent(now[0])} of ${count} pictures are named rightly`;
  const average = count === 1 ? "" : ", on average";
  if (!step) return `Before any step ${right}, and pₜ is ${now[1].toFixed(2)}${average}.`;
  const was = count === 1 ? "" : ` (before ${percent(before[0])})`;
  return `After ${stepsOf(step)} along the ${contrast} contrast ${right}${was}, pₜ is ${now[1].toFixed(2)} `
    + `(${signed(now[1] - before[1])}) and yₜ has moved by ${signed(now[2])}${average}.`;
}

/* Bars of the probabilities of a few classes, with a mark where each began. */
function bars(names) {
  const rows = names.map((name, i) => {
    const fill = element("span", "cl-fill"), mark = element("span", "cl-before"), value = element("span", "cl-value");
    const line = element("tr", i ? "" : "cl-target", {}, element("th", "", { scope: "row", textContent: name }),
      element("td", "", {}, element("span", "cl-bar", {}, fill, mark), value));
    return { line, fill, mark, value };
  });
  const table = element("table", "cl-probabilities", {}, element("caption", "cl-unseen",
    { textContent: "probabilities of the picture's likeliest classes" }), element("tbody", "", {},
    ...rows.map(({ line }) => line)));
  const show = (now, before) => rows.forEach(({ fill, mark, value }, i) => {
    fill.style.width = `${100 * now[i]}%`;
    mark.style.left = `${100 * before[i]}%`;
    value.textContent = now[i].toFixed(2);
  });
  return { table, show };
}

/* A picture that is one of several frames; each is decoded when it is first looked at. */
function flipbook() {
  const canvas = element("canvas"), decoded = new Map(), caption = element("figcaption");
  let wanted = "";
  canvas.setAttribute("role", "img");
  async function show(address, text) {
    caption.textContent = text;
    canvas.setAttribute("aria-label", text);
    wanted = address;
    if (!decoded.has(address)) decoded.set(address, pixels(address));
    const frame = await decoded.get(address);
    if (wanted !== address) return; // another one was asked for meanwhile
    if (canvas.width !== frame.width || canvas.height !== frame.height) {
      Object.assign(canvas, { width: frame.width, height: frame.height });
    }
    canvas.getContext("2d").putImageData(frame, 0, 0);
  }
  return { figure: element("figure", "cl-panel", {}, canvas, caption), show };
}

function render({ model, el }) {
  const contrasts = model.get("contrasts"), colours = model.get("colours"), count = model.get("count");
  const picture = model.get("picture"), chances = floats(picture.probabilities), classes = picture.names.length;
  const values = floats(model.get("values")), errors = floats(model.get("errors"));
  const rows = (table, k, m) => Array.from({ length: count + 1 }, (_, i) =>
    table[(k * (count + 1) + i) * METRICS.length + m]);
  const thousandths = (i) => 1000 * model.get("size") * i, few = (v) => String(Number(v.toPrecision(3)));

  const says = element("output", "cl-says");
  const push = slider("number of steps", 0, count, 1, (step) => change(model, { step }));
  const degrees = element("output", "cl-degrees");
  const along = choices("along the contrast", contrasts.map((name) => [name, name]),
    (contrast) => change(model, { contrast }));
  along.box.querySelectorAll("label span").forEach((span, k) => span.prepend(swatch(colours[k])));
  const charts = METRICS.map((ylabel, m) => lineChart({ xs: Array.from({ length: count + 1 }, (_, i) => thousandths(i)),
    xlabel: "change of a pixel, ‰", ylabel, height: 190, limits: m < 2 ? [0, 1] : undefined,
    pick: (step) => change(model, { step }) }));
  const before = flipbook(), after = flipbook(), likely = bars(picture.names);
  const note = element("p", "cl-rest", { textContent: `Averages of ${model.get("images")} pictures. Shaded: the `
    + "95 % interval of the change since the beginning, for the chosen contrast." });
  note.hidden = model.get("images") < 2;

  const root = element("div", "cl-widget cl-pushing", {}, says, along.box,
    element("div", "cl-steps", {}, field("steps", push), degrees),
    element("div", "cl-charts", {}, ...charts.map(({ node }) => node)), note,
    element("div", "cl-halves", {}, element("div", "cl-panels", {}, before.figure, after.figure),
      element("div", "cl-likely", {}, likely.table, element("p", "cl-rest",
        { textContent: "In bold the class that is pushed up. The line in a bar is where it began." }))));
  el.append(root);

  function draw() {
    const step = model.get("step"), contrast = model.get("contrast"), k = contrasts.indexOf(contrast);
    const row = (table, width, i) => cut(table, width, k * (count + 1) + i);
    const now = row(values, METRICS.length, step), reach = `at most ${few(thousandths(step))} ‰ a pixel`;
    says.textContent = pushedSentence(step, contrast, model.get("images"), now, row(values, METRICS.length, 0));
    push.value = String(step);
    push.setAttribute("aria-valuetext", `${stepsOf(step)}, ${reach}`);
    degrees.textContent = `${step} of ${count}, ${reach}`;
    along.show(contrast);
    charts.forEach((chart, m) => {
      const lines = contrasts.map((_, j) => ({ colour: colours[j], values: rows(values, j, m), strong: j === k,
        spread: j === k ? rows(errors, j, m).map((e) => SURE * e) : null }));
      chart.draw(lines, step, `${METRICS[m]} after ${stepsOf(step)}: `
        + lines.map(({ values: line }, j) => `${contrasts[j]} ${line[step].toFixed(2).replace("-", "−")}`).join(", "));
    });
    before.show(picture.photo, "before");
    after.show(step ? picture.frames[k][step - 1] : picture.photo, step
      ? `${stepsOf(step)} along ${contrast}, the change × ${few(picture.louder)}` : "not pushed yet");
    likely.show(row(chances, classes, step), row(chances, classes, 0));
  }

  draw();
  const stop = follow(model, PUSHING, draw);
  return () => { stop(); charts.forEach((chart) => chart.stop()); };
}

export default { render };
