// Blocks to drop by difficulty in the browser: the twin of sgad_explorer() in labkit/explore/sgad.py.

/** Return compute({s_max, reading, guide, temperature}) for the data that page_data() of sgad.py wrote. */
export default function setup(data) {
  return ({ s_max: largest, reading, guide, temperature }) => {
    const kept = reading === "mended" ? 1 - largest : largest;
    const variances = variancesOf(data.scores[guide], data.classes, temperature);
    const ratio = (variance) => -Math.expm1(data.classes * Math.log(kept) * variance);
    const dropped = variances.map(ratio);
    const run = dropped.map((share) => Math.floor(data.blocks * (1 - share) + 0.5));
    return {
      ratio: curve(data, ratio, largest),
      difficulty: difficulty(data, variances),
      blocks: blocks(data, run),
      numbers: numbers(data, variances, dropped, run, 1 - kept),
    };
  };
}

const vector = (values) => ({ data: Float64Array.from(values), shape: [values.length] });
const series = (x, y, label, kind) => ({ x: vector(x), y: vector(y), label, kind, muted: false });
const mean = (values) => values.reduce((sum, value) => sum + value, 0) / values.length;

/** Return the variance of the softmax of each row of scores over a temperature. */
function variancesOf({ data, shape }, classes, temperature) {
  return Array.from({ length: shape[0] }, (_, n) => {
    const row = data.slice(n * classes, (n + 1) * classes).map((score) => score / temperature);
    const top = Math.max(...row);
    const powers = Array.from(row, (score) => Math.exp(score - top));
    const total = powers.reduce((sum, power) => sum + power, 0);
    return mean(powers.map((power) => (power / total - 1 / classes) ** 2));
  });
}

function curve({ stops, bound }, ratio, largest) {
  return {
    series: [series(stops.data, Array.from(stops.data, (variance) => 100 * ratio(variance)), "to drop", "line")],
    cuts: [
      { x: null, y: 100 * largest, label: "s_max", muted: true },
      { x: bound, y: null, label: "largest", muted: true },
    ],
  };
}

function difficulty({ centres, bound, bins }, variances) {
  const counts = new Array(bins).fill(0);
  for (const variance of variances) counts[Math.min(Math.floor((variance / bound) * bins), bins - 1)] += 1;
  return { series: [series(centres.data, counts, "digits", "steps")], cuts: [] };
}

function blocks({ blocks: most }, run) {
  const counts = new Array(most + 1).fill(0);
  for (const n of run) counts[n] += 1;
  return { categories: counts.map((_, k) => String(k)), series: [{ label: "", values: vector(counts) }], cuts: [] };
}

function numbers({ classes, bound }, variances, dropped, run, ceiling) {
  const order = variances.map((_, n) => n).sort((a, b) => variances[b] - variances[a]); // easiest first
  const half = Math.floor(run.length / 2);
  const items = {
    "At the variance 1/M": 100 * ceiling,
    "At the largest variance": 100 * (1 - (1 - ceiling) ** (classes * bound)),
    "Dropped on average": 100 * mean(dropped),
    "Blocks, easy half": mean(order.slice(0, half).map((n) => run[n])),
    "Blocks, hard half": mean(order.slice(half).map((n) => run[n])),
  };
  return { items: Object.entries(items).map(([label, value]) => ({ label, value })) };
}
