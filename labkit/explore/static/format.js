// Numbers as text, and the ticks of an axis. formatNumber is the twin of format_number in labkit/explore/views.py.

/** Whole numbers in full, others with `digits` significant digits; yes and no; a dash for nothing. */
export function formatNumber(value, digits = 3) {
  if (value === null || value === undefined) return "–";
  if (typeof value === "boolean") return value ? "yes" : "no";
  if (typeof value === "string") return value;
  if (!Number.isFinite(value)) return value > 0 ? "∞" : "−∞";
  if (Number.isInteger(value) && Math.abs(value) < 1e15) return grouped(value.toFixed(0));
  const exponent = Math.floor(Math.log10(Math.abs(value)));
  if (exponent < -4 || exponent >= 9) return value.toExponential(digits - 1).replace("e+", "e").replace(/^-/, "−");
  return grouped(value.toFixed(Math.max(0, digits - 1 - exponent)));
}

/** A value with its unit. */
export function withUnit(text, unit) {
  return unit ? `${text}\u00a0${unit}` : text;
}

/** A tick label: short, with a multiplier for large numbers. */
export function tickText(value) {
  const size = Math.abs(value);
  if (size >= 1e4 && size < 1e15) {
    const [divisor, letter] = [[1e12, "T"], [1e9, "G"], [1e6, "M"], [1e3, "k"]].find(([d]) => size >= d);
    return `${+(value / divisor).toPrecision(3)}${letter}`.replace("-", "−");
  }
  if (size && (size < 1e-3 || size >= 1e15)) return power(value);
  return `${+value.toPrecision(6)}`.replace("-", "−");
}

/** About `n` round values between low and high. */
export function ticks(low, high, n, scale = "linear") {
  return scale === "log" ? logTicks(low, high, n) : linearTicks(low, high, n);
}

function linearTicks(low, high, n) {
  const rough = (high - low) / Math.max(1, n);
  const size = 10 ** Math.floor(Math.log10(rough));
  const steps = [0.5, 1, 2, 5, 10].map((m) => m * size);
  const at = steps.findIndex((step, i) => i > 0 && step >= rough * 0.999);
  const found = multiples(steps[at], low, high);
  return found.length > 1 ? found : multiples(steps[at - 1], low, high); // one value alone gives no scale
}

function multiples(step, low, high) {
  const first = Math.ceil(low / step - 1e-9);
  const count = Math.floor(high / step + 1e-9) - first + 1;
  return Array.from({ length: count }, (_, i) => +((first + i) * step).toPrecision(12));
}

function logTicks(low, high, n) {
  const [first, last] = [Math.ceil(Math.log10(low) - 1e-9), Math.floor(Math.log10(high) + 1e-9)];
  if (last - first < 1) return within([1, 2, 5], low, high, first - 1, last + 1, 1);
  return within([1], low, high, first, last, Math.max(1, Math.ceil((last - first) / n)));
}

function within(digits, low, high, first, last, step) {
  const all = [];
  for (let p = first; p <= last; p += step) for (const d of digits) all.push(+(d * 10 ** p).toPrecision(6));
  return all.filter((x) => x >= low * 0.999 && x <= high * 1.001);
}

function power(value) {
  const [mantissa, exponent] = value.toExponential(1).split("e");
  const raised = [...`${+exponent}`].map((c) => (c === "-" ? "⁻" : "⁰¹²³⁴⁵⁶⁷⁸⁹"[+c])).join("");
  return (+mantissa === 1 ? "" : `${+mantissa}·`) + `10${raised}`;
}

function grouped(text) {
  const [whole, fraction] = text.split(".");
  const spaced = whole.replace(/\B(?=(\d{3})+$)/g, ",").replace("-", "−");
  return fraction ? `${spaced}.${fraction}` : spaced;
}
