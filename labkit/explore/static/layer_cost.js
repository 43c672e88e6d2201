// The cost of every layer in the browser: the twin of layer_cost_explorer() in labkit/explore/layer_cost.py.

const ASPECT = 1.6; // as in squarify() of labkit/explore/views.py

/** Return compute({network, size, width, area}) for the data that page_data() of layer_cost.py wrote. */
export default function setup(data) {
  return ({ network, size, width, area }) => {
    const net = data.networks[network];
    const at = data.sizes.indexOf(size);
    const costs = layerCosts(net, at, Math.round(data.eighths * width), data.eighths);
    return {
      layers: treemap(net, costs[area]),
      kinds: kinds(data, net, costs),
      numbers: numbers(net, at, costs, area),
    };
  };
}

/** Parameters, multiply-adds and activations of each layer at a width of k eighths. */
function layerCosts({ weights, places, outputs, others, power, growth }, at, k, eighths) {
  const n = power.data.length;
  const costs = { parameters: [], macs: [], activations: [] };
  for (let l = 0; l < n; l++) {
    const row = at * n + l;
    const grown = (value, exponent) => (value * k ** exponent) / eighths ** exponent;
    const kernel = grown(weights.data[row], power.data[l]);
    costs.parameters.push(kernel + grown(others.data[l], growth.data[l]));
    costs.macs.push(kernel * places.data[row]);
    costs.activations.push(grown(outputs.data[row], growth.data[l]));
  }
  return costs;
}

function treemap({ tiles, tile }, cost) {
  const values = new Float64Array(tiles.length);
  cost.forEach((value, l) => { values[tile.data[l]] += value; });
  const boxes = squarify(values);
  return { labels: tiles, values: { data: values, shape: [values.length] }, boxes: { data: boxes, shape: [values.length, 4] } };
}

function kinds({ areas, areaNames, kinds: labels }, net, costs) {
  const linear = areas.map((name) => linearShare(net, costs[name]));
  const shares = [linear.map((share) => 100 - share), linear];
  const series = labels.map((label, i) => ({ label, values: { data: Float64Array.from(shares[i]), shape: [areas.length] } }));
  return { categories: areaNames, series, cuts: [] };
}

function numbers(net, at, costs, area) {
  const side = net.sides[at];
  const items = {
    Picture: `${side} × ${side}`,
    Parameters: total(costs.parameters),
    "Multiply-adds": total(costs.macs),
    "Weights, 32 bits": 4e-6 * total(costs.parameters),
    "Activations, 32 bits": 4e-6 * total(costs.activations),
    "Fully connected": linearShare(net, costs[area]),
  };
  return { items: Object.entries(items).map(([label, value]) => ({ label, value })) };
}

function linearShare({ linear }, cost) {
  return (100 * total(cost.filter((_, l) => linear.data[l]))) / total(cost);
}

function total(cost) {
  return cost.reduce((sum, value) => sum + value, 0);
}

/** Boxes left, top, width, height in the unit square with areas in proportion to the values. */
function squarify(values) {
  const sum = total([...values]);
  const areas = Array.from(values, (value) => (ASPECT * value) / sum);
  let order = Array.from(values.keys()).filter((i) => values[i] > 0).sort((i, j) => values[j] - values[i]);
  const boxes = new Float64Array(4 * values.length);
  let [left, top, width, height] = [0, 0, ASPECT, 1];
  while (order.length) {
    const upright = width >= height;
    const [along, across] = upright ? [height, width] : [width, height];
    const row = order.slice(0, rowLength(order.map((i) => areas[i]), along));
    order = order.slice(row.length);
    const depth = order.length ? total(row.map((i) => areas[i])) / along : across;
    let start = 0;
    for (const i of row) {
      const length = areas[i] / depth;
      const box = upright ? [left, top + start, depth, length] : [left + start, top, length, depth];
      boxes.set([box[0] / ASPECT, box[1], box[2] / ASPECT, box[3]], 4 * i);
      start += length;
    }
    if (upright) [left, width] = [left + depth, width - depth];
    else [top, height] = [top + depth, height - depth];
  }
  return boxes;
}

/** How many boxes to put in a row along `side`: as many as make its longest box no longer. */
function rowLength(areas, side) {
  const worst = (n) => {
    const sum = total(areas.slice(0, n));
    return Math.max((side ** 2 * areas[0]) / sum ** 2, sum ** 2 / (side ** 2 * areas[n - 1]));
  };
  let n = 1;
  while (n < areas.length && worst(n + 1) <= worst(n)) n += 1;
  return n;
}
