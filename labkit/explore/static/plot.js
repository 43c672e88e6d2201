// The plots in SVG: lines, bars, histogram and treemap. Colours come from CSS, so a change of theme needs no redraw.

import { h, label, svg } from "./dom.js";
import { formatNumber, tickText, ticks, withUnit } from "./format.js";

const SERIES = 6; // colours in the palette, see labkit/explore/theme.py

/** A view that draws itself into an SVG as wide as its column, again whenever the width changes. */
export function plotView(draw, describe, spec) {
  const legend = h("div", { class: "lk-legend-row" });
  const canvas = svg("svg", { class: "lk-plot", role: "img" });
  const element = h("div", { class: "lk-plot-box" }, legend, canvas);
  let [data, width] = [null, 0];
  function redraw() {
    if (!data || !width) return;
    const height = Math.round(Math.max(190, Math.min(300, 0.62 * width)));
    canvas.setAttribute("viewBox", `0 0 ${width} ${height}`);
    canvas.setAttribute("height", height);
    canvas.replaceChildren(...draw(data, width, height, spec));
    canvas.setAttribute("aria-label", `${spec.title || spec.name}. ${describe(data, spec)}`);
    showLegend(legend, data.series || []);
  }
  new ResizeObserver(([{ contentRect }]) => {
    if (Math.round(contentRect.width) !== width) { width = Math.round(contentRect.width); redraw(); }
  }).observe(element);
  return { element, update(next) { data = next; redraw(); } };
}

// ---- lines

export function drawLines(data, width, height, spec) {
  const xs = [...data.series.map((s) => s.x), cutPlaces(data, "x")];
  const ys = [...data.series.flatMap((s) => [s.y, s.low, s.high]), cutPlaces(data, "y")];
  const loose = data.series.some((s) => s.kind === "points") ? 0.03 : 0; // no marker on an axis
  const x = { scale: spec.x_scale, label: spec.x_label, ...extent(xs, spec.x_range, spec.x_scale, loose) };
  const y = { scale: spec.y_scale, label: spec.y_label, ...extent(ys, spec.y_range, spec.y_scale, 0.06) };
  y.bare = data.series.every((s) => s.kind === "ticks"); // a number line
  const frame = makeFrame(width, height, x, y);
  return [...frame.axes, ...data.series.flatMap((s, i) => drawSeries(s, i, frame)), ...drawCuts(data.cuts, frame)];
}

export function describeLines({ series, cuts }, spec) {
  const parts = series.map(({ label, x, y }) => {
    const n = y.data.length;
    const ends = n > 1 ? `from ${formatNumber(y.data[0])} to ${formatNumber(y.data[n - 1])}` : formatNumber(y.data[0]);
    return `${label || spec.y_label || "Values"} ${ends} over ${n} ${n > 1 ? "points" : "point"}`
      + (n > 1 ? `, ${spec.x_label || "x"} from ${formatNumber(x.data[0])} to ${formatNumber(x.data[n - 1])}` : "");
  });
  return [...parts, ...cuts.map(describeCut)].join("; ") + ".";
}

function drawSeries(series, i, frame) {
  const classes = look(i, series.muted);
  const shapes = [];
  if (series.low && series.high) shapes.push(svg("path", { class: `${classes} lk-band`, d: bandPath(series, frame) }));
  if (series.kind === "line" || series.kind === "steps") {
    const dash = series.muted ? 0 : i % SERIES;
    shapes.push(svg("path", { class: `${classes} lk-line lk-dash${dash}`, d: linePath(series, frame) }));
  } else {
    const path = series.kind === "ticks" ? tickMark : marker(i);
    const d = points(series, frame).map(([px, py]) => path(px, py)).join("");
    shapes.push(svg("path", { class: `${classes} ${series.kind === "ticks" ? "lk-line" : "lk-points"}`, d }));
  }
  if (series.names) shapes.push(...namedPoints(series, frame));
  return shapes;
}

function points({ x, y }, { X, Y }) {
  return Array.from(y.data, (value, k) => [X(x.data[k]), Y(value)]);
}

function linePath(series, frame) {
  const [[x0, y0], ...rest] = points(series, frame);
  const step = series.kind === "steps"
    ? ([px, py]) => `H${fix(px)}V${fix(py)}`
    : ([px, py]) => `L${fix(px)} ${fix(py)}`;
  return `M${fix(x0)} ${fix(y0)}${rest.map(step).join("")}`;
}

