"""Gradient descent as Euler's method for the differential equation theta' = -grad C(theta), the gradient flow.

Chapter 2; lecture 000:71-83, 115-128.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.integrate import solve_ivp

from labkit import checks

Gradient = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True, repr=False, eq=False)
class Quadratic:
    """The cost C(theta) = theta^T A theta / 2 - b^T theta with A (d, d) symmetric and positive definite, b (d,).

    Its gradient flow is known exactly. Raises TypeError or ValueError if A or b is none of that.
    Chapter 2.

    >>> C = Quadratic(np.diag([1.0, 10.0]))
    >>> C.cost([1, 1]), C.gradient([1, 1]).tolist(), round(C.condition_number, 6)
    (5.5, [1.0, 10.0], 10.0)
    """

    A: np.ndarray
    b: np.ndarray | None = None

    def __post_init__(self) -> None:
        A = checks.matrix(self.A, "A").astype(float)
        b = np.zeros(len(A)) if self.b is None else checks.array(self.b, "b", ndim=1).astype(float)
        if A.shape != (len(b), len(b)) or not np.allclose(A, A.T):
            raise ValueError(f"A must be symmetric and b must fit it, got shapes {A.shape} and {b.shape}")
        if np.linalg.eigvalsh(A)[0] <= 0:
            raise ValueError(f"A must be positive definite, got the eigenvalue {np.linalg.eigvalsh(A)[0]:.4g}")
        object.__setattr__(self, "A", A)
        object.__setattr__(self, "b", b)

    def __repr__(self) -> str:
        return f"Quadratic(d={len(self.A)}, condition_number={self.condition_number:.4g})"

    @property
    def condition_number(self) -> float:
        """The largest eigenvalue of A over the smallest."""
        s = np.linalg.eigvalsh(self.A)
        return float(s[-1] / s[0])

    @property
    def minimizer(self) -> np.ndarray:
        """The point theta* (d,) where the gradient is 0."""
        return np.linalg.solve(self.A, self._b)

    def cost(self, theta: Any) -> float:
        """Return C(theta) for theta (d,)."""
        theta = self._point(theta)
        return float(theta @ self.A @ theta / 2 - self._b @ theta)

    def gradient(self, theta: Any) -> np.ndarray:
        """Return A theta - b, shape (d,)."""
        return self.A @ self._point(theta) - self._b

    def flow(self, theta: Any, times: Any) -> np.ndarray:
        """Return the exact flow from theta (d,) at times (n,) of at least 0: theta* + e^(-A t) (theta - theta*).

        >>> Quadratic(np.eye(1)).flow([1.0], [0.0, 1.0]).round(4).tolist()
        [[1.0], [0.3679]]
        """
        s, Q = np.linalg.eigh(self.A)
        start = Q.T @ (self._point(theta) - self.minimizer)  # (d,) in the axes of A
        return self.minimizer + (np.exp(-np.outer(_times(times), s)) * start) @ Q.T  # (n, d)

    def _point(self, theta: Any) -> np.ndarray:
        point = checks.array(theta, "theta", ndim=1)
        if point.shape != self._b.shape:
            raise ValueError(f"theta must have shape {self._b.shape}, got {point.shape}")
        return point

    @property
    def _b(self) -> np.ndarray:
        return np.zeros(len(self.A)) if self.b is None else self.b


def euler_step(theta: Any, gradient: Gradient, *, learning_rate: float) -> np.ndarray:
    """Return the next point of gradient descent: theta - lambda grad C(theta).

    Parameters
    ----------
    theta : point of any shape
    gradient : called with theta, returns grad C of the same shape
    learning_rate : the step lambda of Euler's method, at least 0

    Raises TypeError or ValueError for other arguments, FloatingPointError if the step leaves the finite numbers.
    Chapter 2; lecture 000:71-80.

    >>> euler_step([1.0, 2.0], lambda theta: theta, learning_rate=0.5).tolist()
    [0.5, 1.0]
    """
    theta = checks.array(theta, "theta")
    slope = _slope(gradient, theta)
    with np.errstate(over="ignore", invalid="ignore"):
        new = theta - checks.number(learning_rate, "learning_rate", low=0) * slope
    if not np.isfinite(new).all():
        hint = f"try a learning_rate below {learning_rate}"
        raise FloatingPointError(f"the step left the finite numbers; {hint}")
    return new


def euler(theta: Any, gradient: Gradient, *, learning_rate: float, n_steps: int) -> np.ndarray:
    """Return the points of `n_steps` steps of gradient descent, theta first: shape (n_steps + 1, *theta.shape).

    Parameters and errors as for `euler_step`; `n_steps` is an int of at least 0. Chapter 2; lecture 000:71-80.

    >>> euler([8.0], lambda theta: theta, learning_rate=0.5, n_steps=3).tolist()
    [[8.0], [4.0], [2.0], [1.0]]
    """
    points = [checks.array(theta, "theta")]
    for _ in range(checks.integer(n_steps, "n_steps", low=0)):
        points.append(euler_step(points[-1], gradient, learning_rate=learning_rate))
    return np.array(points)


def gradient_flow(theta: Any, gradient: Gradient, *, times: Any) -> np.ndarray:
    """Return the gradient flow theta' = -grad C(theta) from theta (d,) at rising times (n,), shape (n, d).

    Solved to about nine digits by SciPy's LSODA, which copes with stiff flows. Raises TypeError or ValueError for
    other arguments, FloatingPointError if the flow cannot be followed. Chapter 2; lecture 000:71-83.

    >>> gradient_flow([1.0], lambda theta: theta, times=[0.0, 1.0]).round(4).tolist()
    [[1.0], [0.3679]]
    """
    theta, times = checks.array(theta, "theta", ndim=1), _times(times)
    _slope(gradient, theta)
    if (np.diff(times) < 0).any():
        raise ValueError(f"times must rise, got {times.tolist()}")
    if times[-1] == 0:
        return np.tile(theta, (len(times), 1))
    span = (0.0, float(times[-1]))
    result = solve_ivp(lambda t, y: -gradient(y), span, theta, "LSODA", times, rtol=1e-10, atol=1e-12)
    if not result.success or not np.isfinite(result.y).all():
        raise FloatingPointError(f"the flow cannot be followed to t = {span[1]}: {result.message}")
    return result.y.T  # (n, d)


def energy_decay(cost: Callable[[np.ndarray], float], gradient: Gradient, theta: Any, *, dt: float = 1e-5) -> float:
    """Return dC/dt + norm(grad C)^2 at theta, with dC/dt measured along the flow: 0 but for rounding and dt^2.

    Along the gradient flow dC/dt = -norm(grad C)^2 <= 0, so the cost never rises.

    Parameters
    ----------
    cost, gradient : C and its gradient, called with points of the shape of theta
    theta : the point
    dt : time before and after it between which the cost is compared, above 0

    Raises TypeError or ValueError for other arguments. Chapter 2; lecture 000:81-83.

    >>> C = Quadratic(np.diag([1.0, 10.0]))
    >>> abs(energy_decay(C.cost, C.gradient, [1.0, 1.0])) < 1e-4
    True
    """
    theta, dt = checks.array(theta, "theta"), checks.positive(dt, "dt")
    slope = _slope(gradient, theta)
    rate = (cost(theta - dt * slope) - cost(theta + dt * slope)) / (2 * dt)
    return float(rate + (slope**2).sum())


def _slope(gradient: Gradient, theta: np.ndarray) -> np.ndarray:
    if not callable(gradient):
        raise TypeError(f"gradient must be callable with theta, got {type(gradient).__name__}")
    slope = checks.array(gradient(theta), "gradient(theta)")
    if slope.shape != theta.shape:
        raise ValueError(f"gradient(theta) must have the shape {theta.shape} of theta, got {slope.shape}")
    return slope


def _times(times: Any) -> np.ndarray:
    times = checks.array(times, "times", ndim=1)
    if (times < 0).any():
        raise ValueError(f"times must be at least 0, got {times.min()}")
    return times
