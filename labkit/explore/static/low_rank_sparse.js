// Low rank plus sparse in the browser: the twin of low_rank_sparse_explorer() in labkit/explore/low_rank_sparse.py.

/** Return compute({rank, density, budget, places, measure}) for the data that page_data() of low_rank_sparse.py wrote. */
export default function setup(data) {
  return ({ rank, density, budget, places, measure }) => {
    const width = data.ranks.length;
    const here = nearest(data.densities, density / 100) * width + data.ranks.indexOf(rank);
    const errors = data[measure].data;
    const cost = places ? data.bytes.data.map((x) => x / 4) : data.parameters.data;
    const fits = Uint8Array.from(cost, (x) => (x <= data.size / budget ? 1 : 0));
    const best = lowest(errors, fits, () => true);
    const alone = lowest(errors, fits, (i) => i < width || i % width === 0);
    return {
      map: heat(data, measure, fits),
      edge: edge(data, errors, fits, best, here, errors[alone]),
      numbers: numbers(data, here, best, fits),
    };
  };
}

function nearest(values, wanted) {
  return values.reduce((best, x, i) => (Math.abs(x - wanted) < Math.abs(values[best] - wanted) ? i : best), 0);
}

/** The place of the smallest error among the cells that fit and may count. */
function lowest(errors, fits, counts) {
  return errors.reduce((best, x, i) => {
    if (!fits[i] || !counts(i)) return best;
    return best < 0 || x < errors[best] ? i : best;
  }, -1);
}

function heat(data, measure, fits) {
  const values = data[measure];
  const [low, high] = [Math.min(...values.data), Math.max(...values.data)];
  const highlight = { data: fits, shape: values.shape };
  return { values, low, high, rows: data.densities.map(percent), columns: data.ranks.map(String), highlight };
}

function percent(density) {
  return String(Number((100 * density).toPrecision(6)));
}

function edge({ ranks, densities, labels }, errors, fits, best, here, limit) {
  const width = ranks.length;
  const x = [];
  const y = [];
  for (let j = 0; j < width; j++) {
    let i = densities.length - 1;
    while (i >= 0 && !fits[i * width + j]) i--;
    if (i < 0) continue;
    x.push(ranks[j]);
    y.push(errors[i * width + j]);
  }
  const point = (at, label, muted) => ({ ...series([ranks[at % width]], [errors[at]], label, "points"), muted });
  const cuts = [{ x: null, y: limit, label: labels[2], muted: true }];
  const curve = series(x, y, "largest density that fits", "line");
  return { series: [curve, point(best, labels[0], false), point(here, labels[1], true)], cuts };
}

function series(x, y, label, kind) {
  const vector = (values) => ({ data: Float64Array.from(values), shape: [values.length] });
  return { x: vector(x), y: vector(y), label, kind, muted: false };
}

function numbers(data, here, best, fits) {
  const at = (name) => data[name].data[here];
  const width = data.ranks.length;
  const place = `rank ${data.ranks[best % width]}, density ${percent(data.densities[Math.floor(best / width)])} %`;
  const items = {
    "Numbers stored": at("parameters"),
    Smaller: at("parameters") ? data.size / at("parameters") : null,
    Bytes: at("bytes"),
    "Error of the outputs": at("output_error"),
    "Error of the weights": at("weight_error"),
    "Error of the network": Number.isNaN(at("test_error")) ? null : at("test_error"),
    "Within the budget": fits[here] === 1,
    "Best within the budget": place,
  };
  return { items: Object.entries(items).map(([label, value]) => ({ label, value })) };
}
