// Multiplications of a convolution by frequencies: the twin of fft_crossover_explorer() in fft_crossover.py.

/** Return compute({channels, side, kernel, ready}); everything is computed here. */
export default function setup({ largest }) {
  return ({ channels, side, kernel, ready }) => {
    const sizes = Array.from({ length: Math.min(largest, side) }, (_, i) => i + 1);
    const direct = sizes.map((k) => directMults(channels, side, k));
    const frequencies = fftMults(channels, side, ready);
    const flat = sizes.map(() => frequencies);
    const items = {
      Direct: direct[kernel - 1],
      Frequencies: frequencies,
      "Direct over frequencies": direct[kernel - 1] / frequencies,
      "Fewer from kernel": crossover(channels, side, frequencies),
    };
    return {
      mults: {
        series: [curve(sizes, direct, "direct"), curve(sizes, flat, "frequencies")],
        cuts: [{ x: kernel, y: null, label: "", muted: false }],
      },
      numbers: { items: Object.entries(items).map(([label, value]) => ({ label, value })) },
    };
  };
}

function directMults(channels, side, kernel) {
  return channels ** 2 * kernel ** 2 * (side - kernel + 1) ** 2;
}

function fftMults(channels, side, ready) {
  const n = side ** 2;
  return (2 * channels + (ready ? 0 : channels ** 2)) * n * Math.log2(n) + 2 * channels ** 2 * n;
}

/** The smallest kernel for which the frequencies need fewer; null if there is none. */
function crossover(channels, side, frequencies) {
  for (let kernel = 1; kernel <= side; kernel++) if (frequencies < directMults(channels, side, kernel)) return kernel;
  return null;
}

function curve(x, y, label) {
  return { x: vector(x), y: vector(y), label, kind: "line", muted: false };
}

function vector(values) {
  return { data: Float64Array.from(values), shape: [values.length] };
}
