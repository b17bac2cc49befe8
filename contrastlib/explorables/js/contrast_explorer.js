/* The contrast explorer: which class, rather than which others, and what the map says then. */

import { button, change, choices, combine, decode, element, field, floats, follow, gradient, largest, listed,
  offer, paint, percent, ranked, readable, select, shown, slider, softmax, temperature, unique, weights } from "./base.js";

const ROWS = 8; // classes listed besides those chosen
const CONTRASTS = [["original", "original"], ["max", "max"], ["weighted", "weighted"], ["mean", "mean"],
  ["tempered", "dial"], ["foil", "foils"]];
const MARK = { max: 0, weighted: 50, mean: 100 }; // where the named contrasts stand on the dial
const TRAITS = ["pictures", "picture", "target", "contrast", "position", "foils", "method", "pinned", "strength",
  "colours", "scale", "sign", "progress", "status", "problem"];

/* One picture of the state, decoded as far as it is looked at. */
class Picture {
  constructor(state) {
    this.state = state;
    this.logits = floats(state.logits);
    this.order = ranked(this.logits);
    this.probabilities = softmax(this.logits);
    this.decoded = new Map();
    this.photo = null;
  }

  maps(name) {
    const method = this.state.methods.find((m) => m.name === name) ?? this.state.methods[0];
    if (!this.decoded.has(method.name)) {
      const maps = decode(method);
      this.decoded.set(method.name, { ...maps, name: method.name, limit: largest(maps.values) });
    }
    return this.decoded.get(method.name);
  }

  rival(target) { return this.order.find((c) => c !== target); }

  /* The chosen foils, or the strongest rival where none is chosen. */
  foils(question) {
    const chosen = [...new Set(question.foils)].filter((c) => c !== question.target && c < this.logits.length);
    return chosen.length ? chosen : [this.rival(question.target)];
  }

  alpha(question) {
    const { contrast, target } = question;
    if (contrast === "original") return new Float64Array(this.logits.length);
    if (contrast === "foil") return weights(this.logits, target, 1, this.foils(question));
    return weights(this.logits, target, temperature(MARK[contrast] ?? question.position));
  }

  answer(question) {
    const maps = this.maps(question.method), alpha = this.alpha(question);
    return { h: maps.h, w: maps.w, alpha, limit: maps.limit, method: maps.name,
      map: combine(maps, question.target, alpha) };
  }
}

function temperatureText(T) {
  return T === 0 ? "0" : T === Infinity ? "∞" : T < 10 ? T.toPrecision(2) : T.toFixed(0);
}

/* What is being asked, in a sentence. */
function sentence(picture, question, name) {
  const { target, contrast, position } = question;
  const rival = picture.rival(target), others = picture.logits.length - 1;
  if (contrast === "original") return `Why ${name(target)}?`;
  if (contrast === "foil") return `Why ${name(target)} rather than ${listed(picture.foils(question).map(name))}?`;
  const T = temperature(MARK[contrast] ?? position);
  if (T === 0) return `Why ${name(target)} rather than ${name(rival)}, its strongest rival?`;
  if (T === Infinity) return `Why ${name(target)} rather than the average of the ${others} others?`;
  const share = percent(picture.alpha(question)[rival]), at = T === 1 ? "" : `, at temperature ${temperatureText(T)}`;
  return `Why ${name(target)} rather than the others, ${name(rival)} counting ${share}${at}?`;
}

