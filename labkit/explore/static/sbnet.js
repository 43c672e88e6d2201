// Tiles of a road in the browser: the twin of sbnet_explorer() in labkit/explore/sbnet.py.
//
// For each pixel the page knows the number of the first width at which it is road; the rest is counting.

/** Return compute({scene, width, block, kernel}) for the data that page_data() of sbnet.py wrote. */
export default function setup(data) {
  return ({ scene, width, block, kernel }) => {
    const mask = Array.from(data.first[scene].data, (first) => first <= data.widths.indexOf(width));
    const tiles = listOfTiles(mask, data.shape, block);
    return {
      scene: picture(mask, tiles, data.shape, block),
      curve: curve(mask, data, block, kernel),
      list: table(tiles.slice(0, data.listed), block, kernel),
      numbers: numbers(mask, tiles, data, block, kernel),
    };
  };
}

/** Return [row, column] of every tile with road in it, row by row. */
function listOfTiles(mask, [height, width], block) {
  const down = Math.ceil(height / block);
  const across = Math.ceil(width / block);
  const wanted = new Uint8Array(down * across);
  mask.forEach((road, k) => {
    const i = Math.floor(Math.floor(k / width) / block);
    if (road) wanted[i * across + Math.floor((k % width) / block)] = 1;
  });
  const all = Array.from(wanted, (_, k) => [Math.floor(k / across), k % across]);
  return all.filter((_, k) => wanted[k]);
}

function picture(mask, tiles, [height, width], block) {
  const levels = new Uint8Array(height * width);
  for (const [i, j] of tiles) {
    const right = Math.min(width, (j + 1) * block);
    for (let y = i * block; y < Math.min(height, (i + 1) * block); y += 1) {
      levels.fill(110, y * width + j * block, y * width + right);
    }
  }
  mask.forEach((road, k) => {
    if (road) levels[k] = 255;
  });
  return { levels: { data: levels, shape: [height, width] }, low: 0, high: 1, colormap: "sequential" };
}

function shares(n, pixels, block, kernel) {
  const side = block + kernel - 1;
  return { work: (100 * n * block * block) / pixels, reads: (100 * n * side * side) / pixels };
}

function curve(mask, { blocks, shape }, block, kernel) {
  const found = blocks.map((m) => shares(listOfTiles(mask, shape, m).length, mask.length, m, kernel));
  const series = (y, label) => ({ x: vector(blocks), y: vector(y), label, kind: "line", muted: false });
  return {
    series: [series(found.map((s) => s.work), "multiply-adds"), series(found.map((s) => s.reads), "inputs read")],
    cuts: [{ x: null, y: 100, label: "dense", muted: true }, { x: block, y: null, label: "", muted: false }],
  };
}

function table(tiles, block, kernel) {
  const before = Math.floor(kernel / 2);
  const after = kernel - before - 1;
  const range = (i) => `${i * block - before} to ${(i + 1) * block + after - 1}`;
  const rows = tiles.map(([i, j], k) => [k, i, j, range(i), range(j)]);
  return { columns: ["number", "row", "column", "input rows", "input columns"], rows, highlight: null };
}

function numbers(mask, tiles, { shape, channels }, block, kernel) {
  const { work, reads } = shares(tiles.length, mask.length, block, kernel);
  const weights = channels * channels * kernel * kernel;
  const items = {
    Wanted: (100 * mask.filter(Boolean).length) / mask.length,
    Tiles: Math.ceil(shape[0] / block) * Math.ceil(shape[1] / block),
    "Tiles in the list": tiles.length,
    "Overlap of tiles": kernel - 1,
    "Multiply-adds, dense": weights * mask.length,
    "Multiply-adds, tiles": tiles.length * block * block * weights,
    "Multiply-adds": work,
    "Inputs read": reads,
  };
  return { items: Object.entries(items).map(([label, value]) => ({ label, value })) };
}

function vector(values) {
  return { data: Float64Array.from(values), shape: [values.length] };
}
