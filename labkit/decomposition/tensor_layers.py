"""Linear layers whose weight is a tensor decomposition and is never formed; here the tensor train.

The n inputs and m outputs are split into modes, n = n_1 ... n_d and m = m_1 ... m_d. Chapter 8; lecture 000:495-503,
001:80-81.
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
from labkit.decomposition.tensor_train import tt_ranks
from labkit.decomposition.tt_matrix import modes, pair_modes, tt_matrix

CHUNK_BYTES = 1 << 22  # examples go through the cores in groups whose largest state stays in the cache
WIDE = 16  # columns from which a batch of small products is faster than one product with a copy


class TensorLinear(nn.Module):
    """What the layers of this module share: modes, a bias, `to_dense`, `config`."""

    bias: nn.Parameter | None

    def __init__(self, in_modes: Sequence[int], out_modes: Sequence[int], *, low: int = 2) -> None:
        super().__init__()
        self.in_modes, self.out_modes = modes(in_modes, "in_modes", low=low), modes(out_modes, "out_modes", low=low)
        self.in_features, self.out_features = math.prod(self.in_modes), math.prod(self.out_modes)

    def weight(self) -> torch.Tensor:
        """Return the dense weight (m, n)."""
        raise NotImplementedError

    def multiply(self, x: torch.Tensor) -> torch.Tensor:
        """Return W x for each row of x (batch, n)."""
        raise NotImplementedError

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the layer's output for x (..., n)."""
        y = self.multiply(x.reshape(-1, self.in_features)).reshape(*x.shape[:-1], self.out_features)
        return y if self.bias is None else y + self.bias

    def to_dense(self) -> nn.Linear:
        """Return the same map as one nn.Linear."""
        some = next(self.parameters())
        sizes: dict[str, Any] = {"bias": self.bias is not None, "device": some.device, "dtype": some.dtype}
        dense = nn.utils.skip_init(nn.Linear, self.in_features, self.out_features, **sizes)
        with torch.no_grad():
            dense.weight.copy_(self.weight())
            if self.bias is not None:
                dense.bias.copy_(self.bias)
        return dense.train(self.training)

    def config(self) -> dict[str, Any]:
        """Return the arguments that build an equal layer, as plain values for a file header."""
        return {"in_modes": self.in_modes, "out_modes": self.out_modes, "bias": self.bias is not None}

    def extra_repr(self) -> str:
        return ", ".join(f"{key}={value}" for key, value in self.config().items())

    def _make(self, shapes: Sequence[tuple], *, length: int, paths: int, bias: bool, **like: Any) -> nn.ParameterList:
        """Return random factors and set the bias; a weight is a sum of `paths` products of `length` entries.

        Every weight gets the variance 1 / 3n, that of nn.Linear.
        """
        std = (3 * self.in_features * paths) ** (-0.5 / length)
        bound = self.in_features**-0.5
        self.bias = nn.Parameter(torch.empty(self.out_features, **like).uniform_(-bound, bound)) if bias else None
        return nn.ParameterList(torch.empty(shape, **like).normal_(0, std) for shape in shapes)

    def _fill(self, factors: Sequence[np.ndarray], layer: nn.Linear) -> Self:
        """Set all factors and the bias, with the number type, device and mode of `layer`."""
        self.to_empty(device=layer.weight.device).to(layer.weight.dtype)
        own = [p for name, p in self.named_parameters() if name != "bias"]
        with torch.no_grad():
            for parameter, value in zip(own, factors, strict=True):
                parameter.copy_(torch.as_tensor(np.ascontiguousarray(value)))
            if self.bias is not None:
                self.bias.copy_(layer.bias)
        return self.train(layer.training)


