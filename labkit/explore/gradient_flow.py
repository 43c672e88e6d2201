"""The first explorer of Chapter 2: gradient descent as steps along a flow, on a quadratic bowl."""

from typing import Any

import numpy as np

from labkit.explore.controls import Slider
from labkit.explore.explorer import Explorer, register
from labkit.explore.pages import Browser
from labkit.explore.views import Lines, Readouts, Series
from labkit.training import Quadratic, euler

START = np.array([1.0, 1.0])
WINDOW = 1.6  # both axes of the picture go from -WINDOW to WINDOW
LEVELS = (1.0, 0.25)  # level sets, in parts of the cost at the start
FLOOR = 1e-12  # the smallest cost on the logarithmic axis
N_TIMES, N_ANGLES = 121, 37

CONTROLS = [
    Slider("learning_rate", 0.02, 2.2, 0.02, default=0.3, label="Learning rate λ"),
    Slider("condition", 1, 100, default=10, scale="log", positions=41, label="Condition number κ"),
    Slider("steps", 1, 60, default=12, label="Steps"),
]
VIEWS = [
    Lines(
        "path",
        "Where the parameters go",
        x_label="θ₁",
        y_label="θ₂",
        x_range=(-WINDOW, WINDOW),
        y_range=(-WINDOW, WINDOW),
    ),
    Lines("cost", "Cost along the way", x_label="time t = λ × steps", y_label="cost C", y_scale="log"),
    Readouts("numbers"),
]


@register
def gradient_flow_explorer() -> Explorer:
    """Return the explorer of gradient flow: learning rate, condition number and number of steps.

    The cost is C(theta) = (theta_1^2 + theta_2^2 / kappa) / 2. The flow theta' = -grad C is known exactly; Euler's
    steps of length lambda are gradient descent. Chapter 2; lecture 000:71-83, 115-128.

    >>> numbers = gradient_flow_explorer().compute(learning_rate=2.1, condition=10, steps=8)["numbers"]
    >>> numbers["Steps shrink"], round(numbers["Limit of the learning rate"], 2)
    (False, 2.0)
    """
    return Explorer(
        "gradient-flow",
        _views,
        title="Gradient descent walks along a flow",
        controls=CONTROLS,
        views=VIEWS,
        static=Browser("gradient_flow.js", page_data),
        alt="Gradient descent with learning rate {learning_rate} for {steps} steps on a bowl of condition number "
        "{condition}, beside the flow that it follows",
        caption="Both start at (1, 1); grey: two level sets. Steps that leave the picture are not drawn; the cost "
        "shows them all.",
    )


def _views(learning_rate: float, condition: int, steps: int) -> dict[str, Any]:
    bowl = Quadratic(np.diag([1.0, 1.0 / condition]))
    walk = euler(START, bowl.gradient, learning_rate=learning_rate, n_steps=steps)  # (steps + 1, 2)
    times = learning_rate * steps * np.linspace(0, 1, N_TIMES)
    flow = bowl.flow(START, times)  # (N_TIMES, 2)
    costs = {"flow": [bowl.cost(theta) for theta in flow], "walk": [bowl.cost(theta) for theta in walk]}
    return {
        "path": _path(bowl, flow, walk, condition),
        "cost": _costs(times, costs, learning_rate),
        "numbers": _numbers(costs, flow[-1], walk[-1], learning_rate, condition),
    }


def _path(bowl: Quadratic, flow: np.ndarray, walk: np.ndarray, condition: int) -> list[Series]:
    outside = np.flatnonzero(np.abs(walk).max(axis=1) > WINDOW)
    seen = walk[: outside[0]] if len(outside) else walk
    radii = [np.sqrt(2 * level * bowl.cost(START)) for level in LEVELS]
    return [
        Series(flow[:, 1], flow[:, 0], "flow"),
        Series(seen[:, 1], seen[:, 0], "gradient descent", "points"),
        *(arc for radius in radii for arc in _level_set(radius, condition)),
        Series([0.0], [0.0], "minimum", "points", muted=True),
        Series(seen[:, 1], seen[:, 0]),  # the eighth series has the colour of the second
    ]


def _level_set(radius: float, condition: int) -> list[Series]:
    """Return what the picture shows of a level set, an ellipse: its right and its left arc."""
    height = radius * np.sqrt(condition)
    widest = np.arcsin(min(1.0, WINDOW / height))
    angles = widest * np.linspace(-1, 1, N_ANGLES)
    return [Series(height * np.sin(angles), side * radius * np.cos(angles), muted=True) for side in (1, -1)]


def _costs(times: np.ndarray, costs: dict[str, list[float]], learning_rate: float) -> list[Any]:
    at = learning_rate * np.arange(len(costs["walk"]))
    return [
        Series(np.maximum(costs["flow"], FLOOR), times, "flow"),
        Series(np.maximum(costs["walk"], FLOOR), at, "gradient descent", "points"),
    ]


def _numbers(
    costs: dict[str, list[float]], flow: np.ndarray, walk: np.ndarray, learning_rate: float, condition: int
) -> dict[str, Any]:
    factor = max(abs(1 - learning_rate), abs(1 - learning_rate / condition))
    return {
        "Cost, gradient descent": costs["walk"][-1],
        "Cost, flow": costs["flow"][-1],
        "Distance between them": float(np.linalg.norm(flow - walk)),
        "Slowest factor per step": factor,
        "Limit of the learning rate": 2.0,
        "Steps shrink": factor < 1,
    }


def page_data() -> dict[str, Any]:
    """Return what `static/gradient_flow.js` needs; it computes everything from the closed form."""
    return {
        "start": START.tolist(),
        "window": WINDOW,
        "levels": LEVELS,
        "floor": FLOOR,
        "nTimes": N_TIMES,
        "nAngles": N_ANGLES,
    }
