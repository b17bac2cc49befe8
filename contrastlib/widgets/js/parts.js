/* Small pieces of a page, all of them plain elements that a keyboard and a screen reader know. */

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
