// Zeros before and after the transform, in the browser: the twin of sparse_winograd_explorer() in sparse_winograd.py.

/** Return compute({weights, activations, m}) for the data that page_data() of sparse_winograd.py wrote. */
export default function setup({ ways, terms }) {
  return ({ weights, activations, m }) => {
    const { weights: g, activations: b } = terms[m];
    const after = [density(weights, g), density(activations, b)];
    const [direct, dense, sparse] = [9 * m * m, (m + 2) ** 2, weights * activations];
    const counts = [direct, direct * sparse, dense, dense * after[0] * after[1], dense * sparse];
    const items = {
      "Weights after the transform": after[0],
      "Activations after the transform": after[1],
      "Saving, sparse": direct / counts[1],
      "Saving, zeros lost": direct / counts[3],
      "Saving, zeros kept": direct / counts[4],
    };
    return {
      products: bars(ways, [["", counts]]),
      densities: bars(["weights", "activations"], [["before", [weights, activations]], ["after the transform", after]]),
      numbers: { items: Object.entries(items).map(([label, value]) => ({ label, value })) },
    };
  };
}

/** The mean over places (i, j) of 1 - (1 - p)^(n_i n_j). */
function density(p, n) {
  const all = n.flatMap((i) => n.map((j) => 1 - (1 - p) ** (i * j)));
  return all.reduce((sum, x) => sum + x, 0) / all.length;
}

function bars(categories, series) {
  const values = ([label, numbers]) => ({ label, values: { data: Float64Array.from(numbers), shape: [numbers.length] } });
  return { categories, series: series.map(values), cuts: [] };
}
