"""Huffman's code in canonical form: lengths of code words from counts, encoding, and decoding by table.

On one thread: a code word begins where the one before it ends.
"""

import heapq
from typing import Any

import numpy as np

from labkit import checks
from labkit.kernels import dispatch, twin
from labkit.kernels.dispatch import ffi, lib, pointer

SYMBOLS_MAX = 2**16
LENGTH_MAX = 32
TABLE_BITS = 12  # 4096 entries of 4 bytes stay in the first-level cache; longer code words are rare by their nature


def huffman_lengths(counts: Any, *, max_length: int = LENGTH_MAX) -> np.ndarray:
    r"""Return how many bits the code word of each symbol has, so that the counted symbols take as few as possible.

    Parameters
    ----------
    counts : integers (n_symbols,), at least 0, one of them above 0; at most 65,536 symbols
    max_length : int, 1 to 32, with 2^max_length at least the number of symbols that occur
        Where a code word would be longer, the counts are halved until none is, as bzip2 does; the code is then a
        little longer than the best with that limit.

    Returns
    -------
    uint8 array (n_symbols,), 0 for a symbol that does not occur; a symbol that occurs alone gets 1 bit

    Raises TypeError or ValueError for other arguments.

    The two rarest symbols are joined to one, with the sum of their counts, until one is left: each time a symbol is
    joined its code word grows by a bit. Formula: :math:`\sum_s 2^{-l_s} = 1`, and :math:`\sum_s p_s l_s` is less than
    one bit above the entropy. Source: D. A. Huffman, A method for the construction of minimum-redundancy codes, 1952.

    >>> huffman_lengths([5, 2, 1, 1])
    array([1, 2, 3, 3], dtype=uint8)
    """
    counts = _counts(counts)
    max_length = checks.integer(max_length, "max_length", low=1, high=LENGTH_MAX)
    used = np.flatnonzero(counts)
    if len(used) > 2**max_length:
        raise ValueError(f"max_length must allow {len(used)} code words, got {max_length}")
    lengths = np.zeros(len(counts), np.uint8)
    weights = counts[used].tolist()
    while max(depths := _depths(weights)) > max_length:
        weights = [(weight + 1) // 2 for weight in weights]
    lengths[used] = depths
    return lengths


def huffman_codes(lengths: Any) -> np.ndarray:
    r"""Return the canonical code words of the given lengths: in order of length, then of symbol, they count upwards.

    Parameters
    ----------
    lengths : integers (n_symbols,) from 0 to 32, 0 for a symbol without a code word

    Returns
    -------
    uint32 array (n_symbols,); the code word is the lowest `lengths[s]` bits, sent from the highest of them on

    Raises TypeError or ValueError for other numbers, also where :math:`\sum_s 2^{-l_s} > 1`: then no code has them.

    So a decoder needs the lengths only. Source: E. S. Schwartz, B. Kallick, Generating a canonical prefix encoding,
    1964; RFC 1951, section 3.2.2.

    >>> [f"{code:0{length}b}" for code, length in zip(huffman_codes([1, 2, 3, 3]), [1, 2, 3, 3])]
    ['0', '10', '110', '111']
    """
    lengths = _lengths(lengths)
    order, ends = _canonical(lengths)
    codes = np.zeros(len(lengths), np.uint32)
    codes[order] = (ends - _span(lengths[order])) >> (LENGTH_MAX - lengths[order].astype(np.uint64))
    return codes


def huffman_encode(symbols: Any, lengths: Any) -> np.ndarray:
    """Return the code words of `symbols` one after the other, as bytes.

    Parameters
    ----------
    symbols : integers (n,) in [0, n_symbols), each with a code word
    lengths : integers (n_symbols,) from `huffman_lengths`

    Returns
    -------
    uint8 array; the first bit is the highest of the first byte, the last byte is filled up with zeros

    Raises TypeError or ValueError for other arguments. Source: as `huffman_codes`.

    >>> huffman_encode([0, 1, 0, 3], [1, 2, 3, 3]).tolist()
    [78]
    """
    lengths = _lengths(lengths)
    codes, symbols = huffman_codes(lengths), _symbols(symbols, len(lengths))
    if dispatch.current() == dispatch.TWIN:
        data = twin.huffman_encode(symbols, codes, lengths) if lengths[symbols].all() else None
        return _coded(data)
    data = np.empty(len(symbols) * int(lengths.max(initial=0)) // 8 + 1, np.uint8)
    code, length = pointer(codes, "uint32_t[]"), pointer(lengths, "uint8_t[]")
    written = lib.labkit_huffman_encode(
        pointer(symbols, "uint16_t[]"), len(symbols), code, length, pointer(data, "uint8_t[]")
    )
    return _coded(data[:written].copy() if written >= 0 else None)


def huffman_decode(data: Any, lengths: Any, *, n: int) -> np.ndarray:
    """Return the first `n` symbols of what `huffman_encode` wrote.

    Parameters
    ----------
    data : uint8 array, or bytes
    lengths : integers (n_symbols,), the same as for the encoder
    n : int, symbols to read

    Returns
    -------
    array (n,) of uint8 for at most 256 symbols, else uint16

    Raises TypeError or ValueError for other arguments, and where the data end early or hold what is no code word.

    The next 12 bits are looked up in a table of all their patterns, which tells the symbol and how many of the bits
    are its code word. Source: D. S. Hirschberg, D. A. Lelewer, Efficient decoding of prefix codes, 1990.

    >>> huffman_decode([78], [1, 2, 3, 3], n=4).tolist()
    [0, 1, 0, 3]
    """
    data, lengths = _bytes(data), _lengths(lengths)
    n = checks.integer(n, "n", low=0, high=8 * len(data))
    if dispatch.current() == dispatch.TWIN:
        symbols = twin.huffman_decode(data, huffman_codes(lengths), lengths, n)
    else:
        symbols = _decode(data, lengths, n)
    if symbols is None:
        raise ValueError(f"data must hold {n} code words, but they end early or hold what is no code word")
    return symbols.astype(np.uint8 if len(lengths) <= 256 else np.uint16)


def _decode(data: np.ndarray, lengths: np.ndarray, n: int) -> np.ndarray | None:
    order, ends = _canonical(lengths)
    ordered = lengths[order].astype(np.int64)
    bits = max(1, min(TABLE_BITS, int(ordered.max(initial=1))))
    table = np.zeros(2**bits, np.uint32)
    short = ordered <= bits
    entries = (order[short] << 8 | ordered[short]).astype(np.uint32)
    filled = np.repeat(entries, 2 ** (bits - ordered[short]))  # patterns ascend with the code words
    table[: len(filled)] = filled
    count = np.bincount(ordered, minlength=LENGTH_MAX + 1).astype(np.uint32)
    place = np.searchsorted(ordered, np.arange(LENGTH_MAX + 1)).astype(np.int64)
    starts = np.append(ends - _span(ordered), ends[-1:] if len(ends) else np.zeros(1, np.uint64))[place]
    first = (starts >> (LENGTH_MAX - np.arange(LENGTH_MAX + 1)).astype(np.uint64)).astype(np.uint32)
    arrays = [(table, "uint32_t[]"), (first, "uint32_t[]"), (count, "uint32_t[]"), (place, "int64_t[]")]
    views = [pointer(array, ctype) for array, ctype in [*arrays, (order.astype(np.uint16), "uint16_t[]")]]
    symbols = np.empty(n, np.uint16)
    lookup = ffi.new("struct labkit_huffman *", [*views, bits])
    into = pointer(symbols, "uint16_t[]")
    read = lib.labkit_huffman_decode(lookup, pointer(data, "uint8_t[]"), len(data), n, into)
    return symbols if read >= 0 else None


def _depths(weights: list[int]) -> list[int]:
    """Return the depth of each leaf in Huffman's tree; the order of equal weights is fixed."""
    if len(weights) == 1:
        return [1]
    heap = [(weight, node) for node, weight in enumerate(weights)]
    heapq.heapify(heap)
    parent = [0] * (2 * len(weights) - 1)
    for node in range(len(weights), len(parent)):
        (first, one), (second, other) = heapq.heappop(heap), heapq.heappop(heap)
        parent[one] = parent[other] = node
        heapq.heappush(heap, (first + second, node))
    depth = [0] * len(parent)
    for node in reversed(range(len(parent) - 1)):
        depth[node] = depth[parent[node]] + 1
    return depth[: len(weights)]


def _canonical(lengths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the symbols with code words in canonical order, and where the part of [0, 2^32) of each ends."""
    order = np.argsort(lengths, kind="stable")
    order = order[np.count_nonzero(lengths == 0) :]
    ends = np.cumsum(_span(lengths[order]), dtype=np.uint64)
    if len(ends) and ends[-1] > 2**LENGTH_MAX:
        total = int(ends[-1]) / 2**LENGTH_MAX
        raise ValueError(f"lengths must be those of a prefix code, with sum of 2^-length at most 1, got {total:.4g}")
    return order, ends


def _span(lengths: np.ndarray) -> np.ndarray:
    """Return the part of [0, 2^32) that begins with a code word of each length."""
    return np.uint64(1) << (LENGTH_MAX - lengths.astype(np.int64)).astype(np.uint64)


def _coded(data: np.ndarray | None) -> np.ndarray:
    if data is None:
        raise ValueError("symbols must have code words, but the length of one is 0")
    return data


def _counts(counts: Any) -> np.ndarray:
    counts = _integers(counts, "counts")
    if not counts.any() or counts.min() < 0:
        raise ValueError("counts must be at least 0, and one of them above 0")
    return counts


def _lengths(lengths: Any) -> np.ndarray:
    lengths = _integers(lengths, "lengths")
    if lengths.size and not 0 <= int(lengths.min()) <= int(lengths.max()) <= LENGTH_MAX:
        raise ValueError(f"lengths must be between 0 and {LENGTH_MAX}, got {lengths.min()} to {lengths.max()}")
    return np.require(lengths, np.uint8, ["C", "A"])


def _integers(values: Any, name: str) -> np.ndarray:
    values = checks.plain(values, name)
    if values.dtype.kind not in "iu":
        raise TypeError(f"{name} must hold integers, got dtype {values.dtype}")
    if values.ndim != 1 or not 1 <= len(values) <= SYMBOLS_MAX:
        raise ValueError(f"{name} must be a vector of 1 to {SYMBOLS_MAX} integers, got shape {values.shape}")
    return values


def _symbols(symbols: Any, n_symbols: int) -> np.ndarray:
    symbols = checks.plain(symbols, "symbols")
    if symbols.dtype.kind not in "iu":
        raise TypeError(f"symbols must hold integers, got dtype {symbols.dtype}")
    if symbols.ndim != 1:
        raise ValueError(f"symbols must be a vector, got shape {symbols.shape}")
    if symbols.size and not 0 <= int(symbols.min()) <= int(symbols.max()) < n_symbols:
        raise ValueError(f"symbols must lie in [0, {n_symbols}), got {symbols.min()} to {symbols.max()}")
    return np.require(symbols, np.uint16, ["C", "A"])


def _bytes(data: Any) -> np.ndarray:
    data = np.frombuffer(data, np.uint8) if isinstance(data, bytes | bytearray) else checks.plain(data, "data")
    if data.dtype.kind not in "iu":
        raise TypeError(f"data must hold bytes, got dtype {data.dtype}")
    if data.ndim != 1:
        raise ValueError(f"data must be a vector of bytes, got shape {data.shape}")
    if data.size and not 0 <= int(data.min()) <= int(data.max()) < 256:
        raise ValueError(f"data must hold bytes from 0 to 255, got {data.min()} to {data.max()}")
    return np.require(data, np.uint8, ["C", "A"])
