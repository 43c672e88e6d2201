// The LUT synthesiser in the browser: the twin of labkit/explore/lut.py and of synthesize() in labkit/kernels/lut.py.

const SIZES = [2, 3, 4, 5, 6];
const SMALL = "₀₁₂₃₄₅₆₇₈₉";

/** Return compute({function, ones, n_inputs, k}). */
export default function setup() {
  return ({ function: name, ones, n_inputs: n, k }) => {
    const rows = tableOf(name, ones, n);
    const networks = new Map(SIZES.map((size) => [size, synthesize(rows, n, size)]));
    const counts = SIZES.map((size) => networks.get(size).cells.length);
    return {
      table: grid(rows, n),
      counts: { categories: SIZES.map((size) => `k = ${size}`), series: [{ label: "", values: vector(counts) }], cuts: [] },
      network: wiring(networks.get(k), n),
      numbers: numbers(networks.get(k), rows, n, k),
    };
  };
}

function tableOf(name, ones, n) {
  const functions = {
    parity: (count) => count % 2,
    majority: (count) => +(2 * count > n),
    carry: (count) => (count >> 1) & 1,
  };
  if (name !== "own") return range(2 ** n).map((row) => functions[name](bits(row, n).reduce((a, b) => a + b, 0)));
  if (!ones.every(Number.isInteger)) throw new Error("rows that give 1 must be whole numbers");
  return range(2 ** n).map((row) => +ones.includes(row));
}

// ---- synthesis; a truth table is an array of 2^m bits, a network {cells: [{table, inputs}], output, levels}

function synthesize(rows, n, k) {
  const network = { cells: [], levels: range(n).map(() => 0), known: new Map() };
  network.output = expand(network, rows, range(n), k);
  return network;
}

function add(network, table, inputs) {
  const key = `${table}|${inputs}`;
  if (!network.known.has(key)) {
    network.known.set(key, network.levels.length);
    network.cells.push({ table, inputs });
    network.levels.push(1 + Math.max(0, ...inputs.map((wire) => network.levels[wire])));
  }
  return network.known.get(key);
}

function expand(network, whole, all, k) {
  const [f, inputs] = needed(whole, all);
  if (f.length === 2 && f[0] === 0) return inputs[0];
  if (inputs.length <= k) return add(network, f, inputs);
  for (let j = k - 1; j > 0; j--) {
    const choices = combinations(inputs.length, j).filter((chosen) => j + distinct(parts(f, chosen)).length <= k);
    if (choices.length) return select(network, f, inputs, smallest(f, choices), k);
  }
  return multiplexer(network, f, inputs);
}

function select(network, f, inputs, chosen, k) {
  const rest = inputs.filter((_, i) => !chosen.includes(i));
  const pieces = parts(f, chosen);
  const data = distinct(pieces);
  const wires = data.map((g) => expand(network, g, rest, k));
  const table = range(2 ** (chosen.length + data.length)).map((row) => {
    const part = pieces[row % 2 ** chosen.length];
    const at = data.findIndex((g) => same(g, plain(part)));
    return at < 0 ? part[0] : part[0] ^ ((row >> (chosen.length + at)) & 1);
  });
  return add(network, table, [...chosen.map((i) => inputs[i]), ...wires]);
}

/** x f1 or (not x) f0 from tables of two inputs. */
function multiplexer(network, f, inputs) {
  const [i] = smallest(f, combinations(inputs.length, 1));
  const rest = inputs.filter((_, other) => other !== i);
  const [zero, one] = parts(f, [i]).map((part) => expand(network, part, rest, 2));
  const off = add(network, [0, 0, 1, 0], [inputs[i], zero]);
  return add(network, [0, 1, 1, 1], [off, add(network, [0, 0, 0, 1], [inputs[i], one])]);
}