/* A row of the list for each class in sight: to be explained, to be held against, its probability, its weight. */
function classList(ask) {
  const group = unique("target"), rows = new Map(), body = element("tbody");
  const table = element("table", "cl-classes", {},
    element("thead", "", {}, element("tr", "", {}, ...["why", "why not", "class", "probability", "subtracted"].map(
      (text) => element("th", "", { scope: "col", textContent: text })))), body);
  const rest = element("p", "cl-rest");
  let listedNow = "";

  function bar(className) {
    const fill = element("span", "cl-fill"), value = element("span", "cl-value");
    return { cell: element("td", className, {}, element("span", "cl-bar", {}, fill), value), fill, value };
  }

  function row(c, name) {
    const why = element("input", "", { type: "radio", name: group, ariaLabel: `why ${name}?` });
    const not = element("input", "", { type: "checkbox", ariaLabel: `why not ${name}?` });
    why.addEventListener("change", () => ask.target(c));
    not.addEventListener("change", () => ask.foil(c, not.checked));
    const text = element("button", "cl-name", { type: "button", textContent: name, title: name, tabIndex: -1 });
    text.addEventListener("click", () => ask.target(c));
    const p = bar("cl-p"), alpha = bar("cl-alpha");
    const line = element("tr", "", {}, element("td", "", {}, why), element("td", "", {}, not),
      element("td", "", {}, text), p.cell, alpha.cell);
    return { line, why, not, text, p, alpha };
  }

  function show(picture, question, answer, name, found) {
    const foils = question.contrast === "foil" ? picture.foils(question) : [];
    const first = new Set([question.target, ...foils, ...found.slice(0, ROWS)]);
    const classes = picture.order.filter((c) => first.has(c));
    const most = picture.probabilities[picture.order[0]];
    for (const c of classes) {
      if (!rows.has(c)) rows.set(c, row(c, name(c)));
      const { line, why, not, text, p, alpha } = rows.get(c);
      const explained = c === question.target;
      line.className = explained ? "cl-target" : foils.includes(c) ? "cl-foil" : "";
      why.checked = explained;
      not.checked = foils.includes(c);
      not.disabled = explained;
      text.textContent = c === picture.state.label ? `★ ${name(c)}` : name(c);
      p.fill.style.width = `${(100 * picture.probabilities[c]) / most}%`;
      p.value.textContent = percent(picture.probabilities[c]);
      alpha.fill.style.width = `${100 * answer.alpha[c]}%`;
      alpha.value.textContent = explained ? "" : answer.alpha[c].toFixed(3);
    }
    if (listedNow !== classes.join()) {
      listedNow = classes.join();
      body.replaceChildren(...classes.map((c) => rows.get(c).line));
    }
    const unseen = answer.alpha.reduce((sum, a, c) => (first.has(c) ? sum : sum + a), 0);
    const count = picture.logits.length - classes.length;
    const truth = picture.state.label >= 0 ? "★ is the true class. " : "";
    rest.textContent = truth + (count ? `${count} more classes, subtracted with ${unseen.toFixed(3)} together.` : "");
  }

  return { table, rest, show, forget: () => { rows.clear(); listedNow = ""; } };
}

function panel(read) {
  const { frame, canvas } = readable(read);
  const caption = element("figcaption"), figure = element("figure", "cl-panel", {}, frame, caption);
  return { figure, canvas, caption, field: null };
}

