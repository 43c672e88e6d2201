"""A linear layer whose weight is a tensor ring. Wang et al. (2018), arXiv:1802.09052.

Chapter 8; lecture 001:85-90.
"""

import math
from collections.abc import Sequence
from functools import reduce
from typing import Any, Self

import numpy as np
import torch
from torch import nn

from labkit import checks
from labkit.decomposition.formats import ranks
from labkit.decomposition.layers import weight_matrix
from labkit.decomposition.svd import truncated_svd
from labkit.decomposition.tensor_layers import TensorLinear
from labkit.decomposition.tensor_train import tt_ranks, tt_svd


class TRLinear(TensorLinear):
    """A linear layer whose weight is a `TensorRing` over (n_1, ..., n_p, m_1, ..., m_q).

    `rank` is (r_1, ..., r_{p+q}), the last one closing the ring, or an int for all; the numbers of modes p and q may
    differ. The cores of the inputs multiply out to A (r_{p+q} r_p, n), those of the outputs to B (m, r_{p+q} r_p), so
    the layer is a low-rank layer of rank r_p r_{p+q} whose two factors are trains themselves.
    `bias`, `device`, `dtype` as in nn.Linear. Raises TypeError or ValueError for modes or ranks that do not fit.
    Wang et al. (2018), arXiv:1802.09052. Chapter 8; lecture 001:85-90.

    >>> sum(p.numel() for p in TRLinear((28, 28), (10, 30), rank=5, bias=False).parameters())
    2400
    """

    def __init__(
        self,
        in_modes: Sequence[int],
        out_modes: Sequence[int],
        *,
        rank: int | Sequence[int],
        bias: bool = True,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(in_modes, out_modes, low=1)
        sides = (*self.in_modes, *self.out_modes)
        self.rank = ranks(rank, ring_limits(self.in_modes, self.out_modes, rank))
        shapes = [(self.rank[k - 1], n, self.rank[k]) for k, n in enumerate(sides)]
        paths = math.prod(self.rank)
        self.cores = self._make(shapes, length=len(shapes), paths=paths, bias=bias, device=device, dtype=dtype)

    @classmethod
    def from_linear(
        cls, layer: nn.Linear, *, in_modes: Sequence[int], out_modes: Sequence[int], rank: int | Sequence[int]
    ) -> Self:
        """Decompose the weight of `layer`: an SVD of rank r_p r_{p+q} opens the ring, two `tt_svd` do the rest."""
        W = weight_matrix(checks.instance(layer, "layer", nn.Linear))
        ring = cls(in_modes, out_modes, rank=rank, bias=layer.bias is not None, device="meta")
        if W.shape != (ring.out_features, ring.in_features):
            raise ValueError(
                f"in_modes and out_modes must have the products {W.shape[::-1]}, got {in_modes}, {out_modes}"
            )
        return ring._fill(_ring_cores(W, ring.in_modes, ring.out_modes, ring.rank), layer)

    def factors(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return A (r_{p+q}, n, r_p) and B (r_p, m, r_{p+q}), the products of the cores on either side."""
        p = len(self.in_modes)
        join = lambda Z, G: torch.tensordot(Z, G, 1).reshape(len(Z), -1, G.shape[2])  # noqa: E731
        return reduce(join, self.cores[:p]), reduce(join, self.cores[p:])

    def weight(self) -> torch.Tensor:
        """Return the dense weight (m, n)."""
        A, B = self.factors()
        return torch.einsum("anb,bma->mn", A, B)

    def multiply(self, x: torch.Tensor) -> torch.Tensor:
        """Return W x for each row of x (batch, n)."""
        A, B = self.factors()
        h = x @ A.transpose(0, 1).reshape(self.in_features, -1)  # (batch, r_{p+q} r_p)
        return h @ B.permute(2, 0, 1).reshape(-1, self.out_features)

    def config(self) -> dict[str, Any]:
        return super().config() | {"rank": self.rank}


def ring_limits(in_modes: Sequence[int], out_modes: Sequence[int], rank: int | Sequence[int]) -> list[int]:
    """Return the largest ranks of a `TRLinear`, each when those before it are as wanted.

    r_p r_{p+q} is the rank of a matrix (m, n), and the inner ranks are those of two trains.
    """
    p, q = len(in_modes), len(out_modes)
    wanted = list(rank) if isinstance(rank, tuple | list) else [rank] * (p + q)
    if len(wanted) != p + q:
        raise ValueError(f"rank must be an int or {p + q} ints, got {rank!r}")
    r = [checks.integer(value, f"rank[{k}]", low=1) for k, value in enumerate(wanted)]
    both = min(math.prod(in_modes), math.prod(out_modes))
    left = tt_ranks(_opened(in_modes, r[-1], r[p - 1]), rank=r[: p - 1]) if p > 1 else ()
    right = tt_ranks(_opened(out_modes, r[p - 1], r[-1]), rank=r[p:-1]) if q > 1 else ()
    return [*left, max(1, both // r[-1]), *right, max(1, both // r[p - 1])]


def _ring_cores(
    W: np.ndarray, in_modes: tuple[int, ...], out_modes: tuple[int, ...], rank: tuple[int, ...]
) -> list[np.ndarray]:
    """Return the cores of a ring for W^T (n, m): the SVD A B of rank r_p r_{p+q}, then a train for A and one for B."""
    p, (r, q) = len(in_modes), (rank[len(in_modes) - 1], rank[-1])
    U, s, Vt = truncated_svd(W.T, rank=r * q)
    A = (U * np.sqrt(s)).reshape(-1, q, r).transpose(1, 0, 2)  # (r_{p+q}, n, r_p)
    B = (np.sqrt(s)[:, None] * Vt).reshape(q, r, -1).transpose(1, 2, 0)  # (r_p, m, r_{p+q})
    return [*_train(A, in_modes, rank[: p - 1]), *_train(B, out_modes, rank[p:-1])]


def _train(A: np.ndarray, sides: tuple[int, ...], rank: tuple[int, ...]) -> list[np.ndarray]:
    """Return cores (q, n_1, r_1), ..., (r, n_p, s) for A (q, n_1 ... n_p, s)."""
    if len(sides) == 1:
        return [A]
    head, *inner, tail = tt_svd(A.reshape(_opened(sides, len(A), A.shape[2])), rank=rank).cores
    return [head.reshape(len(A), sides[0], -1), *inner, tail.reshape(len(tail), sides[-1], -1)]


def _opened(sides: Sequence[int], first: int, last: int) -> tuple[int, ...]:
    """Return the shape of a chain of cores with its two outer ranks taken into the first and the last mode."""
    shape = [first, *sides, last]
    return (shape[0] * shape[1], *shape[2:-2], shape[-2] * shape[-1])
