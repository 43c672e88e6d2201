"""A linear layer as low rank plus sparse, y = U (V x) + S x + b. Chapter 9; lecture 003:1766-1794."""

import warnings
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
import torch
from torch import nn

from labkit import checks
from labkit.decomposition.layers import filled, linear_pair, weight_matrix
from labkit.decomposition.low_rank_sparse import LowRankSparse, grebdec

with warnings.catch_warnings():  # torch says once that this format is new; let it say so here
    warnings.simplefilter("ignore")
    torch.sparse_csr_tensor([0, 1], [0], [1.0], size=(1, 1), check_invariants=False)


class LowRankSparseLinear(nn.Module):
    """A linear layer kept as a low-rank path of two layers and a sparse matrix S beside it.

    Parameters
    ----------
    in_features, out_features, bias, device, dtype : as in nn.Linear
    rank : int, 1 to min(m, n)
    nnz : int, 1 to m n; the entries of S, whose places are fixed: the first ones until `from_linear` sets them

    `first` (k, n) and `second` (m, k) are linear layers. S is kept by rows: `values` (nnz,), a parameter, `columns`
    (nnz,) in 16 bits where n allows it, and `starts` (m + 1,), where each row begins. Training changes the weights
    and not the places. Yu et al. (2017), CVPR; lecture 003:1766-1794. Chapter 9.

    >>> LowRankSparseLinear(784, 300, rank=8, nnz=100)(torch.zeros(5, 784)).shape
    torch.Size([5, 300])
    """

    columns: torch.Tensor
    starts: torch.Tensor

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        rank: int,
        nnz: int,
        bias: bool = True,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        made = {"device": device, "dtype": dtype}
        self.first, self.second = linear_pair(in_features, out_features, rank=rank, bias=bias, **made)
        n, m = self.first.in_features, self.second.out_features
        size = checks.integer(nnz, "nnz", low=1, high=m * n)
        self.values = nn.Parameter(torch.zeros(size, **made))
        place, short = torch.arange(size, device=device), torch.int16 if n <= 2**15 else torch.int32
        starts = (torch.arange(m + 1, device=device) * n).clamp(max=size)
        self.register_buffer("columns", (place % n).to(short))
        self.register_buffer("starts", starts.to(torch.int32))

    @classmethod
    def from_linear(
        cls, layer: nn.Linear, data: torch.Tensor | None = None, *, rank: int, density: float, **given: Any
    ) -> Self:
        """Split the weight of `layer` by `grebdec`, so that its outputs for `data` (p, n) change as little as possible.

        The bias takes up the change of the mean output. Without `data` the weight itself is approximated. `given`
        goes to `grebdec`. Raises TypeError or ValueError for a bad argument, or if nothing is left of either part.
        """
        W = weight_matrix(checks.instance(layer, "layer", nn.Linear))  # (m, n)
        X, mean = centred(data, W.shape[1])
        checks.rank(rank, high=min(W.shape))
        parts = grebdec(W, X, rank=rank, density=density, **given)
        made = cls(W.shape[1], W.shape[0], rank=rank, nnz=parts.nnz, bias=layer.bias is not None)
        return made._fill(parts, (W - parts.to_tensor()) @ mean, layer)

    def _fill(self, parts: LowRankSparse, shift: np.ndarray, like: nn.Linear) -> Self:
        self.to(like.weight.device, like.weight.dtype)
        with torch.no_grad():
            self.first.weight.copy_(torch.as_tensor(parts.V))
            self.second.weight.copy_(torch.as_tensor(parts.U))
            self.values.copy_(torch.as_tensor(parts.S.data))
            self.columns.copy_(torch.as_tensor(parts.S.indices))
            self.starts.copy_(torch.as_tensor(parts.S.indptr))
            if like.bias is not None:
                self.second.bias.copy_(like.bias + torch.as_tensor(shift).to(like.bias))
        return self.train(like.training)

    @property
    def rank(self) -> int:
        """The rank k of the smooth part."""
        return self.first.out_features

    @property
    def nnz(self) -> int:
        """The number of sparse weights."""
        return len(self.values)

    def sparse_weight(self) -> torch.Tensor:
        """Return S (m, n) as a torch CSR tensor; gradients flow to `values`."""
        shape = (self.second.out_features, self.first.in_features)
        return torch.sparse_csr_tensor(self.starts, self.columns.int(), self.values, size=shape, check_invariants=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return U (V x) + S x + b for x (..., n)."""
        flat = x.reshape(-1, self.first.in_features)
        spiky = (self.sparse_weight() @ flat.T).T  # (batch, m)
        return self.second(self.first(x)) + spiky.reshape(*x.shape[:-1], -1)

    def multiply_adds(self, x: torch.Tensor, y: torch.Tensor) -> int:
        """Return what a call costs: k (m + n) + nnz for each row of x."""
        return y.numel() // self.second.out_features * (self.rank * (x.shape[-1] + y.shape[-1]) + self.nnz)

    def to_dense(self) -> nn.Linear:
        """Return the same map as one nn.Linear."""
        n, m = self.first.in_features, self.second.out_features
        smooth = self.second.weight.detach().double() @ self.first.weight.detach().double()  # (m, n)
        spiky = self.sparse_weight().detach().double().to_dense()
        dense = nn.Linear(n, m, self.second.bias is not None, device="meta")
        return filled(dense, smooth + spiky, self.second.bias, like=self)

    def config(self) -> dict[str, Any]:
        """Return the arguments that build an equal layer, as plain numbers for a file header."""
        sizes = {"in_features": self.first.in_features, "out_features": self.second.out_features}
        return sizes | {"rank": self.rank, "nnz": self.nnz, "bias": self.second.bias is not None}


def centred(data: torch.Tensor | None, n: int) -> tuple[np.ndarray | None, np.ndarray]:
    """Return a layer's inputs (..., n) as columns (n, p) around their mean, and the mean (n,); (None, 0) without data.

    Raises TypeError or ValueError unless data is a finite tensor whose last side is n.

    >>> centred(torch.tensor([[1.0, 2.0], [3.0, 2.0]]), 2)[1]
    array([2., 2.])
    """
    if data is None:
        return None, np.zeros(n)
    checks.array(checks.instance(data, "data", torch.Tensor), "data")
    if data.shape[-1] != n:
        raise ValueError(f"data must have shape (..., {n}), got {tuple(data.shape)}")
    X = data.detach().reshape(-1, n).double().cpu().numpy()
    mean = X.mean(axis=0)
    return (X - mean).T, mean


@dataclass(frozen=True, eq=False)
class LowRankSparseScheme:
    """Replace a linear layer by low rank plus sparse; `data` holds inputs of that layer, see `layer_inputs`.

    >>> LowRankSparseScheme(rank=2, density=0.1).apply(nn.Linear(6, 4)).nnz
    2
    """

    rank: int
    density: float
    data: torch.Tensor | None = field(default=None, repr=False)

    def apply(self, layer: nn.Module) -> LowRankSparseLinear:
        """Return the new layer; raises TypeError or ValueError if the layer, rank, density or data do not fit."""
        chosen = checks.instance(layer, "layer", nn.Linear)
        return LowRankSparseLinear.from_linear(chosen, self.data, rank=self.rank, density=self.density)
