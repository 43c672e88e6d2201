"""F(m, r): exact for every tile and kernel, the lecture's matrices, its counts, and bad input."""

from fractions import Fraction

import numpy as np
import pytest
import sympy
from hypothesis import given
from hypothesis import strategies as st

from labkit.convolution.cook_toom import Transforms, cook_toom, default_points, n_mults, saving

SMALL = st.fractions(min_value=-4, max_value=4, max_denominator=4)


def proven(one: Transforms) -> bool:
    """Whether A^T [(G g) * (B^T d)] is the correlation of g and d, as polynomials in symbols."""
    d, g = sympy.symbols(f"d:{one.size}"), sympy.symbols(f"g:{one.r}")
    AT, G, BT = (
        sympy.Matrix([[sympy.Rational(str(x)) for x in row] for row in rows]) for rows in (one.AT, one.G, one.BT)
    )
    y = AT * (G * sympy.Matrix(g)).multiply_elementwise(BT * sympy.Matrix(d))
    direct = [sum(d[i + k] * g[k] for k in range(one.r)) for i in range(one.m)]
    return all(sympy.expand(a - b) == 0 for a, b in zip(y, direct, strict=True))


@pytest.mark.parametrize("m", range(1, 7))
@pytest.mark.parametrize("r", range(1, 6))
def test_it_is_the_correlation_for_all_numbers(m: int, r: int) -> None:
    assert proven(cook_toom(m, r))


@given(points=st.lists(SMALL, min_size=4, max_size=4, unique=True))
def test_any_points_do(points: list[Fraction]) -> None:
    one = cook_toom(3, 3, points=points)
    d, g = (np.array([Fraction(k * k + 1, k + 2) for k in range(n)], dtype=object) for n in (5, 3))
    AT, G, BT = (np.array(rows, dtype=object) for rows in (one.AT, one.G, one.BT))
    assert list(AT @ ((G @ g) * (BT @ d))) == [sum(d[i : i + 3] * g) for i in range(3)]


def test_the_lectures_f23() -> None:
    """The four products of the slide, up to the sign of the last, which meets it again in the outputs."""
    one = cook_toom(2, 3)
    d, g = np.array([1.0, 2.0, 4.0, 8.0]), np.array([16.0, 32.0, 64.0])
    AT, G, BT = one.arrays()
    m1, m2, m3, m4 = (G @ g) * (BT @ d)
    assert (m1, m2, m3) == ((1 - 4) * 16, (2 + 4) * 112 / 2, (4 - 2) * 48 / 2)
    assert (m4, AT[1, 3]) == (-(2 - 8) * 64, 1)


def test_entries_are_rounded_once() -> None:
    one = cook_toom(4, 3)
    for rows, array in zip((one.AT, one.G, one.BT), one.arrays(np.float32), strict=True):
        assert array.dtype == np.float32
        np.testing.assert_array_equal(array, np.array([[float(x) for x in row] for row in rows], np.float32))


def test_default_points() -> None:
    points = default_points(20)
    assert len(set(points)) == 20
    assert default_points(0) == ()
    assert points[:5] == (0, 1, -1, 2, -2)


@pytest.mark.parametrize(
    ("m", "r", "mults", "times"), [(2, 3, 4, 1.5), ((2, 2), (3, 3), 16, 2.25), ((4, 4), (3, 3), 36, 4)]
)
def test_counts_of_the_lecture(m: int, r: int, mults: int, times: float) -> None:
    assert n_mults(m, r) == mults
    assert saving(m, r) == times


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: cook_toom(0, 3), ValueError, "m must be"),
        (lambda: cook_toom(2, 2.0), TypeError, "r must be an integer"),
        (lambda: cook_toom(2, 3, points=[0, 1]), ValueError, "points must be 3 different numbers"),
        (lambda: cook_toom(2, 3, points=[0, 1, 1]), ValueError, "points must be 3 different"),
        (lambda: cook_toom(2, 3, points=[0, 1, 0.1]), TypeError, "points must be exact"),
        (lambda: cook_toom(2, 3, points=[0, 1, "x"]), ValueError, "points must be rational"),
        (lambda: cook_toom(2, 3, points=[0, 1, "1/0"]), ValueError, "points must be rational"),
        (lambda: default_points(-1), ValueError, "n must be"),
        (lambda: n_mults((2, 2), 3), ValueError, "both be integers or both be pairs"),
        (lambda: saving((2, 0), (3, 3)), ValueError, "m must be"),
    ],
)
def test_bad_input(call, error: type, message: str) -> None:
    with pytest.raises(error, match=message):
        call()
