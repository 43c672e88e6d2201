"""Convolutions of images of signs: pack the channels, then XNOR and POPCOUNT over the window."""

from functools import lru_cache
from typing import Any

import numpy as np

from labkit import checks
from labkit.kernels import dispatch, twin
from labkit.kernels.bits import KINDS, N_MAX, check_thresholds, clean, n_words, no_nan, numbers, words_dtype
from labkit.kernels.dispatch import ffi, lib, pointer
from labkit.kernels.product import Product
from labkit.kernels.threads import check_threads, split

Pair = tuple[int, int]
Window = tuple[int, Pair, Pair, Pair, Pair]  # groups of channels; image, kernel, stride, dilation


def pack_bits_nchw(x: Any, *, thresholds: Any = None, threads: int = 1) -> np.ndarray:
    r"""Return the signs of images as 64-bit words of 64 channels; also the packed form of a convolution's weight.

    Parameters
    ----------
    x : array or tensor (N, C, H, W), integers or float16, float32, float64
        For a weight, (outputs, inputs, kernel height, kernel width).
    thresholds : None, or C numbers, integers if x holds integers
        The bit says x[i, c] < thresholds[c] then: a batch normalisation before the sign, as for `pack_bits`.
    threads : int, threads that share the images

    Returns
    -------
    uint64 array (N, ceil(C / 64), H, W)
        Bit k of word g of a pixel is 1 where channel 64 g + k is negative there. Bits past C are 0.

    Raises
    ------
    TypeError for another dtype, ValueError for another shape or a NaN.

    A vector takes neighbouring pixels of one channel and appends a bit to the word of each, channel by channel, so no
    number has to change its place: images need no transposition. Chapter: Bit kernels and hardware.

    >>> pack_bits_nchw([[[[1.0, -1.0]], [[-1.0, -1.0]]]]).tolist()
    [[[[2, 3]]]]
    """
    return _pack(x, thresholds, (0, 0), check_threads(threads))


def _pack(x: Any, thresholds: Any, padding: Pair, threads: int) -> np.ndarray:
    """Return the signs of images as words with a border of 0, the sign +1."""
    x = numbers(x, 4, "(images, channels, height, width)", exact=thresholds is not None)
    t = check_thresholds(thresholds, x.dtype, x.shape[1])
    if dispatch.current() == dispatch.TWIN:
        return _padded(twin.pack_bits_nchw(no_nan(x), t), padding)
    (down, right), (count, channels, height, width) = padding, x.shape
    stride, groups = width + 2 * right, n_words(channels)
    words = np.zeros((count, groups, height + 2 * down, stride), np.uint64)
    name, ctype = KINDS[x.dtype.str[1:]]
    pack, level = getattr(lib, f"labkit_pack_nchw_{name}"), dispatch.index()
    images = ffi.new("struct labkit_images *", [channels, height, width, stride, (height + 2 * down) * stride])
    views, into = (pointer(x, ctype), pointer(t, ctype)), pointer(words, "uint64_t[]")
    inside = into + (down * stride + right)
    if any(split(lambda first, last: pack(level, *views, first, last, images, inside), count * groups, threads)):
        no_nan(x)
    return words


def unpack_bits_nchw(words: np.ndarray, *, channels: int) -> np.ndarray:
    """Return the signs in packed images, the inverse of `pack_bits_nchw`.

    Parameters
    ----------
    words : uint64 array (N, ceil(channels / 64), H, W) from `pack_bits_nchw`
    channels : int

    Returns
    -------
    int8 array (N, channels, H, W) of +1 and -1

    Raises TypeError if `words` is not packed, ValueError if its shape does not fit `channels`.

    NumPy serves at every level. Chapter: Bit kernels and hardware.

    >>> unpack_bits_nchw(pack_bits_nchw([[[[1.0, -1.0]]]]), channels=1).tolist()
    [[[[1, -1]]]]
    """
    channels = checks.integer(channels, "channels", low=0, high=N_MAX)
    words = _images(words, "words", channels)
    count, groups, height, width = words.shape
    rows = np.moveaxis(words, 1, 3).reshape(count * height * width, groups)
    signs = twin.unpack_bits(rows, n=channels).reshape(count, height, width, channels)
    return np.ascontiguousarray(np.moveaxis(signs, 3, 1))


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
    weight = _operand(weight, "weight", channels, (0, 0), 1)
    x = _operand(x, "x", channels, padding, threads)
    count, groups, height, width = x.shape
    outputs, _, *kernel = weight.shape
    window = groups, (height, width), tuple(kernel), stride, dilation
    (rows, columns), *_ = _window(*window)
    n = checks.integer(channels * kernel[0] * kernel[1], "channels * kernel height * kernel width", low=0, high=N_MAX)
    result = np.empty((count, outputs, rows, columns), np.int32)
    _convolve(x, weight, window, n, result, threads)
    return result


