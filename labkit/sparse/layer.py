"""A linear layer with a fixed mask and trainable values. Chapter 11; lecture 000:587-593."""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from torch import nn
from torch.autograd.function import once_differentiable

from labkit import checks, kernels
from labkit.sparse.compressed import CSR

CHUNK = 2**22  # products at a time in the gradient of the values


class SparseLinear(nn.Module):
    r"""A linear layer y = W x + b whose weight is a CSR matrix: the mask is fixed, the values are a parameter.

    Parameters
    ----------
    in_features, out_features, bias, device, dtype : as in nn.Linear
    nnz : int, 1 to in_features out_features; the weights kept, whose places are the first ones until `from_mask` or
        `from_linear` sets them

    `values` (nnz,) starts at zero; the buffers IA (out + 1,) and JA (nnz,) int32 hold the places. The gradient of a
    value is :math:`\partial L / \partial A_p = \sum_b g_{bi} x_{bj}`, where (i, j) is its place; the mask has none.
    Products run on `labkit.kernels` on a processor, by torch elsewhere.
    Raises TypeError or ValueError for another number. Lecture 000:587-593; chapter 11.

    >>> layer = SparseLinear.from_mask([[True, False, True], [False, False, True]])
    >>> layer(torch.ones(5, 3)).shape, layer.nnz
    (torch.Size([5, 2]), 3)
    """

    IA: torch.Tensor
    JA: torch.Tensor

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        nnz: int,
        bias: bool = True,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        self.in_features = checks.integer(in_features, "in_features", low=1, high=2**31 - 1)
        self.out_features = checks.integer(out_features, "out_features", low=1, high=2**31 - 1)
        size = checks.integer(nnz, "nnz", low=1, high=in_features * out_features)
        self.values = nn.Parameter(torch.zeros(size, device=device, dtype=dtype))
        with_bias = checks.flag(bias, "bias")
        self.bias = nn.Parameter(torch.zeros(out_features, device=device, dtype=dtype)) if with_bias else None
        starts = (torch.arange(out_features + 1, device=device) * in_features).clamp(max=size)
        self.register_buffer("IA", starts.to(torch.int32))
        self.register_buffer("JA", (torch.arange(size, device=device) % in_features).to(torch.int32))

    @classmethod
    def from_mask(cls, mask: Any, *, bias: bool = True, device: Any = None, dtype: Any = None) -> Self:
        """Return a layer of zeros that may change where `mask` (out, in), bools, is True; at least one must be."""
        kept = _mask(mask)
        places = CSR.from_dense(kept)
        made = cls(kept.shape[1], kept.shape[0], nnz=places.nnz, bias=bias, device=device, dtype=dtype)
        made.IA.copy_(torch.from_numpy(places.IA))
        made.JA.copy_(torch.from_numpy(places.JA))
        return made

    @classmethod
    def from_linear(cls, layer: nn.Linear, mask: Any = None, *, sparsity: float | None = None) -> Self:
        """Keep the weights of `layer` where `mask` (out, in) is True, or all but the fraction `sparsity` nearest to 0.

        Raises TypeError or ValueError unless exactly one of the two is given and leaves a weight.
        """
        weight = checks.instance(layer, "layer", nn.Linear).weight.detach()
        if (mask is None) == (sparsity is None):
            raise ValueError(f"one of mask and sparsity must be given, got mask={mask!r}, sparsity={sparsity!r}")
        kept = _largest(weight, sparsity) if mask is None else _mask(mask)
        if kept.shape != weight.shape:
            raise ValueError(f"mask must have the shape of the weight, {tuple(weight.shape)}, got {kept.shape}")
        made = cls.from_mask(kept, bias=layer.bias is not None, device=weight.device, dtype=weight.dtype)
        with torch.no_grad():
            made.values.copy_(weight[torch.from_numpy(kept).to(weight.device)])
            if layer.bias is not None and made.bias is not None:
                made.bias.copy_(layer.bias)
        return made.train(layer.training)

    @property
    def nnz(self) -> int:
        """The weights kept."""
        return len(self.values)

    @property
    def rows(self) -> torch.Tensor:
        """The row of every value (nnz,), int64."""
        counts = self.IA.diff().long()
        return torch.arange(self.out_features, device=self.IA.device).repeat_interleave(counts)

    def weight(self) -> CSR:
        """Return the weight as a CSR matrix of NumPy arrays."""
        A, IA, JA = (part.detach().cpu().numpy() for part in (self.values, self.IA, self.JA))
        return CSR(A, IA, JA, (self.out_features, self.in_features))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return W x + b for x (..., in), a dense tensor in the dtype of the values."""
        if checks.instance(x, "x", torch.Tensor).layout != torch.strided or x.shape[-1:] != (self.in_features,):
            raise ValueError(f"x must be dense, of shape (..., {self.in_features}), got {x.layout} {tuple(x.shape)}")
        if x.dtype != self.values.dtype:
            raise TypeError(f"x must have dtype {self.values.dtype}, as the values have, got {x.dtype}")
        flat = x.reshape(-1, self.in_features)
        native = flat.device.type == "cpu" and flat.dtype == self.values.dtype in (torch.float32, torch.float64)
        y = _Product.apply(self.values, flat, self.IA, self.JA, self.rows) if native else self._by_torch(flat)
        return (y if self.bias is None else y + self.bias).reshape(*x.shape[:-1], self.out_features)

    def _by_torch(self, x: torch.Tensor) -> torch.Tensor:
        """Return W x for x (b, in) on any device and in any dtype."""
        products = x[:, self.JA.long()] * self.values  # (b, nnz)
        return products.new_zeros(len(x), self.out_features).index_add(1, self.rows, products)

    def multiply_adds(self, x: torch.Tensor, y: torch.Tensor) -> int:
        """Return what a call costs: one for each weight kept and each row of x."""
        return y.numel() // self.out_features * self.nnz

    def to_dense(self) -> nn.Linear:
        """Return the same map as one nn.Linear."""
        dense = nn.Linear(self.in_features, self.out_features, self.bias is not None, self.values.device,
                          self.values.dtype)  # fmt: skip
        with torch.no_grad():
            dense.weight.zero_()[self.rows, self.JA.long()] = self.values
            if self.bias is not None:
                dense.bias.copy_(self.bias)
        return dense.train(self.training)

    def config(self) -> dict[str, Any]:
        """Return the arguments that build an equal layer, as plain numbers for a file header."""
        sizes = {"in_features": self.in_features, "out_features": self.out_features}
        return sizes | {"nnz": self.nnz, "bias": self.bias is not None}

    def extra_repr(self) -> str:
        """Return the sizes that the printed form shows."""
        sizes = f"in_features={self.in_features}, out_features={self.out_features}"
        return f"{sizes}, nnz={self.nnz}, bias={self.bias is not None}"


class _Product(torch.autograd.Function):
    """x W^T (b, out) for a CSR matrix W with places that are fixed."""

    @staticmethod
    def forward(ctx: Any, values: torch.Tensor, x: torch.Tensor, IA: torch.Tensor, JA: torch.Tensor, rows: torch.Tensor
                ) -> torch.Tensor:  # fmt: skip
        ctx.save_for_backward(values, x, IA, JA, rows)
        A, places = values.detach().numpy(), (IA.numpy(), JA.numpy())
        return torch.from_numpy(kernels.csr_matmul(A, *places, x.detach().numpy().T)).T.contiguous()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        values, x, IA, JA, rows = ctx.saved_tensors
        to_values = _gradient_of_values(grad, x, rows, JA) if ctx.needs_input_grad[0] else None
        to_x = None
        if ctx.needs_input_grad[1]:  # g W: the transposed matrix, stored by rows
            turned = CSR.from_coordinates(JA.numpy(), rows.numpy(), values.detach().numpy(), (x.shape[1], len(IA) - 1))
            to_x = torch.from_numpy(turned.matmul(grad.numpy().T)).T
        return to_values, to_x, None, None, None


def _gradient_of_values(grad: torch.Tensor, x: torch.Tensor, rows: torch.Tensor, columns: torch.Tensor) -> torch.Tensor:
    """Return sum_b grad[b, i] x[b, j] for all places (i, j), some places at a time: the dense product is never made."""
    size = max(1, CHUNK // max(1, len(x)))
    parts = zip(rows.split(size), columns.long().split(size), strict=True)
    return torch.cat([(grad[:, i] * x[:, j]).sum(dim=0) for i, j in parts])


@dataclass(frozen=True)
class SparseScheme:
    """Replace a linear layer by a sparse one that keeps its largest weights, for `labkit.compress`.

    >>> SparseScheme(sparsity=0.9).apply(nn.Linear(10, 10)).nnz
    10
    """

    sparsity: float

    def apply(self, layer: nn.Module) -> SparseLinear:
        """Return the new layer; raises TypeError or ValueError if the layer or the sparsity do not fit."""
        return SparseLinear.from_linear(checks.instance(layer, "layer", nn.Linear), sparsity=self.sparsity)


def _mask(mask: Any) -> np.ndarray:
    """Return a mask as a bool array (out, in) with at least one True."""
    array = checks.plain(mask, "mask")
    if array.dtype != bool:
        raise TypeError(f"mask must hold bools, got dtype {array.dtype}")
    if array.ndim != 2 or not array.any():
        raise ValueError(
            f"mask must have shape (out, in) and keep a weight, got shape {array.shape}, {array.sum()} kept"
        )
    return array


def _largest(weight: torch.Tensor, sparsity: Any) -> np.ndarray:
    """Return the mask of all but the fraction `sparsity` of the weights that is nearest to zero."""
    share = checks.number(sparsity, "sparsity", low=0, high=1)
    size = abs(weight.double().cpu().numpy())
    mask = np.ones(size.size, bool)
    mask[np.argsort(size, axis=None, kind="stable")[: round(share * size.size)]] = False
    return mask.reshape(size.shape)
