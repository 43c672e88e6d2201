// The cost of a tensor-train layer in the browser: the twin of tt_layer_explorer() in labkit/explore/tt_layer.py.

const MIB = 2 ** 20 / 4; // numbers of 32 bits

/** Return compute({in_modes, out_modes, rank}); everything is computed here. */
export default function setup() {
  return ({ in_modes: inputs, out_modes: outputs, rank }) => {
    if (![...inputs, ...outputs].every(Number.isInteger)) throw new Error("modes must be whole numbers");
    const bonds = ranks(inputs.map((n, k) => n * outputs[k]), rank);
    const cores = inputs.map((n, k) => [bonds[k], outputs[k], n, bonds[k + 1]]);
    const ways = [states(cores), states(cores.map(([r, m, n, s]) => [s, m, n, r]).reverse())];
    return { cores: table(cores), states: bars(ways), numbers: numbers(inputs, outputs, cores, ways) };
  };
}

/** The ranks 1, r_1, ..., 1, each lowered to what its bond can have. */
function ranks(sides, rank) {
  const found = [1];
  for (let k = 0; k + 1 < sides.length; k++) {
    found.push(Math.min(rank, found[k] * sides[k], product(sides.slice(k + 1))));
  }
  return [...found, 1];
}

function states(way) {
  const sizes = [];
  let [size, macs] = [product(way.map(([, , n]) => n)), 0];
  for (const [r, m, n, s] of way) {
    macs += size * m * s;
    size = (size / (r * n)) * m * s;
    sizes.push(size);
  }
  return { sizes, macs };
}

function table(cores) {
  const rows = cores.map((core, k) => [k + 1, core.join(" × "), product(core)]);
  return { columns: ["core", "r, m, n, r", "weights"], rows, highlight: null };
}

function bars([forward, backward]) {
  const series = [["from the first core", forward], ["from the last core", backward]];
  return {
    categories: forward.sizes.map((_, k) => `${k + 1}.`),
    series: series.map(([label, { sizes }]) => ({ label, values: { data: Float64Array.from(sizes), shape: [sizes.length] } })),
    cuts: [],
  };
}

function numbers(inputs, outputs, cores, [forward, backward]) {
  const [n, m, weights] = [product(inputs), product(outputs), cores.reduce((sum, core) => sum + product(core), 0)];
  const items = {
    Layer: `${n.toLocaleString("en-US")} × ${m.toLocaleString("en-US")}`,
    "Weights of the train": weights,
    Smaller: (m * n) / weights,
    "Weights, dense": (m * n) / MIB,
    "Weights, train": (1024 * weights) / MIB,
    "Largest state, from the first core": Math.max(...forward.sizes) / MIB,
    "Largest state, from the last core": Math.max(...backward.sizes) / MIB,
    "Multiply-adds, dense": m * n,
    "Multiply-adds, from the first core": forward.macs,
    "Multiply-adds, from the last core": backward.macs,
    "Fewer multiply-adds, at best": (m * n) / Math.min(forward.macs, backward.macs),
  };
  return { items: Object.entries(items).map(([label, value]) => ({ label, value })) };
}

function product(values) {
  return values.reduce((a, b) => a * b, 1);
}
