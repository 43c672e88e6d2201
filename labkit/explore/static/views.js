// The views. Each is {element, update(data)}, where data is what encode() of labkit/explore/views.py returns.

import { h, label, setText, svg } from "./dom.js";
import { formatNumber, tickText, withUnit } from "./format.js";
import { describeGraph, drawGraph } from "./graph.js";
import {
  describeBars, describeHistogram, describeLines, describeTreemap, drawBars, drawHistogram, drawLines, drawTreemap,
  plotView,
} from "./plot.js";

/** Build the view that a spec describes; `colormaps` maps a name to the colours it passes through. */
export function makeView(spec, colormaps) {
  const plots = {
    lines: [drawLines, describeLines], bars: [drawBars, describeBars],
    histogram: [drawHistogram, describeHistogram], treemap: [drawTreemap, describeTreemap],
    graph: [drawGraph, describeGraph],
  };
  const others = { picture, heatmap, table, readouts };
  const view = plots[spec.kind] ? plotView(...plots[spec.kind], spec) : others[spec.kind](spec, colormaps);
  const title = spec.title ? h("figcaption", {}, spec.title) : null;
  const classes = `lk-view lk-view-${spec.kind}${spec.wide ? " lk-wide" : ""}`;
  return { element: h("figure", { class: classes, "data-view": spec.name }, title, view.element), update: view.update };
}

// ---- pictures

function picture(spec, colormaps) {
  const canvas = h("canvas", { class: spec.pixelated ? "lk-pixelated" : null, role: "img", width: 1, height: 1 });
  const scale = spec.scale ? scaleBar(colormaps) : null;
  let turn = 0; // a picture that is decoded late must not replace a newer one
  async function update({ levels, low, high, colormap }) {
    const mine = ++turn;
    if (levels.image) {
      const image = await decoded(levels.image);
      if (mine === turn) drawImage(canvas, image, lookup(colormaps, colormap));
    } else drawLevels(canvas, levels, lookup(colormaps, colormap));
    scale?.update(low, high, colormap);
    const size = `${canvas.width} by ${canvas.height} pixels`;
    canvas.setAttribute("aria-label", `${spec.title || spec.name}: picture, ${size}`);
  }
  return { element: h("div", { class: "lk-picture" }, canvas, scale?.element), update };
}

function drawLevels(canvas, { data, shape }, table) {
  const [height, width, channels = 1] = shape;
  resize(canvas, width, height);
  const context = canvas.getContext("2d");
  const image = context.createImageData(width, height);
  const pixels = new Uint32Array(image.data.buffer);
  if (channels === 1) for (let i = 0; i < pixels.length; i++) pixels[i] = table[data[i]];
  else for (let i = 0, k = 0; i < pixels.length; i++, k += 3) pixels[i] = rgba(data[k], data[k + 1], data[k + 2]);
  context.putImageData(image, 0, 0);
}

function drawImage(canvas, image, table) {
  resize(canvas, image.naturalWidth, image.naturalHeight);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(image, 0, 0);
  if (table.grey) return;
  const pixels = context.getImageData(0, 0, canvas.width, canvas.height);
  drawLevels(canvas, { data: pixels.data.filter((_, i) => i % 4 === 0), shape: [canvas.height, canvas.width] }, table);
}

async function decoded(url) {
  const image = new Image();
  image.src = url;
  await image.decode();
  return image;
}

function resize(canvas, width, height) {
  if (canvas.width !== width) canvas.width = width;
  if (canvas.height !== height) canvas.height = height;
}

function rgba(red, green, blue) {
  return (0xff000000 | (blue << 16) | (green << 8) | red) >>> 0;
}

const tables = new Map();

/** 256 colours along the colour map, each packed in 32 bits. */
function lookup(colormaps, name) {
  if (!tables.has(name)) {
    const stops = colormaps[name].map((hex) => [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16)));
    const table = Uint32Array.from({ length: 256 }, (_, i) => {
      const place = (i / 255) * (stops.length - 1);
      const k = Math.min(Math.floor(place), stops.length - 2);
      return rgba(...stops[k].map((from, c) => Math.round(from + (place - k) * (stops[k + 1][c] - from))));
    });
    table.grey = name === "grey";
    tables.set(name, table);
  }
  return tables.get(name);
}

