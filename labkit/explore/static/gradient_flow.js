// Gradient flow in the browser: the twin of gradient_flow_explorer() in labkit/explore/gradient_flow.py.
//
// On C = (x^2 + y^2 / kappa) / 2 both have a closed form: exp(-mu t) for the flow, (1 - mu lambda)^n for the steps.

/** Return compute({learning_rate, condition, steps}) for the data that page_data() of gradient_flow.py wrote. */
export default function setup(data) {
  return ({ learning_rate, condition, steps }) => {
    const bowl = { curvatures: [1, 1 / condition], ...data };
    const times = Array.from({ length: data.nTimes }, (_, i) => (learning_rate * steps * i) / (data.nTimes - 1));
    const flow = times.map((t) => moved(bowl, (mu) => Math.exp(-mu * t)));
    const walk = Array.from({ length: steps + 1 }, (_, n) => moved(bowl, (mu) => (1 - mu * learning_rate) ** n));
    return {
      path: path(bowl, flow, walk, condition),
      cost: costs(bowl, flow, walk, times, learning_rate),
      numbers: numbers(bowl, flow, walk, learning_rate),
    };
  };
}

function moved({ start, curvatures }, factor) {
  return start.map((x, i) => x * factor(curvatures[i]));
}

function cost({ curvatures }, theta) {
  return theta.reduce((sum, x, i) => sum + (curvatures[i] * x * x) / 2, 0);
}

function path(bowl, flow, walk, condition) {
  const outside = walk.findIndex((theta) => Math.max(...theta.map(Math.abs)) > bowl.window);
  const seen = outside < 0 ? walk : walk.slice(0, outside);
  const radii = bowl.levels.map((part) => Math.sqrt(2 * part * cost(bowl, bowl.start)));
  const arcs = radii.flatMap((radius) => levelSet(radius, radius * Math.sqrt(condition), bowl));
  const minimum = curve([[0, 0]], "minimum", "points", true);
  const walked = curve(seen, "gradient descent", "points");
  return { series: [curve(flow, "flow", "line"), walked, ...arcs, minimum, curve(seen, "", "line")], cuts: [] };
}

/** What the picture shows of a level set, an ellipse: its right and its left arc. */
function levelSet(radius, height, { nAngles, window }) {
  const widest = Math.asin(Math.min(1, window / height));
  const angles = Array.from({ length: nAngles }, (_, i) => widest * ((2 * i) / (nAngles - 1) - 1));
  const arc = (side) => angles.map((angle) => [side * radius * Math.cos(angle), height * Math.sin(angle)]);
  return [1, -1].map((side) => curve(arc(side), "", "line", true));
}

function costs(bowl, flow, walk, times, learning_rate) {
  const shown = (theta) => Math.max(cost(bowl, theta), bowl.floor);
  const flowing = curve(flow.map((theta, i) => [times[i], shown(theta)]), "flow", "line");
  const stepping = curve(walk.map((theta, n) => [learning_rate * n, shown(theta)]), "gradient descent", "points");
  return { series: [flowing, stepping], cuts: [] };
}

function numbers(bowl, flow, walk, learning_rate) {
  const [last, end] = [walk[walk.length - 1], flow[flow.length - 1]];
  const factor = Math.max(...bowl.curvatures.map((mu) => Math.abs(1 - learning_rate * mu)));
  const items = {
    "Cost, gradient descent": cost(bowl, last),
    "Cost, flow": cost(bowl, end),
    "Distance between them": Math.hypot(...last.map((x, i) => x - end[i])),
    "Slowest factor per step": factor,
    "Limit of the learning rate": 2,
    "Steps shrink": factor < 1,
  };
  return { items: Object.entries(items).map(([label, value]) => ({ label, value })) };
}

function curve(points, label, kind, muted = false) {
  return { x: vector(points.map((p) => p[0])), y: vector(points.map((p) => p[1])), label, kind, muted };
}

function vector(values) {
  return { data: Float64Array.from(values), shape: [values.length] };
}
