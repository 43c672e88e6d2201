r"""The nearest scaled signs: :math:`\min_{\alpha, B} \|W - \alpha B\|^2` and what it costs. Chapter 19.

Rastegari et al. (2016), XNOR-Net, arXiv:1603.05279; lecture 000:841-919.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from labkit import checks


@dataclass(frozen=True, eq=False)
class ScaledSigns:
    """A matrix as one positive scale and n signs for each row: W ~ diag(scale) signs.

    `scale` is float (m,), `signs` int8 (m, n) of +1 and -1, `residual` the squared Frobenius distance to the matrix
    that it approximates.
    """

    scale: np.ndarray
    signs: np.ndarray
    residual: float

    @property
    def factors(self) -> tuple[np.ndarray, np.ndarray]:
        """The scales (m,) and the signs (m, n)."""
        return self.scale, self.signs

    @property
    def n_bits(self) -> int:
        """Bits to store it: 32 for each scale and 1 for each sign."""
        return 32 * len(self.scale) + self.signs.size

    def to_tensor(self) -> np.ndarray:
        """Return the matrix (m, n) that it stands for."""
        return self.scale[:, None] * self.signs

    def matmul(self, x: Any) -> np.ndarray:
        """Return the product with x (n, k) or (n,): additions and subtractions, and then one product for each row."""
        product = self.signs.astype(np.float64) @ checks.array(x, "x")
        return (self.scale * product.T).T

    def __repr__(self) -> str:
        return f"ScaledSigns(shape={self.signs.shape}, residual={self.residual:.4g})"


def row_scaled(w: Any) -> ScaledSigns:
    r"""Return the nearest matrix whose rows are each a scale times signs.

    Parameters
    ----------
    w : array or tensor (m, n) of finite real numbers; a vector (n,) counts as one row

    Raises
    ------
    TypeError, ValueError : not real numbers, empty, not finite, or of another number of dimensions.

    Formula: the minimum of :math:`\|\Lambda B - W\|_F^2` over diagonal :math:`\Lambda` and signs B lies at
    :math:`B = \operatorname{sign} W`, :math:`\Lambda_{ii} = \frac{1}{n} \sum_j |W_{ij}|`, and is
    :math:`n \sum_i \operatorname{Var}_j |W_{ij}|`. Rastegari et al. (2016), arXiv:1603.05279; lecture 000:850-860.
    Chapter 19.

    >>> nearest = row_scaled([[1.0, -3.0], [0.5, 0.5]])
    >>> nearest.scale, nearest.residual
    (array([2. , 0.5]), 2.0)
    """
    w = checks.array(w, "w")
    w = checks.matrix(w[None] if w.ndim == 1 else w, "w").astype(np.float64)
    signs = np.where(w < 0, -1, 1).astype(np.int8)  # sign(0) = +1
    scale = np.abs(w).mean(axis=1)  # (m,)
    return ScaledSigns(scale, signs, float(np.square(w - scale[:, None] * signs).sum()))


@dataclass(frozen=True)
class SumOfSigns:
    """What becomes of the sum of Y when Y is replaced by a scale times its signs.

    `exact` is the sum of Y, `scale` the mean of abs(Y), `estimate` the sum of scale * sign(Y). `least_squares` is the
    scale for which the sum of the signs would be nearest to the exact sum, NaN-free: 0 where no scale helps.
    """

    exact: float
    scale: float
    estimate: float
    least_squares: float

    @property
    def best_estimate(self) -> float:
        """The sum with the least-squares scale: what is left of `exact` at best."""
        return self.least_squares * (self.estimate / self.scale if self.scale else 0.0)


def xnor_counterexample(y: Any = (-4.0, 1.0)) -> SumOfSigns:
    r"""Return the sum of Y beside its sum after scaled binarisation, for products Y = X o W of inputs and weights.

    Parameters
    ----------
    y : the elementwise products (n,) whose sum is one output of a layer; by default the lecture's [-4, 1]

    Raises TypeError or ValueError if y is not a vector of finite numbers.

    Formula: with :math:`C = \operatorname{sign} Y` and :math:`\gamma = \operatorname{mean} |Y|`, the layer's output
    :math:`\sum_i Y_i` becomes :math:`\gamma \sum_i C_i`. Although :math:`(\gamma, C)` is nearest to Y entry by entry,
    the sums can be far apart; the scale :math:`\gamma^* = \sum Y / \sum C`, which makes the sums equal, does not exist
    where the signs balance. Lecture 000:908-919, with the elementwise products of arXiv:1603.05279. Chapter 19.

    >>> xnor_counterexample()
    SumOfSigns(exact=-3.0, scale=2.5, estimate=0.0, least_squares=0.0)
    """
    y = checks.array(y, "y", ndim=1).astype(np.float64)
    signs = np.where(y < 0, -1.0, 1.0)
    scale, total = np.abs(y).mean(), signs.sum()
    best = y.sum() / total if total else 0.0
    return SumOfSigns(float(y.sum()), float(scale), float(scale * total), float(best))


def n_patterns(height: int, width: int, *, modulo_sign: bool = False) -> int:
    r"""Return how many binary filters of height x width exist: :math:`2^{hw}`, or half as many up to sign.

    Raises TypeError or ValueError unless both are integers from 1 to 8. Rastegari et al. (2016); lecture
    000:883-897. Chapter 19.

    >>> n_patterns(3, 3, modulo_sign=True), n_patterns(3, 1, modulo_sign=True)
    (256, 4)
    """
    sides = [checks.integer(s, name, low=1, high=8) for s, name in ((height, "height"), (width, "width"))]
    return 2 ** (sides[0] * sides[1] - checks.flag(modulo_sign, "modulo_sign"))


@dataclass(frozen=True)
class FilterCount:
    """How often two-dimensional filters repeat: `n_filters` in all, `n_unique` different, `n_possible` at most."""

    n_filters: int
    n_unique: int
    n_possible: int

    @property
    def share(self) -> float:
        """Different filters as a share of all."""
        return self.n_unique / self.n_filters


def unique_filters(conv: Any, *, modulo_sign: bool = False) -> FilterCount:
    r"""Count the different sign patterns among the two-dimensional filters of a convolution.

    Parameters
    ----------
    conv : a module with a weight (M, C, h, w), or that array or tensor; its M C filters of h x w are compared by sign
    modulo_sign : whether a filter and its negative count as one

    Raises
    ------
    TypeError, ValueError : not four dimensions, empty, or NaN.

    Formula: at most :math:`2^{hw}`, modulo sign :math:`2^{hw - 1}`, can differ: 256 for 3 x 3. Rastegari et al. (2016),
    arXiv:1603.05279 ("only 42 % of the filters are unique"); lecture 000:883-897. Chapter 19.

    >>> unique_filters(np.ones((4, 2, 3, 3)))
    FilterCount(n_filters=8, n_unique=1, n_possible=512)
    """
    weight = checks.array(getattr(conv, "weight", conv), "conv", ndim=4)
    negative = (weight < 0).reshape(-1, weight.shape[2] * weight.shape[3])  # (M C, h w)
    if checks.flag(modulo_sign, "modulo_sign"):
        negative = negative ^ negative[:, :1]  # the first entry of every filter becomes +1
    possible = n_patterns(*weight.shape[2:], modulo_sign=modulo_sign)
    return FilterCount(len(negative), len(np.unique(negative, axis=0)), possible)
