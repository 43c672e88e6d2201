"""Convolutions of images of signs: pack the channels, then XNOR and POPCOUNT over the window."""

import math
from functools import lru_cache
from typing import Any

import numpy as np

from labkit import checks
from labkit.kernels import dispatch, twin
from labkit.kernels.bits import KINDS, N_MAX, no_nan, numbers
from labkit.kernels.dispatch import ffi, lib, pointer
from labkit.kernels.images import AXES, Pair, frame, is_packed, pack, packed_images, padded
from labkit.kernels.product import SIGNS, Product
from labkit.kernels.threads import check_threads, split


def binary_conv2d(
    x: Any,
    weight: Any,
    *,
    channels: int | None = None,
    stride: int | Pair = 1,
    padding: int | Pair = 0,
    dilation: int | Pair = 1,
    threads: int = 1,
) -> np.ndarray:
    r"""Return the convolution of the signs of images with the signs of a weight.

    Parameters
    ----------
    x : array or tensor (N, C, H, W), packed here; or uint64 words (N, ceil(C / 64), H, W) from `pack_bits_nchw`
    weight : array or tensor (M, C, kh, kw), or uint64 words (M, ceil(C / 64), kh, kw) from `pack_bits_nchw`
    channels : int, C; needed where both are packed, for the words do not tell it
    stride, padding, dilation : int or pair (vertical, horizontal)
        **The padding is +1**: a sign cannot be 0. A network that is to run here must be trained with such a padding
        (pad with 1 after the sign, or with 0 before it, since sign(0) = +1).
    threads : int, threads that share the images, or the pixels of one

    Returns
    -------
    int32 array (N, M, H', W'), equal to conv2d(pad(sign(x), 1), sign(weight))

    Raises
    ------
    TypeError for other dtypes, ValueError for shapes that do not fit, a NaN, or a window larger than the padded image.

    Formula: :math:`r_{mij} = C k_h k_w - 2 \sum \operatorname{popcount}(w_m \oplus x_{ij})` over the words of the
    window at output pixel (i, j). Source: M. Rastegari et al., XNOR-Net, ECCV 2016; the window is reached by offsets
    without a matrix of patches, M. Dukhan, The indirect convolution algorithm, arXiv:1907.02129.
    Chapter: Bit kernels and hardware.

    >>> binary_conv2d([[[[-1.0, -2.0, 3.0]]]], [[[[-1.0, -1.0]]]], padding=(0, 1)).tolist()
    [[[[0, 2, 0, -2]]]]
    """
    threads = check_threads(threads)
    stride, dilation, padding = _pair(stride, "stride", 1), _pair(dilation, "dilation", 1), _pair(padding, "padding", 0)
    channels = _channels(x, weight, channels)
    weight = _operand(weight, "weight", channels)
    if not is_packed(weight):
        weight = pack(weight, np.zeros(channels, weight.dtype), (0, 0), 1, "weight")
    x = _operand(x, "x", channels)
    layer = _layer(channels, x.shape[2:], weight.shape, padding, stride, dilation)
    result = np.empty((len(x), *layer.shape), np.int32)
    layer.into(x, weight, result, threads)
    return result


