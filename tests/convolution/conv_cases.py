"""Convolutions of any small shape, with what torch makes of them."""

from typing import Any

import numpy as np
import torch
from hypothesis import strategies as st
from torch.nn import functional

Case = tuple[tuple[np.ndarray, ...], dict[str, Any], np.ndarray]


@st.composite
def conv_cases(draw: st.DrawFn) -> Case:
    """Draw (x, w, b), padding and groups, and the output (N, K, H', W') of torch in float64."""

    def small(high: int, low: int = 1) -> int:
        return draw(st.integers(low, high))

    groups, r, s, ph, pw = small(3), small(4), small(4), small(2, 0), small(2, 0)
    n, c, k = small(2), groups * small(3), groups * small(3)
    h, w = (small(12, max(1, size - 2 * p)) for size, p in ((r, ph), (s, pw)))
    random = np.random.default_rng(small(99))
    arrays = tuple(random.normal(size=size) for size in ((n, c, h, w), (k, c // groups, r, s), (k,)))
    options: dict[str, Any] = {"padding": (ph, pw), "groups": groups}
    return arrays, options, functional.conv2d(*map(torch.from_numpy, arrays), **options).numpy()
