"""The NumPy twin of every kernel: the same results bit for bit, where there is no compiler and in the tests.

The functions trust their input; `labkit.kernels` checks it before.
"""

import numpy as np

WORD = 64


def pack_bits(x: np.ndarray) -> np.ndarray:
    """Return the signs of `x` (m, n) as words (m, ceil(n / 64)); a bit is 1 where x < 0."""
    n_bytes = 8 * -(-x.shape[1] // WORD)
    packed = np.zeros((len(x), n_bytes), np.uint8)
    signs = np.packbits(x < 0, axis=1, bitorder="little")  # (m, ceil(n / 8))
    packed[:, : signs.shape[1]] = signs
    return packed.view("<u8").astype(np.uint64)  # byte 0 holds the lowest bits on every machine


def unpack_bits(words: np.ndarray, *, n: int) -> np.ndarray:
    """Return the signs (m, n) in words (m, ceil(n / 64)) as int8, +1 or -1."""
    octets = words.astype("<u8").view(np.uint8)  # (m, 8 ceil(n / 64))
    return 1 - 2 * np.unpackbits(octets, axis=1, count=n, bitorder="little").astype(np.int8)


def xnor_matmul(a: np.ndarray, b: np.ndarray, *, n: int) -> np.ndarray:
    """Return n - 2 popcount(a_i ^ b_j) for rows a (m, w) and b (p, w), as int32 (m, p)."""
    mask = np.full(a.shape[1], ~np.uint64(0))
    if n % WORD:
        mask[-1] >>= np.uint64(WORD - n % WORD)
    differ = np.empty((len(a), len(b)), np.int32)
    for i, row in enumerate(a):  # by rows: all of a ^ b at once would need m p w words
        differ[i] = np.bitwise_count((row ^ b) & mask).sum(axis=1, dtype=np.int32)
    return np.int32(n) - 2 * differ
