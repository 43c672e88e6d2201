// The view of a graph: boxes in columns, joined by curves. The data is what encode() of labkit/explore/graph.py returns.

import { label, svg } from "./dom.js";

export function drawGraph({ labels, kinds, notes, places, edges }, width, height) {
  const size = Math.max(20, Math.min(34, (width - 40) / 14));
  const [across, down] = [width - size - 4, height - 8];
  const at = labels.map((_, i) => [2 + size / 2 + across * places.data[2 * i], 4 + down * places.data[2 * i + 1]]);
  const curves = [];
  for (let e = 0; e < edges.data.length; e += 2) curves.push(edgeCurve(at[edges.data[e]], at[edges.data[e + 1]], size / 2));
  return [...curves, ...labels.map((text, i) => graphNode(at[i], text, kinds[i], notes[i], size))];
}

function edgeCurve([x0, y0], [x1, y1], half) {
  const [from, to] = [x0 + half, x1 - half];
  const bend = (to - from) / 2;
  return svg("path", { class: "lk-edge", d: `M${from} ${y0}C${from + bend} ${y0} ${to - bend} ${y1} ${to} ${y1}` });
}

function graphNode([x, y], text, kind, note, size) {
  const tall = Math.min(size, 22);
  const corner = kind === "cell" ? 3 : tall / 2;
  const box = { class: `lk-node lk-node-${kind}`, x: x - size / 2, y: y - tall / 2, width: size, height: tall, rx: corner };
  return svg("g", {}, svg("rect", box), label("lk-node-label", x, y + 4, text), note ? svg("title", {}, note) : null);
}

export function describeGraph({ labels, kinds, notes, edges }) {
  const named = labels.map((text, i) => (notes[i] ? `${text}, ${notes[i]}` : text));
  const sources = labels.map(() => []);
  for (let e = 0; e < edges.data.length; e += 2) sources[edges.data[e + 1]].push(labels[edges.data[e]]);
  const parts = named.map((text, i) => (sources[i].length ? `${text}, from ${sources[i].join(", ")}` : text));
  return `${kinds.filter((kind) => kind === "cell").length} cells. ${parts.join("; ")}.`;
}
