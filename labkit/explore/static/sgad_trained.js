// Blocks dropped by difficulty in the browser: the twin of sgad_trained_explorer() in labkit/explore/sgad_trained.py.

/** Return compute({s_max, reading}) for the data that page_data() of sgad_trained.py wrote. */
export default function setup(data) {
  return ({ s_max: largest, reading }) => {
    const kept = reading === "mended" ? 1 - largest : largest;
    const away = ({ s }) => Math.abs(s - (1 - kept));
    const shown = data.networks.reduce((best, network) => (away(network) < away(best) ? network : best));
    return {
      ratio: ratio(data, shown, kept, largest),
      difficulty: { series: [series(data.centres.data, shown.counts, "digits", "steps")], cuts: [] },
      mistakes: mistakes(data, shown),
      blocks: blocks(data, shown),
      numbers: numbers(data, shown, kept),
    };
  };
}

const vector = (values) => ({ data: Float64Array.from(values), shape: [values.length] });
const bins = (counts, least) => counts.map((_, k) => k).filter((k) => counts[k] >= least);
const series = (x, y, label, kind) => ({ x: vector(x), y: vector(y), label, kind, muted: false });

function ratio({ stops, centres, bound, least, classes }, { counts, dropped }, kept, largest) {
  const expected = Array.from(stops.data, (variance) => -100 * Math.expm1(classes * Math.log(kept) * variance));
  const filled = bins(counts, least);
  const places = filled.map((k) => centres.data[k]);
  return {
    series: [
      series(stops.data, expected, "expected", "line"),
      series(places, filled.map((k) => 100 * dropped[k]), "dropped", "points"),
    ],
    cuts: [
      { x: null, y: 100 * largest, label: "s_max", muted: true },
      { x: bound, y: null, label: "largest", muted: true },
    ],
  };
}

function mistakes({ centres, least }, { counts, wrong }) {
  const filled = bins(counts, least);
  const shares = filled.map((k) => (100 * wrong[k]) / counts[k]);
  return { series: [series(filled.map((k) => centres.data[k]), shares, "wrong", "line")], cuts: [] };
}

function blocks({ gradient }, { blocks: run }) {
  const bars = [["digits for which it runs", run.map((share) => 100 * share)], ["gradient, of the largest", gradient]];
  return {
    categories: run.map((_, j) => String(j + 1)),
    series: bars.map(([label, values]) => ({ label, values: vector(values) })),
    cuts: [],
  };
}

function numbers({ error }, { row }, kept) {
  const items = {
    "Drops at most": 100 * (1 - kept),
    Expected: 100 * row.expected,
    Dropped: 100 * row.dropped,
    "Dropped, easy half": 100 * row.dropped_easy,
    "Dropped, hard half": 100 * row.dropped_hard,
    "Multiply-adds": 100 * row.macs,
    "Multiply-adds, easy half": 100 * row.macs_easy,
    "Multiply-adds, hard half": 100 * row.macs_hard,
    Error: row.error,
    "Error, dense": error,
  };
  return { items: Object.entries(items).map(([label, value]) => ({ label, value })) };
}
