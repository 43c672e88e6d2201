// Bring the explorers of a static page to life: each <figure class="labkit-explorer"> holds its payload and a still.

import { readPayload } from "./codec.js";
import { h } from "./dom.js";
import { build } from "./explorer.js";

/** Mount one explorer; its still picture stays for print. */
export async function mount(figure) {
  const { spec, results } = await readPayload(figure.querySelector('script[type="application/json"]').textContent);
  const root = h("div", { class: "lk-live" });
  figure.prepend(root);
  build(root, spec, pageSource(spec, await computer(results)));
  figure.classList.add("is-live");
  figure.dataset.ready = "1";
}

/** The function from control values to a frame: a module with its data, or a look-up in the grid of results. */
async function computer(results) {
  if (!results.module) return gridLookup(results);
  const { default: setup } = await import(`./${results.module}`);
  return setup(results.data);
}

/** Results on the page: compute(values) gives a frame; several changes before a repaint are one computation. */
export function pageSource(spec, compute) {
  const values = Object.fromEntries(spec.controls.map(({ name, start }) => [name, start]));
  let [listener, waiting] = [null, false];
  function refresh() {
    waiting = false;
    const start = performance.now();
    try { listener.onFrame(compute({ ...values })); } catch (error) { listener.onError(`${error}`); throw error; }
    document.documentElement.dataset.lkMs = (performance.now() - start).toFixed(1);
  }
  return {
    get: (name) => values[name],
    set(name, value) {
      values[name] = value;
      settle(spec, values);
      listener.onValues();
      if (!waiting) { waiting = true; requestAnimationFrame(refresh); }
    },
    connect(callbacks) { listener = callbacks; refresh(); return () => {}; },
  };
}

/** Lower every slider to the top that the other controls allow. */
function settle(spec, values) {
  for (const { name, highBy, high } of spec.controls) {
    if (highBy) values[name] = Math.min(values[name], high, highBy.highs[values[highBy.name]] ?? high);
  }
}

/** Look a frame up in the grid that Python computed. */
function gridLookup({ axes, frames }) {
  return (values) => {
    const at = axes.reduce((index, axis) => index * axis.values.length + position(axis.values, values[axis.name]), 0);
    return frames[at];
  };
}

function position(kept, value) {
  const same = kept.findIndex((v) => JSON.stringify(v) === JSON.stringify(value));
  if (same >= 0) return same;
  return kept.reduce((best, v, i) => (Math.abs(v - value) < Math.abs(kept[best] - value) ? i : best), 0);
}

function addStyle() {
  const href = new URL("explorer.css", import.meta.url).href;
  if (![...document.querySelectorAll('link[rel="stylesheet"]')].some((link) => link.href.split("?")[0] === href)) {
    document.head.append(h("link", { rel: "stylesheet", href }));
  }
}

function mountAll() {
  addStyle();
  for (const figure of document.querySelectorAll("figure.labkit-explorer:not(.is-live)")) {
    mount(figure).catch((error) => {
      figure.prepend(h("p", { class: "lk-error", role: "alert" }, `This explorer could not start: ${error}`));
      console.error(error);
    });
  }
}

if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", mountAll);
else mountAll();
