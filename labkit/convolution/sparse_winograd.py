"""Winograd convolution with sparse weights and activations: both kept in the transformed domain. Chapter 24.

A transform spreads each zero over a tile, so a kernel that was pruned before it is nearly dense after it. The way out
is to prune the transformed kernel, and to move the ReLU behind the transform of the inputs. X. Liu, J. Pool, S. Han,
W. J. Dally, Efficient sparse-Winograd convolutional neural networks, ICLR 2018, arXiv:1802.06367. Lecture
003:1917-1972.
"""

from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import scipy.sparse
import torch
from torch import nn

from labkit import checks
from labkit.convolution.cook_toom import cook_toom, n_mults
from labkit.convolution.winograd_layer import Tiled, WinogradConv2d
from labkit.kernels import csr_matmul

LEVEL = 1e-9  # of the largest entry: below it a sum of rounded numbers counts as zero


@dataclass(frozen=True)
class Savings:
    """How many times fewer multiplications than the dense direct sum; `total` is the product of the three parts."""

    transform: float
    weights: float
    activations: float

    @property
    def total(self) -> float:
        """The product, if zeros of weights and activations fall independently."""
        return self.transform * self.weights * self.activations


SAVINGS = {  # the lecture's accounting, 003:1917-1956
    "direct": Savings(1.0, 1.0, 1.0),
    "sparse": Savings(1.0, 3.0, 3.0),
    "winograd": Savings(2.25, 1.0, 1.0),
    "sparse winograd": Savings(2.25, 2.5, 2.25),
}


def savings(mode: str, *, weights: float | None = None, activations: float | None = None, m: int = 2) -> Savings:
    """Return the savings of one of four ways to convolve with 3 x 3 kernels.

    Parameters
    ----------
    mode : "direct", "sparse", "winograd" or "sparse winograd"
    weights, activations : density of the weights and of the activations that are multiplied, above 0 and at most 1;
        None for the lecture's. The two dense modes have density 1 and take none.
    m : outputs of a tile, m x m

    Raises TypeError or ValueError otherwise. Chapter 24; lecture 003:1917-1956, which rounds the last total to 12.

    >>> [savings(mode).total for mode in SAVINGS]
    [1.0, 9.0, 2.25, 12.65625]
    """
    printed = SAVINGS[checks.choice(mode, "mode", SAVINGS)]
    m = checks.integer(m, "m", low=1)
    given = {"weights": weights, "activations": activations}
    if "sparse" not in mode and any(density is not None for density in given.values()):
        raise ValueError(f"weights and activations must be None where nothing is sparse, got mode {mode!r} and {given}")
    rates = {
        name: getattr(printed, name) if density is None else 1 / _density(density, name)
        for name, density in given.items()
    }
    transform = 9 * m**2 / n_mults((m, m), (3, 3)) if "winograd" in mode else 1.0
    return Savings(transform, **rates)


def density(x: Any) -> float:
    """Return the share of entries that are not zero, up to rounding: larger than 1e-9 of the largest.

    `x` is a real array or tensor of any shape. Raises TypeError or ValueError if it is not, or empty. Chapter 24.

    >>> density([0.0, 1.0, 0.0, -3.0])
    0.5
    """
    sizes = np.abs(checks.array(x, "x"))
    return float(np.mean(sizes > LEVEL * sizes.max()))


def density_after_transform(w: Any, *, m: int = 2) -> float:
    """Return the density of G w G^T for kernels that have zeros.

    Parameters
    ----------
    w : real array or tensor (..., r, r)
    m : outputs of a tile, m x m

    Raises TypeError or ValueError if w is not real and finite or its kernels are not square. Zeros vanish since every
    entry in the middle of the transformed kernel is a sum over whole rows, columns or all of the kernel.
    Source: Liu, Pool, Han, Dally 2018, figure 1. Chapter 24; lecture 003:1961-1966.

    >>> density_after_transform([[0, 0, 0], [0, 1, 0], [0, 0, 0]])
    0.25
    >>> density_after_transform([[1, 0, 0], [0, 0, 0], [0, 0, 0]])
    0.5625
    """
    kernels = checks.array(w, "w")
    if kernels.ndim < 2 or kernels.shape[-1] != kernels.shape[-2]:
        raise ValueError(f"w must hold square kernels, got shape {kernels.shape}")
    _, G, _ = cook_toom(m, kernels.shape[-1]).arrays()
    return density(G @ kernels @ G.T)


def input_density_after_transform(x: Any, *, m: int = 2, r: int = 3) -> float:
    """Return the density of B^T d B over the tiles of feature maps (..., H, W), each t x t with t = m + r - 1.

    Only whole tiles count. Raises TypeError or ValueError if x is not real and finite or smaller than a tile.
    Chapter 24; lecture 003:1961-1972.

    >>> input_density_after_transform(np.eye(4), m=2)
    0.75
    """
    one, maps = cook_toom(m, r), checks.array(x, "x")
    if maps.ndim < 2 or min(maps.shape[-2:]) < one.size:
        raise ValueError(f"x must hold maps of at least {one.size} x {one.size}, got shape {maps.shape}")
    _, _, BT = one.arrays()
    tiles = np.lib.stride_tricks.sliding_window_view(maps, (one.size, one.size), axis=(-2, -1))
    return density(BT @ tiles[..., ::m, ::m, :, :] @ BT.T)


