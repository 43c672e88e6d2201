"""Convolutions of images of signs: pack the channels, then XNOR and POPCOUNT over the window."""

from functools import lru_cache
from typing import Any

import numpy as np

from labkit import checks
from labkit.kernels import dispatch, twin
from labkit.kernels.bits import KINDS, N_MAX, check_thresholds, clean, n_words, no_nan, numbers, words_dtype
from labkit.kernels.dispatch import lib, pointer
from labkit.kernels.product import Product
from labkit.kernels.threads import check_threads, split

Pair = tuple[int, int]


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
    x = numbers(x, 4, "(images, channels, height, width)", exact=thresholds is not None)
    t = check_thresholds(thresholds, x.dtype, x.shape[1])
    threads = check_threads(threads)
    if dispatch.current() == dispatch.TWIN:
        return twin.pack_bits_nchw(no_nan(x), t)
    name, ctype = KINDS[x.dtype.str[1:]]
    words = np.empty((len(x), n_words(x.shape[1]), *x.shape[2:]), np.uint64)
    pack, level = getattr(lib, f"labkit_pack_nchw_{name}"), dispatch.index()
    views, into = (pointer(x, ctype), pointer(t, ctype)), pointer(words, "uint64_t[]")
    sizes = x.shape[1], x.shape[2] * x.shape[3]
    if any(
        split(
            lambda first, last: pack(level, *views, first, last, *sizes, into), words.shape[0] * words.shape[1], threads
        )
    ):
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
    geometry = _pair(stride, "stride", 1), _pair(dilation, "dilation", 1)
    channels = _channels(x, weight, channels)
    weight = _operand(weight, "weight", channels, 1)
    x = _padded(_operand(x, "x", channels, threads), _pair(padding, "padding", 0))
    count, groups, height, width = x.shape
    outputs, _, *kernel = weight.shape
    n = checks.integer(channels * kernel[0] * kernel[1], "channels * kernel height * kernel width", low=0, high=N_MAX)
    (rows, columns), offset, step = _window(groups, (height, width), tuple(kernel), *geometry)
    result = np.empty((count, outputs, rows, columns), np.int32)
    x, weight = x.reshape(count, groups * height * width), weight.reshape(outputs, len(step))
    _convolve(x, weight, offset, step, n, result, threads)
    return result


def _convolve(
    x: np.ndarray, weight: np.ndarray, offset: np.ndarray, step: np.ndarray, n: int, result: np.ndarray, threads: int
) -> None:
    """Write the convolution of each image, words (N, size), with the rows of `weight` (M, words) into `result`."""
    if dispatch.current() == dispatch.TWIN:
        for image, into in zip(x, result, strict=True):
            patches = image[offset[:, None] + step]  # (H' W', words)
            into[...] = (n - 2 * twin.differing(weight, patches)).reshape(into.shape)
        return
    flat = result.reshape(len(x), len(weight), len(offset))
    a, weights = weight[None], np.full((1, 1), -2, np.int32)
    inner = 1 if len(x) >= threads else threads  # threads share the images, or else the pixels of each

    def images(first: int, last: int) -> None:
        for i in range(first, last):
            Product(a, x[i : i + 1], offset, step, weights, start=n).into(flat[i], threads=inner, level=level)

    level = dispatch.index()
    split(images, len(x), threads if inner == 1 else 1)


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
    told = {"channels": channels} if channels is not None else {}
    for name, value in {"x": x, "weight": weight}.items():
        if not _is_packed(value):
            shape = value.shape if hasattr(value, "shape") else np.shape(value)
            if len(shape) != 4:
                raise ValueError(f"{name} must have 4 dimensions, got shape {tuple(shape)}")
            told[name] = shape[1]
    if not told:
        raise ValueError("channels must be given where x and weight are both packed")
    if len(set(told.values())) > 1:
        raise ValueError(f"the numbers of channels must agree, got {told}")
    return checks.integer(next(iter(told.values())), "channels", low=0, high=N_MAX)


def _operand(x: Any, name: str, channels: int, threads: int) -> np.ndarray:
    if _is_packed(x):
        return _images(x, name, channels)
    return pack_bits_nchw(x, threads=threads)


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
