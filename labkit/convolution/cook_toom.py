"""The matrices of a Winograd convolution for any tile and kernel, exact, from interpolation (Cook and Toom).

A kernel g and a row of outputs are polynomials; their product has m + r - 1 coefficients, so its values at m + r - 1
points determine it, and one multiplication gives one value. Read backwards (transposed), the algorithm for products
of polynomials becomes one for correlations. Everything here is a `Fraction`: nothing is rounded before the matrices
are used. Chapter 23; lecture 003:1859-1883.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain, count
from typing import Any

import numpy as np

from labkit import checks

Exact = tuple[tuple[Fraction, ...], ...]  # a matrix, row by row


@dataclass(frozen=True)
class Transforms:
    """The three matrices of F(m, r): y = A^T [(G g) * (B^T d)], t = m + r - 1 products for m outputs.

    AT : m x t, makes the outputs out of the products
    G : t x r, transforms a kernel
    BT : t x t, transforms a row of m + r - 1 inputs
    points : the t - 1 points of interpolation; the last, infinity, goes without saying
    """

    m: int
    r: int
    points: tuple[Fraction, ...]
    AT: Exact
    G: Exact
    BT: Exact

    @property
    def size(self) -> int:
        """The length of a tile of inputs, and the number of multiplications: t = m + r - 1."""
        return self.m + self.r - 1

    def arrays(self, dtype: Any = np.float64) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return AT, G and BT, each entry rounded once.

        >>> cook_toom(2, 3).arrays()[0]
        array([[ 1.,  1.,  1.,  0.],
               [ 0.,  1., -1.,  1.]])
        """
        AT, G, BT = (np.array([[float(x) for x in row] for row in one]) for one in (self.AT, self.G, self.BT))
        return AT.astype(dtype), G.astype(dtype), BT.astype(dtype)


def cook_toom(m: int, r: int, *, points: Sequence[Any] | None = None) -> Transforms:
    r"""Return exact matrices of F(m, r): m outputs of a correlation with r taps in m + r - 1 multiplications.

    Parameters
    ----------
    m, r : at least 1
    points : m + r - 2 different rational numbers (int, Fraction, or text such as "1/2"); None for `default_points`.
        A float is refused, since it is rarely the number that was meant.

    Returns
    -------
    Transforms

    Raises
    ------
    TypeError, ValueError : m or r is no integer of at least 1, a point is not rational, too many, too few or equal.

    Formula: with :math:`M(x) = \prod_j (x - p_j)` and :math:`N_i = \prod_{j \ne i} (p_i - p_j)`, row i of B^T holds the
    coefficients of :math:`M(x) / (x - p_i)`, row i of G is :math:`(1, p_i, \dots, p_i^{r-1}) / N_i` and column i of
    A^T is :math:`(1, p_i, \dots, p_i^{m-1})`; the rows of infinity are M and the highest powers. Signs are such that
    N_i > 0.
    Source: A. L. Toom 1963, S. A. Cook 1966; S. Winograd, Arithmetic complexity of computations, 1980; A. Lavin,
    S. Gray, Fast algorithms for convolutional neural networks, CVPR 2016. Chapter 23; lecture 003:1859-1883.

    >>> [list(map(int, row)) for row in cook_toom(2, 3).BT]
    [[1, 0, -1, 0], [0, 1, 1, 0], [0, -1, 1, 0], [0, -1, 0, 1]]
    """
    m, r = checks.integer(m, "m", low=1), checks.integer(r, "r", low=1)
    p = default_points(m + r - 2) if points is None else _points(points, m + r - 2)
    scales = [_product(p[i] - q for q in _others(p, i)) for i in range(len(p))]
    signs = [1 if scale > 0 else -1 for scale in scales]
    BT = [[sign * c for c in (*_from_roots(_others(p, i)), Fraction(0))] for i, sign in enumerate(signs)]
    G = [[q**k / abs(scale) for k in range(r)] for q, scale in zip(p, scales, strict=True)]
    columns = [[q**k for k in range(m)] for q in p] + [_unit(m)]
    AT = zip(*columns, strict=True)
    return Transforms(m, r, p, _exact(AT), _exact([*G, _unit(r)]), _exact([*BT, _from_roots(p)]))