def expected_density(p: float, *, m: int = 2, of: str = "weights") -> float:
    """Return the density after the transform, on average, if each number is zero independently of the others.

    Parameters
    ----------
    p : density before, 0 to 1
    m : outputs of a tile, m x m, for kernels of 3 x 3
    of : "weights" (G w G^T) or "activations" (B^T d B)

    Raises TypeError or ValueError otherwise.
    Formula: the mean over places (i, j) of 1 - (1 - p)^(n_i n_j), with n_i the numbers of row i that are not zero: a
    sum of real numbers is zero by chance only if all of them are. Chapter 24; lecture 003:1961-1966.

    >>> round(expected_density(1 / 3), 2), round(expected_density(1 / 3, of="activations"), 2)
    (0.68, 0.8)
    """
    p, one = checks.number(p, "p", low=0, high=1), cook_toom(m, 3)
    rows = {"weights": one.G, "activations": one.BT}[checks.choice(of, "of", ("weights", "activations"))]
    n = np.array([sum(x != 0 for x in row) for row in rows])
    return float(np.mean(1 - (1 - p) ** np.outer(n, n)))


class SparseWinogradConv2d(Tiled):
    """A 3 x 3 layer whose weights live in the Winograd domain, where they are pruned; the ReLU before it does too.

    Parameters
    ----------
    in_channels, out_channels : channels
    m : height and width of a tile of outputs
    padding : zeros on every side
    relu : whether a ReLU acts on the transformed inputs. Put no ReLU before such a layer.
    bias : whether every filter adds a number
    random_state : int, Generator or None, for the initial weights

    Raises TypeError or ValueError for counts below 1.

    Y = A^T [ sum_c U * relu(B^T d B) ] A with U (K, C, t, t), t = m + 2, trained itself: t^2 / 9 times the weights of
    a plain layer. Most U belong to no 3 x 3 kernel, and with relu no plain layer computes the same. `mask`
    (K, C, t, t) holds the weights that `prune` left.
    Source: Liu, Pool, Han, Dally 2018. Chapter 24; lecture 003:1938-1972.

    >>> layer = SparseWinogradConv2d(8, 16, m=2, padding=1, random_state=0)
    >>> layer.prune(0.6)
    >>> round(layer.density, 2), layer(torch.zeros(1, 8, 7, 7)).shape
    (0.4, torch.Size([1, 16, 7, 7]))
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        m: int = 2,
        padding: int = 0,
        relu: bool = True,
        bias: bool = True,
        random_state: Any = None,
    ) -> None:
        super().__init__()
        self.shape(3, m, padding, 1)
        in_channels = checks.integer(in_channels, "in_channels", low=1)
        out_channels = checks.integer(out_channels, "out_channels", low=1)
        with checks.seeded(random_state):
            plain = nn.Conv2d(in_channels, out_channels, 3, bias=bias)
        self.weight, self.bias, self.relu = nn.Parameter(plain.weight), plain.bias, bool(relu)
        _, G, _ = self.matrices()
        self.weight = nn.Parameter((G @ plain.weight @ G.T).detach())
        self.register_buffer("mask", torch.ones_like(self.weight, dtype=torch.bool))

    @classmethod
    def from_conv(cls, layer: nn.Conv2d, *, m: int = 2, relu: bool = False) -> "SparseWinogradConv2d":
        """Return a layer with U = G w G^T, which computes the same while relu is False and nothing is pruned.

        Raises TypeError or ValueError unless `layer` is a Conv2d of 3 x 3 with stride and dilation 1, in one group.
        """
        plain = WinogradConv2d.from_conv(layer, m=m)
        if plain.kernel_size != 3 or plain.groups != 1:
            raise ValueError(f"layer must have kernels of 3 x 3 in one group, got {layer}")
        k, c, _, _ = plain.weight.shape
        bias = {} if plain.bias is None else {"bias": plain.bias.detach()}
        made = cls(c, k, m=m, padding=plain.padding, relu=relu, bias=bool(bias), random_state=0).to(plain.weight)
        _, G, _ = plain.matrices()
        values = {"weight": G @ plain.weight.detach() @ G.T, "mask": made.mask}
        made.load_state_dict(values | bias)
        return made

    @property
    def density(self) -> float:
        """The share of weights that are left."""
        return float(cast(torch.Tensor, self.mask).double().mean())

    def prune(self, sparsity: float) -> None:
        """Leave out the smallest weights, so that the share `sparsity` of all is zero; those left out stay out.

        Each place of a tile is pruned by itself, since the entries of G make some places larger than others.
        Raises TypeError or ValueError unless sparsity is at least 0 and below 1.
        """
        sparsity = checks.number(sparsity, "sparsity", low=0, high=1)
        if sparsity == 1:
            raise ValueError("sparsity must be below 1, got 1.0")
        mask = cast(torch.Tensor, self.mask)
        sizes = (self.weight.detach() * mask).abs().flatten(0, 1).flatten(1)  # (K C, t^2)
        n = round(sparsity * len(sizes))
        smallest = sizes.argsort(dim=0)[:n]
        kept = torch.ones_like(sizes, dtype=torch.bool).scatter_(0, smallest, False)
        mask &= kept.reshape(mask.shape)
        with torch.no_grad():
            self.weight.mul_(mask)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the output (N, K, H', W') for x (N, C, H, W)."""
        products = self.products(self.transformed(x), self.weight * cast(torch.Tensor, self.mask))
        y = self.join(products, self.output_size(x))
        return y if self.bias is None else y + self.bias[:, None, None]

    def transformed(self, x: torch.Tensor) -> torch.Tensor:
        """Return the transformed inputs that are multiplied, (N, C, down, across, t, t)."""
        tiles = self.split(x)
        return tiles.relu() if self.relu else tiles

    def count(self, x: torch.Tensor) -> "Products":
        """Return how many products the layer needs for x (N, C, H, W), and how many of them are not zero."""
        with torch.no_grad():
            V, U = self.transformed(x), (self.weight * cast(torch.Tensor, self.mask)) != 0
        met = (V != 0).double().sum(dim=(0, 2, 3))  # (C, t, t): pictures and tiles where an input is there
        height, width = self.output_size(x)
        direct = 9 * x.shape[0] * height * width * U.shape[0] * U.shape[1]
        dense = V.shape[0] * V.shape[2] * V.shape[3] * U.numel()
        density_in = float((V != 0).double().mean())
        return Products(direct, dense, round(float((met * U).sum())), float(U.double().mean()), density_in)


