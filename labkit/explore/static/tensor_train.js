// Tensor trains of three functions in the browser: the twin of tensor_train_explorer() in labkit/explore/tensor_train.py.

/** Return compute({function, d, n, digits}) for the data that page_data() of tensor_train.py wrote. */
export default function setup({ cases, digits: all, formats, floor }) {
  return ({ function: name, d, n, digits }) => {
    const found = cases[`${name} ${d} ${n}`];
    const k = all.indexOf(digits);
    const ranks = row(found.ranks, k);
    const sizes = row(found.sizes, k);
    const lines = `the tensor, ${found.numbers.toLocaleString("en-US")}`;
    return {
      ranks: bars(ranks.map((_, i) => `${i + 1} | ${i + 2}`), ranks, []),
      errors: errors(found.errors.data, all, k, floor),
      sizes: bars(formats, sizes, [{ x: null, y: found.numbers, label: lines, muted: false }]),
      numbers: numbers(found, ranks, sizes, k, digits),
    };
  };
}

function row({ data, shape }, k) {
  return [...data.subarray(k * shape[1], (k + 1) * shape[1])];
}

function bars(categories, values, cuts) {
  return { categories, series: [{ label: "", values: vector(values) }], cuts };
}

function errors(measured, digits, k, floor) {
  const x = digits.map((j) => Number(`1e-${j}`));
  const y = [...measured].map((error) => Math.max(error, floor));
  const line = (ys, xs, label, kind, muted) => ({ x: vector(xs), y: vector(ys), label, kind, muted });
  const series = [line(x, x, "bound", "line", true), line(y, x, "measured", "line", false)];
  return { series: [...series, line([y[k]], [x[k]], "here", "points", false)], cuts: [] };
}

function numbers(found, ranks, sizes, k, digits) {
  const items = {
    "Numbers, tensor": found.numbers,
    "Numbers, tensor train": sizes[2],
    "Fewer than the tensor": found.numbers / sizes[2],
    "TT-ranks": ranks.join(", "),
    Error: found.errors.data[k],
    Bound: Number(`1e-${digits}`),
  };
  return { items: Object.entries(items).map(([label, value]) => ({ label, value })) };
}

function vector(values) {
  return { data: Float64Array.from(values), shape: [values.length] };
}