function smallest(f, choices) {
  const size = (chosen) => distinct(parts(f, chosen))
    .reduce((sum, g) => sum + needed(g, range(Math.log2(g.length)))[1].length, 0);
  const sizes = choices.map(size);
  return choices[sizes.indexOf(Math.min(...sizes))];
}

function parts(f, chosen) {
  const mask = chosen.reduce((sum, i) => sum + 2 ** i, 0);
  return range(2 ** chosen.length).map((value) => {
    const held = chosen.reduce((sum, i, place) => sum + (((value >> place) & 1) << i), 0);
    return f.filter((_, row) => (row & mask) === held);
  });
}

function needed(whole, all) {
  let [f, inputs] = [whole, all];
  for (let i = all.length - 1; i >= 0; i--) {
    const [zero, one] = parts(f, [i]);
    if (same(zero, one)) [f, inputs] = [zero, inputs.filter((_, other) => other !== i)];
  }
  return [f, inputs];
}

function distinct(pieces) {
  const found = pieces.map(plain).filter((g) => g.includes(1));
  return found.filter((g, i) => found.findIndex((other) => same(g, other)) === i);
}

function plain(f) {
  return f.map((bit) => bit ^ f[0]);
}

function combinations(n, j, first = 0) {
  if (j === 0) return [[]];
  return range(n).slice(first).flatMap((i) => combinations(n, j - 1, i + 1).map((rest) => [i, ...rest]));
}

// ---- views

function grid(rows, n) {
  const low = Math.floor(n / 2);
  const names = { rows: spelt(n - low), columns: spelt(low) };
  return { values: vector(rows, [2 ** (n - low), 2 ** low]), low: 0, high: 1, ...names };
}

function spelt(count) {
  return range(2 ** count).map((value) => value.toString(2).padStart(count, "0"));
}

function wiring({ cells, levels, output }, n) {
  const columns = [...levels, levels[output] + 1];
  const last = Math.max(1, ...columns);
  const seen = columns.map((column, i) => columns.slice(0, i).filter((other) => other === column).length);
  const places = columns.flatMap((column, i) => [
    column / last, (seen[i] + 0.5) / columns.filter((other) => other === column).length,
  ]);
  const edges = cells.flatMap(({ inputs }, i) => inputs.flatMap((wire) => [wire, n + i]));
  edges.push(output, columns.length - 1);
  return {
    labels: [...range(n).map((i) => `x${SMALL[i]}`), ...cells.map((_, i) => `T${i + 1}`), "f"],
    kinds: [...range(n).map(() => "input"), ...cells.map(() => "cell"), "output"],
    notes: [...range(n).map(() => ""), ...cells.map(({ table }) => `table ${[...table].reverse().join("")}`), ""],
    places: vector(places, [columns.length, 2]),
    edges: { data: Int32Array.from(edges), shape: [edges.length / 2, 2] },
  };
}

function numbers(network, rows, n, k) {
  const items = {
    "Look-up tables": network.cells.length,
    Depth: network.levels[network.output],
    "Rows that give 1": rows.reduce((a, b) => a + b, 0),
    "Memory of the tables": network.cells.length * 2 ** k,
    "Functions in reach of one table": 2 ** (2 ** k),
    "Exact for all inputs": rows.every((bit, row) => evaluate(network, row, n) === bit),
  };
  return { items: Object.entries(items).map(([label, value]) => ({ label, value })) };
}

function evaluate({ cells, output }, row, n) {
  const wires = bits(row, n);
  for (const { table, inputs } of cells) wires.push(table[inputs.reduce((sum, wire, i) => sum + (wires[wire] << i), 0)]);
  return wires[output];
}

// ---- small helpers

function range(n) {
  return Array.from({ length: n }, (_, i) => i);
}

function bits(row, n) {
  return range(n).map((i) => (row >> i) & 1);
}

function same(f, g) {
  return f.length === g.length && f.every((bit, i) => bit === g[i]);
}

function vector(values, shape = [values.length]) {
  return { data: Float64Array.from(values), shape };
}
