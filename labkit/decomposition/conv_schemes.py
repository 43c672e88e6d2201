"""Four ways to cut the kernel of a convolution into a matrix, so that it becomes two smaller ones in a row.

A kernel is an array (m, c, h, w) of m filters, as in nn.Conv2d; with g groups it is (m, c / g, h, w). A scheme says
which of the axes c, h, w the first convolution covers. What it covers are the rows of the matrix that is cut by SVD,
the rest and m are its columns; each group, and in DAC each input channel, has a matrix of its own.

| scheme    | first convolution   | second convolution | matrix (rows x columns) | matrices |
|-----------|---------------------|--------------------|-------------------------|----------|
| "hw_1x1"  | k filters, h x w    | m filters, 1 x 1   | c h w x m               | 1        |
| "1x1_hw"  | k filters, 1 x 1    | m filters, h x w   | c x h w m               | 1        |
| "hx1_1xw" | k filters, h x 1    | m filters, 1 x w   | c h x w m               | 1        |
| "dac"     | k filters a channel | m filters, 1 x 1   | h w x m                 | c        |

Chapter 7; lecture 000:282-346, 004:18-23.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from labkit import checks
from labkit.decomposition.svd import rank_for_energy, rank_for_tol

SCHEMES = {"hw_1x1": "chw", "1x1_hw": "c", "hx1_1xw": "ch", "dac": "hw"}


@dataclass(frozen=True)
class Cut:
    """How `scheme` cuts a kernel of `shape` (m, c / g, h, w) with g `groups` into matrices.

    Raises TypeError or ValueError for an unknown scheme or a shape that does not fit.

    >>> cut = Cut((50, 20, 5, 5), "hx1_1xw")
    >>> cut.n_matrices, cut.rows, cut.columns, cut.break_even_rank
    (1, 100, 250, 71)
    """

    shape: tuple[int, int, int, int]
    scheme: str
    groups: int = 1

    def __post_init__(self) -> None:
        checks.choice(self.scheme, "scheme", SCHEMES)
        m, *_ = kernel_shape(self.shape)
        if m % checks.integer(self.groups, "groups", low=1):
            raise ValueError(f"groups must divide the {m} filters of shape {self.shape}, got {self.groups}")

    @property
    def sizes(self) -> dict[str, int]:
        """The lengths of the axes: g groups of m filters on c channels, h x w."""
        m, c, h, w = self.shape
        return {"g": self.groups, "m": m // self.groups, "c": c, "h": h, "w": w}

    @property
    def first(self) -> str:
        """The axes of the first convolution."""
        return SCHEMES[self.scheme]

    @property
    def batch(self) -> str:
        """The axes that number the matrices: a channel that the first convolution keeps apart is one of them."""
        return "g" if "c" in self.first else "gc"

    @property
    def second(self) -> str:
        """The axes left to the second convolution."""
        return "".join(axis for axis in "hw" if axis not in self.first)

    @property
    def n_matrices(self) -> int:
        """How many matrices there are."""
        return self._length(self.batch)

    @property
    def rows(self) -> int:
        """The rows of a matrix."""
        return self._length(self.first)

    @property
    def columns(self) -> int:
        """The columns of a matrix."""
        return self._length(self.second + "m")

    @property
    def full_rank(self) -> int:
        """The rank from which the two convolutions are the original one."""
        return min(self.rows, self.columns)

    @property
    def break_even_rank(self) -> int:
        """The largest rank at which the two kernels together are smaller than the original, 0 if there is none."""
        return (self.rows * self.columns - 1) // (self.rows + self.columns)

    def n_params(self, rank: int) -> int:
        """Return the weights of both convolutions at `rank` (int, 1 to the full rank)."""
        return self.n_matrices * checks.rank(rank, high=self.full_rank) * (self.rows + self.columns)

    def matrices(self, W: np.ndarray) -> np.ndarray:
        """Return the kernel W as matrices (b, rows, columns)."""
        T = W.reshape(tuple(self.sizes[axis] for axis in "gmchw"))
        order = self.batch + self.first + self.second + "m"
        return np.einsum(f"gmchw->{order}", T).reshape(self.n_matrices, self.rows, self.columns)

    def lengths(self, axes: str, k: int) -> tuple[int, ...]:
        """Return the lengths of `axes`, in which "k" is the rank."""
        return tuple((self.sizes | {"k": k})[axis] for axis in axes)

    def _length(self, axes: str) -> int:
        return int(np.prod([self.sizes[axis] for axis in axes], dtype=int))


@dataclass(frozen=True, repr=False, eq=False)
class KernelFactors:
    """A convolution kernel kept as the kernels of two convolutions in a row.

    `first` (b k, c or 1, h or 1, w or 1) and `second` (m, k or c k, h or 1, w or 1) are weights as nn.Conv2d takes
    them; `cut` says what they stand for; `error_bound` is the Frobenius distance to the kernel that was factorised.
    Chapter 7.

    >>> factorize_kernel(np.ones((8, 4, 3, 3)), scheme="1x1_hw", rank=1)
    KernelFactors('1x1_hw', shape=(8, 4, 3, 3), rank=1, n_params=76)
    """

    first: np.ndarray
    second: np.ndarray
    cut: Cut
    error_bound: float | None = None

    def __post_init__(self) -> None:
        shapes = np.shape(self.first), np.shape(self.second)
        if not shapes[0] or shapes[0][0] % self.cut.n_matrices or shapes != kernel_shapes(self.cut, self.rank):
            raise ValueError(f"first and second must be the kernels of {self.cut}, got shapes {shapes}")

    @property
    def factors(self) -> tuple[np.ndarray, np.ndarray]:
        """The pair (first, second)."""
        return self.first, self.second

    @property
    def rank(self) -> int:
        """The number k of columns kept of each matrix."""
        return max(1, len(self.first) // self.cut.n_matrices)

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """The shape of the kernel that the factors stand for."""
        return self.cut.shape

    @property
    def n_params(self) -> int:
        """Numbers stored."""
        return self.first.size + self.second.size

    def to_tensor(self) -> np.ndarray:
        """Return the dense kernel (m, c / g, h, w)."""
        (F, f), (S, s) = self._labelled()
        return np.einsum(f"{f},{s}->gmchw", F, S, optimize=True).reshape(self.shape)

    def matmul(self, x: np.ndarray) -> np.ndarray:
        """Return the outputs (m,) or (m, p) for patches x (g c h w,) or (g c h w, p), by the two factors in turn."""
        x = checks.array(x, "x")
        n = self.cut.groups * int(np.prod(self.shape[1:]))
        if x.ndim not in (1, 2) or len(x) != n:
            raise ValueError(f"x must have shape ({n},) or ({n}, p), got {x.shape}")
        (F, f), (S, s) = self._labelled()
        middle = s.replace("m", "") + "p"
        T = np.einsum(f"{f},gchwp->{middle}", F, x.reshape(*self.cut.lengths("gchw", 1), -1), optimize=True)
        return np.einsum(f"{s},{middle}->gmp", S, T, optimize=True).reshape(self.shape[:1] + x.shape[1:])

    def _labelled(self) -> tuple[tuple[np.ndarray, str], tuple[np.ndarray, str]]:
        """Return both factors with the letters of their axes: "gkchw" and "gkm", say."""
        cut, k = self.cut, self.rank
        f, stored = f"{cut.batch}k{cut.first}", f"gm{cut.batch[1:]}k{cut.second}"
        s = f"{cut.batch}k{cut.second}m"
        S = np.einsum(f"{stored}->{s}", self.second.reshape(cut.lengths(stored, k)))
        return (self.first.reshape(cut.lengths(f, k)), f), (S, s)

    def __repr__(self) -> str:
        return f"KernelFactors({self.cut.scheme!r}, shape={self.shape}, rank={self.rank}, n_params={self.n_params})"


def factorize_kernel(
    W: np.ndarray, *, scheme: str, rank: int | None = None, tol: float | None = None, groups: int = 1
) -> KernelFactors:
    """Return the kernel W (m, c / groups, h, w) as the kernels of two convolutions in a row.

    Each matrix M of the scheme is cut to M_k = U_k (S_k V_k^T): U_k^T is the first kernel, S_k V_k^T the second.
    All matrices get the same rank k. The Frobenius norm does not see how a kernel is reshaped, so the error is that
    of the matrices: the root of the sum of all squared singular values left out.

    Parameters
    ----------
    W : real array (m, c / groups, h, w)
    scheme : "hw_1x1", "1x1_hw", "hx1_1xw" or "dac", see the table of this module
    rank, tol : give one: the rank (int, 1 to the full rank), or the relative Frobenius error allowed (0 to 1)
    groups : int, of the convolution

    Raises
    ------
    TypeError, ValueError : a bad argument.

    Zhang et al. (2016), arXiv:1505.06798 ("hw_1x1"); Jaderberg, Vedaldi and Zisserman (2014), arXiv:1405.3866
    ("hx1_1xw"); Li et al. (2019), arXiv:1812.08374 ("dac"). Chapter 7; lecture 000:282-346, 004:18-23.

    >>> sobel = np.array([[1, 0, -1], [2, 0, -2], [1, 0, -1]]).reshape(1, 1, 3, 3)
    >>> factorize_kernel(sobel, scheme="hx1_1xw", tol=1e-9).rank
    1
    """
    W = checks.array(W, "W", ndim=4)
    cut = Cut(W.shape, scheme, groups)
    U, s, Vt = np.linalg.svd(cut.matrices(W), full_matrices=False)  # (b, rows, r), (b, r), (b, r, columns)
    spectrum = _joint(s)
    k = _rank(spectrum, rank, tol)
    error = float(np.linalg.norm(spectrum[k:]))
    first, second = kernel_shapes(cut, k)
    F = U[:, :, :k].swapaxes(1, 2)  # (b, k, rows)
    S = (s[:, :k, None] * Vt[:, :k]).reshape(cut.lengths(f"{cut.batch}k{cut.second}m", k))
    S = np.einsum(f"{cut.batch}k{cut.second}m->gm{cut.batch[1:]}k{cut.second}", S)
    return KernelFactors(F.reshape(first), S.reshape(second), cut, error)


def kernel_spectrum(W: np.ndarray, *, scheme: str, groups: int = 1) -> np.ndarray:
    """Return the joint singular values (r,) of the matrices that `scheme` cuts a kernel into, largest first.

    s_i is the root of the sum of squares of the i-th singular values of all matrices: `rank_for_tol` and
    `rank_for_energy` take it, and the norm of s_{k+1}, ..., s_r is the error at rank k. Arguments and errors as in
    `factorize_kernel`. Chapter 7; lecture 000:304-308.

    >>> kernel_spectrum(np.ones((8, 4, 3, 3)), scheme="dac")[0].round(6)
    np.float64(16.970563)
    """
    W = checks.array(W, "W", ndim=4)
    return _joint(np.linalg.svd(Cut(W.shape, scheme, groups).matrices(W), compute_uv=False))


def speedup_bound(W: np.ndarray, *, scheme: str = "hw_1x1", energy: float = 0.99, groups: int = 1) -> float:
    """Return how many times fewer multiply-adds a kernel takes at the rank that keeps `energy` of its squared norm.

    The two convolutions are counted as if both ran at the resolution of the output; a result of at most 1 says that
    this scheme cannot pay. It bounds the speed-up from above: two small layers cost more time per multiply-add than
    one. Arguments and errors as in `factorize_kernel`. Chapter 7; lecture 001:94-98.

    >>> speedup_bound(np.random.default_rng(0).standard_normal((16, 16, 1, 1))) < 1
    True
    """
    cut = Cut(np.shape(W), scheme, groups)
    k = rank_for_energy(kernel_spectrum(W, scheme=scheme, groups=groups), energy=energy)
    return int(np.prod(cut.shape)) / cut.n_params(k)


def kernel_shape(shape: Any) -> tuple[int, int, int, int]:
    """Return `shape` as four positive ints, or raise an error that names it.

    >>> kernel_shape([50, 20, 5, 5])
    (50, 20, 5, 5)
    """
    if not isinstance(shape, tuple | list) or len(shape) != 4:
        raise TypeError(f"shape must be four integers (m, c, h, w), got {shape!r}")
    m, c, h, w = (checks.integer(side, f"shape[{i}]", low=1) for i, side in enumerate(shape))
    return m, c, h, w


def kernel_shapes(cut: Cut, rank: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the shapes of the two kernels of a cut at `rank`.

    >>> kernel_shapes(Cut((50, 20, 5, 5), "dac"), 3)
    ((60, 1, 5, 5), (50, 60, 1, 1))
    """
    m, c, h, w = cut.shape
    inner, outer = cut.first, cut.second
    first = (cut.n_matrices * rank, c if "c" in inner else 1, h if "h" in inner else 1, w if "w" in inner else 1)
    second = (m, rank if "c" in inner else c * rank, h if "h" in outer else 1, w if "w" in outer else 1)
    return first, second


def _joint(s: np.ndarray) -> np.ndarray:
    """Return the root sum of squares over the matrices, for singular values (b, r)."""
    return np.linalg.norm(s, axis=0)


def _rank(spectrum: np.ndarray, rank: int | None, tol: float | None) -> int:
    if rank is not None and tol is None:
        return checks.rank(rank, high=len(spectrum))
    if tol is not None and rank is None:
        return rank_for_tol(spectrum, tol=tol)
    raise TypeError(f"give exactly one of rank and tol, got rank={rank!r} and tol={tol!r}")