def default_points(n: int) -> tuple[Fraction, ...]:
    """Return the n points that keep the matrices small: 0, 1, -1, 2, -2, 1/2, -1/2, 3, -3, 1/3, ...

    >>> [str(p) for p in default_points(7)]
    ['0', '1', '-1', '2', '-2', '1/2', '-1/2']
    """
    n = checks.integer(n, "n", low=0)
    pairs = ((s * x for x in dict.fromkeys((Fraction(k), 1 / Fraction(k))) for s in (1, -1)) for k in count(1))
    endless = chain([Fraction(0)], chain.from_iterable(pairs))
    return tuple(next(endless) for _ in range(n))


def n_mults(m: int | tuple[int, int], r: int | tuple[int, int]) -> int:
    """Return mu(F(m, r)) = m + r - 1, or for pairs (m + r - 1)(n + s - 1): the fewest multiplications possible.

    S. Winograd, Arithmetic complexity of computations, 1980. Chapter 23; lecture 003:1875-1883.

    >>> n_mults(2, 3), n_mults((2, 2), (3, 3)), n_mults((4, 4), (3, 3))
    (4, 16, 36)
    """
    outputs, taps = _sides(m, "m"), _sides(r, "r")
    if len(outputs) != len(taps):
        raise ValueError(f"m and r must both be integers or both be pairs, got {m!r} and {r!r}")
    return int(np.prod([a + b - 1 for a, b in zip(outputs, taps, strict=True)]))


def saving(m: int | tuple[int, int], r: int | tuple[int, int]) -> float:
    """Return how many times fewer multiplications than the direct way: m r / (m + r - 1), for pairs the product.

    >>> saving(2, 3), saving((2, 2), (3, 3)), saving((4, 4), (3, 3))
    (1.5, 2.25, 4.0)
    """
    return float(np.prod([*_sides(m, "m"), *_sides(r, "r")])) / n_mults(m, r)


def _points(points: Sequence[Any], n: int) -> tuple[Fraction, ...]:
    if any(isinstance(point, float | bool) for point in points):
        raise TypeError(f"points must be exact (int, Fraction or text such as '1/2'), got {list(points)}")
    try:
        exact = tuple(Fraction(point) for point in points)
    except (ValueError, TypeError, ZeroDivisionError) as error:
        raise ValueError(f"points must be rational numbers, got {list(points)}") from error
    if len(exact) != n or len(set(exact)) != n:
        raise ValueError(f"points must be {n} different numbers (m + r - 2), got {[str(p) for p in exact]}")
    return exact


def _others(points: Sequence[Fraction], i: int) -> list[Fraction]:
    return [p for j, p in enumerate(points) if j != i]


def _product(factors: Any) -> Fraction:
    result = Fraction(1)
    for factor in factors:
        result *= factor
    return result


def _from_roots(roots: Sequence[Fraction]) -> list[Fraction]:
    """Return the coefficients of prod (x - root), the constant first."""
    coefficients = [Fraction(1)]
    for root in roots:
        shifted, scaled = [Fraction(0), *coefficients], [*(root * c for c in coefficients), Fraction(0)]
        coefficients = [a - b for a, b in zip(shifted, scaled, strict=True)]
    return coefficients


def _unit(n: int) -> list[Fraction]:
    return [Fraction(0)] * (n - 1) + [Fraction(1)]


def _exact(rows: Any) -> Exact:
    return tuple(tuple(row) for row in rows)


def _sides(value: Any, name: str) -> tuple[int, ...]:
    return tuple(checks.integer(n, name, low=1) for n in (value if isinstance(value, tuple) else (value,)))