function scaleBar(colormaps) {
  const [low, high] = [h("span"), h("span")];
  const strip = h("div", { class: "lk-strip" });
  const update = (from, to, colormap) => {
    setText(low, tickText(from));
    setText(high, tickText(to));
    strip.style.background = `linear-gradient(to right, ${colormaps[colormap].join(",")})`;
  };
  return { element: h("div", { class: "lk-scale" }, low, strip, high), update };
}

// ---- matrices

function heatmap(spec, colormaps) {
  const canvas = h("canvas", { class: "lk-cells" });
  const over = svg("svg", { class: "lk-plot", role: "img" });
  const box = h("div", { class: "lk-heatmap" }, canvas, over);
  const scale = spec.pattern || spec.numbers ? null : scaleBar(colormaps);
  let [data, width] = [null, 0];
  function redraw() {
    if (!data || !width) return;
    const place = layout(data, spec, width);
    paintCells(canvas, data, spec, colormaps, box);
    canvas.style.inset = `${place.top}px auto auto ${place.left}px`;
    Object.assign(canvas.style, { width: `${place.w}px`, height: `${place.h}px` });
    over.setAttribute("viewBox", `0 0 ${width} ${place.height}`);
    over.setAttribute("height", place.height);
    over.replaceChildren(...annotations(data, spec, place));
    over.setAttribute("aria-label", `${spec.title || spec.name}. ${describeCells(data, spec)}`);
    scale?.update(data.low, data.high, spec.colormap);
  }
  new ResizeObserver(([{ contentRect }]) => {
    if (Math.round(contentRect.width) !== width) { width = Math.round(contentRect.width); redraw(); }
  }).observe(box);
  return { element: h("div", {}, box, scale?.element), update(next) { data = next; redraw(); } };
}

function layout({ values, rows, columns }, spec, width) {
  const [m, n] = values.shape;
  const left = rows ? 10 + 6.4 * Math.max(...rows.map((name) => name.length)) : 2;
  const top = spec.y_label ? 22 : 4;
  const cell = Math.min((width - left - 2) / n, 34, Math.max(320 / m, 0.2));
  const [w, hgt] = [cell * n, cell * m];
  const stretched = w < 0.3 * width && n < m / 4 ? Math.min(0.3 * width, 34 * n) : w;
  const height = Math.round(top + hgt + (columns ? 18 : 4) + (spec.x_label ? 18 : 0));
  return { left, top, w: stretched, h: hgt, height, m, n };
}

function paintCells(canvas, { values, low, high }, spec, colormaps, box) {
  const [m, n] = values.shape;
  resize(canvas, n, m);
  const context = canvas.getContext("2d");
  const image = context.createImageData(n, m);
  const pixels = new Uint32Array(image.data.buffer);
  const table = lookup(colormaps, spec.colormap);
  const ink = packed(getComputedStyle(box).getPropertyValue("--lk-series-1").trim() || "#2a78c0");
  const k = 255 / (high - low || 1);
  for (let i = 0; i < pixels.length; i++) {
    if (spec.pattern) pixels[i] = values.data[i] ? ink : 0;
    else pixels[i] = table[Math.max(0, Math.min(255, Math.round((values.data[i] - low) * k)))];
  }
  context.putImageData(image, 0, 0);
}

function packed(hex) {
  return rgba(...[1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16)));
}