function bandPath({ x, low, high }, { X, Y }) {
  const up = Array.from(high.data, (v, k) => `${fix(X(x.data[k]))} ${fix(Y(v))}`);
  const down = Array.from(low.data, (v, k) => `${fix(X(x.data[k]))} ${fix(Y(v))}`).reverse();
  return `M${[...up, ...down].join("L")}Z`;
}

function tickMark(px, py) {
  return `M${fix(px)} ${fix(py - 9)}v18`;
}

function marker(i) {
  const circle = (px, py) => `M${fix(px - 3)} ${fix(py)}a3 3 0 1 0 6 0a3 3 0 1 0 -6 0Z`;
  const square = (px, py) => `M${fix(px - 3)} ${fix(py - 3)}h6v6h-6Z`;
  const diamond = (px, py) => `M${fix(px)} ${fix(py - 4)}l4 4l-4 4l-4 -4Z`;
  const triangle = (px, py) => `M${fix(px)} ${fix(py - 4)}l4 7h-8Z`;
  return [circle, square, diamond, triangle][i % 4];
}

function namedPoints(series, frame) {
  return points(series, frame).map(([cx, cy], k) =>
    svg("circle", { class: "lk-target", cx, cy, r: 8 }, svg("title", {}, series.names[k])));
}

// ---- bars and histogram

export function drawBars(data, width, height, spec) {
  const n = data.categories.length;
  const tops = spec.stacked ? [stackTops(data)] : data.series.map((s) => s.values);
  const range = extent([...tops, cutPlaces(data, "y")], spec.y_range, spec.y_scale, 0.1, true);
  const y = { scale: spec.y_scale, label: spec.y_label, ...range };
  const frame = makeFrame(width, height, { low: 0, high: n, names: data.categories, label: "" }, y);
  const bars = spec.stacked ? stackedBars(data, frame) : groupedBars(data, frame);
  return [...frame.axes, ...bars, ...drawCuts(data.cuts, frame)];
}

export function describeBars({ categories, series, cuts }, spec) {
  const one = (s, i) => `${s.label ? `${s.label} ` : ""}${formatNumber(s.values.data[i])}`;
  const bars = categories.map((category, i) => `${category}: ${series.map((s) => one(s, i)).join(", ")}`);
  return [spec.y_label, ...bars, ...cuts.map(describeCut)].filter(Boolean).join("; ") + ".";
}

function groupedBars({ series, categories }, frame) {
  const step = 0.76 / series.length;
  const showValues = series.length * categories.length <= 10;
  return series.flatMap((s, j) => Array.from(s.values.data, (value, i) => {
    const left = i + 0.12 + j * step;
    const name = `${categories[i]} ${s.label}: ${formatNumber(value)}`;
    const bar = barShape(frame, left, left + step * 0.94, frame.y.low, value, j, name);
    const middle = (frame.X(left) + frame.X(left + step * 0.94)) / 2;
    const text = tickText(+value.toPrecision(3));
    return svg("g", {}, bar, showValues ? label("lk-bar-value", middle, frame.Y(value) - 4, text) : null);
  }));
}

function stackedBars({ series, categories }, frame) {
  const base = categories.map(() => 0);
  return series.flatMap((s, j) => Array.from(s.values.data, (value, i) => {
    const from = base[i];
    base[i] += value;
    const name = `${categories[i]} ${s.label}: ${formatNumber(value)}`;
    return barShape(frame, i + 0.18, i + 0.82, Math.max(from, frame.y.low), base[i], j, name);
  }));
}

function stackTops({ series, categories }) {
  return { data: categories.map((_, i) => series.reduce((sum, s) => sum + s.values.data[i], 0)) };
}

function barShape({ X, Y }, left, right, from, to, j, name) {
  const height = Math.max(0, Y(from) - Y(to));
  const size = { x: fix(X(left)), width: fix(X(right) - X(left)), y: fix(Y(from) - height), height: fix(height) };
  return svg("rect", { class: `${look(j)} lk-bar`, ...size }, svg("title", {}, name));
}

export function drawHistogram(data, width, height, spec) {
  const edges = data.edges.data;
  const across = extent([data.edges, cutPlaces(data, "x")], spec.x_range, "linear", 0);
  const up = extent(data.series.map((s) => s.values), null, spec.y_scale, 0.08, true);
  const x = { scale: "linear", label: spec.x_label, ...across };
  const y = { scale: spec.y_scale, label: spec.y_label, ...up };
  const frame = makeFrame(width, height, x, y);
  const shape = (s, i) => svg("path", { class: `${look(i)} lk-area`, d: areaPath(edges, s.values.data, frame) });
  const areas = data.series.map(shape);
  return [...frame.axes, ...areas, ...drawCuts(data.cuts, frame)];
}

