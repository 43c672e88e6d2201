"""The tensor train of Chapter 8 on the 25,088 x 4,096 layer: TT-SVD against TensorLy, TT layer against dense.

    python -m benchmarks.tensor_train

takes about three minutes on one thread and 4 GB of memory. TensorLy is an optional development dependency, which needs
NumPy and SciPy only: `python -m pip install -e ".[bench]"`. Its row is left out without it.
"""

import sys
from collections.abc import Iterator
from functools import partial
from typing import Any

from benchmarks.common import processor, restart_clean, table

IN_MODES, OUT_MODES, RANK = (2, 7, 8, 8, 7, 4), (4, 4, 4, 4, 4, 4), 4
NOISE = 0.1  # relative norm of what is added to a matrix of TT-rank 4
NO_PEER = 'TensorLy is not installed, so its row is left out: python -m pip install -e ".[bench]"'
Row = tuple[str, str, str, str]


def layer_tensor(in_modes: tuple[int, ...] = IN_MODES, out_modes: tuple[int, ...] = OUT_MODES) -> Any:
    """Return a float32 tensor (m_1 n_1, ..., m_d n_d): a matrix of TT-rank 4 with noise, as the layer's weight."""
    import numpy as np

    from labkit.decomposition import TensorTrain, tt_ranks

    rng = np.random.default_rng(0)
    shape = tuple(m * n for m, n in zip(out_modes, in_modes, strict=True))
    bonds = (1, *tt_ranks(shape, rank=RANK), 1)
    cores = [rng.standard_normal((bonds[k], n, bonds[k + 1]), dtype=np.float32) for k, n in enumerate(shape)]
    T = TensorTrain(tuple(cores)).to_tensor()
    noise = rng.standard_normal(shape, dtype=np.float32)
    return T + noise * np.float32(NOISE * np.linalg.norm(T.ravel()) / np.sqrt(T.size))


def tt_svd_rows(T: Any, rounds: int = 7) -> Iterator[Row]:
    """Yield the row of TT-SVD: the ratio of times, and the relative error of either."""
    from labkit.cost import time_ratio
    from labkit.decomposition import TensorTrain, relative_error, tt_ranks, tt_svd

    try:
        from tensorly.decomposition import tensor_train
    except ImportError:
        return
    ranks = tt_ranks(T.shape, rank=RANK)
    theirs = TensorTrain(tuple(tensor_train(T, rank=[1, *ranks, 1]).factors))
    errors = [relative_error(T, tt.to_tensor()) for tt in (theirs, tt_svd(T, rank=ranks))]
    ratio = time_ratio(lambda: tensor_train(T, rank=[1, *ranks, 1]), lambda: tt_svd(T, rank=ranks), rounds=rounds)
    note = f"errors {errors[0]:.6f} and {errors[1]:.6f}"
    yield "TT-SVD, ranks 4", "tensorly.decomposition.tensor_train", f"{ratio:.1f}x", note


def layer_rows(images: tuple[int, ...] = (1, 100), rounds: int = 9) -> Iterator[Row]:
    """Yield a row for each batch size: the TT layer against nn.Linear."""
    import torch
    from torch import nn

    from labkit.cost import time_ratio
    from labkit.decomposition import TTLinear

    small = TTLinear(IN_MODES, OUT_MODES, rank=RANK, bias=False).eval()
    dense = nn.Linear(small.in_features, small.out_features, bias=False).eval()
    for n in images:
        x = torch.randn(n, small.in_features)
        ratio = time_ratio(partial(dense, x), partial(small, x), rounds=rounds, round_seconds=0.2)
        note = f"{sum(p.numel() for p in small.parameters()):,} weights for {dense.weight.numel():,}"
        yield f"TT layer, {n} image{'s' * (n > 1)}", "torch.nn.Linear, float32", f"{ratio:.1f}x", note


def main() -> int:
    """Measure, print the table and return the exit status."""
    import numpy as np
    import torch

    rows = [*layer_rows(), *tt_svd_rows(layer_tensor())]
    print(table(("25088 x 4096", "peer", "ratio", ""), rows))
    if len(rows) < 3:
        print(NO_PEER)
    print(
        f"Time of the peer / our time, median of at least 7 interleaved rounds, CPU time of one thread.\n{processor()}"
    )
    print(f"NumPy {np.__version__}, torch {torch.__version__}, OPENBLAS_CORETYPE not set")
    return 0


if __name__ == "__main__":
    restart_clean("benchmarks.tensor_train")
    sys.exit(main())
