"""Images of signs: sixty-four channels of a pixel to a word."""

from functools import lru_cache
from typing import Any

import numpy as np

from labkit import checks
from labkit.kernels import dispatch, twin
from labkit.kernels.bits import KINDS, N_MAX, check_thresholds, clean, n_words, no_nan, numbers, words_dtype
from labkit.kernels.dispatch import ffi, lib, pointer
from labkit.kernels.threads import check_threads, split

Pair = tuple[int, int]
AXES = "(images, channels, height, width)"


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

    A vector takes neighbouring pixels of one channel and sets a bit in the word of each, channel by channel, so no
    number has to change its place: images need no transposition. Chapter: Bit kernels and hardware.

    >>> pack_bits_nchw([[[[1.0, -1.0]], [[-1.0, -1.0]]]]).tolist()
    [[[[2, 3]]]]
    """
    threads = check_threads(threads)
    x = numbers(x, 4, AXES, exact=thresholds is not None)
    return pack(x, check_thresholds(thresholds, x.dtype, x.shape[1]), (0, 0), threads)


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
    words = packed_images(words, "words", channels)
    count, groups, height, width = words.shape
    rows = np.moveaxis(words, 1, 3).reshape(count * height * width, groups)
    signs = twin.unpack_bits(rows, n=channels).reshape(count, height, width, channels)
    return np.ascontiguousarray(np.moveaxis(signs, 3, 1))


class Frame:
    """Where the words of an image go, inside a border of 0, the sign +1: told once for all images of a size.

    shape : (groups of channels, height, width) with the border; inside : words before the first that is not border
    """

    def __init__(self, channels: int, height: int, width: int, padding: Pair) -> None:
        down, right = padding
        self.shape = _, rows, stride = n_words(channels), height + 2 * down, width + 2 * right
        if rows * stride > N_MAX:
            raise ValueError(f"an image with its padding must have at most {N_MAX} pixels, got {rows} x {stride}")
        self.inside = down * stride + right
        self.images = ffi and ffi.new("struct labkit_images *", [channels, height, width, stride, rows * stride])


frame = lru_cache(maxsize=64)(Frame)


def pack(x: np.ndarray, thresholds: np.ndarray, padding: Pair, threads: int, name: str = "x") -> np.ndarray:
    """Return the bits of images from `numbers` as words with a border; `name` is what errors call them."""
    if dispatch.current() == dispatch.TWIN:
        return padded(twin.pack_bits_nchw(no_nan(x, name), thresholds), padding)
    to, (kind, ctype), level = frame(*x.shape[1:], padding), KINDS[x.dtype], dispatch.index()
    words = np.zeros((len(x), *to.shape), np.uint64)
    views, inside = (pointer(x, ctype), pointer(thresholds, ctype)), pointer(words, "uint64_t[]") + to.inside

    def groups(first: int, last: int) -> int:
        return getattr(lib, f"labkit_pack_nchw_{kind}")(level, *views, first, last, to.images, inside)

    if any(split(groups, len(x) * to.shape[0], threads)):
        no_nan(x, name)
    return words


def is_packed(x: Any) -> bool:
    """Return whether `x` holds words, which no other operand of a convolution may do."""
    return isinstance(x, np.ndarray) and x.dtype == np.uint64


def packed_images(words: Any, name: str, channels: int) -> np.ndarray:
    """Return `words` as C can read them, if they can be packed images of so many channels."""
    shape = words_dtype(words, name).shape
    if len(shape) != 4 or shape[1] != n_words(channels):
        wanted = f"(N, {n_words(channels)}, height, width)"
        raise ValueError(f"{name} must have shape {wanted}, as {channels} channels need, got {shape}")
    return clean(words, channels, axis=1)


def padded(x: np.ndarray, padding: Pair) -> np.ndarray:
    """Return packed images with a border of 0, the sign +1."""
    if padding == (0, 0):
        return x
    (down, right), (height, width) = padding, x.shape[2:]
    framed = np.zeros((*x.shape[:2], height + 2 * down, width + 2 * right), np.uint64)
    framed[:, :, down : down + height, right : right + width] = x
    return framed
