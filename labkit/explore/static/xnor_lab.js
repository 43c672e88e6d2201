// Binary weights and inputs in the browser: the twin of xnor_lab_explorer() in labkit/explore/xnor_lab.py.

const INNER = ["conv2", "fc1"];
const LAST = "fc2";
const WORD = 64;

/** Return compute({layer, weights, inputs, scale, last}) for the data that page_data() of xnor_lab.py wrote. */
export default function setup({ layers, errors }) {
  return ({ layer: name, weights, inputs, ...rest }) => {
    const layer = layers[name];
    const [scale, last] = [rest.scale && weights, rest.last && weights];
    const binary = weights && (INNER.includes(name) || (name === LAST && last));
    const rows = rowByRow(layer, scale, binary);
    const error = errors[variant({ weights, inputs, scale, last })];
    return {
      ...pictures(layer, rows.size, scale, binary),
      rows: { series: curves(layer, rows, binary), cuts: [] },
      numbers: numbers(layer, rows, { scale, binary, inputs, error, real: errors.real }),
    };
  };
}

function variant(switches) {
  return Object.keys(switches).filter((key) => switches[key]).join("-") || "real";
}

/** The size of the signs of each row, what they lose of it, and n times the variance of its absolute values. */
function rowByRow({ n, absolute, squares }, scale, binary) {
  const alpha = absolute.data.map((x) => x / n);
  const size = scale ? alpha : alpha.map(() => 1);
  const lost = size.map((s, i) => (binary ? squares.data[i] - 2 * s * absolute.data[i] + n * s ** 2 : 0));
  const variance = size.map((_, i) => squares.data[i] - absolute.data[i] ** 2 / n);
  return { alpha, size, lost, variance };
}

function pictures({ part, n, absolute }, size, scale, binary) {
  const limit = Math.round((200 * total(absolute.data)) / n / absolute.data.length) / 100;
  const high = scale || !binary ? limit : 1;
  const width = part.shape[1];
  const used = binary ? part.data.map((x, i) => (x < 0 ? -1 : 1) * size[Math.floor(i / width)]) : part.data;
  return { real: picture(part.data, part.shape, limit), used: picture(used, part.shape, high) };
}

function picture(values, shape, high) {
  const level = (x) => Math.max(0, Math.min(255, ((x + high) / (2 * high)) * 255)) + 0.5;
  return { levels: { data: Uint8Array.from(values, level), shape }, low: -high, high, colormap: "diverging" };
}

function curves({ squares }, { lost, variance }, binary) {
  const share = (values) => values.map((x, i) => x / squares.data[i]);
  const line = curve(share(variance), "variance of the row, times n", "line", binary);
  return binary ? [line, curve(share(lost), "residual of the row", "points", false)] : [line];
}

function curve(y, label, kind, muted) {
  const shape = [y.length];
  return { x: { data: y.map((_, i) => i), shape }, y: { data: y, shape }, label, kind, muted };
}

function numbers({ n, squares }, { lost, variance }, { scale, binary, inputs, error, real }) {
  const norm = total(squares.data);
  const bits = binary ? 1 + (scale ? 32 / n : 0) : 32;
  const signs = scale ? "signs times a scale" : "signs";
  const items = {
    "This layer": binary ? signs : "real",
    "Residual / ‖W‖²": (100 * total(lost)) / norm,
    "Variances / ‖W‖²": (100 * total(variance)) / norm,
    "Bits for a weight": bits,
    Smaller: 32 / bits,
    "S(c) of this layer": binary && inputs ? (WORD * n) / (n + WORD) : null,
    "Test error": error,
    "Test error, all real": real,
  };
  return { items: Object.entries(items).map(([label, value]) => ({ label, value })) };
}

function total(values) {
  return values.reduce((sum, x) => sum + x, 0);
}
