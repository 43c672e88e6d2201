"""A regulariser read as a prior: minimising loss plus penalty maximises a posterior probability.

With d = -log p(y | w) and r = -log p(w), d + r = -log p(y, w): the joint, not p(y), as the slide has it.
Chapter 2; lecture 000:58-69.
"""

from typing import Any

import numpy as np

from labkit import checks


def map_objective(w: Any, X: Any, y: Any, *, noise_std: float, prior_std: float) -> float:
    """Return -log p(y, w) of linear regression, in nats, with Gaussian noise and a Gaussian prior on the weights.

    y = X w + noise: -log p(y, w) = norm(y - X w)^2 / (2 noise_std^2) + norm(w)^2 / (2 prior_std^2) + constants.

    Parameters
    ----------
    w : weights (d,)
    X, y : inputs (n, d) and targets (n,)
    noise_std, prior_std : standard deviations of the noise and of each weight, above 0

    Raises TypeError or ValueError for other arguments. Its minimiser is `ridge` with the penalty
    (noise_std / prior_std)^2. Chapter 2; lecture 000:58-69.

    >>> round(map_objective([0.0], [[1.0]], [0.0], noise_std=1, prior_std=1), 4)  # log(2 pi)
    1.8379
    """
    X, y = _data(X, y)
    w = checks.array(w, "w", ndim=1)
    if len(w) != X.shape[1]:
        raise ValueError(f"w must have one weight for each of the {X.shape[1]} columns of X, got {len(w)}")
    noise, prior = checks.positive(noise_std, "noise_std"), checks.positive(prior_std, "prior_std")
    return _minus_log_normal(y - X @ w, noise) + _minus_log_normal(w, prior)


def ridge(X: Any, y: Any, *, penalty: float) -> np.ndarray:
    """Return the weights w (d,) with the least norm(y - X w)^2 + penalty norm(w)^2, in closed form.

    w = (X^T X + penalty I)^-1 X^T y

    Parameters
    ----------
    X, y : inputs (n, d) and targets (n,)
    penalty : weight of the penalty, above 0

    Raises TypeError or ValueError for other arguments. Chapter 2; lecture 000:44-69.

    >>> ridge([[1.0], [1.0]], [1.0, 3.0], penalty=2.0).tolist()
    [1.0]
    """
    X, y = _data(X, y)
    penalty = checks.positive(penalty, "penalty")
    return np.linalg.solve(X.T @ X + penalty * np.eye(X.shape[1]), X.T @ y)


def _data(X: Any, y: Any) -> tuple[np.ndarray, np.ndarray]:
    X, y = checks.matrix(X, "X"), checks.array(y, "y", ndim=1)
    if len(X) != len(y):
        raise ValueError(f"y must have one target for each of the {len(X)} rows of X, got {len(y)}")
    return X, y


def _minus_log_normal(x: np.ndarray, std: float) -> float:
    """Return -log p(x) for independent normal numbers x of mean 0."""
    return float((x**2).sum() / (2 * std**2) + len(x) * np.log(std * np.sqrt(2 * np.pi)))
