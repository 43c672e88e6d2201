// Draws the plotly figures of a page, each when the reader comes near it. Until then, without scripts and in
// print the page shows the still picture that is already there, in a box of the same height.

const MEGABYTES_LATER = "600px 0px"; // start to load this far before a figure comes into view
const config = { responsive: true, displayModeBar: false, scrollZoom: false };
let library;

function loadPlotly() {
  library ??= new Promise((resolve, reject) => {
    const script = document.createElement("script");
    script.src = new URL("plotly.min.js", import.meta.url);
    script.onload = () => resolve(window.Plotly);
    script.onerror = () => reject(new Error("plotly.min.js did not load"));
    document.head.append(script);
  });
  return library;
}

async function draw(box) {
  const figure = JSON.parse(box.querySelector("script").textContent);
  const stage = document.createElement("div");
  stage.className = "fig-stage";
  const touch = matchMedia("(pointer: coarse)").matches; // a finger that drags must scroll the page, not zoom
  const layout = { ...figure.layout, autosize: true, dragmode: touch ? false : "zoom" };
  const data = figure.data.map((trace) => (named(trace) ? { ...trace, cliponaxis: false } : trace));
  const plotly = await loadPlotly();
  box.append(stage);
  await plotly.newPlot(stage, data, layout, config);
  thinNames(stage);
  stage.on("plotly_afterplot", () => thinNames(stage));
  box.dataset.drawn = "";
}

const named = ({ type, mode }) => type === "scatter" && /markers.*text/.test(mode ?? "");

// On a narrow page the names of points would lie on each other: the first that fit are shown, a tap tells the others.
function thinNames(stage) {
  const frame = stage.getBoundingClientRect();
  const taken = [...stage.querySelectorAll(".xtick text, .ytick text")].map((label) => label.getBoundingClientRect());
  for (const name of stage.querySelectorAll(".textpoint text")) {
    const box = name.getBoundingClientRect();
    const fits = box.left >= frame.left && box.right <= frame.right && !taken.some((other) => overlap(box, other));
    name.style.visibility = fits ? "" : "hidden";
    if (fits) taken.push(box);
  }
}

function overlap(a, b) {
  const slack = 2; // pixels: line boxes are higher than the letters
  return a.left < b.right && b.left < a.right && a.top < b.bottom - slack && b.top < a.bottom - slack;
}

const near = new IntersectionObserver(
  (entries) => {
    for (const { target, isIntersecting } of entries) {
      if (!isIntersecting) continue;
      near.unobserve(target);
      draw(target);
    }
  },
  { rootMargin: MEGABYTES_LATER },
);

document.querySelectorAll(".fig-plot").forEach((box) => near.observe(box));

// Paper is white and cannot be unfolded: print in the light theme with all solutions open, then restore the page.
let restore = null;
function onPaper() {
  if (restore) return;
  const theme = document.documentElement.dataset.theme;
  const folded = [...document.querySelectorAll("article details:not([open])")];
  document.documentElement.dataset.theme = "light";
  folded.forEach((details) => (details.open = true));
  restore = () => {
    document.documentElement.dataset.theme = theme;
    folded.forEach((details) => (details.open = false));
    restore = null;
  };
}
addEventListener("beforeprint", onPaper);
addEventListener("afterprint", () => restore?.());
matchMedia("print").addEventListener("change", ({ matches }) => (matches ? onPaper() : restore?.()));

// The theme leaves the arrows that unfold its table of contents without a name.
for (const arrow of document.querySelectorAll(".bd-links summary")) {
  arrow.setAttribute("aria-label", `Pages below ${arrow.closest("li").querySelector("a").textContent.trim()}`);
}

// A formula wider than a phone scrolls sideways; the arrow keys reach it only when it can have the focus.
function letWideFormulasFocus() {
  for (const formula of document.querySelectorAll("mjx-container[display='true']")) {
    formula.tabIndex = formula.scrollWidth > formula.clientWidth ? 0 : -1;
  }
}
addEventListener("load", async () => {
  await window.MathJax?.startup?.promise;
  letWideFormulasFocus();
  addEventListener("resize", letWideFormulasFocus);
  addEventListener("toggle", letWideFormulasFocus, true); // a folded solution has no width until it is opened
});
