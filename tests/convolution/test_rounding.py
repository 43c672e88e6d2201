"""The rounding errors of Winograd's algorithm: by tile, precision and points, against an exact result."""

from fractions import Fraction

import numpy as np
import pytest
import torch

from labkit.convolution import direct_error, winograd_error
from labkit.convolution.rounding import DTYPES, _error


def test_the_reference_has_more_digits_than_float64() -> None:
    random = np.random.default_rng(0)
    d, g = random.uniform(-1, 1, (1, 2, 3, 3)), random.uniform(-1, 1, (1, 2, 3, 3))
    exact = sum(Fraction(a) * Fraction(b) for a, b in zip(d.ravel().tolist(), g.ravel().tolist(), strict=True))
    near = float(exact)
    wrong = _error(torch.full((1, 1, 1, 1), near, dtype=torch.float64), torch.from_numpy(d), torch.from_numpy(g))
    assert wrong == pytest.approx(float(abs(Fraction(near) - exact) / abs(exact)), rel=1e-3)


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_error_grows_with_the_tile(dtype: str) -> None:
    errors = [winograd_error(m, dtype=dtype, channels=16, random_state=0) for m in (2, 4, 8)]
    assert direct_error(4, dtype=dtype, channels=16, random_state=0) < errors[1]
    assert errors == sorted(errors)
    assert errors[2] > 20 * errors[1]


def test_the_error_follows_the_unit_of_the_format() -> None:
    units = {"bfloat16": 2**-8, "float16": 2**-11, "float32": 2**-24, "float64": 2**-53}
    for dtype, unit in units.items():
        assert 0.3 * unit < direct_error(2, dtype=dtype, random_state=0) < 20 * unit
        assert unit < winograd_error(2, dtype=dtype, random_state=0) < 40 * unit


def test_points_change_it() -> None:
    default = winograd_error(6, random_state=0)
    assert winograd_error(6, points=[0, 1, -1, 2, -2, 3, -3], random_state=0) > 20 * default
    assert winograd_error(6, points=range(7), random_state=0) > 1e6 * default


def test_an_overflow_is_an_infinite_error() -> None:
    assert winograd_error(12, dtype="float16", points=range(13), random_state=0) == np.inf


def test_the_same_seed_gives_the_same_number() -> None:
    assert winograd_error(4, random_state=3) == winograd_error(4, random_state=3) != winograd_error(4, random_state=4)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: winograd_error(0), ValueError, "m must be"),
        (lambda: winograd_error(2, dtype="int8"), ValueError, "dtype must be one of"),
        (lambda: winograd_error(2, channels=0), ValueError, "channels must be"),
        (lambda: winograd_error(2, channels=911), ValueError, "channels must be between 1 and 910"),
        (lambda: winograd_error(2, channels=8.0), TypeError, "channels must be an integer"),
        (lambda: winograd_error(2, points=[0]), ValueError, "points must be"),
        (lambda: direct_error(2, 0), ValueError, "r must be"),
        (lambda: direct_error(2, dtype="half"), ValueError, "dtype must be one of"),
    ],
)
def test_bad_input(call, error: type, message: str) -> None:
    with pytest.raises(error, match=message):
        call()