export function describeHistogram({ edges, series, cuts }) {
  const [low, high] = [edges.data[0], edges.data[edges.data.length - 1]];
  const parts = series.map(({ label, values }) => {
    const top = values.data.indexOf(Math.max(...values.data));
    const total = values.data.reduce((a, b) => a + b, 0);
    const middle = (edges.data[top] + edges.data[top + 1]) / 2;
    const [n, from, to, most] = [total, low, high, middle].map((v) => formatNumber(v));
    return `${label || "Values"}: ${n} from ${from} to ${to}, most near ${most}`;
  });
  return [...parts, ...cuts.map(describeCut)].join("; ") + ".";
}

function areaPath(edges, counts, { X, Y, y }) {
  const floor = fix(Y(y.low));
  const steps = Array.from(counts, (count, i) => `V${fix(Y(Math.max(count, y.low)))}H${fix(X(edges[i + 1]))}`);
  return `M${fix(X(edges[0]))} ${floor}${steps.join("")}V${floor}Z`;
}

// ---- treemap

export function drawTreemap({ labels, values, boxes }, width, height, spec) {
  const total = values.data.reduce((a, b) => a + b, 0);
  return labels.flatMap((name, i) => {
    const [left, top, w, hgt] = boxes.data.subarray(4 * i, 4 * i + 4);
    const inner = { width: Math.max(0, w * width - 2), height: Math.max(0, hgt * height - 2) };
    const size = { x: left * width + 1, y: top * height + 1, ...inner };
    const share = tileShare(values.data[i], total, spec);
    const box = svg("rect", { class: `${look(i)} lk-tile`, rx: 2, ...size }, svg("title", {}, `${name}: ${share}`));
    const fits = size.width > 6.6 * name.length + 10 && size.height > 20;
    const more = fits && size.height > 36 && size.width > 5.6 * share.length + 10;
    const texts = [fits && label("lk-tile-name", size.x + 6, size.y + 15, name)];
    texts.push(more && label("lk-tile-share", size.x + 6, size.y + 30, share));
    return [box, ...texts].filter(Boolean);
  });
}

export function describeTreemap({ labels, values }, spec) {
  const total = values.data.reduce((a, b) => a + b, 0);
  return labels.map((name, i) => `${name} ${tileShare(values.data[i], total, spec)}`).join("; ") + ".";
}

function tileShare(value, total, { unit }) {
  return `${withUnit(formatNumber(value), unit)}, ${formatNumber((100 * value) / total)} %`;
}

// ---- axes

/** Axes with grid and labels, and the functions X and Y from values to pixels. */
function makeFrame(width, height, x, y) {
  const yTicks = y.bare ? [] : ticks(y.low, y.high, Math.max(2, Math.round(height / 55)), y.scale);
  const left = 10 + 6.4 * Math.max(2, ...yTicks.map((t) => tickText(t).length));
  const [right, top] = [width - 12, y.label ? 26 : 12];
  const room = x.names ? (right - left) / x.names.length : 0;
  const slanted = x.names && Math.max(...x.names.map((name) => name.length)) * 6.2 > room;
  const bottom = height - (x.label ? 40 : 24) - (slanted ? 26 : 0);
  const X = mapping(x, left, right);
  const Y = mapping(y, bottom, top);
  const frame = { X, Y, x, y, left, right, top, bottom, room, slanted };
  return { ...frame, axes: [...yAxis(frame, yTicks), ...xAxis(frame, height)] };
}

function mapping({ low, high, scale }, from, to) {
  const f = scale === "log" ? Math.log : (v) => v;
  const k = (to - from) / (f(high) - f(low) || 1);
  return (value) => from + k * (f(Math.max(value, scale === "log" ? 1e-300 : -Infinity)) - f(low));
}

function yAxis({ Y, y, left, right }, values) {
  const lines = values.map((v) => svg("line", { class: "lk-grid", x1: left, x2: right, y1: fix(Y(v)), y2: fix(Y(v)) }));
  const labels = values.map((v) => label("lk-tick lk-tick-y", left - 6, fix(Y(v) + 3.5), tickText(v)));
  return [...lines, ...labels, y.label && label("lk-axis-label", 0, 12, y.label)].filter(Boolean);
}