class TTLinear(TensorLinear):
    """A linear layer whose weight is a `TTMatrix`: d cores (r_{k-1}, m_k, n_k, r_k).

    `in_modes` (n_1, ..., n_d) and `out_modes` (m_1, ..., m_d) have equally many entries; `rank` is (r_1, ...,
    r_{d-1}), an int for all of them; `bias`, `device`, `dtype` as in nn.Linear. A new layer has random weights to
    train; `from_linear` decomposes a trained one. The cores are applied one after the other, from the end that takes
    fewer multiply-adds, to groups of examples that fit into the cache. For one example, `macs`
    counts the multiply-adds, and `largest_state` the values between two cores where these are most.
    Raises TypeError or ValueError for modes or ranks that do not fit.
    Novikov et al. (2015), arXiv:1509.06569. Chapter 8; lecture 000:495-503, 001:80-81.

    >>> layer = TTLinear((2, 7, 8, 8, 7, 4), (4,) * 6, rank=4, bias=False)
    >>> sum(p.numel() for p in layer.parameters())
    2016
    >>> layer(torch.zeros(5, 25088)).shape
    torch.Size([5, 4096])
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
        super().__init__(in_modes, out_modes)
        pairs = pair_modes(self.out_modes, self.in_modes)
        self.rank = ranks(rank, tt_ranks(pairs, rank=rank))
        bonds = (1, *self.rank, 1)
        shapes = list(zip(bonds[:-1], self.out_modes, self.in_modes, bonds[1:], strict=True))
        paths = math.prod(self.rank)
        self.cores = self._make(shapes, length=len(shapes), paths=paths, bias=bias, device=device, dtype=dtype)
        self._plan(shapes)

    @classmethod
    def from_linear(
        cls,
        layer: nn.Linear,
        *,
        in_modes: Sequence[int],
        out_modes: Sequence[int],
        rank: int | Sequence[int] | None = None,
        tol: float | None = None,
    ) -> Self:
        """Decompose the weight of `layer` by `tt_matrix`; give `rank` or `tol`, as that takes them."""
        W = weight_matrix(checks.instance(layer, "layer", nn.Linear))
        tt = tt_matrix(W, out_modes=out_modes, in_modes=in_modes, rank=rank, tol=tol)
        return cls(in_modes, out_modes, rank=tt.rank, bias=layer.bias is not None, device="meta")._fill(tt.cores, layer)

    def weight(self) -> torch.Tensor:
        """Return the dense weight (m, n)."""
        d = len(self.cores)
        first, *rest = (G.reshape(len(G), -1, G.shape[3]) for G in self.cores)
        T = reduce(lambda Z, G: torch.tensordot(Z, G, 1), rest, first)
        T = T.reshape([side for pair in zip(self.out_modes, self.in_modes, strict=True) for side in pair])
        return T.permute([*range(0, 2 * d, 2), *range(1, 2 * d, 2)]).reshape(self.out_features, self.in_features)

    def multiply(self, x: torch.Tensor) -> torch.Tensor:
        """Return W x for each row of x (batch, n)."""
        group = max(1, CHUNK_BYTES // (x.element_size() * self.largest_state))
        if x.device.type != "cpu" or len(x) <= group:
            return self._multiply(x)
        return torch.cat([self._multiply(part) for part in x.split(group)])

    def _multiply(self, x: torch.Tensor) -> torch.Tensor:
        cores, step = self._merged(), -1 if self._backwards else 1
        d, sides, done = len(cores), [G.shape[2] for G in cores], 1  # done: product of the outputs' modes so far
        Z = x.reshape(-1, *sides).permute([*[*range(1, d + 1)][::step], 0])  # (n_1, ..., n_d, batch)
        for core in cores[::step]:
            G = core.permute(self._order)  # (m_k, r_k, r_{k-1}, n_k)
            G = G.reshape(G.shape[0] * G.shape[1], -1)
            Z = Z.reshape(done, G.shape[1], -1)  # (m_1 ... m_{k-1}, r_{k-1} n_k, n_{k+1} ... n_d batch)
            Z = (
                G @ Z if Z.shape[2] >= WIDE else nn.functional.linear(Z.mT, G).mT
            )  # (m_1 ... m_{k-1}, m_k r_k, the rest)
            done *= core.shape[1]
        Z = Z.reshape(*[G.shape[1] for G in cores[::step]], len(x))
        return Z.permute([d, *[*range(d)][::step]]).reshape(len(x), -1)

    def _merged(self) -> list[torch.Tensor]:
        """Return the cores, the last two of the way multiplied together where that helps: their products are tiny."""
        cores = list(self.cores)
        if self._merge:
            k = 0 if self._backwards else len(cores) - 2
            pair = torch.einsum("rmns,spqt->rmpnqt", cores[k], cores[k + 1])
            cores[k : k + 2] = [pair.flatten(3, 4).flatten(1, 2)]  # (r, m_k m_{k+1}, n_k n_{k+1}, t)
        return cores

    def _plan(self, shapes: list[tuple[int, int, int, int]]) -> None:
        """Choose the end to start from and whether to merge two cores; note the cost for one example."""
        self._backwards = _cost(shapes[::-1], back=True)[1] < _cost(shapes, back=False)[1]
        self._order = (1, 0, 3, 2) if self._backwards else (1, 3, 0, 2)  # of a core's axes, as a matrix (m r, r n)
        way = shapes[:: -1 if self._backwards else 1]
        (r, m, n, s), (t, p, q, u) = way[-2:]
        last = (t, m * p, n * q, s) if self._backwards else (r, m * p, n * q, u)
        plain, merged = (_cost(shapes, back=self._backwards) for shapes in (way, [*way[:-2], last]))
        self._merge = len(way) > 2 and merged[1] <= 1.25 * plain[1]
        self.largest_state, self.macs = merged if self._merge else plain

    def config(self) -> dict[str, Any]:
        return super().config() | {"rank": self.rank}


def _cost(way: Sequence[tuple[int, int, int, int]], *, back: bool) -> tuple[int, int]:
    """Return the numbers in the largest state after a core, and the multiply-adds, for cores in the order of use."""
    macs, sizes = 0, [math.prod(shape[2] for shape in way)]
    for r, m, n, s in way:
        before, after = (s, r) if back else (r, s)
        macs += sizes[-1] * m * after
        sizes.append(sizes[-1] // (before * n) * m * after)
    return max(sizes[1:]), macs
