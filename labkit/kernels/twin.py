"""The NumPy twin of every kernel: the same results bit for bit, where there is no compiler and in the tests.

The functions trust their input; `labkit.kernels` checks it before.
"""

import numpy as np

WORD = 64


def to_words(bits: np.ndarray) -> np.ndarray:
    """Return words (m, ceil(n / 64)) of what is not zero in `bits` (m, n)."""
    n_bytes = 8 * -(-bits.shape[1] // WORD)
    packed = np.zeros((len(bits), n_bytes), np.uint8)
    octets = np.packbits(bits, axis=1, bitorder="little")  # (m, ceil(n / 8))
    packed[:, : octets.shape[1]] = octets
    return packed.view("<u8").astype(np.uint64)  # byte 0 holds the lowest bits on every machine


def pack_bits(x: np.ndarray, thresholds: np.ndarray | int = 0) -> np.ndarray:
    """Return x < thresholds for `x` (m, n) and n thresholds as words (m, ceil(n / 64))."""
    return to_words(x < thresholds)


def pack_bits_nchw(x: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
    """Return x < thresholds for `x` (N, C, H, W) and C thresholds as words (N, ceil(C / 64), H, W)."""
    n, channels, height, width = x.shape
    rows = np.moveaxis(x, 1, 3).reshape(n * height * width, channels)
    words = pack_bits(rows, thresholds).reshape(n, height, width, -(-channels // WORD))
    return np.ascontiguousarray(np.moveaxis(words, 3, 1))


def pack_planes(q: np.ndarray, bits: int) -> np.ndarray:
    """Return the bits of integers `q` (m, n) as words (bits, m, ceil(n / 64))."""
    return np.stack([to_words((q >> np.array(bit, q.dtype)) & np.array(1, q.dtype)) for bit in range(bits)])


def unpack_bits(words: np.ndarray, *, n: int) -> np.ndarray:
    """Return the signs (m, n) in words (m, ceil(n / 64)) as int8, +1 or -1."""
    octets = np.ascontiguousarray(words, "<u8").view(np.uint8)  # (m, 8 ceil(n / 64))
    return 1 - 2 * np.unpackbits(octets, axis=1, count=n, bitorder="little").astype(np.int8)


def differing(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return popcount(a_i ^ b_j) for rows a (m, w) and b (p, w), as int32 (m, p)."""
    counts = np.empty((len(a), len(b)), np.int32)
    for i, row in enumerate(a):  # by rows: all of a ^ b at once would need m p w words
        counts[i] = np.bitwise_count(row ^ b).sum(axis=1, dtype=np.int32)
    return counts


def xnor_matmul(a: np.ndarray, b: np.ndarray, *, n: int) -> np.ndarray:
    """Return n - 2 popcount(a_i ^ b_j) for rows a (m, w) and b (p, w), as int32 (m, p); bits past n may differ."""
    mask = np.full(a.shape[1], ~np.uint64(0))
    if n % WORD:
        mask[-1] >>= np.uint64(WORD - n % WORD)
    return np.int32(n) - 2 * differing(a & mask, b & mask)


def bitserial_matmul(a: np.ndarray, b: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return sum over planes x, y of weights[x, y] popcount(a_xi & b_yj) for a (x, m, w) and b (y, p, w), as int32."""
    sums = np.zeros((a.shape[1], b.shape[1]), np.int32)
    for (x, y), weight in np.ndenumerate(weights):
        for i, row in enumerate(a[x]):
            sums[i] += weight * np.bitwise_count(row & b[y]).sum(axis=1, dtype=np.int32)
    return sums


def huffman_encode(symbols: np.ndarray, codes: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Return the code words codes[s] of lengths[s] bits for all symbols s, packed from the highest bit on."""
    sizes = lengths[symbols].astype(np.int64)
    ends = np.cumsum(sizes)
    left = np.repeat(ends, sizes) - np.arange(sizes.sum()) - 1  # bits of the word that follow each bit
    return np.packbits((np.repeat(codes[symbols], sizes) >> left.astype(np.uint32)) & np.uint32(1))


def huffman_decode(data: np.ndarray, codes: np.ndarray, lengths: np.ndarray, n: int) -> np.ndarray | None:
    """Return n symbols read bit by bit, or None where there are not so many."""
    symbol = {
        (int(length), int(code)): s for s, (length, code) in enumerate(zip(lengths, codes, strict=True)) if length
    }
    symbols, longest = list[int](), int(lengths.max(initial=0))
    word = (0, 0)  # bits read, their value
    for bit in np.unpackbits(data).tolist():
        if len(symbols) == n:
            break
        word = (word[0] + 1, 2 * word[1] + bit)
        if word[0] > longest:
            break  # no code word begins with these bits
        if word in symbol:
            symbols.append(symbol[word])
            word = (0, 0)
    return np.array(symbols, np.uint16) if len(symbols) == n else None
