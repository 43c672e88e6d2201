// F(2, 3) step by step in the browser: the twin of winograd_explorer() in labkit/explore/winograd.py.

/** Return compute({f, g, step, m, dtype}) for the data that page_data() of winograd.py wrote. */
export default function setup(data) {
  return ({ f, g, step, m, dtype }) => ({
    products: products(data, f, g, step),
    counts: counts(data, step),
    errors: errors(data, m, dtype),
    numbers: numbers(data, f, g, step, m, dtype),
  });
}

function factors(f, g) {
  const ends = g[0] + g[2];
  return [
    [f[0] - f[2], f[1] + f[2], f[2] - f[1], f[1] - f[3]],
    [g[0], (ends + g[1]) / 2, (ends - g[1]) / 2, g[2]],
  ];
}

function products(data, f, g, step) {
  const [left, right] = factors(f, g);
  const rows = left.map((x, i) => [
    `m${"₁₂₃₄"[i]}`, data.inputs[i], x,
    step >= 1 ? data.kernel[i] : "", step >= 1 ? right[i] : "", step >= i + 2 ? x * right[i] : "",
  ]);
  const columns = ["product", "of the inputs", "=", "of the kernel", "= ", "m"];
  return { columns, rows, highlight: step >= 2 && step <= 5 ? step - 2 : null };
}

function counts({ operations, steps }, step) {
  const last = step === steps - 1;
  const own = [Math.min(Math.max(step - 1, 0), 4), operations.inputs[0] + (last ? operations.outputs[0] : 0)];
  const once = step >= 1 ? [operations.kernel[1], operations.kernel[0]] : [0, 0];
  const bars = [["for every picture", own], ["once per kernel", once], ["direct", [6, 4]]];
  return {
    categories: ["multiplications", "additions"],
    series: bars.map(([label, values]) => ({ label, values: vector(values) })),
    cuts: [],
  };
}

function errors({ tiles, errors: found, direct }, m, dtype) {
  const series = { x: vector(tiles), y: vector(found[dtype].data), label: "Winograd", kind: "line", muted: false };
  const cut = { x: null, y: direct[dtype], label: "direct", muted: true };
  return { series: [series], cuts: [cut, { x: m, y: null, label: "", muted: false }] };
}

function numbers({ tiles, errors: found, direct, steps }, f, g, step, m, dtype) {
  const [left, right] = factors(f, g);
  const [m1, m2, m3, m4] = left.map((x, i) => x * right[i]);
  const shown = step === steps - 1;
  const items = {
    "y₀": shown ? m1 + m2 + m3 : null,
    "y₁": shown ? m2 - m3 - m4 : null,
    "y₀, direct": f[0] * g[0] + f[1] * g[1] + f[2] * g[2],
    "y₁, direct": f[1] * g[0] + f[2] * g[1] + f[3] * g[2],
    "Multiplications, direct": 9 * m * m,
    "Multiplications, Winograd": (m + 2) ** 2,
    "Fewer multiplications": (9 * m * m) / (m + 2) ** 2,
    Error: found[dtype].data[tiles.indexOf(m)],
    "Error, direct": direct[dtype],
  };
  return { items: Object.entries(items).map(([label, value]) => ({ label, value })) };
}

function vector(values) {
  return { data: Float64Array.from(values), shape: [values.length] };
}
