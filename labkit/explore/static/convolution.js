// A convolution as two matrices: the twin of convolution_explorer() in labkit/explore/convolution.py.

/** Return compute(values); there are no data, everything follows from the controls. */
export default function setup() {
  return ({ kernel, stride, padding, size, progress }) => {
    const side = Math.floor((size + 2 * padding - kernel) / stride) + 1;
    const places = side * side;
    const place = Math.floor((progress * (places - 1)) / 100 + 0.5);
    const P = patchMatrix(kernel, stride, padding, size, side);
    const A = convolutionMatrix(P, places, kernel * kernel, size * size);
    const [top, left] = [stride * Math.floor(place / side), stride * (place % side)];
    const inPatch = (i, j) => i >= top && i < top + kernel && j >= left && j < left + kernel;
    const inRow = (i) => i === place;
    const wide = size + 2 * padding;
    return {
      picture: cells(wide, wide, (i, j) => pixel(i - padding, j - padding, size), inPatch),
      matrix: cells(places, size * size, (i, j) => A[i * size * size + j], inRow, true),
      patches: cells(places, kernel * kernel, (i, j) => P[i * kernel * kernel + j], inRow),
      output: cells(side, side, (i, j) => i * side + j + 1, (i, j) => i * side + j === place),
      numbers: numbers(A, side, places, kernel * kernel, size * size),
    };
  };
}

/** The number of a pixel, from 1; 0 in the padding. */
function pixel(i, j, size) {
  return i >= 0 && j >= 0 && i < size && j < size ? i * size + j + 1 : 0;
}

/** One row for each output pixel: the numbers of the pixels that its patch covers. */
function patchMatrix(kernel, stride, padding, size, side) {
  const P = [];
  for (let h = 0; h < side; h++) for (let w = 0; w < side; w++) {
    for (let i = 0; i < kernel; i++) for (let j = 0; j < kernel; j++) {
      P.push(pixel(h * stride + i - padding, w * stride + j - padding, size));
    }
  }
  return P;
}

/** One row for each output pixel, one column for each pixel: 1 where they meet. */
function convolutionMatrix(P, places, window, pixels) {
  const A = new Uint8Array(places * pixels);
  P.forEach((number, at) => {
    if (number > 0) A[Math.floor(at / window) * pixels + number - 1] = 1;
  });
  return A;
}

/** What Heatmap.encode() of views.py returns. */
function cells(rows, columns, value, marked, pattern = false) {
  const data = (pattern ? Uint8Array : Float32Array).from({ length: rows * columns },
    (_, at) => value(Math.floor(at / columns), at % columns));
  const mask = Uint8Array.from(data, (_, at) => marked(Math.floor(at / columns), at % columns));
  const shape = [rows, columns];
  const [low, high] = [Math.min(...data), Math.max(...data)];
  return { values: { data, shape }, low, high, rows: null, columns: null, highlight: { data: mask, shape } };
}

function numbers(A, side, places, window, pixels) {
  const items = {
    Output: `${side} × ${side}`,
    A: `${places} × ${pixels}`,
    P: `${places} × ${window}`,
    "Not zero in A": (100 * A.reduce((sum, v) => sum + v, 0)) / A.length,
    "Numbers in P per pixel": (places * window) / pixels,
    "Multiply-adds": places * window,
  };
  return { items: Object.entries(items).map(([label, value]) => ({ label, value })) };
}
