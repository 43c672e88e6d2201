// Sums of Kronecker products in the browser: the twin of kronecker_explorer() in labkit/explore/kronecker.py.
//
// A term puts a copy of R, times L[i][j], at block (i, j). The SVD is the form whose blocks are whole rows.

/** Return compute({photo, right, rank}) for the data that page_data() of kronecker.py wrote. */
export default function setup(photos) {
  return ({ photo, right, rank }) => {
    const [plain, form] = [photos[photo][""], photos[photo][right]];
    const k = Math.max(1, Math.floor((rank * form.price) / plain.price));
    return {
      svd: picture(plain, k),
      blocks: picture(form, rank),
      curves: { series: [curve(plain, "SVD"), curve(form, "Kronecker"), shown(plain, k, form, rank)], cuts: [] },
      numbers: numbers(plain, k, form, rank),
    };
  };
}

function picture(form, rank) {
  const [[m, n], [p, q]] = [form.left, form.right];
  const A = new Float32Array(m * p * n * q);
  for (let r = 0; r < rank; r++) addTerm(A, form.L.data, r * m * n, form.R.data, r * p * q, form);
  const levels = Uint8Array.from(A, (x) => Math.max(0, Math.min(255, x * 255)) + 0.5);
  return { levels: { data: levels, shape: [m * p, n * q] }, low: 0, high: 1, colormap: "grey" };
}

function addTerm(A, L, l, R, r, { left: [m, n], right: [p, q] }) {
  for (let i = 0; i < m; i++) for (let j = 0; j < n; j++) {
    const factor = L[l + i * n + j];
    for (let y = 0; y < p; y++) {
      const at = (i * p + y) * n * q + j * q;
      for (let x = 0; x < q; x++) A[at + x] += factor * R[r + y * q + x];
    }
  }
}

function curve({ psnr, price }, label) {
  const x = Float32Array.from(psnr.data, (_, i) => price * (i + 1));
  return { x: { data: x, shape: psnr.shape }, y: psnr, label, kind: "line", muted: false };
}

function shown(plain, k, form, rank) {
  const pair = (a, b) => ({ data: Float64Array.from([a, b]), shape: [2] });
  const y = pair(plain.psnr.data[k - 1], form.psnr.data[rank - 1]);
  return { x: pair(k * plain.price, rank * form.price), y, label: "shown", kind: "points", muted: false };
}

function numbers(plain, k, form, rank) {
  const items = {
    "Numbers, Kronecker": rank * form.price,
    "Kronecker PSNR": form.psnr.data[rank - 1],
    "SVD terms": k,
    "Numbers, SVD": k * plain.price,
    "SVD PSNR": plain.psnr.data[k - 1],
  };
  return { items: Object.entries(items).map(([label, value]) => ({ label, value })) };
}