def _convolve(x: np.ndarray, weight: np.ndarray, window: Window, n: int, result: np.ndarray, threads: int) -> None:
    """Write the convolution of each image with `weight` into `result`."""
    if dispatch.current() == dispatch.TWIN:
        _convolve_twin(x, weight, window, n, result)
        return
    level, product = dispatch.index(), _product(window, len(weight), n)
    inner = 1 if len(x) >= threads else threads  # threads share the images, or else the pixels of each

    def images(first: int, last: int) -> None:
        for i in range(first, last):
            product.into(weight, x[i], result[i], threads=inner, level=level)

    split(images, len(x), threads if inner == 1 else 1)


def _convolve_twin(x: np.ndarray, weight: np.ndarray, window: Window, n: int, result: np.ndarray) -> None:
    _, offset, step = _window(*window)
    for image, into in zip(x, result, strict=True):
        patches = image.ravel()[offset[:, None] + step]  # (H' W', words)
        into[...] = (n - 2 * twin.differing(weight.reshape(len(weight), patches.shape[1]), patches)).reshape(into.shape)


@lru_cache(maxsize=64)
def _product(window: Window, outputs: int, n: int) -> Product:
    groups, (height, width), *_ = window
    _, offset, step = _window(*window)
    weights = np.full((1, 1), -2, np.int32)
    return Product(offset, step, weights, rows=outputs, size=groups * height * width, start=n)


@lru_cache(maxsize=64)
def _window(
    groups: int, image: Pair, kernel: Pair, stride: Pair, dilation: Pair
) -> tuple[Pair, np.ndarray, np.ndarray]:
    """Return (H', W'), where the window of each output pixel begins, and the way from there to each of its words."""
    reach = [d * (k - 1) + 1 for d, k in zip(dilation, kernel, strict=True)]
    if min(kernel) < 1 or any(r > size for r, size in zip(reach, image, strict=True)):
        raise ValueError(f"weight has a window of {reach[0]} x {reach[1]}, which must fit the padded image, {image}")
    height, width = image
    rows, columns = (np.arange(0, size - r + 1, s) for size, r, s in zip(image, reach, stride, strict=True))
    offset = (rows[:, None] * width + columns).ravel()
    down, right = (np.arange(k) * d for k, d in zip(kernel, dilation, strict=True))
    step = np.arange(groups)[:, None, None] * (height * width) + down[:, None] * width + right  # (groups, kh, kw)
    return (len(rows), len(columns)), offset, step.ravel()


def _is_packed(x: Any) -> bool:
    return isinstance(x, np.ndarray) and x.dtype == np.uint64


def _channels(x: Any, weight: Any, channels: int | None) -> int:
    """Return the number of channels on which everything that tells it agrees."""
    if channels is not None:
        channels = checks.integer(channels, "channels", low=0, high=N_MAX)
    told = {"channels": channels, "x": _channels_of(x, "x"), "weight": _channels_of(weight, "weight")}
    counts = {value for value in told.values() if value is not None}
    if not counts:
        raise ValueError("channels must be given where x and weight are both packed")
    if len(counts) > 1:
        known = {name: value for name, value in told.items() if value is not None}
        raise ValueError(f"the numbers of channels must agree, got {known}")
    return counts.pop()


def _channels_of(x: Any, name: str) -> int | None:
    """Return how many channels x has, or None where it is packed."""
    if _is_packed(x):
        return None
    shape = x.shape if hasattr(x, "shape") else checks.plain(x, name).shape
    if len(shape) != 4:
        raise ValueError(f"{name} must have 4 dimensions, got shape {tuple(shape)}")
    return shape[1]


def _operand(x: Any, name: str, channels: int, padding: Pair, threads: int) -> np.ndarray:
    """Return x as words, with its border."""
    if _is_packed(x):
        return _padded(_images(x, name, channels), padding)
    return _pack(x, None, padding, threads)


def _images(words: Any, name: str, channels: int) -> np.ndarray:
    """Return `words` as C can read them, if they can be packed images of so many channels."""
    shape = words_dtype(words, name).shape
    if len(shape) != 4 or shape[1] != n_words(channels):
        wanted = f"(N, {n_words(channels)}, height, width)"
        raise ValueError(f"{name} must have shape {wanted}, as {channels} channels need, got {shape}")
    return clean(words, channels, axis=1)


def _padded(x: np.ndarray, padding: Pair) -> np.ndarray:
    """Return packed images with a border of 0, the sign +1."""
    if padding == (0, 0):
        return x
    (down, right), (height, width) = padding, x.shape[2:]
    padded = np.zeros((*x.shape[:2], height + 2 * down, width + 2 * right), np.uint64)
    padded[:, :, down : down + height, right : right + width] = x
    return padded


def _pair(value: Any, name: str, low: int) -> Pair:
    if type(value) is int and low <= value <= N_MAX:
        return value, value
    pair = value if isinstance(value, tuple | list) else (value, value)
    if len(pair) != 2:
        raise ValueError(f"{name} must be an integer or a pair of them, got {value!r}")
    return checks.integer(pair[0], name, low=low, high=N_MAX), checks.integer(pair[1], name, low=low, high=N_MAX)