function xAxis({ X, x, left, right, bottom, room, slanted }, height) {
  const stroke = (x1, x2, y2) => svg("line", { class: "lk-axis", x1: fix(x1), x2: fix(x2), y1: bottom, y2 });
  const values = x.names ? [] : ticks(x.low, x.high, Math.max(2, Math.round((right - left) / 85)), x.scale);
  const marks = values.map((v) => stroke(X(v), X(v), bottom + 4));
  const labels = values.map((v) => label("lk-tick", fix(Math.min(X(v), right)), bottom + 16, tickText(v)));
  const skip = x.names && slanted ? Math.ceil(13 / room) : 1;
  const names = (x.names || []).map((name, i) => (i % skip ? null : categoryName(name, X(i + 0.5), bottom, slanted)));
  const title = x.label && label("lk-axis-label lk-end", right, height - 5, x.label);
  return [stroke(left, right, bottom), ...marks, ...labels, ...names, title].filter(Boolean);
}

function categoryName(name, px, bottom, slanted) {
  if (!slanted) return label("lk-tick", fix(px), bottom + 16, name);
  const short = name.length > 12 ? `${name.slice(0, 11)}…` : name;
  const transform = `translate(${fix(px + 4)} ${bottom + 13}) rotate(-32)`;
  return svg("text", { class: "lk-tick lk-end", transform }, short, svg("title", {}, name));
}

function drawCuts(cuts, { X, Y, left, right, top, bottom }) {
  return cuts.flatMap(({ x, y, label: name, muted }) => {
    const upright = x !== null;
    const place = fix(upright ? X(x) : Y(y));
    const [x1, x2, y1, y2] = upright ? [place, place, top, bottom] : [left, right, place, place];
    const flipped = upright && place > (left + right) / 2;
    const row = muted ? top + 26 : top + 11; // two labels side by side do not meet
    const at = upright ? { x: fix(place + (flipped ? -6 : 6)), y: row } : { x: right, y: fix(place - 5) };
    const quiet = muted ? " lk-quiet" : "";
    const text = label(`lk-cut-label${quiet}${flipped || !upright ? " lk-end" : ""}`, at.x, at.y, name);
    return [svg("line", { class: `lk-cut${quiet}`, x1, x2, y1, y2 }), name ? text : null].filter(Boolean);
  });
}

function describeCut({ x, y, label }) {
  return `${label || "line"} at ${x === null ? "y" : "x"} = ${formatNumber(x === null ? y : x)}`;
}

/** The smallest range that holds all values, with room above; `zero` lets a linear axis start at 0. */
function extent(arrays, range, scale, margin, zero = false) {
  if (range) return { low: range[0], high: range[1] };
  let [low, high] = [Infinity, -Infinity];
  for (const array of arrays) {
    for (const v of array?.data ?? []) {
      if (v < low && (scale !== "log" || v > 0)) low = v;
      if (v > high) high = v;
    }
  }
  if (low > high) [low, high] = [1, 10];
  if (scale === "log") {
    if (low === high) [low, high] = [low / 2, high * 2];
    const room = (high / low) ** margin;
    return { low: zero ? low / 2 : low / room, high: high * room };
  }
  if (zero) low = Math.min(0, low);
  if (low === high) [low, high] = [low - 0.5, high + 0.5];
  return { low: zero ? low : low - margin * (high - low), high: high + margin * (high - low) };
}

function cutPlaces({ cuts }, axis) {
  return { data: cuts.map((cut) => cut[axis]).filter((v) => v !== null) };
}

/** Name the series, if there are two or more; the row stays once it was there, so that the plot does not jump. */
function showLegend(legend, series) {
  const named = series.map((s, i) => [s, i]).filter(([s]) => s.label);
  const text = named.map(([s]) => s.label).join("|");
  if (legend.dataset.text === text || (named.length < 2 && !legend.dataset.text)) return;
  legend.dataset.text = text;
  legend.replaceChildren(...named.map(([s, i]) => h("span", {}, swatch(s, i), s.label)));
}

function swatch(series, i) {
  const classes = look(i, series.muted);
  const line = svg("path", { class: `${classes} lk-line lk-dash${series.muted ? 0 : i % SERIES}`, d: "M1 6H21" });
  const shape = ["line", "steps", "ticks"].includes(series.kind) ? line
    : svg("path", { class: `${classes} lk-points`, d: series.kind ? marker(i)(11, 6) : "M3 1H19V11H3Z" });
  return svg("svg", { class: "lk-swatch", viewBox: "0 0 22 12", "aria-hidden": "true" }, shape);
}

/** The CSS classes that give the i-th series its colour. */
function look(i, muted = false) {
  return `lk-s lk-s${muted ? "-muted" : (i % SERIES) + 1}`;
}

/** Round to a tenth of a pixel: shorter paths. */
function fix(v) {
  return Math.round(v * 10) / 10;
}