class SparseWinograd:
    """A trained `SparseWinogradConv2d` for use: for each place of a tile, a sparse matrix (K, C) in compressed rows.

    `skip` of a call says which zeros cost nothing: those of the "weights" (each number left meets all tiles, by the
    compiled kernel `csr_matmul`), of "both" (SciPy's product of two sparse matrices), or "none" (a dense product).
    Raises TypeError for another layer. Chapter 24.

    >>> layer = SparseWinogradConv2d(4, 6, m=2, padding=1, random_state=0)
    >>> layer.prune(0.6)
    >>> x = torch.rand(2, 4, 9, 9)
    >>> torch.allclose(SparseWinograd(layer)(x, skip="weights"), layer(x), atol=1e-5)
    True
    """

    SKIPS = ("weights", "both", "none")

    def __init__(self, layer: SparseWinogradConv2d) -> None:
        self.layer = checks.instance(layer, "layer", SparseWinogradConv2d)
        U = (layer.weight * cast(torch.Tensor, layer.mask)).detach().flatten(2).permute(2, 0, 1)  # (t^2, K, C)
        self.dense = np.ascontiguousarray(U.numpy())
        self.rows = [scipy.sparse.csr_array(place) for place in self.dense]

    def __call__(self, x: torch.Tensor, *, skip: str = "weights") -> torch.Tensor:
        """Return the layer's output (N, K, H', W') for x (N, C, H, W), without gradients."""
        checks.choice(skip, "skip", self.SKIPS)
        with torch.no_grad():
            V = self.layer.transformed(x)  # (N, C, down, across, t, t)
            n, c, down, across, t, _ = V.shape
            columns = np.ascontiguousarray(V.permute(4, 5, 1, 0, 2, 3).reshape(t * t, c, -1).numpy())
            M = np.stack([self._product(place, columns[place], skip) for place in range(t * t)])
            sums = torch.from_numpy(M).reshape(t, t, -1, n, down, across).permute(3, 2, 4, 5, 0, 1)
            y = self.layer.join(sums, self.layer.output_size(x))
            return y if self.layer.bias is None else y + self.layer.bias[:, None, None]

    def _product(self, place: int, columns: np.ndarray, skip: str) -> np.ndarray:
        U = self.rows[place]
        if skip == "both":
            return (U @ scipy.sparse.csr_array(columns)).toarray()
        if skip == "none":
            return self.dense[place] @ columns
        return csr_matmul(U.data, U.indptr.astype(np.int32), U.indices.astype(np.int32), columns)


@dataclass(frozen=True)
class Products:
    """Multiplications of a layer: direct and dense, Winograd and dense, and those whose two factors are not zero."""

    direct: int
    dense: int
    nonzero: int
    weights: float
    activations: float

    @property
    def saving(self) -> float:
        """How many times fewer than the dense direct sum; infinite where nothing is left."""
        return self.direct / self.nonzero if self.nonzero else float("inf")


def _density(value: Any, name: str) -> float:
    value = checks.number(value, name, low=0, high=1)
    if value == 0:
        raise ValueError(f"{name} must be above 0, got 0.0")
    return value
