"""Layers whose weight is a sum of block terms: a linear layer and an LSTM cell. Ye et al. (2018), arXiv:1712.05134.

Chapter 8; lecture 001:82-83, 91-92.
"""

import math
from collections.abc import Sequence
from functools import reduce
from typing import Any, Self

import torch
from torch import nn

from labkit import checks
from labkit.decomposition.block_term import btd
from labkit.decomposition.formats import ranks
from labkit.decomposition.layers import weight_matrix
from labkit.decomposition.tensor_layers import TensorLinear
from labkit.decomposition.tt_matrix import modes, pair_modes, paired


class BTLinear(TensorLinear):
    """A linear layer whose weight is a `BlockTerm` over the pairs of modes (m_k n_k): P cores and P d bases.

    `rank` is (r_1, ..., r_d) or an int for all, `n_terms` is P: P (sum_k m_k n_k r_k + r_1 ... r_d) weights. In term
    p, the bases A_pk (m_k, n_k, r_k) are applied one after the other, then the core G_p (r_1, ..., r_d).
    `bias`, `device`, `dtype` as in nn.Linear. Raises TypeError or ValueError for modes or ranks that do not fit.
    Ye et al. (2018), arXiv:1712.05134. Chapter 8; lecture 001:82-83, 91-92.

    >>> sum(p.numel() for p in BTLinear((28, 28), (10, 30), rank=2, n_terms=2, bias=False).parameters())
    4488
    """

    def __init__(
        self,
        in_modes: Sequence[int],
        out_modes: Sequence[int],
        *,
        rank: int | Sequence[int],
        n_terms: int,
        bias: bool = True,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(in_modes, out_modes)
        self.rank = ranks(rank, pair_modes(self.out_modes, self.in_modes))
        self.n_terms = checks.integer(n_terms, "n_terms", low=1)
        shapes = [self.rank, *zip(self.out_modes, self.in_modes, self.rank, strict=True)] * self.n_terms
        length, paths = len(self.rank) + 1, self.n_terms * math.prod(self.rank)
        self.blocks = self._make(shapes, length=length, paths=paths, bias=bias, device=device, dtype=dtype)

    @classmethod
    def from_linear(
        cls,
        layer: nn.Linear,
        *,
        in_modes: Sequence[int],
        out_modes: Sequence[int],
        rank: int | Sequence[int],
        n_terms: int,
        n_iter_max: int = 20,
    ) -> Self:
        """Decompose the weight of `layer` by `btd`, with at most `n_iter_max` sweeps."""
        W = weight_matrix(checks.instance(layer, "layer", nn.Linear))
        small = cls(in_modes, out_modes, rank=rank, n_terms=n_terms, bias=layer.bias is not None, device="meta")
        T = paired(W, small.out_modes, small.in_modes)
        terms = btd(T, rank=small.rank, n_terms=n_terms, n_iter_max=n_iter_max).terms
        sides = list(zip(small.out_modes, small.in_modes, strict=True))
        blocks = [[t.core, *(Q.reshape(*s, -1) for Q, s in zip(t.bases, sides, strict=True))] for t in terms]
        return small._fill([value for block in blocks for value in block], layer)

    def terms(self) -> list[tuple[torch.Tensor, list[torch.Tensor]]]:
        """Return the core and the bases of every term."""
        size, blocks = len(self.rank) + 1, list(self.blocks)
        return [(blocks[i], blocks[i + 1 : i + size]) for i in range(0, len(blocks), size)]

    def weight(self) -> torch.Tensor:
        """Return the dense weight (m, n)."""
        return self.multiply(torch.eye(self.in_features).to(self.blocks[0])).T

    def multiply(self, x: torch.Tensor) -> torch.Tensor:
        """Return W x for each row of x (batch, n)."""
        x = x.T.contiguous()  # (n_1 ... n_d, batch)
        return reduce(torch.add, (self._term(x, core, bases) for core, bases in self.terms()))

    def _term(self, Z: torch.Tensor, core: torch.Tensor, bases: list[torch.Tensor]) -> torch.Tensor:
        d, batch, done = len(bases), Z.shape[1], 1
        for A in bases:
            m, n, r = A.shape
            Z = A.transpose(1, 2).reshape(m * r, n) @ Z.reshape(done, n, -1)  # (m_1 r_1 ..., m_k r_k, the rest)
            done *= m * r
        Z = Z.reshape(*[side for pair in zip(self.out_modes, self.rank, strict=True) for side in pair], batch)
        Z = torch.tensordot(Z, core, ([*range(1, 2 * d, 2)], [*range(d)]))  # (m_1, ..., m_d, batch)
        return Z.reshape(-1, batch).T

    def config(self) -> dict[str, Any]:
        return super().config() | {"rank": self.rank, "n_terms": self.n_terms}


class BTLSTMCell(nn.Module):
    """An LSTM cell whose input weights, those of all four gates together, are one `BTLinear`.

    `in_modes` has the product n, `hidden_modes` the product h; the gates multiply the first hidden mode by 4, so the
    layer maps n to 4 h numbers. The recurrent weights (4 h, h) stay dense, as in the paper.
    `rank`, `n_terms`, `bias`, `device`, `dtype` as in `BTLinear`; gates in the order of nn.LSTMCell. In all,
    P (4 h_1 n_1 r_1 + sum_{k>1} h_k n_k r_k + r_1 ... r_d) + 4 h h + 4 h numbers.
    Raises TypeError or ValueError for modes or ranks that do not fit.
    Ye et al. (2018), arXiv:1712.05134. Chapter 8; lecture 001:91-92.

    >>> h, c = BTLSTMCell((4, 7), (4, 8), rank=2, n_terms=2)(torch.zeros(5, 28))
    >>> h.shape
    torch.Size([5, 32])
    """

    def __init__(
        self,
        in_modes: Sequence[int],
        hidden_modes: Sequence[int],
        *,
        rank: int | Sequence[int],
        n_terms: int,
        bias: bool = True,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        self.hidden_modes = modes(hidden_modes, "hidden_modes")
        gates = (4 * self.hidden_modes[0], *self.hidden_modes[1:])
        like: dict[str, Any] = {"device": device, "dtype": dtype}
        self.inputs = BTLinear(in_modes, gates, rank=rank, n_terms=n_terms, bias=bias, **like)
        self.hidden_size = math.prod(self.hidden_modes)
        self.hidden = nn.Linear(self.hidden_size, 4 * self.hidden_size, bias=False, **like)

    def forward(
        self, x: torch.Tensor, state: tuple[torch.Tensor, torch.Tensor] | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the new hidden state and cell state (batch, h) for an input x (batch, n); None stands for zeros."""
        h, c = state if state is not None else [x.new_zeros(len(x), self.hidden_size)] * 2
        i, f, g, o = (self.inputs(x) + self.hidden(h)).chunk(4, dim=1)
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        return o.sigmoid() * c.tanh(), c

    def to_dense(self) -> nn.LSTMCell:
        """Return the same map as one nn.LSTMCell."""
        like: dict[str, Any] = {"device": self.hidden.weight.device, "dtype": self.hidden.weight.dtype}
        dense = nn.LSTMCell(self.inputs.in_features, self.hidden_size, self.inputs.bias is not None, **like)
        with torch.no_grad():
            dense.weight_ih.copy_(self.inputs.weight())
            dense.weight_hh.copy_(self.hidden.weight)
            if self.inputs.bias is not None:
                dense.bias_ih.copy_(self.inputs.bias)
                dense.bias_hh.zero_()
        return dense.train(self.training)

    def config(self) -> dict[str, Any]:
        """Return the arguments that build an equal cell, as plain values for a file header."""
        own = {"in_modes": self.inputs.in_modes, "hidden_modes": self.hidden_modes}
        return own | {key: self.inputs.config()[key] for key in ("rank", "n_terms", "bias")}
