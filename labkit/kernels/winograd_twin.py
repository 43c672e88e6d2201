"""The NumPy twin of the Winograd kernel: the same transforms and sums, in another order within a sum.

The matrices are those that `labkit.convolution.cook_toom(m, 3)` derives; a test compares them.
"""

import numpy as np

AT = {
    2: np.array([[1, 1, 1, 0], [0, 1, -1, 1]], np.float32),
    4: np.array([[1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]], np.float32),
}
G = {
    2: np.array([[2, 0, 0], [1, 1, 1], [1, -1, 1], [0, 0, 2]]) / 2,
    4: np.array([[6, 0, 0], [4, 4, 4], [4, -4, 4], [1, 2, 4], [1, -2, 4], [0, 0, 24]]) / 24,
}
BT = {
    2: np.array([[1, 0, -1, 0], [0, 1, 1, 0], [0, -1, 1, 0], [0, -1, 0, 1]], np.float32),
    4: np.array(
        [
            [4, 0, -5, 0, 1, 0],
            [0, 4, 4, -1, -1, 0],
            [0, -4, 4, 1, -1, 0],
            [0, -2, -1, 2, 1, 0],
            [0, 2, -1, -2, 1, 0],
            [0, 4, 0, -5, 0, 1],
        ],
        np.float32,
    ),
}


def winograd(x: np.ndarray, u: np.ndarray, y: np.ndarray, m: int) -> None:
    """Fill y (N, m down, m across, K) from x (N, m down + 2, m across + 2, C) and u (t^2, K / 16, C, 16)."""
    t, c, k = m + 2, x.shape[3], y.shape[3]
    d = np.lib.stride_tricks.sliding_window_view(x, (t, t), axis=(1, 2))[:, ::m, ::m]  # (N, down, across, C, t, t)
    V = BT[m] @ d @ BT[m].T
    U = u.transpose(0, 2, 1, 3).reshape(t * t, c, k)
    M = V.transpose(4, 5, 0, 1, 2, 3).reshape(t * t, -1, c) @ U  # (t^2, tiles, K)
    Y = AT[m] @ M.transpose(1, 2, 0).reshape(-1, k, t, t) @ AT[m].T  # (tiles, K, m, m)
    down, across = y.shape[1] // m, y.shape[2] // m
    Y = Y.reshape(len(x), down, across, k, m, m).transpose(0, 1, 4, 2, 5, 3)
    y[...] = Y.reshape(y.shape)
