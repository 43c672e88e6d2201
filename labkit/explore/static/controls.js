// The controls. Each is {element, set(value), range(high), enable(yes)} and calls onInput(value) when it is moved.

import { freshId, h, setText } from "./dom.js";
import { formatNumber, withUnit } from "./format.js";

// JupyterLab takes keys for commands, such as the arrows, unless the focused element itself carries this attribute
const OWN_KEYS = "data-lm-suppress-shortcuts";

/** Build the control that a spec of labkit/explore/controls.py describes. */
export function makeControl(spec, onInput) {
  return { slider, choice, toggle, field, steps }[spec.kind](spec, onInput);
}

function row(spec, ...children) {
  const element = h("div", { class: `lk-control lk-${spec.kind}` }, ...children);
  const inputs = element.querySelectorAll("input, select, button");
  inputs.forEach((input) => input.setAttribute(OWN_KEYS, "true"));
  const enable = (yes) => {
    element.classList.toggle("lk-off", !yes);
    inputs.forEach((input) => { input.disabled = !yes; });
  };
  return { element, enable, range() {} };
}

function slider(spec, onInput) {
  const id = freshId();
  const last = spec.values ? spec.values.length - 1 : Math.round((spec.high - spec.low) / spec.step);
  const input = h("input", { id, type: "range", min: 0, max: last, step: 1, name: spec.name });
  const output = h("output", { class: "lk-value", for: id });
  const exact = (i) => (spec.values ? spec.values[i] : +(spec.low + i * spec.step).toPrecision(12));
  const place = (value) => (spec.values ? nearest(spec.values, value) : Math.round((value - spec.low) / spec.step));
  const digits = spec.whole ? 15 : 3;
  const show = (value) => {
    const text = withUnit(formatNumber(value, digits), spec.unit);
    setText(output, text);
    input.setAttribute("aria-valuetext", text);
    input.style.setProperty("--lk-filled", `${(100 * input.value) / (input.max || 1)}%`);
  };
  input.addEventListener("input", () => { show(exact(+input.value)); onInput(exact(+input.value)); });
  const set = (value) => { input.value = place(value); show(value); };
  const range = (high) => { input.max = spec.values ? lastUpTo(spec.values, high) : place(high); };
  return { ...row(spec, h("label", { for: id }, spec.label), input, output), set, range };
}

function choice(spec, onInput) {
  if (spec.style === "radio") return radio(spec, onInput);
  const id = freshId();
  const options = spec.options.map(({ label }, i) => h("option", { value: i }, label));
  const select = h("select", { id, name: spec.name }, ...options);
  select.addEventListener("change", () => onInput(spec.options[select.value].value));
  const set = (value) => { select.value = spec.options.findIndex((option) => option.value === value); };
  return { ...row(spec, h("label", { for: id }, spec.label), select), set };
}

function radio(spec, onInput) {
  const name = freshId();
  const inputs = spec.options.map(({ value }) => h("input", { type: "radio", name, onchange: () => onInput(value) }));
  const labels = spec.options.map(({ label }, i) => h("label", {}, inputs[i], h("span", {}, label)));
  const title = h("span", { id: `${name}-title`, class: "lk-legend" }, spec.label);
  const group = h("div", { class: "lk-segments", role: "radiogroup", "aria-labelledby": `${name}-title` }, ...labels);
  const set = (value) => spec.options.forEach((option, i) => { inputs[i].checked = option.value === value; });
  return { ...row(spec, title, group), set };
}

function toggle(spec, onInput) {
  const id = freshId();
  const onchange = () => onInput(input.checked);
  const input = h("input", { id, type: "checkbox", role: "switch", name: spec.name, onchange });
  return { ...row(spec, h("label", { for: id }, spec.label), input), set: (value) => { input.checked = value; } };
}

function field(spec, onInput) {
  const id = freshId();
  const help = h("span", { id: `${id}-help`, class: "lk-help" });
  const input = h("input", { id, type: "text", inputmode: "text", name: spec.name, "aria-describedby": `${id}-help`,
    autocomplete: "off", spellcheck: "false", onchange: () => read() });
  function read() {
    const { numbers, problem } = parseNumbers(input.value, spec);
    setText(help, problem);
    input.setAttribute("aria-invalid", String(Boolean(problem)));
    if (!problem) onInput(numbers);
  }
  input.addEventListener("keydown", (event) => { if (event.key === "Enter") read(); });
  const set = (value) => { if (document.activeElement !== input) input.value = value.join(", "); };
  const control = row(spec, h("label", { for: id }, spec.label), input, help);
  const enable = (yes) => { control.enable(yes && !spec.fixed); };
  return { ...control, enable, set };
}

/** Read "1, 2 3" as numbers; `problem` says what is wrong with the text, or is empty. */
export function parseNumbers(text, { length, low, high }) {
  const numbers = text.split(/[\s,;]+/).filter(Boolean).map((part) => Number(part.replace("−", "-")));
  let problem = "";
  if (numbers.some(Number.isNaN)) problem = "Numbers only, with commas between them.";
  else if (!numbers.length || (length && numbers.length !== length)) problem = `Give ${length || "some"} numbers.`;
  else if (numbers.some((x) => x < low || x > high)) problem = `Each from ${low} to ${high}.`;
  return { numbers, problem };
}

function steps(spec, onInput) {
  const last = spec.labels.length - 1;
  const caption = h("span", { class: "lk-step", "aria-live": "polite" });
  let [at, timer] = [spec.start, null];
  const go = (step) => { at = Math.max(0, Math.min(last, step)); show(); onInput(at); };
  const stop = () => { clearInterval(timer); timer = null; show(); };
  const tick = () => { if (at < last && control.element.isConnected) go(at + 1); else stop(); };
  const start = () => { if (at === last) go(0); timer = setInterval(tick, spec.interval); show(); };
  const back = h("button", { type: "button", onclick: () => { stop(); go(at - 1); } }, "Back");
  const play = h("button", { type: "button", onclick: () => (timer ? stop() : start()) }, "Play");
  const next = h("button", { type: "button", onclick: () => { stop(); go(at + 1); } }, "Next");
  function show() {
    setText(caption, `${at + 1} of ${last + 1}: ${spec.labels[at]}`);
    setText(play, timer ? "Pause" : "Play");
    back.setAttribute("aria-disabled", String(at === 0));
    next.setAttribute("aria-disabled", String(at === last));
  }
  const buttons = h("div", { class: "lk-buttons", role: "group", "aria-label": spec.label }, back, play, next);
  const control = row(spec, h("span", { class: "lk-legend" }, spec.label), buttons, caption);
  return { ...control, set: (value) => { at = value; show(); } };
}

function nearest(values, value) {
  return values.reduce((best, x, i) => (Math.abs(x - value) < Math.abs(values[best] - value) ? i : best), 0);
}

function lastUpTo(values, high) {
  return Math.max(0, values.filter((x) => x <= high).length - 1);
}
