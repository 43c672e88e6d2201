"""The first explorer of Chapter 8: the tensor train of three functions, at every tolerance."""

from dataclasses import dataclass
from functools import cache
from math import comb
from typing import Any

import numpy as np

from labkit.decomposition import extended_tt, hosvd, relative_error, tr_svd, tt_svd
from labkit.explore import codec
from labkit.explore.controls import Choice, Slider
from labkit.explore.explorer import Explorer, register
from labkit.explore.pages import Browser
from labkit.explore.views import Bars, Cut, Groups, Lines, Readouts, Series

FUNCTIONS = {"sum": "x₁ + … + x_d", "sin": "sin(x₁ + … + x_d)", "hilbert": "Hilbert tensor, 1 / (1 + i₁ + … + i_d)"}
MODES, SIDES = (3, 4, 5, 6), (2, 4, 6)
DIGITS = tuple(range(1, 11))  # the tolerances are 1e-1 to 1e-10
FORMATS = ("CP", "Tucker", "tensor train", "extended train", "tensor ring")
FLOOR = 1e-16  # errors below rounding are drawn there


@dataclass(frozen=True)
class Case:
    """The tensor of a function, decomposed at every tolerance: TT-ranks (10, d - 1), errors (10,), numbers (10, 5)."""

    shape: tuple[int, ...]
    ranks: np.ndarray
    errors: np.ndarray
    sizes: np.ndarray


@register
def tensor_train_explorer() -> Explorer:
    """Return the explorer of TT-SVD: which function, how many modes of which size, and the tolerance.

    The arguments of sum and sine are n values from 0 to 1. Tucker, trains and ring come from their SVDs at that
    tolerance; CP is the known sum of d terms, or for the Hilbert tensor Gauss quadrature, which needs no search.
    Chapter 8; lecture 000:443-492, 519-541.

    >>> numbers = tensor_train_explorer().compute(function="sin", d=6, n=6, digits=10)["numbers"]
    >>> numbers["TT-ranks"], numbers["Numbers, tensor train"]
    ('2, 2, 2, 2, 2', 120)
    """
    return Explorer(
        "tensor-train",
        lambda function, d, n, digits: _views(case(function, d, n), digits),
        title="Tensor train: how many numbers does a function need?",
        controls=[
            Choice("function", FUNCTIONS, label="Entries"),
            Slider("d", values=MODES, default=5, label="Modes d"),
            Slider("n", values=SIDES, default=4, label="Values per index n"),
            Slider("digits", values=DIGITS, default=6, label="Tolerance ε = 10⁻ᵏ, k"),
        ],
        views=[
            Bars("ranks", "Rank of each bond", y_label="TT-rank", y_range=(0, 8)),
            Lines("errors", "Error against its bound", x_label="tolerance ε", y_label="relative error",
                  x_scale="log", y_scale="log", x_range=(1e-10, 1e-1), y_range=(FLOOR, 1)),
            Bars("sizes", "Numbers stored at this tolerance", y_label="numbers", y_scale="log",
                 y_range=(1, 1e5), wide=True),
            Readouts("numbers", units={"Fewer than the tensor": "×"}),
        ],
        static=Browser("tensor_train.js", page_data),
        alt="TT-ranks, errors and sizes of the tensor of the function {function} with {d} modes of {n} values",
        caption="The tolerance is relative, in the Frobenius norm. The line across the bars is the tensor itself.",
    )  # fmt: skip


@cache
def case(function: str, d: int, n: int) -> Case:
    """Return the decompositions of one tensor at every tolerance."""
    A = tensor(function, d, n)
    rows = [_at(A, function, 10.0**-k) for k in DIGITS]
    ranks, errors, sizes = zip(*rows, strict=True)
    return Case(A.shape, np.array(ranks), np.array(errors), np.array(sizes))


