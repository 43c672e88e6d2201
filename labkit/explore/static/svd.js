// Truncated SVD in the browser: the twin of svd_explorer() in labkit/explore/svd.py.
//
// A = sum of u_i v_i^T, with the singular values inside u and v. Moving from rank k to l adds or takes away l - k
// terms; sums kept at every 32nd rank keep that number below 17, wherever the slider jumps.

import { unzigzag } from "./codec.js";

const APART = 32;

/** Return compute({subject, rank}) for the data that page_data() of svd.py wrote. */
export default function setup(subjects) {
  const ready = {};
  return ({ subject, rank }) => {
    ready[subject] ??= prepare(subjects[subject]);
    return views(subjects[subject], ready[subject], rank);
  };
}

function prepare({ shape: [m, n], codes, steps, tiles }) {
  const terms = factors(codes, steps.data);
  const sum = { at: 0, A: new Float32Array(m * n) };
  const kept = [{ at: 0, A: sum.A.slice() }];
  const r = codes.shape[0];
  while (sum.at < r) {
    move(sum, Math.min(r, sum.at + APART), terms, m, n);
    kept.push({ at: sum.at, A: sum.A.slice() });
  }
  return { terms, sum, kept, order: pixelOrder(m, n, tiles), full: kept[kept.length - 1].A };
}

function factors({ data, shape: [r, length] }, steps) {
  const terms = new Float32Array(data.length);
  for (let i = 0; i < r; i++) {
    for (let j = i * length; j < (i + 1) * length; j++) terms[j] = unzigzag(data[j]) * steps[i];
  }
  return terms;
}

/** Add or take away terms until the sum holds the first `rank`. */
function move(sum, rank, terms, m, n) {
  while (sum.at < rank) addTerm(sum.A, terms, sum.at++, 1, m, n);
  while (sum.at > rank) addTerm(sum.A, terms, --sum.at, -1, m, n);
}

function addTerm(A, terms, i, sign, m, n) {
  const u = i * (m + n);
  const v = terms.subarray(u + m, u + m + n);
  for (let row = 0, at = 0; row < m; row++) {
    const c = sign * terms[u + row];
    for (let column = 0; column < n; column++) A[at++] += c * v[column];
  }
}

function sumAt(rank, { terms, sum, kept }, m, n) {
  const near = kept.reduce((best, k) => (Math.abs(k.at - rank) < Math.abs(best.at - rank) ? k : best));
  if (Math.abs(near.at - rank) < Math.abs(sum.at - rank)) { sum.at = near.at; sum.A.set(near.A); }
  move(sum, rank, terms, m, n);
  return sum.A;
}

/** For each pixel of the picture, its place in the matrix. */
function pixelOrder(m, n, tiles) {
  const order = new Int32Array(m * n);
  const [rows, columns, height, width] = tiles ?? [1, 1, m, n];
  if (!tiles) return order.map((_, i) => i);
  for (let i = 0; i < order.length; i++) {
    const [y, x] = [Math.floor(i / (columns * width)), i % (columns * width)];
    const tile = Math.floor(y / height) * columns + Math.floor(x / width);
    order[i] = tile * height * width + (y % height) * width + (x % width);
  }
  return rows * columns * height * width === m * n ? order : order.map((_, i) => i);
}

function views(subject, state, rank) {
  const { shape: [m, n], span: [low, high], rest, tiles } = subject;
  const A = sumAt(rank, state, m, n);
  const size = tiles ? [tiles[0] * tiles[2], tiles[1] * tiles[3]] : [m, n];
  const [part, left] = [new Uint8Array(m * n), new Uint8Array(m * n)];
  const { order, full } = state;
  for (let i = 0; i < part.length; i++) {
    const at = order[i];
    part[i] = level(A[at], low, high);
    left[i] = level(full[at] - A[at], -rest, rest);
  }
  return {
    reconstruction: { levels: { data: part, shape: size }, low, high, colormap: tiles ? "diverging" : "grey" },
    residual: { levels: { data: left, shape: size }, low: -rest, high: rest, colormap: "diverging" },
    spectrum: spectrum(subject.s.data, rank, subject.breakEven),
    numbers: numbers(subject, rank),
  };
}

function level(value, low, high) {
  return Math.max(0, Math.min(255, ((value - low) * 255) / (high - low))) + 0.5;
}

function spectrum(s, rank, breakEven) {
  const index = Float32Array.from(s, (_, i) => i + 1);
  const part = (from, to, label, muted) => ({ x: { data: index.subarray(from, to), shape: [to - from] },
    y: { data: s.subarray(from, to), shape: [to - from] }, label, kind: "line", muted });
  const series = [part(0, rank, "kept", false)];
  if (rank < s.length) series.push(part(rank, s.length, "left out", true));
  const limit = { x: breakEven, y: null, label: `break-even, ${breakEven}`, muted: true };
  return { series, cuts: [limit, { x: rank, y: null, label: `k = ${rank}`, muted: false }] };
}

function numbers({ shape: [m, n], errors, quality, breakEven }, rank) {
  const parameters = rank * (m + n + 1);
  const items = {
    "Compression rate": (m * n) / parameters,
    Parameters: parameters,
    "Relative error": errors.data[rank - 1],
    [quality.label]: quality.values.data[rank - 1],
    "Smaller than dense": rank <= breakEven,
  };
  return { items: Object.entries(items).map(([label, value]) => ({ label, value })) };
}
