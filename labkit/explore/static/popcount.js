// The popcount bench in the browser: the twin of popcount_explorer(live=False) in labkit/explore/popcount.py.

/** Return compute({n, word, M, K}) for the recorded grid that page_data() of popcount.py wrote. */
export default function setup({ points, times, exact, names, origin }) {
  return ({ n, word, M, K }) => {
    const row = points.findIndex((point) => `${point}` === `${[n, word, M, K]}`);
    const seconds = Array.from(times.data.slice(row * names.length, (row + 1) * names.length));
    return {
      speed: bars(names, seconds.map((s) => seconds[0] / s)),
      time: bars(names, seconds.map((s) => 1e9 * s)),
      numbers: { items: Object.entries({
        Exact: exact[row],
        "Products of one bit": n * M * K,
        "Words counted": M * K * Math.ceil(n / word),
        Fastest: names[seconds.indexOf(Math.min(...seconds))],
        Measured: origin,
      }).map(([label, value]) => ({ label, value })) },
    };
  };
}

function bars(categories, values) {
  return { categories, series: [{ label: "", values: { data: Float64Array.from(values), shape: [values.length] } }], cuts: [] };
}
