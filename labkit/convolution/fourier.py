"""Convolution by way of the frequencies: the convolution theorem, a fast Fourier transform, and what it costs.

Two operations carry the name. The convolution of mathematics turns one of the two around, the layers of a network do
not: theirs is the correlation. `convolve1d` and `correlate1d` keep them apart. Chapter 23; lecture 003:1829-1857.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import scipy.fft

from labkit import checks
from labkit.convolution.window import Pair, Window, check_groups, pair


def correlate1d(f: np.ndarray, g: np.ndarray) -> np.ndarray:
    """Return y[i] = sum_k f[i + k] g[k] for all places where g lies within f.

    Parameters
    ----------
    f, g : real vectors (n,) and (r,), 1 <= r <= n

    Returns
    -------
    float64 (n - r + 1,), what a layer of a network computes, in r (n - r + 1) multiplications

    Raises TypeError or ValueError for other shapes and numbers that are not finite. Chapter 23; lecture 003:1842-1857
    (the slide prints 20 for the tap 30).

    >>> correlate1d([0, 0, 1, 2], [10, 20, 30])
    array([30., 80.])
    """
    f, g = _signals(f, g)
    return np.lib.stride_tricks.sliding_window_view(f, len(g)) @ g


def convolve1d(f: np.ndarray, g: np.ndarray) -> np.ndarray:
    """Return y[i] = sum_k f[i + r - 1 - k] g[k], the convolution of mathematics where g lies within f.

    Arguments and errors as in `correlate1d`: it is the correlation with g turned around. Chapter 23.

    >>> convolve1d([0, 0, 1, 2], [10, 20, 30])
    array([10., 40.])
    """
    f, g = _signals(f, g)
    return correlate1d(f, g[::-1])


def fft(x: np.ndarray) -> np.ndarray:
    r"""Return the discrete Fourier transform along the last axis, by splitting in two halves.

    Parameters
    ----------
    x : real or complex array (..., n), n a power of 2

    Returns
    -------
    complex array (..., n): X[k] = sum_i x[i] exp(-2 pi i k / n), in n/2 log2 n complex multiplications

    Raises
    ------
    TypeError for other dtypes, ValueError unless n is a power of 2.

    Formula: with E and O the transforms of the entries at even and odd places and
    :math:`\omega = e^{-2 \pi \mathrm{i} / n}`, X[k] = E[k] + omega^k O[k] and X[k + n/2] = E[k] - omega^k O[k].
    Source: J. W. Cooley, J. W. Tukey, An algorithm for the machine calculation of complex Fourier series, 1965.
    Chapter 23; lecture 003:1829-1840.

    >>> fft([1.0, 0.0, 0.0, 0.0])
    array([1.+0.j, 1.+0.j, 1.+0.j, 1.+0.j])
    """
    x = np.asarray(x)
    if x.dtype.kind not in "iufc":
        raise TypeError(f"x must hold real or complex numbers, got dtype {x.dtype}")
    if x.ndim == 0 or x.shape[-1] < 1 or x.shape[-1] & (x.shape[-1] - 1):
        raise ValueError(f"x must have a power of 2 as its last size, got shape {x.shape}")
    return _fft(x.astype(np.complex128))


def ifft(X: np.ndarray) -> np.ndarray:
    """Return the inverse of `fft`: its conjugate around the conjugate, divided by n. Chapter 23.

    >>> ifft(fft([3.0, 1.0])).real
    array([3., 1.])
    """
    X = np.asarray(X)
    return np.conj(fft(np.conj(X))) / X.shape[-1]


def fft_convolve1d(f: np.ndarray, g: np.ndarray) -> np.ndarray:
    """Return all of the convolution of two real vectors, (n + r - 1,), by the convolution theorem.

    The product of two transforms belongs to a convolution that wraps around; zeros up to the next power of 2 above
    n + r - 1 keep the ends apart. Errors as in `correlate1d`. Chapter 23; lecture 003:1829-1840.

    >>> fft_convolve1d([0, 0, 1, 2], [10, 20, 30]).round(9) + 0.0
    array([ 0.,  0., 10., 40., 70., 60.])
    """
    f, g = _signals(f, g)
    n = len(f) + len(g) - 1
    size = 1 << (n - 1).bit_length()
    F, G = (fft(np.pad(a, (0, size - len(a)))) for a in (f, g))
    return ifft(F * G).real[:n]


def fft_conv2d(
    x: np.ndarray,
    w: np.ndarray,
    b: np.ndarray | None = None,
    *,
    padding: Pair = 0,
    groups: int = 1,
    frequencies: np.ndarray | None = None,
) -> np.ndarray:
    """Return a layer's convolution (stride 1), computed on the frequencies of the whole picture.

    Parameters
    ----------
    x : real array (N, C, H, W)
    w : real array (K, C / groups, kh, kw)
    b : real array (K,), optional
    padding : int or pair, zeros on every side
    groups : int
    frequencies : `kernel_frequencies` of w for the padded picture, for a kernel that meets many pictures

    Returns
    -------
    array (N, K, H', W') in the precision of x (float32, or float64)

    Raises
    ------
    TypeError, ValueError : not real and finite, or the shapes do not fit.

    For every frequency the channels are mixed by one matrix product, with the conjugate of the kernel's transform
    since the layer does not turn its kernel around. scipy transforms. M. Mathieu, M. Henaff, Y. LeCun, Fast training
    of convolutional networks through FFTs, ICLR 2014. Chapter 23; lecture 003:1829-1840.

    >>> fft_conv2d(np.ones((1, 1, 3, 3)), np.ones((1, 1, 2, 2))).round(9)
    array([[[[4., 4.],
             [4., 4.]]]])
    """
    x, w = checks.array(x, "x", ndim=4), checks.array(w, "w", ndim=4)
    b = checks.array(np.zeros(len(w)) if b is None else b, "b", ndim=1)
    groups, window = check_groups(x.shape[1], w.shape, groups), Window(w.shape[2:], padding=padding)
    if len(b) != len(w):
        raise ValueError(f"b must have one entry for each of the {len(w)} filters, got shape {b.shape}")
    height, width = window.output(x.shape[2:])
    x = np.pad(x, ((0, 0), (0, 0), *((p, p) for p in window.padding)))
    size = _fast(x.shape[2:])
    F = kernel_frequencies(w, size=x.shape[2:], groups=groups) if frequencies is None else np.asarray(frequencies)
    wanted = (size[0], size[1] // 2 + 1, groups, w.shape[1], len(w) // groups)
    if F.shape != wanted:
        raise ValueError(f"frequencies must have shape {wanted}, got {F.shape}")
    y = scipy.fft.irfft2(_mixed(scipy.fft.rfft2(x, s=size), F), s=size)[:, :, :height, :width]
    return (y + b[:, None, None]).astype(x.dtype, copy=False)


def kernel_frequencies(w: np.ndarray, *, size: Pair, groups: int = 1) -> np.ndarray:
    """Return the conjugate transforms of kernels (K, C / groups, kh, kw), as `fft_conv2d` multiplies by them.

    `size` is the height and width of the padded picture. The result is a complex array (h, w, groups, C / groups,
    K / groups), a matrix for each frequency. Raises TypeError or ValueError if w is not real and finite, or larger
    than the picture. Chapter 23.

    >>> kernel_frequencies(np.ones((8, 3, 3, 3)), size=16).shape
    (16, 9, 1, 3, 8)
    """
    w, (height, width) = checks.array(w, "w", ndim=4), pair(size, "size", low=1)
    groups = check_groups(w.shape[1] * checks.integer(groups, "groups", low=1), w.shape, groups)
    if w.shape[2] > height or w.shape[3] > width:
        raise ValueError(f"size must be at least that of the kernels, {w.shape[2:]}, got {(height, width)}")
    W = scipy.fft.rfft2(w, s=_fast((height, width))).conj()  # (K, C / g, h, w)
    W = W.reshape(groups, -1, *W.shape[1:]).transpose(3, 4, 0, 2, 1)
    return np.ascontiguousarray(W)


def fft_conv2d_mults(c_in: int, c_out: int, *, size: int, kernel: int, kernel_ready: bool = True) -> float:
    """Return about how many real multiplications `fft_conv2d` needs for one square picture.

    Parameters
    ----------
    c_in, c_out : channels
    size : height and width of the padded picture
    kernel : height and width of the kernel; it counts only in that the transform must be as large as the picture
    kernel_ready : whether the kernel's transforms are at hand, as when a trained network runs

    Returns
    -------
    (c_in + c_out [+ c_in c_out]) n log2 n + 2 c_in c_out n with n = size^2: a complex multiplication is four real
    ones, a real transform half the work of a complex one, and half of the frequencies are products of the others

    Raises TypeError or ValueError for counts below 1 and a kernel larger than the picture. Chapter 23.

    >>> fft_conv2d_mults(1, 1, size=4, kernel=3)
    160.0
    """
    c_in, c_out = checks.integer(c_in, "c_in", low=1), checks.integer(c_out, "c_out", low=1)
    n = checks.integer(size, "size", low=1) ** 2
    checks.integer(kernel, "kernel", low=1, high=size)
    transforms = c_in + c_out + (0 if kernel_ready else c_in * c_out)
    return transforms * n * math.log2(n) + 2.0 * c_in * c_out * n


def direct_conv2d_mults(c_in: int, c_out: int, *, size: int, kernel: int) -> int:
    """Return the multiplications of the direct convolution of a padded square picture: c_in c_out k^2 (size - k + 1)^2.

    Arguments and errors as in `fft_conv2d_mults`. Chapter 23.

    >>> direct_conv2d_mults(1, 1, size=4, kernel=3)
    36
    """
    c_in, c_out = checks.integer(c_in, "c_in", low=1), checks.integer(c_out, "c_out", low=1)
    size = checks.integer(size, "size", low=1)
    k = checks.integer(kernel, "kernel", low=1, high=size)
    return c_in * c_out * k**2 * (size - k + 1) ** 2


def crossover_kernel(c_in: int, c_out: int, *, size: int, kernel_ready: bool = True) -> int | None:
    """Return the smallest kernel for which the frequencies need fewer multiplications, None if there is none.

    Arguments and errors as in `fft_conv2d_mults`. Chapter 23.

    >>> crossover_kernel(64, 64, size=32)
    2
    """
    shape = {"c_in": c_in, "c_out": c_out, "size": size}
    for kernel in range(1, checks.integer(size, "size", low=1) + 1):
        if fft_conv2d_mults(**shape, kernel=kernel, kernel_ready=kernel_ready) < direct_conv2d_mults(
            **shape, kernel=kernel
        ):
            return kernel
    return None


def _signals(f: Any, g: Any) -> tuple[np.ndarray, np.ndarray]:
    f, g = checks.array(f, "f", ndim=1), checks.array(g, "g", ndim=1)
    if not 1 <= len(g) <= len(f):
        raise ValueError(f"g must have 1 to {len(f)} entries, as f has, got {len(g)}")
    return f, g


def _fft(x: np.ndarray) -> np.ndarray:
    n = x.shape[-1]
    if n == 1:
        return x
    even, odd = _fft(x[..., ::2]), _fft(x[..., 1::2])
    odd = np.exp(-2j * np.pi * np.arange(n // 2) / n) * odd
    return np.concatenate([even + odd, even - odd], axis=-1)


def _fast(size: Sequence[int]) -> list[int]:
    """Return the next sizes without large prime factors."""
    return [scipy.fft.next_fast_len(n, real=True) for n in size]


def _mixed(X: np.ndarray, F: np.ndarray) -> np.ndarray:
    """Return sum_c X[n, g, c] F[g, c, k] for every frequency: (N, C, h, w) and (h, w, g, C/g, K/g) -> (N, K, h, w)."""
    n, _, h, w = X.shape
    X = X.reshape(n, F.shape[2], -1, h, w).transpose(3, 4, 1, 0, 2)  # (h, w, g, N, C / g)
    return (X @ F).transpose(3, 2, 4, 0, 1).reshape(n, -1, h, w)
