// The radix point in the browser: the twin of radix_point_explorer() in labkit/explore/radix_point.py.

/** Return compute({layer, kind, bits, fraction}) for the tables that page_data() of radix_point.py wrote. */
export default function setup(data) {
  return ({ layer, kind, bits, fraction }) => {
    const curves = Object.fromEntries(data.layers.map((name) => [name, column(data[kind][name], bits - data.bits, 0)]));
    const saturated = column(data[kind][layer], bits - data.bits, 1);
    const at = fraction - data.fraction;
    return {
      curve: curve(data, curves[layer], at),
      layers: bars(data, curves, at),
      numbers: numbers(data, curves[layer], saturated, at),
    };
  };
}

/** The values of all fractions for one number of bits, from a table (bits, fractions, 2). */
function column({ data, shape: [, n] }, row, entry) {
  return Array.from({ length: n }, (_, j) => data[(row * n + j) * 2 + entry]);
}

function highest(values) {
  return values.reduce((best, x, i) => (x > values[best] ? i : best), 0);
}

function curve({ fraction, labels }, values, at) {
  const x = values.map((_, j) => fraction + j);
  const cuts = [{ x: x[highest(values)], y: null, label: labels[2], muted: true }];
  return { series: [series(x, values, labels[0], "line"), series([x[at]], [values[at]], labels[1], "points")], cuts };
}

function series(x, y, label, kind) {
  const vector = (values) => ({ data: Float64Array.from(values), shape: [values.length] });
  return { x: vector(x), y: vector(y), label, kind, muted: false };
}

function bars({ layers, labels }, curves, at) {
  const group = (label, pick) => {
    const values = layers.map((name) => pick(curves[name]));
    return { label, values: { data: Float64Array.from(values), shape: [values.length] } };
  };
  const series = [
    group(labels[3], (values) => Math.max(values[at], 0)),
    group(labels[4], (values) => Math.max(values[highest(values)], 0)),
  ];
  return { categories: layers, series, cuts: [] };
}

function numbers({ fraction }, values, saturated, at) {
  const best = highest(values);
  const items = {
    SQNR: values[at],
    Saturated: saturated[at],
    "Best fraction": fraction + best,
    "Best SQNR": values[best],
    Step: 2 ** -(fraction + at),
  };
  return { items: Object.entries(items).map(([label, value]) => ({ label, value })) };
}