class _Layer:
    """A convolution of images of one size, told once for all of them.

    offset : where the window of each output pixel begins; step : the way from there to each of its words; n : the signs
    in a window; product : of the weight and an image of words; job : the same for an image of numbers
    """

    def __init__(
        self, channels: int, image: Pair, weight: tuple[int, ...], padding: Pair, stride: Pair, dilation: Pair
    ) -> None:
        to = frame(channels, *image, padding)
        (groups, *sizes), (outputs, _, *kernel) = to.shape, weight
        reach = _reach(kernel, dilation, sizes)
        size, width = math.prod(sizes), sizes[1]
        rows, columns = (np.arange(0, s - r + 1, by) for s, r, by in zip(sizes, reach, stride, strict=True))
        down, right = (np.arange(k) * d for k, d in zip(kernel, dilation, strict=True))
        self.shape, self.padding = (outputs, len(rows), len(columns)), padding
        self.offset = (rows[:, None] * width + columns).ravel()
        self.step = (np.arange(groups)[:, None, None] * size + down[:, None] * width + right).ravel()
        signs = channels * math.prod(kernel)
        self.n = checks.integer(signs, "channels * kernel height * kernel width", low=0, high=N_MAX)
        if ffi is not None:
            self.product = Product(self.offset, self.step, SIGNS, rows=outputs, size=groups * size, start=self.n)
            self.job = ffi.new("struct labkit_conv *", [to.images[0], self.product.job[0], to.inside])
        self.zeros = np.zeros(channels)  # the thresholds, whatever the dtype

    def into(self, x: np.ndarray, weight: np.ndarray, result: np.ndarray, threads: int) -> None:
        """Write the convolution of each image, of words or numbers, into `result`."""
        twin_serves = dispatch.current() == dispatch.TWIN
        if not (twin_serves or is_packed(x) or threads > max(1, len(x))):
            self._numbers_into(x, weight, result, threads)
            return
        words = padded(x, self.padding) if is_packed(x) else pack(x, self.zeros.astype(x.dtype), self.padding, threads)
        (self._twin_into if twin_serves else self._words_into)(words, weight, result, threads)

    def _numbers_into(self, x: np.ndarray, weight: np.ndarray, result: np.ndarray, threads: int) -> None:
        """Pack each image and multiply it while it is still in the cache."""
        name, ctype = KINDS[x.dtype]
        numbers_in = pointer(x, ctype), pointer(self.zeros, ctype)
        words_in, out = pointer(weight, "uint64_t[]"), pointer(result, "int32_t[]")
        convolve, level = getattr(lib, f"labkit_conv_{name}"), dispatch.index()

        def images(first: int, last: int) -> int:
            return convolve(level, self.job, *numbers_in, words_in, out, first, last)

        failed = max(split(images, len(x), threads))
        if failed == 1:
            no_nan(x)
        elif failed:
            raise MemoryError("there is no memory for a packed image")

    def _words_into(self, x: np.ndarray, weight: np.ndarray, result: np.ndarray, threads: int) -> None:
        level = dispatch.index()
        inner = 1 if len(x) >= threads else threads  # threads share the images, or else the pixels of each

        def images(first: int, last: int) -> None:
            for i in range(first, last):
                self.product.into(weight, x[i], result[i], threads=inner, level=level)

        split(images, len(x), threads if inner == 1 else 1)

    def _twin_into(self, x: np.ndarray, weight: np.ndarray, result: np.ndarray, threads: int) -> None:
        for image, into in zip(x, result, strict=True):
            patches = image.ravel()[self.offset[:, None] + self.step]  # (H' W', words)
            differ = twin.differing(weight.reshape(len(weight), patches.shape[1]), patches)
            into[...] = (self.n - 2 * differ).reshape(into.shape)


_layer = lru_cache(maxsize=64)(_Layer)


def _reach(kernel: list[int], dilation: Pair, sizes: list[int]) -> list[int]:
    """Return the rows and columns that a window covers, which the padded image must have."""
    reach = [d * (k - 1) + 1 for d, k in zip(dilation, kernel, strict=True)]
    if min(kernel) < 1 or any(r > size for r, size in zip(reach, sizes, strict=True)):
        raise ValueError(
            f"weight has a window of {reach[0]} x {reach[1]}, which must fit the padded image, {tuple(sizes)}"
        )
    return reach


def _channels(x: Any, weight: Any, channels: int | None) -> int:
    """Return the number of channels on which everything that tells it agrees."""
    if channels is not None:
        channels = checks.integer(channels, "channels", low=0, high=N_MAX)
    told = channels, _channels_of(x, "x"), _channels_of(weight, "weight")
    known = [value for value in told if value is not None]
    if not known:
        raise ValueError("channels must be given where x and weight are both packed")
    if known.count(known[0]) < len(known):
        names = dict(zip(("channels", "x", "weight"), told, strict=True))
        got = {name: value for name, value in names.items() if value is not None}
        raise ValueError(f"the numbers of channels must agree, got {got}")
    return known[0]


def _channels_of(x: Any, name: str) -> int | None:
    """Return how many channels x has, or None where it is packed."""
    if is_packed(x):
        return None
    shape = x.shape if hasattr(x, "shape") else checks.plain(x, name).shape
    if len(shape) != 4:
        raise ValueError(f"{name} must have 4 dimensions, got shape {tuple(shape)}")
    return shape[1]


def _operand(x: Any, name: str, channels: int) -> np.ndarray:
    """Return x as words or numbers that C can read."""
    if is_packed(x):
        return packed_images(x, name, channels)
    return numbers(x, 4, AXES, exact=False, name=name)


def _pair(value: Any, name: str, low: int) -> Pair:
    if type(value) is int and low <= value <= N_MAX:
        return value, value
    pair = value if isinstance(value, tuple | list) else (value, value)
    if len(pair) != 2:
        raise ValueError(f"{name} must be an integer or a pair of them, got {value!r}")
    return checks.integer(pair[0], name, low=low, high=N_MAX), checks.integer(pair[1], name, low=low, high=N_MAX)
