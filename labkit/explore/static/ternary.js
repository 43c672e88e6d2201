// The ternary threshold in the browser: the twin of ternary_explorer() in labkit/explore/ternary.py.
//
// Beyond each stop of the slider lie counts[k] weights with the sum totals[k]; scale and error follow from these two.

/** Return compute({layer, threshold}) for the data that page_data() of ternary.py wrote. */
export default function setup({ layers, step, window, rule }) {
  return ({ layer, threshold }) => {
    const data = layers[layer];
    const errors = Float64Array.from(data.totals.data, (_, k) => error(data, k));
    const k = Math.round(threshold / step);
    const scale = data.counts.data[k] ? data.totals.data[k] / data.counts.data[k] : 0;
    return {
      weights: weights(data, threshold, scale, window),
      curve: curve(data, errors, k, threshold, { step, rule }),
      numbers: numbers(data, errors, k, scale, Math.round(rule / step)),
    };
  };
}

function error({ counts, totals, squares }, k) {
  const gain = counts.data[k] ? totals.data[k] ** 2 / counts.data[k] : 0;
  return 100 * Math.sqrt(Math.max(0, 1 - gain / squares));
}

const vector = (values) => ({ data: Float64Array.from(values), shape: [values.length] });
const series = (x, y, label, kind) => ({ x: vector(x), y: vector(y), label, kind, muted: false });
const across = (x, label, muted = false) => ({ x, y: null, label, muted });

function weights({ density }, threshold, scale, window) {
  const n = density.data.length;
  const centres = Array.from({ length: n }, (_, i) => ((i + 0.5) * 2 * window) / n - window);
  const cuts = [across(-threshold, ""), across(threshold, "Δ"), across(-scale, "", true), across(scale, "α", true)];
  return { series: [series(centres, density.data, "weights", "steps")], cuts };
}

function curve({ best }, errors, k, threshold, { step, rule }) {
  const stops = Array.from(errors, (_, i) => step * i);
  const binary = { x: null, y: errors[0], label: "binary", muted: true };
  return {
    series: [series(stops, errors, "ternary", "line"), series([threshold], [errors[k]], "shown", "points")],
    cuts: [across(rule, "0.7", true), across(best, "best"), binary],
  };
}

function numbers({ counts, n, best, least }, errors, k, scale, rule) {
  const items = {
    "Scale α / mean |w|": scale,
    Zeros: 100 * (1 - counts.data[k] / n),
    Error: errors[k],
    "Error at 0.7": errors[rule],
    "Best threshold": best,
    "Least error": 100 * least,
    "Error of binary": errors[0],
  };
  return { items: Object.entries(items).map(([label, value]) => ({ label, value })) };
}
