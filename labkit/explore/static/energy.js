// The energy budget in the browser: the twin of energy_explorer() in labkit/explore/energy.py.

/** Return compute({fps, connections, sram_share, bits}) for the data that page_data() of energy.py wrote. */
export default function setup(data) {
  return ({ connections: millions, ...others }) => {
    const values = { connections: 1e6 * millions, ...others };
    const here = budget(data, values);
    const before = budget(data, { ...values, sram_share: 0, bits: 32 });
    return {
      power: power(data, here, before),
      size: againstSize(data, here, before, values.connections),
      numbers: numbers(data, here, values),
    };
  };
}

/** Watts of multiply-adds, weights from SRAM and weights from DRAM, and their sum. */
function budget({ bits: widths, watts }, { fps, connections, sram_share, bits }) {
  const row = 3 * widths.indexOf(bits);
  const share = sram_share / 100;
  const parts = [1, share, 1 - share].map((part, i) => watts.data[row + i] * part * fps * connections);
  return { parts, total: parts[0] + parts[1] + parts[2] };
}

function power({ parts: labels, names, phone, lecture, crowded, labels: [example, limit] }, here, before) {
  const both = Math.max(here.total, before.total) > crowded;
  const series = labels.map((label, i) => ({ label, values: vector([here.parts[i], before.parts[i]]) }));
  const cuts = [level(phone, both ? "" : limit, false), level(lecture, both ? `${example}; ${limit}` : example, true)];
  return { categories: names, series, cuts };
}

function againstSize({ sizes, names, phone, labels }, here, before, connections) {
  const curve = (ys, label, muted = false) => ({ x: vector(sizes), y: vector(ys), label, kind: "line", muted });
  const line = ({ total }, ...look) => curve(sizes.map((n) => (total * n) / connections), ...look);
  const point = { x: vector([connections]), y: vector([here.total]), label: "this network", kind: "points", muted: false };
  const series = [line(before, names[1], true), line(here, names[0]), point, curve([phone, phone], labels[1])];
  return { series, cuts: [] };
}

function numbers({ phone }, { parts, total }, { fps, connections, bits }) {
  const items = {
    Power: total,
    "Energy per frame": (1000 * total) / fps,
    "Spent on fetching": (100 * (parts[1] + parts[2])) / total,
    Weights: (connections * bits) / 8e6,
    "Of the phone's power": total / phone,
    "Within the phone's power": total <= phone,
  };
  return { items: Object.entries(items).map(([label, value]) => ({ label, value })) };
}

function level(y, label, muted) {
  return { x: null, y, label, muted };
}

function vector(values) {
  return { data: Float64Array.from(values), shape: [values.length] };
}
