// Calibration in the browser: the twin of calibration_explorer() in labkit/explore/calibration.py.
//
// A candidate of i bins costs O(levels): all sums over bins are differences of prefix sums.

const SHOWN = 64;
const FLOOR = 1e-4;
const LEAST = 1e-6;

/** Return compute({layer, batches, bits, zero_bin, threshold}) for the data that page_data() of calibration.py wrote. */
export default function setup(data) {
  return ({ layer, batches, bits, zero_bin, threshold }) => {
    const hist = data[layer][String(batches)];
    const counts = hist.counts.data;
    const levels = 2 ** (bits - (hist.signed ? 1 : 0));
    const kept = Math.max(1, Math.floor((threshold / 100) * counts.length + 0.5));
    const objective = divergences(counts, levels, zero_bin);
    return {
      histogram: histogram(hist, counts, kept, data.labels),
      curve: curve(hist, objective, levels, kept, data.labels),
      numbers: numbers(hist, counts, objective, levels, kept),
    };
  };
}

function prefix(values) {
  const sums = new Float64Array(values.length + 1);
  values.forEach((x, k) => (sums[k + 1] = sums[k] + x));
  return sums;
}

function xlogx(x) {
  return x * Math.log(Math.max(x, 1));
}

/** KL(P, Q) of candidates with levels, levels + 1, ... bins. */
function divergences(counts, levels, zeroBin) {
  const h = Float64Array.from(counts);
  if (zeroBin === "copy") h[0] = h[1];
  const [H, occupied, E] = [prefix(h), prefix(h.map((x) => (x > 0 ? 1 : 0))), prefix(h.map(xlogx))];
  const total = H[h.length];
  const made = [];
  for (let n = levels; n <= h.length; n++) {
    const beyond = total - H[n];
    let cross = 0;
    for (let j = 0, first = 0; j < levels; j++) {
      const last = Math.ceil(((j + 1) * n) / levels);
      const [c, m] = [H[last] - H[first], occupied[last] - occupied[first]];
      const mass = c + (j === levels - 1 ? beyond : 0);
      if (mass > 0) cross += mass * Math.log(c / (m * H[n]));
      first = last;
    }
    const entropy = E[n - 1] + xlogx(h[n - 1] + beyond) - total * Math.log(total);
    made.push(h[n - 1] === 0 && beyond > 0 ? Infinity : Math.max((entropy - cross) / total, 0));
  }
  return made;
}

function lowest(objective) {
  return objective.reduce((best, x, i) => (x <= objective[best] ? i : best), 0);
}

function sum(values, first, last) {
  let total = 0;
  for (let k = first; k < Math.min(last, values.length); k++) total += values[k];
  return total;
}

function histogram({ width }, counts, kept, labels) {
  const size = Math.ceil(counts.length / SHOWN);
  const n = Math.ceil(counts.length / size);
  const total = sum(counts, 0, counts.length);
  const after = Float64Array.from(counts, (x, k) => (k < kept ? x : 0));
  after[kept - 1] += sum(counts, kept, counts.length);
  const shares = (h) =>
    Array.from({ length: n }, (_, k) => Math.max((100 * sum(h, k * size, (k + 1) * size)) / total, FLOOR));
  const x = Array.from({ length: n }, (_, k) => width * size * (k + 0.5));
  return {
    series: [series(x, shares(counts), labels[0], "steps", true), series(x, shares(after), labels[1], "steps", false)],
    cuts: [{ x: kept * width, y: null, label: labels[2], muted: false }],
  };
}

function curve({ width }, objective, levels, kept, labels) {
  const finite = objective.map((y, k) => [(levels + k) * width, Math.max(y, LEAST)]).filter(([, y]) => y < Infinity);
  const best = (levels + lowest(objective)) * width;
  return {
    series: [series(finite.map(([x]) => x), finite.map(([, y]) => y), labels[4], "line", false)],
    cuts: [
      { x: kept * width, y: null, label: labels[2], muted: false },
      { x: best, y: null, label: labels[3], muted: true },
    ],
  };
}

function series(x, y, label, kind, muted) {
  const vector = (values) => ({ data: Float64Array.from(values), shape: [values.length] });
  return { x: vector(x), y: vector(y), label, kind, muted };
}

function sqnr({ width, zeros }, counts, threshold, levels) {
  const step = threshold / (levels - 1);
  let [signal, noise] = [0, 0];
  counts.forEach((count, k) => {
    const c = k === 0 && 2 * zeros >= counts[0] ? 0 : width * (k + 0.5);
    const y = step * Math.min(Math.floor(c / step + 0.5), levels - 1);
    signal += count * c * c;
    noise += count * (c - y) ** 2;
  });
  return 10 * Math.log10(signal / noise);
}

function numbers(hist, counts, objective, levels, kept) {
  const here = objective[kept - levels];
  const items = {
    Threshold: kept * hist.width,
    "Divergence (nats)": here !== undefined && here < Infinity ? here : null,
    "Minimum at": (levels + lowest(objective)) * hist.width,
    Saturated: (100 * sum(counts, kept, counts.length)) / sum(counts, 0, counts.length),
    SQNR: sqnr(hist, counts, kept * hist.width, levels),
    "In lone bins": hist.spikes,
  };
  return { items: Object.entries(items).map(([label, value]) => ({ label, value })) };
}