function render({ model, el }) {
  const live = model.get("live") && model.kernel !== false;
  const names = () => model.get("names"), name = (c) => names()[c] ?? `class ${c}`;
  const question = () => Object.fromEntries(
    ["target", "contrast", "position", "foils", "method"].map((key) => [key, model.get(key)]));
  let pictures = [], known = null, gone = false;
  let emptied = ""; // the question that took the place of one whose last foil was unchecked

  const ask = {
    target(c) { change(model, { target: c, foils: model.get("foils").filter((f) => f !== c) }); },
    foil(c, on) {
      const before = model.get("contrast") === "foil" ? pictures[model.get("picture")].foils(question()) : [];
      const foils = on ? [...before, c] : before.filter((f) => f !== c);
      change(model, { foils, contrast: foils.length ? "foil" : "weighted" });
      emptied = foils.length ? "" : JSON.stringify(question());
    },
    contrast(value) {
      const foils = value === "foil" ? pictures[model.get("picture")].foils(question()) : model.get("foils");
      change(model, { contrast: value, foils });
    },
  };

  // what can be chosen
  const says = element("output", "cl-says");
  const which = select([], (value) => {
    const picture = pictures[Number(value)];
    const target = picture.order[0];
    change(model, { picture: Number(value), target, foils: model.get("foils").filter((f) => f !== target) });
  });
  const whichField = field("picture", which);
  const method = select([], (value) => change(model, { method: value }));
  const methodField = field("method", method);
  const contrasts = choices("contrast", CONTRASTS, ask.contrast);
  const dial = slider("temperature of the contrast", 0, 100, 1,
    (value) => change(model, { position: value, contrast: "tempered" }));
  const degrees = element("output", "cl-degrees");
  const search = element("input", "cl-search", { type: "search", placeholder: "search a class" });
  search.setAttribute("aria-label", "search a class by name");
  const list = classList(ask);
  search.addEventListener("input", () => draw());

  // what is seen
  const reads = element("output", "cl-reads"), here = element("output", "cl-here");
  const panels = { now: panel(read), kept: panel(read), difference: panel(read) };
  const legend = element("div", "cl-legend", {}, element("span", "cl-low"), element("span", "cl-scale"),
    element("span", "cl-high"));
  const keep = button("keep this map beside",
    () => change(model, { pinned: { picture: model.get("picture"), ...question() } }));
  const release = button("let it go", () => change(model, { pinned: {} }));
  const beside = element("div", "cl-beside", {}, panels.kept.figure, panels.difference.figure, release);

  // how it is shown
  const strength = slider("strength of the overlay", 0, 1, 0.05, (value) => change(model, { strength: value }));
  const colours = choices("colours", [["RdBu", "red and blue"], ["bwr", "the papers'"]],
    (value) => change(model, { colours: value }));
  const scale = choices("scale", [["map", "each map its own"], ["shared", "one for all classes"]],
    (value) => change(model, { scale: value }));
  const sign = choices("show", [["both", "both signs"], ["for", "for"], ["against", "against"]],
    (value) => change(model, { sign: value }));
  const looks = element("details", "cl-looks", {}, element("summary", "", { textContent: "how it is drawn" }),
    field("overlay", strength), colours.box, scale.box, sign.box);

  // a photograph of one's own, where a kernel can answer
  const file = element("input", "", { type: "file", accept: "image/*" });
  file.addEventListener("change", async () => {
    const chosen = file.files[0];
    if (chosen) model.send({ kind: "photograph", name: chosen.name }, undefined, [await chosen.arrayBuffer()]);
    file.value = "";
  });
  const progress = element("progress", "", { max: 1 }), status = element("output", "cl-status");
  const problem = element("p", "cl-problem");
  problem.setAttribute("role", "alert");
  const open = element("div", "cl-open", {}, field("a photograph of yours", file), progress, status);

  const seen = element("div", "cl-seen", {}, panels.now.figure, legend, reads, here, keep);
  const asked = element("div", "cl-asked", {}, element("div", "cl-pair", {}, whichField, methodField), contrasts.box,
    element("div", "cl-dial", {}, field("dial", dial), degrees,
      element("div", "cl-marks", { ariaHidden: "true" }, ...Object.keys(MARK).map((text) =>
        element("span", "", { textContent: text })))), looks);
  const instead = element("output", "cl-rest", { textContent: "No class is checked any more. Instead of nothing, all "
    + "others are subtracted, each by its probability: the weighted contrast." });
  const listing = element("div", "cl-list", {}, search, list.table, instead, list.rest);
  const root = element("div", "cl-widget cl-explorer", {}, says, ...(live ? [open] : []), problem,
    element("div", "cl-columns", {}, seen, asked, listing), beside);
  el.append(root);

  function read(x, y) {
    if (x === undefined) { here.textContent = ""; return; }
    const values = Object.entries(panels).filter(([, p]) => p.field).map(([key, p]) => {
      const { field: values, canvas } = p;
      const value = values[Math.floor(y * canvas.height) * canvas.width + Math.floor(x * canvas.width)];
      return key === "now" ? shown(value, true) : `${key} ${shown(value, true)}`;
    });
    here.textContent = values.length ? `here ${values.join(", ")}` : "";
  }

  function signed(map) {
    const only = model.get("sign");
    return only === "both" ? map : map.map((v) => (only === "for" ? Math.max(v, 0) : Math.min(v, 0)));
  }

  function drawPanel(which, photo, answer, text) {
    const look = { colours: model.get("colours"), strength: model.get("strength"),
      limit: model.get("scale") === "shared" ? answer.limit : largest(answer.map) };
    which.canvas.setAttribute("aria-label", text);
    which.caption.textContent = text;
    which.field = photo ? paint(which.canvas, photo, { ...answer, map: signed(answer.map) }, look) : null;
    return look.limit;
  }

  function drawMaps(picture, now, text) {
    const { photo } = picture, kept = model.get("pinned");
    const limit = drawPanel(panels.now, photo, now, text);
    legend.firstChild.textContent = shown(-limit);
    legend.lastChild.textContent = shown(limit, true);
    legend.children[1].style.background = gradient(model.get("colours"));
    const ends = [Math.max(...now.map), Math.min(...now.map)];
    reads.textContent = `most for ${shown(ends[0], true)}, most against ${shown(ends[1], true)}`;
    const own = pictures[kept.picture]; // a question is kept with the picture that it was asked of
    beside.hidden = !own;
    keep.hidden = !beside.hidden;
    panels.kept.field = panels.difference.field = null;
    if (beside.hidden) return;
    const before = own.answer(kept), other = own === picture ? "" : `, ${which.options[kept.picture].text}`;
    drawPanel(panels.kept, own.photo, before, `kept: ${sentence(own, kept, name)} (${before.method}${other})`);
    panels.difference.figure.hidden = Boolean(other) || before.map.length !== now.map.length;
    if (panels.difference.figure.hidden) return;
    const difference = { ...now, map: now.map.map((v, i) => v - before.map[i]) };
    if (before.method !== now.method) difference.limit = largest(difference.map);
    drawPanel(panels.difference, photo, difference, "the upper map minus the kept one");
  }

  function drawChoices(picture, now, asking) {
    const { contrast, position } = asking;
    contrasts.show(contrast);
    dial.value = String(MARK[contrast] ?? position);
    const T = temperatureText(temperature(Number(dial.value))), off = contrast === "original" || contrast === "foil";
    degrees.textContent = off ? "" : `T = ${T}`;
    dial.setAttribute("aria-valuetext", `temperature ${T}`);
    dial.classList.toggle("cl-off", off);
    method.value = now.method;
    which.value = String(model.get("picture"));
    strength.value = String(model.get("strength"));
    colours.show(model.get("colours"));
    scale.show(model.get("scale"));
    sign.show(model.get("sign"));
    const wanted = search.value.trim().toLowerCase();
    const found = wanted ? picture.order.filter((c) => name(c).toLowerCase().includes(wanted)) : picture.order;
    list.show(picture, asking, now, name, found);
  }

  function load() {
    known = model.get("pictures");
    pictures = known.map((state) => new Picture(state));
    list.forget();
    offer(pictures, which, whichField, () => { if (!gone) draw(); });
  }

  function draw() {
    if (known !== model.get("pictures")) load();
    progress.hidden = !(progress.value = model.get("progress")) || model.get("progress") >= 1;
    status.textContent = model.get("status");
    problem.textContent = model.get("problem");
    problem.hidden = !model.get("problem");
    const picture = pictures[model.get("picture")];
    root.classList.toggle("cl-empty", !picture);
    if (!picture) { says.textContent = "No picture yet."; return; }
    const methods = picture.state.methods.map((m) => [m.name, m.name]);
    if (method.options.length !== methods.length) method.fill(methods);
    methodField.hidden = methods.length < 2;
    const asking = question(), now = picture.answer(asking), text = sentence(picture, asking, name);
    says.textContent = text;
    instead.hidden = JSON.stringify(asking) !== emptied;
    drawMaps(picture, now, text);
    drawChoices(picture, now, asking);
  }

  draw();
  const stop = follow(model, TRAITS, draw);
  return () => { gone = true; stop(); };
}

export default { render };