function annotations(data, spec, { left, top, w, h: hgt, m, n, height }) {
  const [dx, dy] = [w / n, hgt / m];
  const parts = [svg("rect", { class: "lk-frame", x: left, y: top, width: w, height: hgt })];
  const [rowSkip, columnSkip] = [Math.ceil(13 / dy), Math.ceil(26 / dx)];
  const rowName = (name, i) => label("lk-tick lk-tick-y", left - 6, top + (i + 0.5) * dy + 4, name);
  const columnName = (name, j) => label("lk-tick", left + (j + 0.5) * dx, top + hgt + 14, name);
  parts.push(...(data.rows ?? []).map(rowName).filter((_, i) => i % rowSkip === 0));
  parts.push(...(data.columns ?? []).map(columnName).filter((_, j) => j % columnSkip === 0));
  if (data.highlight) parts.push(svg("path", { class: "lk-highlight", d: outline(data.highlight, left, top, dx, dy) }));
  if (spec.numbers && dx >= 20 && dy >= 12) parts.push(...cellNumbers(data, left, top, dx, dy));
  if (spec.y_label) parts.push(label("lk-axis-label", 0, 13, spec.y_label));
  if (spec.x_label) parts.push(label("lk-axis-label lk-end", left + w, height - 4, spec.x_label));
  return parts;
}

function cellNumbers({ values, low, high }, left, top, dx, dy) {
  const n = values.shape[1];
  return Array.from(values.data, (v, i) => {
    const dark = (v - low) / (high - low || 1) > 0.55;
    const [x, y] = [left + ((i % n) + 0.5) * dx, top + (Math.floor(i / n) + 0.5) * dy + 4];
    return label(`lk-cell-number${dark ? " lk-on-dark" : ""}`, x, y, formatNumber(+v.toPrecision(3), 2));
  });
}

/** The border of the highlighted cells: an edge wherever a cell and its neighbour differ. */
function outline({ data, shape }, left, top, dx, dy) {
  const [m, n] = shape;
  const on = (i, j) => (i >= 0 && j >= 0 && i < m && j < n && data[i * n + j] ? 1 : 0);
  const edges = [];
  for (let i = 0; i <= m; i++) for (let j = 0; j <= n; j++) {
    const [px, py] = [(left + j * dx).toFixed(1), (top + i * dy).toFixed(1)];
    if (on(i, j) !== on(i - 1, j)) edges.push(`M${px} ${py}h${dx.toFixed(1)}`);
    if (on(i, j) !== on(i, j - 1)) edges.push(`M${px} ${py}v${dy.toFixed(1)}`);
  }
  return edges.join("");
}

function describeCells({ values, low, high, highlight }, spec) {
  const [m, n] = values.shape;
  const filled = values.data.reduce((count, v) => count + (v !== 0), 0);
  const marked = highlight ? `, ${highlight.data.reduce((a, b) => a + b, 0)} cells marked` : "";
  const content = spec.pattern
    ? `${formatNumber(filled)} of ${formatNumber(m * n)} entries are not zero`
    : `values from ${formatNumber(low)} to ${formatNumber(high)}`;
  return `Matrix of ${m} rows and ${n} columns, ${content}${marked}.`;
}

// ---- text

function table(spec) {
  const element = h("div", { class: "lk-table", tabindex: 0, role: "region", "aria-label": spec.title || spec.name });
  const align = (value) => (typeof value === "number" ? "lk-number" : null);
  const cell = (value) => h("td", { class: align(value) }, formatNumber(value, spec.digits));
  function update({ columns, rows, highlight }) {
    const heads = columns.map((name, c) => h("th", { scope: "col", class: align(rows[0][c]) }, name));
    const head = h("tr", {}, ...heads);
    const body = rows.map((row, i) => h("tr", { "aria-current": i === highlight ? "true" : null }, ...row.map(cell)));
    element.replaceChildren(h("table", {}, h("thead", {}, head), h("tbody", {}, ...body)));
  }
  return { element, update };
}

function readouts(spec) {
  const element = h("dl", { class: "lk-readouts" });
  let shown = [];
  function update({ items }) {
    if (items.map((item) => item.label).join("|") !== shown.map((item) => item.label).join("|")) {
      shown = items.map(({ label }) => ({ label, value: h("dd") }));
      element.replaceChildren(...shown.map(({ label, value }) => h("div", {}, h("dt", {}, label), value)));
    }
    items.forEach((item, i) => setText(shown[i].value, readoutText(item, spec)));
  }
  return { element, update };
}

/** One value with its unit, as value_text() in labkit/explore/views.py writes it. */
export function readoutText({ label, value }, spec) {
  const text = formatNumber(value, spec.digits[label] ?? 3);
  return value === null ? text : withUnit(text, spec.units[label]);
}
