"""A layer that computes its convolution by Winograd's algorithm, differentiable, in any floating dtype. Chapter 23."""

from functools import cache
from typing import Any, cast

import torch
from torch import nn
from torch.nn import functional

from labkit import checks
from labkit.convolution.winograd import transforms


class Tiled(nn.Module):
    """What the layers by Winograd's algorithm share: tiles, transforms, and the products between them.

    A layer calls `shape(kernel_size, m, padding, groups)` and has a parameter `weight`, whose precision the transforms
    take.
    """

    weight: nn.Parameter
    kernel_size: int
    m: int
    padding: int
    groups: int

    def shape(self, kernel_size: int, m: int, padding: int, groups: int) -> None:
        """Set the numbers that say how the tiles lie; TypeError or ValueError if they are none that can be."""
        self.kernel_size = checks.integer(kernel_size, "kernel_size", low=1)
        self.m, self.padding = checks.integer(m, "m", low=1), checks.integer(padding, "padding", low=0)
        self.groups = checks.integer(groups, "groups", low=1)

    def matrices(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return A^T, G and B^T, rounded once to the precision of the weights."""
        return _matrices(self.m, self.kernel_size, self.weight.dtype, self.weight.device)

    def output_size(self, x: torch.Tensor) -> tuple[int, int]:
        """Return height and width of the output for x (N, C, H, W)."""
        grow = 2 * self.padding - self.kernel_size + 1
        return x.shape[2] + grow, x.shape[3] + grow

    def split(self, x: torch.Tensor) -> torch.Tensor:
        """Return the transformed tiles (N, C, down, across, t, t) of x (N, C, H, W): B^T d B."""
        (_, _, BT), p = self.matrices(), self.padding
        t = len(BT)
        right, below = (-(-n // self.m) * self.m + t - self.m for n in reversed(self.output_size(x)))
        x = functional.pad(x, (p, right - x.shape[3] - p, p, below - x.shape[2] - p))
        return BT @ x.unfold(2, t, self.m).unfold(3, t, self.m) @ BT.T

    def products(self, tiles: torch.Tensor, kernel: torch.Tensor) -> torch.Tensor:
        """Return sum_c kernel[k, c] * tiles[n, c] for every place of every tile: (N, K, down, across, t, t)."""
        n, _, *rest = tiles.shape
        d = tiles.reshape(n, self.groups, -1, *rest)
        u = kernel.reshape(self.groups, -1, *kernel.shape[1:])
        return torch.einsum("ngchwij,gkcij->ngkhwij", d, u).reshape(n, -1, *rest)

    def join(self, products: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
        """Return the output (N, K, H', W') from the products: A^T M A, tile beside tile, cut to size."""
        AT, _, _ = self.matrices()
        y = (AT @ products @ AT.T).transpose(3, 4)  # (N, K, down, m, across, m)
        n, k, down, m, across, _ = y.shape
        return y.reshape(n, k, down * m, across * m)[:, :, : size[0], : size[1]]


class WinogradConv2d(Tiled):
    """A `Conv2d` with stride and dilation 1, computed by F(m x m, r x r).

    Parameters
    ----------
    in_channels, out_channels, kernel_size, padding, groups, bias : as in `nn.Conv2d`, kernel and padding square
    m : height and width of a tile of outputs

    Raises TypeError or ValueError as `nn.Conv2d` and `cook_toom` do. The parameters are those of the plain layer and
    the transforms are constants, so it trains like that layer, up to rounding.
    A. Lavin, S. Gray, Fast algorithms for convolutional neural networks, CVPR 2016. Chapter 23; lecture 003:1873-1915.

    >>> layer = WinogradConv2d(3, 8, 3, m=2, padding=1)
    >>> layer(torch.zeros(1, 3, 7, 7)).shape
    torch.Size([1, 8, 7, 7])
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        *,
        m: int,
        padding: int = 0,
        groups: int = 1,
        bias: bool = True,
    ) -> None:
        super().__init__()
        self.shape(kernel_size, m, padding, groups)
        plain = nn.Conv2d(in_channels, out_channels, kernel_size, padding=padding, groups=groups, bias=bias)
        self.weight, self.bias = nn.Parameter(plain.weight), plain.bias

    @classmethod
    def from_conv(cls, layer: nn.Conv2d, *, m: int) -> "WinogradConv2d":
        """Return a layer with the weights of `layer`; ValueError unless its stride and dilation are 1."""
        layer = checks.instance(layer, "layer", nn.Conv2d)
        _plain(layer)
        made = cls(
            layer.in_channels,
            layer.out_channels,
            layer.kernel_size[0],
            m=m,
            padding=cast(int, layer.padding[0]),
            groups=layer.groups,
            bias=layer.bias is not None,
        ).to(layer.weight)
        made.load_state_dict(layer.state_dict())
        return made

    def to_dense(self) -> nn.Conv2d:
        """Return the plain layer with the same weights."""
        k, c, r, _ = self.weight.shape
        layer = nn.Conv2d(
            c * self.groups, k, r, padding=self.padding, groups=self.groups, bias=self.bias is not None
        ).to(self.weight)
        layer.load_state_dict(self.state_dict())
        return layer

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the output (N, K, H', W') for x (N, C, H, W)."""
        _, G, _ = self.matrices()
        y = self.join(self.products(self.split(x), G @ self.weight @ G.T), self.output_size(x))
        return y if self.bias is None else y + self.bias[:, None, None]


@cache
def _matrices(
    m: int, r: int, dtype: torch.dtype, device: torch.device
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Not buffers of the layer: a change of its precision would round them a second time."""
    AT, G, BT = (torch.from_numpy(matrix).to(device, dtype) for matrix in transforms(m, r).arrays())
    return AT, G, BT


def _plain(layer: nn.Conv2d) -> None:
    """Raise ValueError unless Winograd's algorithm can compute the layer."""
    wanted: dict[str, Any] = {"stride": (1, 1), "dilation": (1, 1), "padding_mode": "zeros"}
    for name, value in wanted.items():
        if getattr(layer, name) != value:
            raise ValueError(f"layer must have {name} {value}, got {getattr(layer, name)}")
    if isinstance(layer.padding, str) or len({*layer.kernel_size}) > 1 or len({*layer.padding}) > 1:
        raise ValueError(f"layer must have a square kernel and a numeric padding, the same on all sides, got {layer}")
