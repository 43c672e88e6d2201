// The roofline in the browser: the twin of roofline_explorer() in labkit/explore/roofline.py.

const BYTES = 4; // of a number

/** Return compute({machine, c1, c2, side, batch}) for the data that page_data() of roofline.py wrote. */
export default function setup({ machines, ends, ways }) {
  return ({ machine, c1, c2, side, batch }) => {
    const [peak, bandwidth] = machines[machine].data;
    const places = batch * side ** 2; // a batch is a larger picture
    const macs = places * c1 * c2;
    const moved = places * (c1 + c2) + c1 * c2;
    const layer = { places, macs, moved, intensity: (2 * macs) / (BYTES * moved), ridge: peak / bandwidth };
    layer.attainable = Math.min(peak, layer.intensity * bandwidth);
    return {
      roof: roof(layer, peak, bandwidth, ends.data),
      times: bars(ways, [(2e6 * macs) / peak, (1e6 * BYTES * moved) / bandwidth]),
      numbers: numbers(layer, peak, ways),
    };
  };
}

function roof({ intensity, attainable, ridge }, peak, bandwidth, [low, high]) {
  const x = [low, ridge, high];
  const line = { x: vector(x), y: vector(x.map((v) => Math.min(peak, v * bandwidth))), label: "roof", kind: "line", muted: false };
  const point = { x: vector([intensity]), y: vector([attainable]), label: "this layer", kind: "points", muted: false };
  return { series: [line, point], cuts: [cut(ridge, `ridge, ${short(ridge)}`, true), cut(intensity, short(intensity), false)] };
}

function bars(categories, values) {
  return { categories, series: [{ label: "", values: vector(values) }], cuts: [] };
}

function numbers({ places, macs, moved, intensity, attainable, ridge }, peak, ways) {
  const items = {
    "Multiply-adds": macs,
    "Numbers moved": moved,
    "FLOP per byte": intensity,
    Limit: ways[intensity < ridge ? 1 : 0],
    "GFLOP/s in reach": attainable / 1e9,
    "Of the machine's peak": (100 * attainable) / peak,
    "Least time": (2e6 * macs) / attainable,
    "Memory access, against its bound": moved / (2 * Math.sqrt(places * macs) + macs / places),
  };
  return { items: Object.entries(items).map(([label, value]) => ({ label, value })) };
}

/** Three significant digits without trailing zeros, as Python's format(x, ".3g"). */
function short(x) {
  const [mantissa, power] = x.toExponential(2).split("e");
  if (power < -4 || power >= 3) return `${+mantissa}e${power[0]}${power.slice(1).padStart(2, "0")}`;
  return `${+x.toPrecision(3)}`;
}

function cut(x, label, muted) {
  return { x, y: null, label, muted };
}

function vector(values) {
  return { data: Float64Array.from(values), shape: [values.length] };
}
