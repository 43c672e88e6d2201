r"""SBNet: a convolution that computes only the tiles of the picture that a mask asks for.

The mask becomes a list of tiles. **Gather** copies the tiles' inputs, with the border that the kernel sees, behind
each other along the batch, channels last, so that rows of pixels are copied whole; one dense convolution without
padding serves them all; **scatter** puts the outputs back. Neighbouring input tiles overlap by kernel minus stride, so
that the output tiles touch and none is computed twice.

Ren, Pokrovsky, Yang, Urtasun (2018), SBNet: Sparse Blocks Network for Fast Inference, arXiv:1801.02108; lecture
003:3066-3076. Chapter 29.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from labkit import checks
from labkit.convolution.window import Pair, Window, pair
from labkit.decomposition.conv_layers import conv_config
from labkit.dynamic.skipping import check_bool, check_input

Tensor = torch.Tensor


@dataclass(frozen=True)
class Tiling:
    """How a picture of outputs is cut into tiles, and what of the input each needs; sides are (down, across).

    Parameters
    ----------
    window : the convolution's kernel, stride, padding and dilation
    block_size : outputs of a tile, an int or a pair

    Raises TypeError or ValueError unless the sizes are integers of at least 1. Chapter 29.

    >>> tiling = Tiling(Window(3, padding=1), 8)
    >>> tiling.block, tiling.step, tiling.overlap
    ((10, 10), (8, 8), (2, 2))
    """

    window: Window
    block_size: Any

    def __post_init__(self) -> None:
        checks.instance(self.window, "window", Window)
        object.__setattr__(self, "block_size", pair(self.block_size, "block_size", low=1))

    @property
    def block(self) -> tuple[int, int]:
        """The inputs that a tile of outputs sees: (m - 1) stride + extent of the kernel."""
        (mh, mw), (sh, sw), (eh, ew) = self.block_size, self.window.stride, self.window.extent
        return (mh - 1) * sh + eh, (mw - 1) * sw + ew

    @property
    def step(self) -> tuple[int, int]:
        """The inputs from one tile to the next: m stride."""
        (mh, mw), (sh, sw) = self.block_size, self.window.stride
        return mh * sh, mw * sw

    @property
    def overlap(self) -> tuple[int, int]:
        """The inputs that two neighbouring tiles share: extent minus stride; below 0 some are in no tile."""
        (bh, bw), (sh, sw) = self.block, self.step
        return bh - sh, bw - sw

    def grid(self, shape: tuple[int, int]) -> tuple[int, int]:
        """Return how many tiles cover an output of `shape` (H', W'), down and across; the last may stick out."""
        down, across = (-(-n // m) for n, m in zip(pair(shape, "shape", low=1), self.block_size, strict=True))
        return down, across


def tile_indices(mask: Any, *, block_size: Pair) -> Tensor:
    """Return the list of the tiles in which a mask is true somewhere: (T, 3) int64, picture, row and column of a tile.

    Parameters
    ----------
    mask : bool tensor (N, H', W'), true where an output is wanted
    block_size : outputs of a tile, an int or a pair (down, across); tiles start at the upper left corner

    Raises
    ------
    TypeError, ValueError : the mask is not a bool tensor of three dimensions, or a size below 1.

    A tile counts if the largest value in it is 1, so every wanted output lies in a tile of the list. arXiv:1801.02108,
    section 3.1; lecture 003:3068-3076. Chapter 29.

    >>> mask = torch.zeros(1, 4, 6, dtype=torch.bool)
    >>> mask[0, 1, 1] = mask[0, 1, 2] = True
    >>> tile_indices(mask, block_size=2).tolist()
    [[0, 0, 0], [0, 0, 1]]
    """
    _bool_mask(mask)
    size = pair(block_size, "block_size", low=1)
    wanted = functional.max_pool2d(mask.float()[:, None], size, ceil_mode=True)[:, 0]  # (N, down, across)
    return wanted.nonzero()


def gather(x: Tensor, indices: Tensor, tiling: Tiling) -> Tensor:
    """Return the inputs of the listed tiles, one behind the other along the batch: (T, C, bh, bw).

    Parameters
    ----------
    x : pictures (N, C, H, W); zeros stand where a tile sees padding or sticks out
    indices : tiles (T, 3), as `tile_indices` returns them
    tiling : block size and window

    Raises
    ------
    TypeError, ValueError : wrong shapes, or a tile outside of the picture.

    Chapter 29; lecture 003:3076.

    >>> x, tiling = torch.arange(16.0).reshape(1, 1, 4, 4), Tiling(Window(3, padding=1), 2)
    >>> gather(x, torch.tensor([[0, 1, 1]]), tiling)[0, 0]
    tensor([[ 5.,  6.,  7.,  0.],
            [ 9., 10., 11.,  0.],
            [13., 14., 15.,  0.],
            [ 0.,  0.,  0.,  0.]])
    """
    checks.instance(tiling, "tiling", Tiling)
    if checks.instance(x, "x", Tensor).dim() != 4:
        raise ValueError(f"x must be (N, C, H, W), got shape {tuple(x.shape)}")
    down, across = tiling.grid(tiling.window.output((x.shape[2], x.shape[3])))
    n, i, j = _columns(indices, (len(x), down, across))
    (bh, bw), (sh, sw), (ph, pw) = tiling.block, tiling.step, tiling.window.padding
    padded = x.new_zeros(len(x), (down - 1) * sh + bh, (across - 1) * sw + bw, x.shape[1])  # (N, H + .., W + .., C)
    h, w = (max(0, min(n, m)) for n, m in zip(x.shape[2:], (padded.shape[1] - ph, padded.shape[2] - pw), strict=True))
    padded[:, ph : ph + h, pw : pw + w] = x[:, :, :h, :w].permute(0, 2, 3, 1)
    blocks = padded.unfold(1, bh, sh).unfold(2, bw, sw).permute(0, 1, 2, 4, 5, 3)  # a view, copies nothing
    return blocks[n, i, j].permute(0, 3, 1, 2)


def scatter(tiles: Tensor, indices: Tensor, shape: tuple[int, int, int], base: Tensor | None = None) -> Tensor:
    """Return pictures with the listed tiles in their places, and zeros or `base` elsewhere: (N, K, H', W').

    Parameters
    ----------
    tiles : outputs (T, K, mh, mw)
    indices : tiles (T, 3), as `tile_indices` returns them
    shape : N, H' and W'
    base : pictures (N, K, H', W'), for instance the input of a residual block; it is not changed

    Raises
    ------
    TypeError, ValueError : wrong shapes, or a tile outside of the picture.

    Chapter 29.

    >>> scatter(torch.ones(1, 1, 2, 2), torch.tensor([[0, 0, 1]]), (1, 2, 4))[0, 0]
    tensor([[0., 0., 1., 1.],
            [0., 0., 1., 1.]])
    """
    if not isinstance(shape, tuple | list) or len(shape) != 3:
        raise ValueError(f"shape must be (N, H', W'), got {shape!r}")
    N, H, W = (checks.integer(side, "shape", low=1) for side in shape)
    if checks.instance(tiles, "tiles", Tensor).dim() != 4:
        raise ValueError(f"tiles must be (T, K, mh, mw), got {tuple(tiles.shape)}")
    T, K, mh, mw = tiles.shape
    down, across = -(-H // mh), -(-W // mw)
    n, i, j = _columns(indices, (N, down, across))
    if len(n) != T:
        raise ValueError(f"tiles must be as many as indices, {len(n)}, got {T}")
    y = tiles.new_zeros(N, down * mh, across * mw, K)  # whole tiles; channels last, as `gather` leaves them
    if base is not None:
        y[:, :H, :W] = _based(base, (N, K, H, W)).permute(0, 2, 3, 1)
    y.view(N, down, mh, across, mw, K).permute(0, 1, 3, 2, 4, 5)[n, i, j] = tiles.permute(0, 2, 3, 1)
    return y.permute(0, 3, 1, 2)[:, :, :H, :W]


class SBConv2d(nn.Module):
    """A `Conv2d` that computes only the tiles in which a mask asks for an output; elsewhere the output is 0.

    Parameters
    ----------
    conv : the convolution; its parameters are shared, not copied
    block_size : outputs of a tile, an int or a pair (down, across)

    Raises TypeError or ValueError for a layer without numeric zero padding, or a size below 1.

    `forward(x, mask, base=None)` takes x (N, C, H, W), a bool mask (N, H', W') of wanted outputs, or (H', W') for all
    pictures alike, and optionally what stands outside of the tiles, (N, K, H', W'). Inside the mask the output is that
    of the convolution. The multiply-adds are those of the listed tiles: `ran` (N,) int64 holds them for each picture of
    the last call, `macs` says them beforehand, `macs_ran` counts them.
    arXiv:1801.02108; lecture 003:3066-3076. Chapter 29.

    >>> layer = SBConv2d.from_conv(nn.Conv2d(3, 8, 3, padding=1), block_size=4)
    >>> mask = torch.zeros(16, 16, dtype=torch.bool)
    >>> mask[:4, :8] = True
    >>> y = layer(torch.ones(1, 3, 16, 16), mask)
    >>> y.shape, int((y[0, 0] != 0).sum()), layer.macs(mask) / layer.macs(torch.ones_like(mask))
    (torch.Size([1, 8, 16, 16]), 32, 0.125)
    """

    def __init__(self, conv: nn.Conv2d, *, block_size: Pair) -> None:
        super().__init__()
        _plain(checks.instance(conv, "conv", nn.Conv2d))
        self.conv = conv
        self.tiling = Tiling(Window(conv.kernel_size, conv.stride, conv.padding, conv.dilation), block_size)
        self.ran = torch.zeros(0, dtype=torch.int64)

    @classmethod
    def from_conv(cls, conv: nn.Conv2d, *, block_size: Pair) -> "SBConv2d":
        """Return a layer with the parameters of `conv`; errors as for the class."""
        return cls(conv, block_size=block_size)

    @classmethod
    def from_config(cls, *, block_size: Pair, device: Any = None, **conv: Any) -> "SBConv2d":
        """Return the layer whose `config()` these arguments are, with weights of its own."""
        return cls(nn.Conv2d(**conv, device=device), block_size=block_size)

    def config(self) -> dict[str, Any]:
        """Return the arguments of `from_config` that build an equal layer, as plain values for a file header."""
        return conv_config(self.conv) | {"block_size": self.tiling.block_size}

    def to_dense(self) -> nn.Conv2d:
        """Return the convolution."""
        return self.conv

    def forward(self, x: Tensor, mask: Tensor, base: Tensor | None = None) -> Tensor:
        """Return the output (N, K, H', W') for x (N, C, H, W); errors name an argument of another shape."""
        indices, shape = self.tiles(x, mask)
        blocks = gather(x, indices, self.tiling)  # (T, C, bh, bw)
        self.ran = torch.bincount(indices[:, 0], minlength=len(x)) * self._tile_macs()
        conv = self.conv
        y = functional.conv2d(blocks, conv.weight, conv.bias, conv.stride, 0, conv.dilation, conv.groups)
        return scatter(y, indices, (len(x), *shape), base)

    def tiles(self, x: Tensor, mask: Tensor) -> tuple[Tensor, tuple[int, int]]:
        """Return the tile list (T, 3) for pictures x and a mask, and the height and width of the output."""
        check_input(x, self.conv.in_channels)
        shape = self.tiling.window.output((x.shape[2], x.shape[3]))
        full = checks.instance(mask, "mask", Tensor)
        full = full.expand(len(x), *full.shape) if full.dim() == 2 else full
        if full.shape != (len(x), *shape):
            raise ValueError(f"mask must be {shape} or {(len(x), *shape)}, the output's shape, got {tuple(mask.shape)}")
        return tile_indices(full, block_size=self.tiling.block_size), shape

    def macs(self, mask: Tensor) -> int:
        """Return the multiply-adds that a mask (N, H', W') or (H', W') leads to: those of its tiles, also for nought.

        A tile of mh x mw outputs takes K C / groups kh kw mh mw of them, wherever it lies.
        """
        full = mask[None] if checks.instance(mask, "mask", Tensor).dim() == 2 else mask
        return len(tile_indices(full, block_size=self.tiling.block_size)) * self._tile_macs()

    def multiply_adds(self, x: Tensor, y: Tensor) -> int:
        """Return the multiply-adds of the last call, all pictures together: what `labkit.cost.count` asks for."""
        return int(self.ran.sum())

    def _tile_macs(self) -> int:
        mh, mw = self.tiling.block_size
        return mh * mw * self.conv.weight.numel()


def _columns(indices: Any, high: tuple[int, int, int]) -> tuple[Tensor, Tensor, Tensor]:
    """Return picture, row and column of each tile; an error unless all lie below `high`."""
    checks.instance(indices, "indices", Tensor)
    if indices.dim() != 2 or indices.shape[1] != 3 or indices.dtype != torch.int64:
        raise ValueError(f"indices must be (T, 3) int64, got {tuple(indices.shape)} {indices.dtype}")
    if bool((indices < 0).any() or (indices >= torch.tensor(high, device=indices.device)).any()):
        raise ValueError(f"indices must be at least 0 and below {high} (pictures, rows, columns of tiles)")
    n, i, j = indices.unbind(1)
    return n, i, j


def _based(base: Any, shape: tuple[int, ...]) -> Tensor:
    if checks.instance(base, "base", Tensor).shape != shape:
        raise ValueError(f"base must have the output's shape {shape}, got {tuple(base.shape)}")
    return base


def _bool_mask(mask: Any) -> None:
    if check_bool(mask, "mask").dim() != 3 or mask.numel() == 0:
        raise ValueError(f"mask must be (N, H', W') and not empty, got shape {tuple(mask.shape)}")


def _plain(conv: nn.Conv2d) -> None:
    if isinstance(conv.padding, str) or conv.padding_mode != "zeros":
        raise ValueError(f"conv must have a numeric zero padding, got {conv.padding!r}, {conv.padding_mode!r}")