def tensor(function: str, d: int, n: int) -> np.ndarray:
    """Return the values of a function on a grid (n, ..., n) of d modes.

    >>> tensor("hilbert", 2, 3)[2]
    array([0.33333333, 0.25      , 0.2       ])
    """
    s = np.indices((n,) * d).sum(0)
    x = s / (n - 1)
    return {"sum": lambda: x, "sin": lambda: np.sin(x), "hilbert": lambda: 1 / (1 + s)}[function]()


def hilbert_terms(d: int, n: int, *, tol: float) -> int:
    """Return how many terms Gauss quadrature needs to give the Hilbert tensor up to `tol` (relative, Frobenius).

    1 / (1 + s) is the integral of u^s from 0 to 1, and u^(i_1 + ... + i_d) is a product: R nodes give R terms. They are
    exact from 2 R > d (n - 1) on.

    >>> hilbert_terms(3, 5, tol=1e-12), hilbert_terms(3, 5, tol=0.1) < 4
    (7, True)
    """
    s = np.arange(d * (n - 1) + 1)
    exact, counts = 1 / (1 + s), _multiplicities(d, n)
    for R in range(1, len(s) // 2 + 2):
        u, w = np.polynomial.legendre.leggauss(R)
        rest = exact - (w / 2) @ ((u[:, None] + 1) / 2) ** s
        if np.sqrt(counts @ rest**2) <= tol * np.sqrt(counts @ exact**2):
            break
    return R


def _multiplicities(d: int, n: int) -> np.ndarray:
    """Return in how many ways d indices below n add up to 0, 1, ..., d (n - 1)."""
    return np.array(
        [
            sum((-1) ** j * comb(d, j) * comb(s - n * j + d - 1, d - 1) for j in range(s // n + 1))
            for s in range(d * (n - 1) + 1)
        ],
        dtype=float,
    )


def _at(A: np.ndarray, function: str, tol: float) -> tuple[tuple[int, ...], float, list[int]]:
    """Return the TT-ranks, the error of the train, and the numbers of each format."""
    train = tt_svd(A, tol=tol)
    terms = hilbert_terms(A.ndim, len(A), tol=tol) if function == "hilbert" else A.ndim
    others = (hosvd(A, tol=tol), train, extended_tt(A, tol=tol), tr_svd(A, tol=tol))
    sizes = [terms * sum(A.shape), *(found.n_params for found in others)]
    return train.rank, relative_error(A, train.to_tensor()), sizes


def _views(found: Case, digits: int) -> dict[str, Any]:
    k = DIGITS.index(digits)
    numbers = int(np.prod(found.shape))
    return {
        "ranks": {f"{i + 1} | {i + 2}": int(r) for i, r in enumerate(found.ranks[k])},
        "errors": _errors(found, k),
        "sizes": Groups(FORMATS, {"": found.sizes[k]}, [Cut(y=numbers, label=f"the tensor, {numbers:,}")]),
        "numbers": {
            "Numbers, tensor": numbers,
            "Numbers, tensor train": int(found.sizes[k][2]),
            "Fewer than the tensor": numbers / int(found.sizes[k][2]),
            "TT-ranks": ", ".join(map(str, found.ranks[k])),
            "Error": float(found.errors[k]),
            "Bound": 10.0**-digits,
        },
    }


def _errors(found: Case, k: int) -> list[Series]:
    tolerances = 10.0 ** -np.array(DIGITS)
    drawn = np.maximum(found.errors, FLOOR)
    return [
        Series(tolerances, tolerances, "bound", muted=True),
        Series(drawn, tolerances, "measured"),
        Series(drawn[k : k + 1], tolerances[k : k + 1], "here", kind="points"),
    ]


def page_data() -> dict[str, Any]:
    """Return what `static/tensor_train.js` needs: ranks, errors and sizes of every case."""
    cases = {f"{f} {d} {n}": case(f, d, n) for f in FUNCTIONS for d in MODES for n in SIDES}
    found = {
        name: {"ranks": c.ranks, "errors": codec.Exact(c.errors), "sizes": c.sizes, "numbers": int(np.prod(c.shape))}
        for name, c in cases.items()
    }
    return {"cases": found, "digits": list(DIGITS), "formats": list(FORMATS), "floor": FLOOR}
