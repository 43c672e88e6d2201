// One explorer: controls above, views below. In JupyterLab anywidget calls render(), on a static page mount.js build().

import { makeControl } from "./controls.js";
import { unpack } from "./codec.js";
import { h, setText } from "./dom.js";
import { makeView, readoutText } from "./views.js";

/**
 * Build an explorer in `root`.
 *
 * `spec` is what Python's Explorer.spec() returns. `source` gives the results: get(name), set(name, value), and
 * connect({onValues, onFrame, onError}), which calls onValues() after values changed, onFrame(frame) with new views
 * and onError(message). Returns a function that removes the explorer again.
 */
export function build(root, spec, source) {
  const views = Object.fromEntries(spec.views.map((view) => [view.name, makeView(view, spec.colormaps)]));
  const control = (one) => [one, makeControl(one, (value) => source.set(one.name, value))];
  const controls = spec.controls.map(control);
  const error = h("p", { class: "lk-error", role: "alert", hidden: "" });
  const live = h("p", { class: "lk-hidden", "aria-live": "polite" });
  const bar = h("div", { class: "lk-controls", role: "group", "aria-label": "Controls" });
  bar.append(...controls.map(([, { element }]) => element));
  const panel = h("div", { class: "lk-views" }, ...Object.values(views).map((view) => view.element));
  const title = spec.title ? h("p", { class: "lk-title" }, spec.title) : null;
  const note = spec.note ? h("p", { class: "lk-note" }, spec.note) : null;
  const name = spec.title || spec.name;
  root.append(h("section", { class: "lk", "aria-label": name }, title, bar, error, panel, note, live));

  const speak = delayed(400, (frame) => setText(live, spoken(spec, frame, source)));
  function onValues() {
    for (const [{ name, when, highBy, high }, { set, range, enable }] of controls) {
      if (highBy) range(Math.min(high, highBy.highs[source.get(highBy.name)] ?? high));
      set(source.get(name));
      enable(Object.entries(when).every(([other, allowed]) => allowed.includes(source.get(other))));
    }
  }
  function onFrame(frame) {
    error.hidden = true;
    for (const [name, data] of Object.entries(frame)) views[name].update(data);
    root.dataset.frames = 1 + Number(root.dataset.frames || 0); // the tests wait for it
    speak(frame);
  }
  function onError(message) {
    setText(error, message);
    error.hidden = false;
  }
  onValues();
  return source.connect({ onValues, onFrame, onError });
}

/** The entry point of anywidget: the kernel computes, and `model` carries values there and frames back. */
export default {
  render({ model, el }) {
    return build(el, model.get("_spec"), kernelSource(model));
  },
};

/** Results from the kernel. ipywidgets sends a change only after the last one was handled, so nothing queues up. */
function kernelSource(model) {
  const names = model.get("_spec").controls.map(({ name }) => name);
  return {
    get: (name) => model.get(name),
    set(name, value) { model.set(name, value); model.save_changes(); },
    connect({ onValues, onFrame, onError }) {
      const onMessage = ({ kind, tree, message }, buffers) => {
        if (kind === "frame") onFrame(unpack(tree, buffers));
        else onError(message);
      };
      const events = [["msg:custom", onMessage], ...names.map((name) => [`change:${name}`, onValues])];
      events.forEach(([event, callback]) => model.on(event, callback));
      model.send({ kind: "hello" });
      return () => events.forEach(([event, callback]) => model.off(event, callback));
    },
  };
}

function spoken(spec, frame, source) {
  const values = spec.controls.map(({ name, label }) => `${label} ${source.get(name)}`);
  const texts = spec.views.filter((view) => view.kind === "readouts")
    .flatMap((view) => frame[view.name].items.map((item) => `${item.label} ${readoutText(item, view)}`));
  return [...values, ...texts].join(", ");
}

/** Call `f` once, `ms` after the last of a run of calls. */
function delayed(ms, f) {
  let timer = 0;
  return (...args) => { clearTimeout(timer); timer = setTimeout(f, ms, ...args); };
}
